//! What a recovery keeps in memory: the newest entries up to a number of bytes, but all above the commit, and of those before them
//! their terms.
//!
//! Older entries are read back from the log when they are wanted ([`crate::wal::LogLoop::fetch`]): a start must not need as much
//! memory as the log has on disk.

use std::collections::VecDeque;

use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Term;

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct KeptEntries {
    /// The newest, consecutive. Empty only where there are none at all.
    entries: VecDeque<LogEntry>,
    bytes: usize,
    /// Runs of one term before them, without a gap: where each begins, and its term.
    older_terms: VecDeque<(Index, Term)>,
}

impl KeptEntries {
    /// Nothing of what was before counts.
    pub(crate) fn clear(&mut self) {
        *self = KeptEntries::default();
    }

    /// Takes consecutive entries in, which replace all from the first of them on.
    pub(crate) fn push(&mut self, newer: Vec<LogEntry>) {
        let Some(first) = newer.first().map(|entry| entry.index) else { return };
        while let Some(replaced) = self.entries.pop_back_if(|entry| entry.index >= first) {
            self.bytes -= replaced.data.len();
        }
        while self.older_terms.back().is_some_and(|(begin, _)| *begin >= first) {
            self.older_terms.pop_back();
        }
        self.bytes += newer.iter().map(|entry| entry.data.len()).sum::<usize>();
        self.entries.extend(newer);
    }

    /// Forgets the oldest up to `commit`, until no more than `bytes_max` are left. Raft begins with those above, however many they
    /// are: the node may have taken them while it had more memory.
    pub(crate) fn cut(&mut self, bytes_max: usize, commit: Index) {
        let is_covered = |entry: &LogEntry| entry.index <= commit;
        while self.bytes > bytes_max && self.entries.len() > 1 && self.entries.front().is_some_and(is_covered) {
            self.forget_first();
        }
    }

    /// Forgets what is trimmed.
    pub(crate) fn trim(&mut self, compacted: Index) {
        while let Some(trimmed) = self.entries.pop_front_if(|entry| entry.index <= compacted) {
            self.bytes -= trimmed.data.len();
        }
        let first = compacted.next();
        if self.entries.front().is_none_or(|entry| entry.index <= first) {
            self.older_terms.clear();
        }
        while self.older_terms.get(1).is_some_and(|(begin, _)| *begin <= first) {
            self.older_terms.pop_front();
        }
        if let Some((begin, _)) = self.older_terms.front_mut() {
            *begin = first.max(*begin);
        }
    }

    /// Index of the oldest entry, in memory or not.
    pub(crate) fn first(&self) -> Option<Index> {
        self.older_terms.front().map(|(begin, _)| *begin).or(self.entries.front().map(|entry| entry.index))
    }

    /// Whether the entries in memory are consecutive.
    pub(crate) fn have_no_gaps(&self) -> bool {
        let first = self.entries.front().map_or(0, |entry| entry.index.0);
        self.entries.iter().zip(first..).all(|(entry, at)| entry.index.0 == at)
    }

    /// Index of the newest.
    pub(crate) fn last(&self) -> Option<Index> {
        self.entries.back().map(|entry| entry.index)
    }

    /// The entries, and the terms of those before them.
    pub(crate) fn into_parts(self) -> (Vec<LogEntry>, Vec<(Index, Term)>) {
        (self.entries.into(), self.older_terms.into())
    }

    fn forget_first(&mut self) {
        let Some(first) = self.entries.pop_front() else { return };
        self.bytes -= first.data.len();
        if self.older_terms.back().is_none_or(|(_, term)| *term != first.term) {
            self.older_terms.push_back((first.index, first.term));
        }
    }
}
