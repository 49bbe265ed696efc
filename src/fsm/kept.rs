//! Rows that were flushed, or were read from the base, and stay in memory, opened, while there is space for them.
//!
//! They lie between the frozen table and the base, and say what the base says. A flush hands its table over once the base
//! has taken it in, before the next table is frozen: until then the frozen table hides what is old here. A row that is not here is in
//! the base, or nowhere, so any may be dropped at any time. There are no deletions and no marks here: the base has neither.
//!
//! A reader takes a mark, reads the base, and hands over what it has read. Files that the base has taken in are counted before
//! their rows are taken over here. So a row that is handed over behind those of a newer file is refused, and one that comes
//! before them is hidden by that file's table until they replace it.
//!
//! Kept rows are not asked whether they would still open. Whoever refuses rows in the clear later than at the bootstrap, or retires a
//! key that values are sealed with, has to drop them and to count a file.
//!
//! Why: a row of the base costs 5.6 us, one that lies here less than 1. With 5 million keys of 256 B, twice as much as the tables
//! hold, that is 170,000 GETs a second against 980,000 (2026-11-30, 2 cores, Zen 5).

use std::sync::Arc;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::Ordering::Release;

use super::sync::AtomicBool;
use super::sync::AtomicU64;
use super::sync::AtomicUsize;
use super::table::RowTable;
use super::table::stretches;
use crate::fsm::name::RowName;
use crate::fsm::row::Databases;
use crate::fsm::row::FoundRow;
use crate::fsm::sized_rows::Bury;
use crate::fsm::table_row::TableRow;

/// See the head of this file.
pub struct KeptRows {
    rows: RowTable,
    empty_bytes: u64,
    /// The stretch that is dropped next.
    next: AtomicUsize,
    /// See [`KeptRows::allow`].
    own_bytes: AtomicU64,
    /// Files that the base has taken in and whose rows were taken over, or are just now.
    files: AtomicU64,
    /// Rows that were read had no space.
    is_short: AtomicBool,
}

/// A moment before the base was read.
#[derive(Clone, Copy, Debug)]
pub struct KeptMark(u64);

impl KeptRows {
    /// None yet.
    #[must_use]
    pub fn new(bury: Bury) -> KeptRows {
        let rows = RowTable::new(bury);
        let empty_bytes = rows.memory_bytes();
        let (next, own_bytes, files) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        KeptRows { rows, empty_bytes, next, own_bytes, files, is_short: AtomicBool::new(false) }
    }

    /// Bytes that rows which were read may fill, with those that were flushed. None at first.
    pub fn allow(&self, own_bytes: u64) {
        self.own_bytes.store(own_bytes, Relaxed);
    }

    /// See [`KeptRows::allow`].
    #[must_use]
    pub fn allowed_bytes(&self) -> u64 {
        self.own_bytes.load(Relaxed)
    }

