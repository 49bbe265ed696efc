//! From values to rows of the base: sealed in batches, each value under the entry, the op and the key that wrote it.
//!
//! The bytes of a row depend on the entry, the op and the key alone, not on how entries were cut into runs or on when
//! the row is sealed (SAME-BYTES).

use std::mem;

use crate::crypto::nonce::NonceError;
use crate::crypto::seal::SealError;
use crate::crypto::stored::ValueArena;
use crate::crypto::stored::ValueBinding;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::row::RowFate;
use crate::fsm::table::RowTable;
use crate::fsm::table::stretches;
use crate::fsm::table_row::SealedBy;
use crate::fsm::table_row::TableRow;
use crate::keys::node_keys::ActiveValue;

/// Why the rows of a table were not all handed over.
#[derive(Debug)]
pub(crate) enum SealRowsError<E> {
    /// A place does not fit a nonce, which the machine has ruled out.
    Seal(SealError),
    /// Whoever takes the rows takes no more.
    File(E),
}

impl<E> From<NonceError> for SealRowsError<E> {
    fn from(error: NonceError) -> Self {
        SealRowsError::Seal(error.into())
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
    let keys = table.value_keys();
    let mut batch = SealBatch::new(&keys);
    let mut sealed = 0;
    for database in Database::all() {
        for number in 0..stretches() {
            table.show_stretch(database, number, |name, fate| {
                sealed += u64::from(batch.add(name, fate)?);
                if batch.is_full() { batch.hand_over(take) } else { Ok(()) }
            })?;
        }
    }
    batch.hand_over(take)?;
    Ok(sealed)
}

/// Rows that are handed over together, each built once, where it is sealed.
struct SealBatch<'k> {
    /// One for each key of the table, of which there is more than one only around a rotation.
    sealing: Vec<KeyRows<'k>>,
    /// Rows that are not sealed, one behind the other.
    clear: Vec<u8>,
    rows: Vec<(RowName, PendingRow)>,
}

/// Values under one key.
struct KeyRows<'k> {
    key: &'k ActiveValue,
    rows: ValueArena<'k>,
}

enum PendingRow {
    Gone,
    /// The next ones of `clear`, up to here.
    Clear {
        end: usize,
    },
    /// The next one of this place in `sealing`.
    Sealed {
        place: usize,
    },
}

impl<'k> SealBatch<'k> {
    fn new(keys: &'k [ActiveValue]) -> SealBatch<'k> {
        let of_key =
            |key: &'k ActiveValue| KeyRows { key, rows: ValueArena::new(&key.dek, BATCH_BYTES + BATCH_BYTES / 4) };
        let sealing = keys.iter().map(of_key).collect();
        SealBatch { sealing, clear: Vec::new(), rows: Vec::new() }
    }

    /// True if it is a value to be sealed.
    fn add(&mut self, name: &RowName, fate: &RowFate) -> Result<bool, NonceError> {
        let Some(row) = fate else {
            self.rows.push((*name, PendingRow::Gone));
            return Ok(false);
        };
        let Some(sealed) = row.at().sealed() else {
            row.encode_clear(&mut self.clear);
            self.rows.push((*name, PendingRow::Clear { end: self.clear.len() }));
            return Ok(false);
        };
        let place = self.seal_later(name, row, sealed)?;
        self.rows.push((*name, PendingRow::Sealed { place }));
        Ok(true)
    }

    /// Adds a value to those of its key; the place of the key.
    fn seal_later(&mut self, name: &RowName, row: &TableRow, sealed: SealedBy) -> Result<usize, NonceError> {
        let key_id = sealed.key_id.expect("the machine halts at an entry whose values have no key");
        let place = self.sealing.iter().position(|rows| rows.key.dek.key_id() == key_id);
        let place = place.expect("a table holds the keys of its values");
        let KeyRows { key, rows } = &mut self.sealing[place];
        let binding = ValueBinding {
            store_key: name.as_bytes(),
            header: row.header().encode(),
            entry_tag: sealed.entry_tag,
            delta: row.at().index.0.saturating_sub(key.active_from.0),
            op: row.at().op.into(),
        };
        rows.add(&binding, row.body_len(), |out| row.encode_body(out))?;
        Ok(place)
    }

    fn is_full(&self) -> bool {
        let sealed: usize = self.sealing.iter().map(|rows| rows.rows.bytes()).sum();
        self.clear.len() + sealed >= BATCH_BYTES || self.rows.len() >= BATCH_ROWS
    }

    /// Seals what is to be sealed, one call for each key, and gives all of it away in the order in which it came.
    fn hand_over<E>(&mut self, take: &mut TakeRow<'_, E>) -> Result<(), SealRowsError<E>> {
        self.sealing.iter_mut().for_each(|rows| rows.rows.seal());
        let mut sealed: Vec<_> = self.sealing.iter().map(|rows| rows.rows.sealed_rows()).collect();
        let mut clear_start = 0;
        for (name, row) in self.rows.drain(..) {
            let bytes = match row {
                PendingRow::Gone => None,
                PendingRow::Clear { end } => Some(&self.clear[mem::replace(&mut clear_start, end)..end]),
                PendingRow::Sealed { place } => Some(sealed[place].next().expect("every one was sealed")),
            };
            take(&name, bytes).map_err(SealRowsError::File)?;
        }
        assert!(sealed.iter_mut().all(|rows| rows.next().is_none()), "a row for each value");
        drop(sealed);
        self.sealing.iter_mut().for_each(|rows| rows.rows.clear());
        self.clear.clear();
        Ok(())
    }
}

/// Rows gathered before they are handed over: large enough that a batch is never short, small enough to stay in a cache.
const BATCH_BYTES: usize = 256 << 10;
/// Rows of a batch; deletions have no bytes.
const BATCH_ROWS: usize = 4096;
