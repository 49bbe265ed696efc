//! A bound on what the reads that ride with one entry may open: they run on the apply thread, and others' entries wait.

use std::cell::Cell;

use crate::crypto::names::NameKey;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::fetched::Detail;
use crate::fsm::kv::NamedRead;
use crate::fsm::kv::read_within;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::naming::NameBatch;
use crate::fsm::opening::ReadError;
use crate::fsm::reader::Base;
use crate::fsm::reader::KeyWalk;
use crate::fsm::reader::MetKey;
use crate::fsm::value::Value;
use crate::limits::ENTRY_VALUE_BYTES_MAX;
use crate::propose::WaiterSlots;

/// The names of the reads of one entry, and what those have opened so far.
pub(super) struct RidingReads {
    names: Vec<RowName>,
    /// The first name of the next read.
    next: usize,
    opened_bytes: u64,
}

impl RidingReads {
    /// Names the keys of all reads among `slots`.
    pub(super) fn new(slots: &WaiterSlots, key: &NameKey) -> RidingReads {
        let mut batch = NameBatch::default();
        slots.iter().flatten().for_each(|(database, read)| batch.add_read(database, read));
        RidingReads { names: batch.names(key), next: 0, opened_bytes: 0 }
    }

    /// Answers `read`, the next one, on `view`, or with an error once the reads of the entry have opened too much.
    ///
    /// # Errors
    /// [`ReadError`] if a value cannot be read or opened.
    pub(super) fn answer<B: Base + ?Sized>(
        &mut self,
        view: &B,
        (database, read): (Database, &ReadCommand),
        stamp_ms: u64,
        bytes_left: usize,
    ) -> Result<Reply, ReadError> {
        let first = self.next;
        self.next += read.keys().len();
        let read = NamedRead { read, database, names: &self.names[first..self.next] };
        if self.opened_bytes > ENTRY_VALUE_BYTES_MAX {
            return Ok(Reply::Error(OPENS_LARGE));
        }
        let metered = Metered { view, opened_bytes: Cell::new(self.opened_bytes) };
        let reply = read_within(&metered, read, stamp_ms, bytes_left);
        self.opened_bytes = metered.opened_bytes.get();
        // The read that met the bound was stopped there: its reply would be a part of the truth.
        if self.opened_bytes > ENTRY_VALUE_BYTES_MAX { reply.map(|_| Reply::Error(OPENS_LARGE)) } else { reply }
    }
}

/// Counts the bytes of the values that pass.
struct Metered<'a, B: ?Sized> {
    view: &'a B,
    opened_bytes: Cell<u64>,
}

impl<B: ?Sized> Metered<'_, B> {
    /// Counts them; whether more may follow.
    fn has_left(&self, bytes: usize) -> bool {
        let sum = self.opened_bytes.get() + bytes as u64;
        self.opened_bytes.set(sum);
        sum <= ENTRY_VALUE_BYTES_MAX
    }
}

impl<B: Base + ?Sized> Base for Metered<'_, B> {
    fn value(&self, row: RowKey<'_>) -> Result<Option<Value>, ReadError> {
        let value = self.view.value(row)?;
        self.has_left(value.as_ref().map_or(0, |value| value.bytes.len()));
        Ok(value)
    }

    fn each_value(
        &self,
        rows: &[RowKey<'_>],
        detail: Detail,
        visit: &mut dyn FnMut(Option<Value>) -> bool,
    ) -> Result<(), ReadError> {
        self.view.each_value(rows, detail, &mut |value| {
            let has_left = self.has_left(value.as_ref().map_or(0, |value| value.bytes.len()));
            visit(value) && has_left
        })
    }

    fn walk_keys(&self, from: KeyWalk, visit: &mut dyn FnMut(MetKey<'_>) -> bool) -> Result<(), ReadError> {
        self.view.walk_keys(from, &mut |met| {
            let has_left = self.has_left(met.bytes);
            visit(met) && has_left
        })
    }

    fn count(&self, database: Database, now_ms: u64) -> Result<u64, ReadError> {
        self.view.count(database, now_ms)
    }
}

/// Names `ENTRY_VALUE_BYTES_MAX`.
const OPENS_LARGE: &str = "ERR the reads of one transaction or pipeline may open 536870912 bytes of values";
const _: () = assert!(ENTRY_VALUE_BYTES_MAX == 536_870_912);