    /// Bytes of memory that they take, as if nobody shared them.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.rows.memory_bytes() - self.empty_bytes
    }

    /// How many there are. Walks over the shards.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.rows.row_count()
    }

    /// The row, or that the base knows.
    #[must_use]
    pub fn find(&self, name: &RowName) -> FoundRow {
        if self.memory_bytes() == 0 { FoundRow::Below } else { self.rows.find(name) }
    }

    /// As [`RowTable::find_each`].
    pub fn find_each(&self, names: &[RowName], found: &mut [FoundRow]) {
        if self.memory_bytes() > 0 {
            self.rows.find_each(names, found);
        }
    }

    /// Takes over what a table has that the base has taken in, and that hides all its rows until this returns. Others make
    /// room, so that all take `bytes_max` at most. One thread does this.
    pub fn take_over(&self, flushed: &RowTable, bytes_max: u64) {
        self.files.fetch_add(1, Release);
        let part = flushed.memory_bytes() / stretches() as u64;
        for number in 0..stretches() {
            self.shed_to(bytes_max.saturating_sub(part));
            self.rows.keep(number, flushed);
        }
        self.shed_to(bytes_max);
    }

    /// Drops rows until they take `bytes_max` at most, a stretch of names after the other. A stretch of 3 MiB takes a millisecond or
    /// two.
    pub fn shed_to(&self, bytes_max: u64) {
        for _ in 0..stretches() {
            if self.memory_bytes() <= bytes_max {
                break;
            }
            self.rows.empty(self.next.fetch_add(1, Relaxed) % stretches());
        }
    }

    /// Nothing is taken over of a file that the base has taken in, and nothing may stay that is older: each stretch is emptied here,
    /// whatever the count of bytes says, which is behind a row that is being put in.
    fn pass_over(&self) {
        self.files.fetch_add(1, Release);
        (0..stretches()).for_each(|number| self.rows.empty(number));
    }

    /// To be called before the base is read for rows that are to stay here. `None` if there is no space for any.
    #[must_use]
    pub fn mark(&self) -> Option<KeptMark> {
        (self.allowed_bytes() > 0).then(|| KeptMark(self.files.load(Acquire)))
    }

    /// Keeps rows that were read from the base behind `mark`, if they are still what it has, and if they fit into what they are
    /// allowed. Where they do not, [`KeptRows::make_room`] makes room for later ones: who reads waits for nobody. Leaves `read` empty.
    pub fn remember(&self, mark: KeptMark, read: &mut Vec<(RowName, TableRow)>) {
        let bytes: u64 = read.iter().map(|(_, row)| row.memory_bytes()).sum();
        if self.memory_bytes() + bytes > self.allowed_bytes() {
            self.is_short.store(true, Relaxed);
            return read.clear();
        }
        for (name, row) in read.drain(..) {
            // Asked under the lock of the stretch: what has been taken over there was counted before.
            self.rows.keep_read(name, row, || self.files.load(Relaxed) == mark.0);
        }
    }

    /// Drops some rows, if there was no space for others since the last call. To be called again and again, by a thread that has time.
    pub fn make_room(&self) {
        if self.is_short.swap(false, Relaxed) {
            let own_bytes = self.allowed_bytes();
            let room = (own_bytes / ROOM_PART).max(ROOM_BYTES).min(own_bytes / ROOM_PART_MAX);
            self.shed_to(own_bytes - room);
        }
    }

    /// Has all rows of some databases dropped: these were cleared, and what nobody can read need not stay. For a table of which rows are
    /// taken over just now, the next one does it.
    pub fn give_up(&self, databases: Databases) {
        if self.memory_bytes() > 0 {
            self.rows.give_up(databases);
        }
    }
}

debug_fields!(self: KeptRows { memory_bytes: self.memory_bytes() });

/// Part of what kept rows may take that is made room at once: as much as is read of a disk in half a second, and not much of what
/// lies there.
const ROOM_PART: u64 = 32;
/// See [`ROOM_PART`]: at least so much...
const ROOM_BYTES: u64 = 32 << 20;
/// ... and at most this part.
const ROOM_PART_MAX: u64 = 4;

/// What is to stay in memory behind the flush of one table.
pub struct KeptShare {
    /// Of the tables before.
    pub rows: Arc<KeptRows>,
    /// What all may take with the rows of that table. `None`: it is too large, and nothing stays.
    pub bytes_max: Option<u64>,
}

impl KeptShare {
    /// Before the flush. Where nothing is to stay, the next table needs the room.
    pub fn make_room(&self) {
        if self.bytes_max.is_none() {
            self.rows.shed_to(0);
        }
    }

    /// As [`KeptRows::take_over`], behind the flush.
    pub fn take_over(&self, flushed: &RowTable) {
        match self.bytes_max {
            Some(bytes_max) => self.rows.take_over(flushed, bytes_max),
            None => self.rows.pass_over(),
        }
    }
}

debug_fields!(self: KeptShare { rows: self.rows, bytes_max: self.bytes_max });
