//! The log as the library reads it: in memory, from the first index above what raft has applied to the very end.
//!
//! Entries are here from the moment they are handed to the log thread, long before they are on disk, and stay at least
//! until *raft's* applied index has passed them: a campaign reads from there, and a wrong answer is a panic. Some
//! applied ones stay for followers that lag a little. Older ones are read back by the log thread where the caller can
//! wait for them. Terms are remembered for the whole log, as runs: they are few.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::VecDeque;

use ::raft::Error;
use ::raft::GetEntriesContext;
use ::raft::RaftState;
use ::raft::Storage;
use ::raft::StorageError;
use ::raft::eraftpb::Entry;
use ::raft::eraftpb::Snapshot;

use crate::entry::LogEntry;
use crate::ids::Index;
use crate::limits::FRAME_BYTES_MAX;
use crate::limits::READ_BATCHES_MAX;
use crate::raft::convert::to_raft_entry;
use crate::raft::snapshot_point::SnapshotPoint;

/// Bytes of one entry in memory and in a frame besides its data: its header, rounded up.
pub(super) const ENTRY_OVERHEAD: u64 = 64;
/// Bytes of one group in the log besides its entries: frame header, records, tag, and padding to a block.
pub(super) const GROUP_OVERHEAD: u64 = 4096 + 512;

/// Entries that raft wants to send and that are not in memory any more.
#[derive(Debug)]
struct Wanted {
    first: u64,
    last: u64,
    context: GetEntriesContext,
}

/// Bytes up to and including an entry, since the start of the process.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    memory: u64,
    log: u64,
}

/// See the head of this file.
pub(super) struct Log {
    initial: RaftState,
    entries: VecDeque<Entry>,
    totals: VecDeque<Total>,
    /// Up to the entry before the first in memory.
    base: Total,
    /// `(first index, term)`, the first one being the trimmed position itself.
    terms: VecDeque<(u64, u64)>,
    last: u64,
    applied: u64,
    cache_bytes_max: u64,
    can_fetch: bool,
    fetched: VecDeque<Entry>,
    wanted: RefCell<Vec<Wanted>>,
    /// Being read back.
    fetching: Option<Wanted>,
    snapshot: Option<SnapshotPoint>,
    /// Raft asked for one that is not there.
    wants_snapshot: Cell<bool>,
}

impl Log {
    /// `terms` are runs of one term, from the trimmed position up to where `entries` begin; these are consecutive, and all above
    /// `applied` are among them. Checked by the caller.
    pub(super) fn new(
        initial: RaftState,
        terms: impl IntoIterator<Item = (u64, u64)>,
        entries: Vec<Entry>,
        applied: u64,
    ) -> Log {
        let mut terms: VecDeque<(u64, u64)> = terms.into_iter().collect();
        let trimmed = terms.front().expect("the trimmed position has a term").0;
        let last = entries.first().map_or(trimmed, |entry| entry.index - 1);
        let mut newest = None;
        terms.retain(|(_, term)| newest.replace(*term) != Some(*term));
        let mut log = Log {
            initial,
            entries: VecDeque::new(),
            totals: VecDeque::new(),
            base: Total::default(),
            terms,
            last,
            applied,
            cache_bytes_max: 0,
            can_fetch: false,
            fetched: VecDeque::new(),
            wanted: RefCell::new(Vec::new()),
            fetching: None,
            snapshot: None,
            wants_snapshot: Cell::new(false),
        };
        log.append(&entries);
        log.evict();
        log
    }

