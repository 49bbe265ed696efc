//! Rows by name that know how many bytes they take, and where they go when nobody needs them any more.

use std::sync::Arc;

use crate::fsm::name::RowName;
use crate::fsm::row::RowFate;
use crate::fsm::row::RowMap;
use crate::fsm::row::memory_of;

/// Rows of a database. What they take is known without a walk: half a million of them would be waited for.
#[derive(Default)]
pub(crate) struct SizedRows {
    rows: RowMap,
    /// Bytes of the rows, without the map.
    row_bytes: u64,
}

/// How the memory of some rows has changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ByteChange {
    pub(crate) added: u64,
    pub(crate) freed: u64,
}

impl SizedRows {
    pub(crate) fn rows(&self) -> &RowMap {
        &self.rows
    }

    /// Bytes of memory that they take: the map as it is allocated, keys, values.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.rows.allocation_size() as u64 + self.row_bytes
    }

    /// Puts a row in; the one that it replaces.
    pub(crate) fn insert(&mut self, name: RowName, fate: RowFate, change: &mut ByteChange) -> Option<RowFate> {
        // A map grows only where it is full.
        let allocated = (self.rows.len() == self.rows.capacity()).then(|| self.rows.allocation_size());
        let bytes = memory_of(&fate);
        let before = self.rows.insert(name, fate);
        let grown = allocated.map_or(0, |before| self.rows.allocation_size() - before) as u64;
        change.added += bytes + grown;
        self.row_bytes += bytes;
        if let Some(before) = &before {
            self.forget(before, change);
        }
        before
    }

    /// Takes a row out.
    pub(crate) fn remove(&mut self, name: &RowName, change: &mut ByteChange) -> Option<RowFate> {
        let before = self.rows.remove(name)?;
        self.forget(&before, change);
        Some(before)
    }

    fn forget(&mut self, before: &RowFate, change: &mut ByteChange) {
        let bytes = memory_of(before);
        change.freed += bytes;
        self.row_bytes -= bytes;
    }
}

debug_fields!(self: SizedRows { rows: self.rows.len(), memory_bytes: self.memory_bytes() });

/// Where rows go that nobody needs any more: dropping half a million of them takes a while.
pub type Bury = Arc<dyn Fn(Rubble) + Send + Sync>;

/// Rows that only have to be dropped.
#[derive(Default)]
pub struct Rubble {
    maps: Vec<SizedRows>,
    bytes: u64,
}

impl Rubble {
    /// Bytes of memory that it takes, as far as nobody else holds its rows.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes rows in, if there are any.
    pub(crate) fn add(&mut self, rows: SizedRows) {
        if rows.rows.allocation_size() > 0 {
            self.bytes += rows.memory_bytes();
            self.maps.push(rows);
        }
    }

    /// Hands everything over, if there is anything.
    pub(crate) fn bury(self, bury: &Bury) {
        if !self.maps.is_empty() {
            bury(self);
        }
    }
}

debug_fields!(self: Rubble { bytes: self.bytes });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsm::name::Database;
    use crate::fsm::table_row::RowBytes;
    use crate::fsm::table_row::TableRow;
    use crate::fsm::table_row::WrittenAt;
    use crate::ids::Index;

    fn name(number: u16) -> RowName {
        let mut name = [7; 16];
        name[..2].copy_from_slice(&number.to_be_bytes());
        RowName::new(Database::FIRST, name)
    }

    fn row(len: usize) -> RowFate {
        Some(TableRow::new(b"k", RowBytes::Copied(&vec![1; len]), 0, WrittenAt::new(Index(7), 0, None)))
    }

    #[test]
    fn bytes_are_those_of_the_map_and_of_every_row_in_it_whatever_came_and_went() {
        let (mut rows, mut change) = (SizedRows::default(), ByteChange::default());
        for number in 0..3000u16 {
            let len = usize::from(number);
            rows.insert(name(number % 1000), if number % 7 == 0 { None } else { row(len) }, &mut change);
            if number % 5 == 0 {
                assert!(rows.remove(&name(number % 1000), &mut change).is_some());
            }
        }
        assert!(rows.remove(&name(5000), &mut change).is_none());
        let walked = rows.rows.allocation_size() as u64 + rows.rows.values().map(memory_of).sum::<u64>();
        assert_eq!((rows.memory_bytes(), change.added - change.freed), (walked, walked));
        let mut rubble = Rubble::default();
        rubble.add(SizedRows::default());
        rubble.add(rows);
        assert_eq!((rubble.bytes(), rubble.maps.len()), (walked, 1));
    }
}
