//! The entries that a start replays: those that recovery kept in memory, and before them what is read back from the log.

use std::cell::RefCell;
use std::vec;

use crossbeam_channel::Receiver;
use crossbeam_channel::bounded;

use crate::entry::LogEntry;
use crate::ids::Index;
use crate::limits::LOG_READ_BYTES_MAX;
use crate::wal::WalError;
use crate::wal::thread::Fetch;
use crate::wal::thread::LogThread;

/// Entries of the log from one index to another, in order. It ends early where the log cannot be read: see
/// [`ReplayedEntries::failure`].
pub(super) struct ReplayedEntries<'a> {
    log: &'a LogThread,
    /// Of those in memory, without gaps.
    kept: &'a [LogEntry],
    next: Index,
    last: Index,
    /// Read, and not handed out.
    read: vec::IntoIter<LogEntry>,
    /// Being read meanwhile.
    under_way: Option<Receiver<Result<Vec<LogEntry>, WalError>>>,
    failure: &'a RefCell<Option<WalError>>,
}

debug_fields!(self: ReplayedEntries<'_> { next: self.next, last: self.last });

impl<'a> ReplayedEntries<'a> {
    /// Those from `first` to `last`, both included. `failure` takes what was wrong, if it ends early.
    pub(super) fn new(
        log: &'a LogThread,
        kept: &'a [LogEntry],
        (first, last): (Index, Index),
        failure: &'a RefCell<Option<WalError>>,
    ) -> ReplayedEntries<'a> {
        let mut entries =
            ReplayedEntries { log, kept, next: first, last, read: Vec::new().into_iter(), under_way: None, failure };
        entries.ask(first);
        entries
    }

    /// Asks for what begins at `first`, if that is not in memory.
    fn ask(&mut self, first: Index) {
        let end = self.kept.first().map_or(self.last, |kept| self.last.min(Index(kept.index.0 - 1)));
        if first > end {
            return;
        }
        let (answer, answered) = bounded(1);
        let answer = Box::new(move |found| drop(answer.send(found)));
        let fetch = Fetch { first, last: end, bytes_max: LOG_READ_BYTES_MAX, answer };
        // A log that takes no question has ended, and drops the answer's sender with it.
        drop(self.log.fetch(fetch));
        self.under_way = Some(answered);
    }

    /// The next one of those that are read back.
    fn next_read(&mut self) -> Option<LogEntry> {
        if self.read.len() == 0 {
            let found = self.under_way.take()?.recv().unwrap_or(Err(WalError::Poisoned));
            match found {
                Ok(found) => {
                    // The next ones are read while these are applied.
                    self.ask(found.last().map_or(self.next, |last| last.index.next()));
                    self.read = found.into_iter();
                }
                Err(error) => *self.failure.borrow_mut() = Some(error),
            }
        }
        self.read.next()
    }
}

impl Iterator for ReplayedEntries<'_> {
    type Item = LogEntry;

    fn next(&mut self) -> Option<LogEntry> {
        if self.next > self.last {
            return None;
        }
        let kept = self.kept.first().and_then(|first| self.next.0.checked_sub(first.index.0));
        let entry = match kept {
            Some(offset) => self.kept.get(usize::try_from(offset).ok()?).cloned(),
            None => self.next_read(),
        }?;
        assert_eq!(entry.index, self.next, "entries are replayed without a gap");
        self.next = self.next.next();
        Some(entry)
    }
}