    /// Replaces everything from the first of `entries` on.
    ///
    /// # Panics
    /// If they begin behind a gap, or at or below what raft has applied: raft never hands out such a Ready.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index <= self.last + 1, "append at {} leaves a gap behind {}", first.index, self.last);
        assert!(first.index > self.applied.min(self.last), "append at {} replaces applied entries", first.index);
        self.truncate(first.index);
        let mut total = self.totals.back().copied().unwrap_or(self.base);
        let mut group = 0;
        for entry in entries {
            let cost = cost(entry);
            if group == 0 || group + cost > FRAME_BYTES_MAX as u64 {
                group = 0;
                total.log += GROUP_OVERHEAD;
            }
            group += cost;
            total.memory += cost;
            total.log += cost;
            if self.terms.back().is_none_or(|run| run.1 != entry.term) {
                self.terms.push_back((entry.index, entry.term));
            }
            self.totals.push_back(total);
            self.entries.push_back(entry.clone());
            self.last = entry.index;
        }
    }

    fn truncate(&mut self, from: u64) {
        while self.entries.back().is_some_and(|entry| entry.index >= from) {
            self.entries.pop_back();
            self.totals.pop_back();
        }
        while self.terms.len() > 1 && self.terms.back().is_some_and(|run| run.0 >= from) {
            self.terms.pop_back();
        }
        assert_eq!(self.totals.len(), self.entries.len(), "each entry has its total");
        self.last = from - 1;
    }

    /// raft's applied index moved.
    pub(super) fn applied_to(&mut self, index: u64) {
        assert!(self.applied <= index, "applied never decreases");
        self.applied = index;
        self.evict();
    }

    /// How many bytes of applied entries stay in memory; 0 where there is no follower.
    pub(super) fn keep_applied(&mut self, bytes_max: u64) {
        self.cache_bytes_max = bytes_max;
        self.evict();
    }

    /// The log on disk holds nothing up to `index` any more.
    pub(super) fn trimmed_to(&mut self, index: u64) {
        let index = index.min(self.applied);
        assert!(index <= self.last, "only what was appended is trimmed");
        while self.entries.front().is_some_and(|entry| entry.index <= index) {
            self.pop_front();
        }
        while self.terms.get(1).is_some_and(|run| run.0 <= index) {
            self.terms.pop_front();
        }
        if let Some(run) = self.terms.front_mut()
            && run.0 < index
        {
            run.0 = index;
        }
    }

    fn evict(&mut self) {
        while let Some(entry) = self.entries.front()
            && entry.index <= self.applied
            && self.total(self.applied).memory - self.base.memory > self.cache_bytes_max
        {
            self.pop_front();
        }
        assert!(self.first_in_memory() <= self.applied + 1, "everything above applied is in memory");
    }

    fn pop_front(&mut self) {
        self.entries.pop_front();
        self.base = self.totals.pop_front().expect("as many totals as entries");
        debug_assert_eq!(self.totals.len(), self.entries.len());
    }

    /// Bytes of everything above raft's applied index, all of it in memory.
    pub(super) fn unapplied_bytes(&self) -> u64 {
        self.end().memory - self.total(self.applied).memory
    }

    /// Bytes of all entries in memory.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.end().memory - self.base.memory
    }

    /// Padded bytes that the entries above `index` take in the log.
    pub(super) fn log_bytes_above(&self, index: u64) -> u64 {
        self.end().log - self.total(index).log
    }

    /// Bytes in memory that entries from `index` on take: an append at `index` frees them.
    pub(super) fn bytes_from(&self, index: u64) -> u64 {
        self.end().memory - self.total(index.saturating_sub(1).max(self.applied)).memory
    }

    fn end(&self) -> Total {
        self.totals.back().copied().unwrap_or(self.base)
    }

    fn total(&self, index: u64) -> Total {
        let Some(first) = self.entries.front().map(|entry| entry.index) else {
            return self.base;
        };
        if index < first {
            return self.base;
        }
        let slot = usize::try_from(index - first).unwrap_or(usize::MAX);
        self.totals.get(slot).copied().unwrap_or_else(|| self.end())
    }

    /// The first and last index to read back now, one read at a time: raft asks again for the rest.
    pub(super) fn next_fetch(&mut self) -> Option<(Index, Index)> {
        let mut wanted = std::mem::take(self.wanted.get_mut()).into_iter();
        if self.fetching.is_some() {
            return None;
        }
        let next = wanted.next()?;
        assert!(next.first <= next.last, "at least one entry is wanted");
        let range = (Index(next.first), Index(next.last));
        self.fetching = Some(next);
        Some(range)
    }

    /// Whether older entries can be read back at all.
    pub(super) fn set_can_fetch(&mut self, can_fetch: bool) {
        assert!(self.fetching.is_none(), "it is set before anything is read back");
        self.can_fetch = can_fetch;
    }

    /// Entries read back from disk, consecutive, for the call that wanted them; none if they are gone.
    pub(super) fn set_fetched(&mut self, entries: &[LogEntry]) -> Option<GetEntriesContext> {
        let wanted = self.fetching.take()?;
        assert!(entries.is_sorted_by_key(|entry| entry.index), "the log reads in its order");
        self.fetched = entries.iter().map(to_raft_entry).collect();
        (!entries.is_empty()).then_some(wanted.context)
    }

    /// That call is done.
    pub(super) fn forget_fetched(&mut self) {
        assert!(self.fetching.is_none(), "the next read begins when this one is forgotten");
        self.fetched.clear();
    }

    /// There is a snapshot of this point, or none any more.
    pub(super) fn set_snapshot(&mut self, point: Option<SnapshotPoint>) {
        self.snapshot = point;
    }

    /// Whether raft asked for a snapshot that is not there, since the last call.
    pub(super) fn wants_snapshot(&self) -> bool {
        self.wants_snapshot.take()
    }

    fn first_in_memory(&self) -> u64 {
        self.entries.front().map_or(self.last + 1, |entry| entry.index)
    }

    fn trimmed(&self) -> u64 {
        self.terms.front().map_or(0, |run| run.0)
    }

    fn first(&self) -> u64 {
        if self.can_fetch { self.trimmed() + 1 } else { self.first_in_memory() }
    }
}

