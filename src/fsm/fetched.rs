//! What readers fetch from the base: opened together, shown, and handed to the rows that stay in memory.

use std::sync::Arc;

use crate::fsm::base::BaseError;
use crate::fsm::kept::KeptMark;
use crate::fsm::kept::KeptRows;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::opening::RowBatch;
use crate::fsm::opening::RowCipher;
use crate::fsm::row::FoundRow;
use crate::fsm::table_row::RowBytes;
use crate::fsm::table_row::TableRow;
use crate::fsm::table_row::WrittenAt;
use crate::fsm::value::Value;
use crate::fsm::value::ValueRef;
use crate::fsm::view::SeenRow;
use crate::limits::REPLY_BYTES_MAX;

/// What is asked of several rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Values with their bytes, as many as one reply can hold ([`REPLY_BYTES_MAX`]).
    Values,
    /// What there is of each besides its bytes, which may be left out.
    Facts,
}

/// Reads several rows of the base, as [`RowBase::rows`](crate::fsm::base::RowBase::rows).
pub(super) type ReadRows<'a> =
    &'a dyn Fn(&[RowName], &mut dyn FnMut(usize, Option<&[u8]>) -> bool) -> Result<(), BaseError>;

/// Rows that were read from the base, on their way to those that stay in memory.
#[derive(Default)]
pub(super) struct ReadBack {
    goes_to: Option<(Arc<KeptRows>, KeptMark)>,
    rows: Vec<(RowName, TableRow)>,
}

impl ReadBack {
    /// To be called before the base is read. `None`: what is read is of a moment that may have passed, and nothing stays.
    pub(super) fn begin(&mut self, kept: Option<&Arc<KeptRows>>) {
        self.rows.clear();
        self.goes_to = kept.and_then(|kept| Some((Arc::clone(kept), kept.mark()?)));
    }

    /// A row as the base has it.
    pub(super) fn add(&mut self, asked: RowKey<'_>, value: ValueRef<'_>) {
        let ValueRef { last_change, expire_at_ms, bytes, .. } = value;
        if let (Some(_), Some(key), true) = (&self.goes_to, asked.key, bytes.len() <= READ_BACK_BYTES_MAX) {
            let at = WrittenAt::read_back(last_change);
            self.rows.push((asked.name, TableRow::new(key, RowBytes::Copied(bytes), expire_at_ms, at)));
        }
    }

    /// They stay, as far as nothing newer has come.
    pub(super) fn hand_over(&mut self) {
        if let (Some((kept, mark)), false) = (&self.goes_to, self.rows.is_empty()) {
            kept.remember(*mark, &mut self.rows);
        }
    }
}

debug_fields!(self: ReadBack { rows: self.rows.len() });

/// Values of several rows that were fetched from the base so far.
#[derive(Default)]
pub(super) struct Fetched {
    pub(super) values: Vec<Option<Value>>,
    bytes: usize,
    read_back: ReadBack,
}

impl Fetched {
    /// Reads several rows from the base and opens them, in the order of `rows`, until their bytes are more than a reply can hold.
    /// Rows go to `kept`.
    pub(super) fn fetch(
        &mut self,
        read: ReadRows<'_>,
        kept: Option<&Arc<KeptRows>>,
        (rows, detail): (&[RowKey<'_>], Detail),
        cipher: &dyn RowCipher,
    ) -> Result<(), ReadError> {
        (self.bytes, self.values) = (0, Vec::new());
        self.read_back.begin(kept);
        let names: Vec<RowName> = rows.iter().map(|row| row.name).collect();
        let (mut batch, mut failed) = (RowBatch::default(), None);
        read(&names, &mut |at, row| {
            batch.add(cipher, &names[at], row);
            if batch.is_full() {
                failed = self.take(&mut batch, rows, detail).err();
            }
            failed.is_none() && self.bytes <= REPLY_BYTES_MAX
        })?;
        failed.map_or(Ok(()), Err)?;
        self.take(&mut batch, rows, detail)
    }

    /// Opens the rows of a batch, which are the next ones, and keeps what is asked for.
    fn take(&mut self, batch: &mut RowBatch, rows: &[RowKey<'_>], detail: Detail) -> Result<(), ReadError> {
        batch.open();
        for at in 0..batch.len() {
            let asked = rows[self.values.len()];
            let value = batch.value(at, asked)?;
            value.into_iter().for_each(|value| self.read_back.add(asked, value));
            let taken = value.map(|value| match detail {
                Detail::Values => value,
                Detail::Facts => ValueRef { bytes: &[], ..value },
            });
            self.bytes += taken.map_or(0, |value| value.bytes.len());
            self.values.push(taken.map(ValueRef::to_value));
        }
        batch.clear();
        self.read_back.hand_over();
        Ok(())
    }

    /// Whether it is all that is needed, or more than a reply can hold. It is less if some of it was overwritten in the meantime.
    pub(super) fn is_enough(&self, seen: &[SeenRow]) -> bool {
        let mut bytes = 0;
        for seen in seen {
            match seen {
                SeenRow::Above(FoundRow::Row(row)) => bytes += row.value().bytes.len(),
                SeenRow::Above(_) => {}
                SeenRow::Base(at) => match self.values.get(*at) {
                    Some(value) => bytes += value.as_ref().map_or(0, |value| value.bytes.len()),
                    None => return bytes > REPLY_BYTES_MAX,
                },
            }
        }
        true
    }
}

debug_fields!(self: Fetched { rows: self.values.len() });

/// A larger value is opened as fast as it is copied.
const READ_BACK_BYTES_MAX: usize = 64 << 10;
