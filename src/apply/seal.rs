//! From values to rows of the base: sealed in batches, each value under the entry, the op and the key that wrote it.
//!
//! The bytes of a row depend on the entry, the op and the key alone, not on how entries were cut into runs or on when
//! the row is sealed (SAME-BYTES).

use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::crypto::seal::SealError;
use crate::crypto::stored::ValueItem;
use crate::crypto::stored::seal_values;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::row::RowFate;
use crate::fsm::row::SealedBy;
use crate::fsm::row::TableRow;
use crate::fsm::table::RowTable;
use crate::fsm::table::stretches;
use crate::fsm::value::BodyState;
use crate::fsm::value::HEADER_LEN;
use crate::ids::KeyId;
use crate::keys::node_keys::ActiveValue;

/// Why the rows of a table were not all handed over.
#[derive(Debug)]
pub(crate) enum SealRowsError<E> {
    /// A place does not fit a nonce, which the machine has ruled out.
    Seal(SealError),
    /// Whoever takes the rows takes no more.
    File(E),
}

impl<E> From<SealError> for SealRowsError<E> {
    fn from(error: SealError) -> Self {
        SealRowsError::Seal(error)
    }
}

/// Takes rows in the order of names; `None` = the row goes.
pub(crate) type TakeRow<'a, E> = dyn FnMut(&RowName, Option<&[u8]>) -> Result<(), E> + 'a;

/// Hands over every row of a table as it will stand, in the order of names; the number of values that were sealed.
///
/// # Errors
/// [`SealRowsError`].
///
/// # Panics
/// If a value must be sealed and there is no key: the machine has halted before it.
pub(crate) fn seal_table<E>(table: &RowTable, take: &mut TakeRow<'_, E>) -> Result<u64, SealRowsError<E>> {
    let mut batch = SealBatch { keys: table.value_keys(), ..SealBatch::default() };
    let mut sealed = 0;
    for database in Database::all() {
        for (name, fate) in (0..stretches()).flat_map(|number| table.stretch(database, number).rows) {
            sealed += u64::from(batch.add(name, fate));
            if batch.is_full() {
                batch.hand_over(take)?;
            }
        }
    }
    batch.hand_over(take)?;
    Ok(sealed)
}

/// Rows that are sealed together. Their plaintext is wiped with it.
#[derive(Default)]
struct SealBatch {
    /// Those of the table.
    keys: Vec<ActiveValue>,
    bodies: Zeroizing<Vec<u8>>,
    rows: Vec<(RowName, PendingRow)>,
    /// Of `rows`, those to be sealed.
    pending: Vec<PendingValue>,
}

enum PendingRow {
    Gone,
    Done(Bytes),
    Sealed,
}

struct PendingValue {
    /// Its place among the rows.
    place: usize,
    header: [u8; HEADER_LEN],
    body_start: usize,
    body_end: usize,
    row: Arc<TableRow>,
}

impl PendingValue {
    fn sealed(&self) -> SealedBy {
        self.row.at.sealed().expect("only sealed values are gathered")
    }

    fn key_id(&self) -> KeyId {
        self.sealed().key_id.expect("the machine halts at an entry whose values have no key")
    }
}

impl SealBatch {
    /// True if it is a value to be sealed.
    fn add(&mut self, name: RowName, fate: RowFate) -> bool {
        let Some(row) = fate else {
            self.rows.push((name, PendingRow::Gone));
            return false;
        };
        if row.at.sealed().is_none() {
            self.rows.push((name, PendingRow::Done(row.encode_clear().into())));
            return false;
        }
        let body_start = self.bodies.len();
        row.encode_body(&mut self.bodies);
        let header = row.value.header(BodyState::Sealed).encode();
        let place = self.rows.len();
        self.pending.push(PendingValue { place, header, body_start, body_end: self.bodies.len(), row });
        self.rows.push((name, PendingRow::Sealed));
        true
    }

    fn is_full(&self) -> bool {
        self.bodies.len() >= SEAL_BATCH_BYTES || self.rows.len() >= SEAL_BATCH_ROWS
    }

    /// Seals what was gathered, one call for each key, of which there is more than one only around a rotation; then
    /// gives all of it away.
    fn hand_over<E>(&mut self, take: &mut TakeRow<'_, E>) -> Result<(), SealRowsError<E>> {
        self.pending.sort_by_key(PendingValue::key_id);
        for values in self.pending.chunk_by(|one, next| one.key_id() == next.key_id()) {
            let key = self.keys.iter().find(|key| key.dek.key_id() == values[0].key_id());
            let key = key.expect("a table holds the keys of its values");
            seal_chunk(key, values, &self.bodies, &mut self.rows)?;
        }
        for (name, row) in self.rows.drain(..) {
            let bytes = match &row {
                PendingRow::Gone => None,
                PendingRow::Done(bytes) => Some(&bytes[..]),
                PendingRow::Sealed => unreachable!("every one was sealed"),
            };
            take(&name, bytes).map_err(SealRowsError::File)?;
        }
        self.pending.clear();
        self.bodies.clear();
        Ok(())
    }
}

fn seal_chunk(
    key: &ActiveValue,
    values: &[PendingValue],
    bodies: &[u8],
    rows: &mut [(RowName, PendingRow)],
) -> Result<(), SealError> {
    let ActiveValue { dek, active_from } = key;
    let item = |pending: &PendingValue| ValueItem {
        store_key: rows[pending.place].0.as_bytes(),
        header: pending.header,
        body: &bodies[pending.body_start..pending.body_end],
        entry_tag: pending.sealed().entry_tag,
        delta: pending.row.at.index.0.saturating_sub(active_from.0),
        op: pending.row.at.op.into(),
    };
    let items: Vec<ValueItem<'_>> = values.iter().map(item).collect();
    let sealed = seal_values(dek, &items)?;
    assert_eq!(sealed.len(), values.len(), "a row for each value");
    drop(items);
    for (pending, bytes) in values.iter().zip(sealed) {
        rows[pending.place].1 = PendingRow::Done(bytes);
    }
    Ok(())
}

/// Plaintext gathered before it is sealed: large enough that a batch is never short, small enough to stay in a cache.
const SEAL_BATCH_BYTES: usize = 256 << 10;
/// Rows of a batch; deletions have no bytes.
const SEAL_BATCH_ROWS: usize = 4096;