/// Bytes of an entry at the door, besides its group.
pub(super) fn cost(entry: &Entry) -> u64 {
    entry.data.len() as u64 + ENTRY_OVERHEAD
}

fn slice(entries: &VecDeque<Entry>, low: u64, high: u64, max_size: Option<u64>) -> Vec<Entry> {
    let Some(first) = entries.front().map(|entry| entry.index) else {
        return Vec::new();
    };
    let start = usize::try_from(low - first).unwrap_or(usize::MAX).min(entries.len());
    let end = usize::try_from(high - first).unwrap_or(usize::MAX).min(entries.len());
    let mut bytes = 0;
    entries
        .range(start..end)
        .take_while(|entry| {
            let is_first = bytes == 0;
            bytes += cost(entry);
            is_first || max_size.is_none_or(|max| bytes <= max)
        })
        .cloned()
        .collect()
}

impl Storage for Log {
    fn initial_state(&self) -> ::raft::Result<RaftState> {
        Ok(self.initial.clone())
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        context: GetEntriesContext,
    ) -> ::raft::Result<Vec<Entry>> {
        assert!(high <= self.last + 1, "entries up to {high} asked for, the log ends at {}", self.last);
        if low < self.first() {
            return Err(Error::Store(StorageError::Compacted));
        }
        let max_size = max_size.into();
        if low >= self.first_in_memory() {
            return Ok(slice(&self.entries, low, high, max_size));
        }
        if let (Some(front), Some(back)) = (self.fetched.front(), self.fetched.back())
            && front.index <= low
            && low <= back.index
        {
            return Ok(slice(&self.fetched, low, high, max_size));
        }
        if !context.can_async() {
            return Err(Error::Store(StorageError::Compacted));
        }
        let mut wanted = self.wanted.borrow_mut();
        if wanted.len() < READ_BATCHES_MAX {
            wanted.push(Wanted { first: low, last: high.min(self.first_in_memory()) - 1, context });
        }
        Err(Error::Store(StorageError::LogTemporarilyUnavailable))
    }

