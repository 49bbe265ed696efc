//! Values as commands see them: the rows of the newest view, opened.
//!
//! [`Base`] is what commands run on: the newest view through a [`RowReader`], or a run's overlay above it. How a sealed row is
//! opened is behind [`RowCipher`], so this room knows no key. Expiry is not judged here: a value that is past due is
//! handed out, and the command decides by the stamp that counts for it.

use std::sync::Arc;

use bytes::Bytes;

use crate::crypto::names::NameKey;
use crate::fsm::base::RowBase;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::opening::RowCipher;
use crate::fsm::row::FoundRow;
use crate::fsm::value::BodyState;
use crate::fsm::value::Header;
use crate::fsm::value::Value;
use crate::fsm::value::ValueError;
use crate::fsm::view::SeenRow;
use crate::fsm::view::Views;
use crate::limits::EXPIRY_STEP_ROWS;
use crate::limits::REPLY_BYTES_MAX;

/// What is asked of several rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Values with their bytes, as many as one reply can hold ([`REPLY_BYTES_MAX`]).
    Values,
    /// What there is of each besides its bytes, which may be left out.
    Facts,
}

/// A map of values at one moment, past-due ones included.
pub trait Base {
    /// The value of a row.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read or opened, or the row holds another key.
    fn value(&self, row: RowKey<'_>) -> Result<Option<Value>, ReadError>;

    /// Calls `visit` with the value of each of several rows, in the order of `rows`, as they stood at one moment, until it
    /// answers false, which it does when it can keep no more bytes.
    ///
    /// # Errors
    /// [`ReadError`] if one that is reached cannot be read or opened, or holds another key.
    fn each_value(
        &self,
        rows: &[RowKey<'_>],
        detail: Detail,
        visit: &mut dyn FnMut(Option<Value>) -> bool,
    ) -> Result<(), ReadError>;

    /// How many keys of a database are not past due at `now_ms`. Walks its rows and trusts their headers unopened.
    ///
    /// # Errors
    /// [`ReadError`] if the rows cannot be read.
    fn count(&self, database: Database, now_ms: u64) -> Result<u64, ReadError>;
}

/// [`Base::each_value`] one by one, for a base that nobody changes meanwhile: there that is one moment.
pub(crate) fn each_alone<B: Base + ?Sized>(
    base: &B,
    rows: &[RowKey<'_>],
    visit: &mut dyn FnMut(Option<Value>) -> bool,
) -> Result<(), ReadError> {
    for row in rows {
        if !visit(base.value(*row)?) {
            break;
        }
    }
    Ok(())
}

/// The newest view's rows as values. Cheap to clone; any number of threads may read while apply goes on.
#[derive(Clone)]
pub struct RowReader {
    views: Arc<Views<dyn RowBase>>,
    cipher: Arc<dyn RowCipher>,
}

impl RowReader {
    /// A reader of the newest view that opens sealed rows with `cipher`.
    #[must_use]
    pub fn new(views: Arc<Views<dyn RowBase>>, cipher: Arc<dyn RowCipher>) -> RowReader {
        RowReader { views, cipher }
    }

    /// What it reads.
    #[must_use]
    pub fn views(&self) -> &Arc<Views<dyn RowBase>> {
        &self.views
    }

    /// What the keys of reads and writes are named with; see [`RowCipher::name_key`].
    ///
    /// # Errors
    /// [`ReadError::NoCipher`].
    pub fn name_key(&self) -> Result<Arc<NameKey>, ReadError> {
        self.cipher.name_key()
    }

    /// Calls `visit` with the name, the deadline and the bytes of every row behind `behind`, upward, until it answers false. The
    /// deadline is in ms since 1970, 0 where there is none. Nothing is opened, and the rows are of no single moment.
    ///
    /// # Errors
    /// [`ReadError`] if a row cannot be read or has a damaged header.
    pub fn deadlines(
        &self,
        behind: Option<RowName>,
        visit: &mut dyn FnMut(&RowName, u64, usize) -> bool,
    ) -> Result<(), ReadError> {
        let mut damage = None;
        self.views.walk_behind(behind, EXPIRY_STEP_ROWS, &mut |name, row| match row.header() {
            Ok(header) => visit(&name, header.expire_at_ms, row.bytes()),
            Err(error) => {
                damage = Some(error);
                false
            }
        })?;
        damage.map_or(Ok(()), |error| Err(error.into()))
    }

    fn open(&self, asked: RowKey<'_>, row: &[u8]) -> Result<Value, ReadError> {
        let (header, body) = Header::split(row)?;
        let body = match header.state {
            BodyState::Clear if self.cipher.accepts_clear_rows() => Bytes::copy_from_slice(body),
            BodyState::Clear => return Err(ReadError::Unauthentic),
            BodyState::Sealed => self.cipher.open(&asked.name, row.to_vec())?,
        };
        let (key, value) = Value::decode_body(header, body)?;
        if asked.is_of(&key) { Ok(value) } else { Err(ValueError::OtherKey.into()) }
    }

    /// Reads several rows from the base and opens them, in the order of `rows`, until their bytes are more than a reply can hold.
    fn fetch(&self, base: &dyn RowBase, rows: &[RowKey<'_>], detail: Detail) -> Result<Vec<Option<Value>>, ReadError> {
        let names: Vec<RowName> = rows.iter().map(|row| row.name).collect();
        let (mut fetched, mut bytes, mut failed) = (Vec::with_capacity(rows.len()), 0, None);
        base.rows(&names, &mut |at, row| match row.map(|row| self.open(rows[at], row)).transpose() {
            Ok(mut value) => {
                if detail == Detail::Facts {
                    value.iter_mut().for_each(|value| value.bytes = Bytes::new());
                }
                bytes += value.as_ref().map_or(0, |value| value.bytes.len());
                fetched.push(value);
                bytes <= REPLY_BYTES_MAX
            }
            Err(error) => {
                failed = Some(error);
                false
            }
        })?;
        failed.map_or(Ok(fetched), Err)
    }
}

impl Base for RowReader {
    fn value(&self, asked: RowKey<'_>) -> Result<Option<Value>, ReadError> {
        let view = self.views.load();
        match view.find(&asked.name) {
            FoundRow::Row(row) => Ok(Some(row.value_for(asked)?)),
            FoundRow::Gone => Ok(None),
            FoundRow::Below => {
                let mut opened = None;
                view.base.row(&asked.name, &mut |row| opened = Some(self.open(asked, row)))?;
                opened.transpose()
            }
        }
    }

    fn each_value(
        &self,
        rows: &[RowKey<'_>],
        detail: Detail,
        visit: &mut dyn FnMut(Option<Value>) -> bool,
    ) -> Result<(), ReadError> {
        let names: Vec<RowName> = rows.iter().map(|row| row.name).collect();
        let (mut seen, mut fetched);
        loop {
            fetched = Vec::new();
            (_, seen) = self.views.several(&names, |view, places| {
                let missing: Vec<RowKey<'_>> = places.iter().map(|place| rows[*place]).collect();
                fetched = self.fetch(&*view.base, &missing, detail)?;
                Ok::<(), ReadError>(())
            })?;
            if is_enough(&seen, &fetched) {
                break;
            }
        }
        for (asked, seen) in rows.iter().zip(seen) {
            let value = match seen {
                SeenRow::Above(FoundRow::Row(row)) => Some(row.value_for(*asked)?),
                SeenRow::Above(_) => None,
                SeenRow::Base(at) => match fetched.get_mut(at) {
                    Some(value) => value.take(),
                    // What was visited is more than a reply can hold already.
                    None => break,
                },
            };
            if !visit(value) {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, database: Database, now_ms: u64) -> Result<u64, ReadError> {
        let mut count = 0;
        let mut damage = None;
        self.views.walk_headers(database, &mut |header| match header {
            Ok(header) => {
                count += u64::from(!header.is_past_due(now_ms));
                true
            }
            Err(error) => {
                damage = Some(error);
                false
            }
        })?;
        damage.map_or(Ok(count), |error| Err(error.into()))
    }
}

debug_fields!(self: RowReader {});

/// Whether what was fetched is all that is needed, or more than a reply can hold. It is less if some of it was overwritten in the
/// meantime.
fn is_enough(seen: &[SeenRow], fetched: &[Option<Value>]) -> bool {
    let mut bytes = 0;
    for seen in seen {
        match seen {
            SeenRow::Above(FoundRow::Row(row)) => bytes += row.value.bytes.len(),
            SeenRow::Above(_) => {}
            SeenRow::Base(at) => match fetched.get(*at) {
                Some(value) => bytes += value.as_ref().map_or(0, |value| value.bytes.len()),
                None => return bytes > REPLY_BYTES_MAX,
            },
        }
    }
    true
}