    fn term(&self, index: u64) -> ::raft::Result<u64> {
        if index < self.trimmed() {
            return Err(Error::Store(StorageError::Compacted));
        }
        if index > self.last {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let behind = self.terms.partition_point(|run| run.0 <= index);
        Ok(self.terms[behind - 1].1)
    }

    fn first_index(&self) -> ::raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> ::raft::Result<u64> {
        Ok(self.last)
    }

    /// One that ends in the log, so that entries can follow it.
    fn snapshot(&self, _request_index: u64, _to: u64) -> ::raft::Result<Snapshot> {
        match &self.snapshot {
            Some(point) if point.position.index.0 >= self.trimmed() => Ok(point.to_library()),
            _ => {
                self.wants_snapshot.set(true);
                Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::convert::to_log_entry;

    fn entry(index: u64, term: u64, bytes: usize) -> Entry {
        Entry { index, term, data: vec![7; bytes].into(), ..Entry::default() }
    }

    fn log(last: u64) -> Log {
        let entries = (2..=last).map(|index| entry(index, 1 + index / 4, 100)).collect();
        Log::new(RaftState::default(), [(1, 1)], entries, 1)
    }

    fn read(log: &Log, low: u64, high: u64, max: Option<u64>) -> Vec<u64> {
        let entries = log.entries(low, high, max, GetEntriesContext::empty(false)).unwrap();
        entries.iter().map(|entry| entry.index).collect()
    }

    #[test]
    fn every_term_from_the_trimmed_position_on_is_known() {
        let mut log = log(12);
        assert_eq!(
            (1..=12).map(|index| log.term(index).unwrap()).collect::<Vec<_>>(),
            [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4]
        );
        assert!(log.term(0).is_err());
        assert!(log.term(13).is_err());
        log.applied_to(10);
        log.trimmed_to(6);
        assert_eq!((6..=12).map(|index| log.term(index).unwrap()).collect::<Vec<_>>(), [2, 2, 3, 3, 3, 3, 4]);
        assert!(log.term(5).is_err());
    }

    #[test]
    fn entries_stay_until_raft_has_applied_them() {
        let mut log = log(12);
        log.trimmed_to(12);
        assert_eq!(log.first_index().unwrap(), 2, "a trim never passes raft's applied index");
        let all = log.memory_bytes();
        log.applied_to(5);
        assert_eq!(log.memory_bytes(), all - 4 * 164, "four are gone from memory");
        assert_eq!(log.first_index().unwrap(), 6);
        assert_eq!(read(&log, 6, 13, None), (6..=12).collect::<Vec<_>>());
        assert!(log.entries(5, 13, None, GetEntriesContext::empty(false)).is_err());
    }

    #[test]
    fn at_least_one_entry_is_returned_and_no_more_than_asked_for() {
        let log = log(12);
        assert_eq!(read(&log, 3, 13, Some(0)), [3]);
        assert_eq!(read(&log, 3, 13, Some(400)), [3, 4]);
        assert_eq!(read(&log, 3, 5, None), [3, 4]);
    }

    #[test]
    fn an_overwritten_end_is_gone_with_its_bytes_and_terms() {
        let mut log = log(12);
        let before = log.unapplied_bytes();
        log.append(&[entry(8, 9, 10)]);
        assert_eq!(log.last_index().unwrap(), 8);
        assert_eq!(log.term(8).unwrap(), 9);
        assert_eq!(log.term(7).unwrap(), 2);
        assert_eq!(log.unapplied_bytes(), before - 5 * 164 + 74);
        assert_eq!(log.bytes_from(8), 74);
        log.append(&[entry(2, 9, 10)]);
        assert_eq!((log.unapplied_bytes(), log.memory_bytes()), (74, 74));
        assert_eq!(log.log_bytes_above(1), 74 + GROUP_OVERHEAD);
    }

    #[test]
    fn old_entries_are_wanted_only_by_callers_that_can_wait() {
        let mut log = log(12);
        log.set_can_fetch(true);
        log.applied_to(10);
        assert_eq!(log.first_index().unwrap(), 2);
        let fetch = |log: &Log, can_wait| log.entries(3, 13, None, GetEntriesContext::empty(can_wait));
        assert_eq!(fetch(&log, false), Err(Error::Store(StorageError::Compacted)));
        assert_eq!(fetch(&log, true), Err(Error::Store(StorageError::LogTemporarilyUnavailable)));
        assert_eq!(log.next_fetch(), Some((Index(3), Index(10))));
        assert_eq!(fetch(&log, true), Err(Error::Store(StorageError::LogTemporarilyUnavailable)));
        assert_eq!(log.next_fetch(), None, "one at a time");
        let read: Vec<LogEntry> = (3..=6).map(|index| to_log_entry(&entry(index, 1 + index / 4, 100))).collect();
        assert!(log.set_fetched(&read).is_some());
        assert_eq!(fetch(&log, true).unwrap().len(), 4);
        log.forget_fetched();
        assert!(fetch(&log, true).is_err());
    }

    #[test]
    fn of_older_entries_the_terms_are_known_and_the_rest_is_read_back() {
        let newest = (9..=12).map(|index| entry(index, 3, 100)).collect();
        let mut log = Log::new(RaftState::default(), [(1, 1), (2, 1), (4, 2), (8, 3)], newest, 9);
        log.set_can_fetch(true);
        let terms: Vec<u64> = (1..=12).map(|index| log.term(index).unwrap()).collect();
        assert_eq!(terms, [1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3]);
        assert_eq!((log.first_index().unwrap(), log.last_index().unwrap()), (2, 12));
        assert_eq!(read(&log, 10, 13, None), [10, 11, 12]);
        let fetch = log.entries(3, 13, None, GetEntriesContext::empty(true));
        assert_eq!(fetch, Err(Error::Store(StorageError::LogTemporarilyUnavailable)));
        assert_eq!(log.next_fetch(), Some((Index(3), Index(9))), "raft's applied entry is gone from memory");
        assert_eq!(log.unapplied_bytes(), 3 * 164);
        log.trimmed_to(6);
        assert_eq!((6..=12).map(|index| log.term(index).unwrap()).collect::<Vec<_>>(), [2, 2, 3, 3, 3, 3, 3]);
    }

    #[test]
    #[should_panic(expected = "leaves a gap")]
    fn a_gap_is_a_panic() {
        log(5).append(&[entry(7, 9, 0)]);
    }
}
