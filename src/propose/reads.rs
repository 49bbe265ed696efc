//! Linearizable read points for clients: many callers share one ReadIndex, and are told once that index is applied here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::ids::Index;
use crate::limits::READS_WAITING_MAX;
use crate::propose::ReadOutcome;

/// Told once.
pub type ReadDone = Box<dyn FnOnce(ReadOutcome) + Send>;

#[derive(Default)]
struct Inner {
    /// Came since raft last asked: the next ReadIndex is taken after all of them.
    gathering: Vec<ReadDone>,
    /// By context, with raft.
    asked: BTreeMap<u64, Vec<ReadDone>>,
    /// By index, confirmed and not applied yet.
    confirmed: BTreeMap<u64, Vec<ReadDone>>,
    next_context: u64,
    count: usize,
    applied: u64,
    is_closed: bool,
}

/// All read points that are waited for on this node.
#[derive(Default)]
pub struct ReadPoints {
    inner: Mutex<Inner>,
}

impl ReadPoints {
    /// Nobody waits; `applied` is where the state is.
    #[must_use]
    pub fn new(applied: Index) -> ReadPoints {
        ReadPoints { inner: Mutex::new(Inner { applied: applied.0, ..Inner::default() }) }
    }

    /// Takes a caller. Whoever calls wakes the raft thread afterwards.
    pub(super) fn add(&self, done: ReadDone) {
        let mut inner = self.inner();
        if inner.is_closed || inner.count >= READS_WAITING_MAX {
            drop(inner);
            return done(ReadOutcome::TryAgain);
        }
        inner.count += 1;
        inner.gathering.push(done);
    }

    /// A context for everybody who came since the last call: the ReadIndex has to be taken after this.
    pub(super) fn ask(&self) -> Option<u64> {
        let mut inner = self.inner();
        if inner.gathering.is_empty() {
            return None;
        }
        inner.next_context += 1;
        let context = inner.next_context;
        let callers = std::mem::take(&mut inner.gathering);
        inner.asked.insert(context, callers);
        Some(context)
    }

    /// `context` was confirmed at `index`.
    pub fn ready(&self, context: u64, index: Index) {
        let mut inner = self.inner();
        let Some(callers) = inner.asked.remove(&context) else {
            return;
        };
        if index.0 <= inner.applied {
            inner.count -= callers.len();
            drop(inner);
            answer(callers, ReadOutcome::Ready(index));
        } else {
            inner.confirmed.entry(index.0).or_default().extend(callers);
        }
    }

    /// `context` was not confirmed and will not be.
    pub fn lost(&self, context: u64) {
        let mut inner = self.inner();
        let callers = inner.asked.remove(&context).unwrap_or_default();
        inner.count -= callers.len();
        drop(inner);
        answer(callers, ReadOutcome::TryAgain);
    }

    /// The state holds everything up to `index`.
    pub fn applied(&self, index: Index) {
        let mut inner = self.inner();
        inner.applied = inner.applied.max(index.0);
        let later = inner.confirmed.split_off(&index.0.saturating_add(1));
        let reached = std::mem::replace(&mut inner.confirmed, later);
        inner.count -= reached.values().map(Vec::len).sum::<usize>();
        drop(inner);
        for (index, callers) in reached {
            answer(callers, ReadOutcome::Ready(Index(index)));
        }
    }

    /// A halt or the end of the process: nothing is read any more.
    pub fn close(&self) {
        let mut inner = self.inner();
        let left = std::mem::take(&mut *inner);
        inner.is_closed = true;
        drop(inner);
        let callers = left.asked.into_values().chain(left.confirmed.into_values()).chain([left.gathering]);
        callers.for_each(|callers| answer(callers, ReadOutcome::TryAgain));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ReadPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadPoints").field("waiting", &self.inner().count).finish_non_exhaustive()
    }
}

/// Outside the lock.
fn answer(callers: Vec<ReadDone>, outcome: ReadOutcome) {
    for done in callers {
        done(outcome);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    type Log = Arc<Mutex<Vec<(u32, ReadOutcome)>>>;

    fn add(reads: &ReadPoints, log: &Log, name: u32) {
        let log = Arc::clone(log);
        reads.add(Box::new(move |outcome| log.lock().unwrap().push((name, outcome))));
    }

    #[test]
    fn callers_share_one_context_and_wait_until_its_index_is_applied() {
        let (reads, log) = (ReadPoints::new(Index(5)), Log::default());
        add(&reads, &log, 0);
        add(&reads, &log, 1);
        let context = reads.ask().unwrap();
        assert_eq!(reads.ask(), None);
        add(&reads, &log, 2);
        reads.ready(context, Index(7));
        assert!(log.lock().unwrap().is_empty());
        reads.applied(Index(6));
        assert!(log.lock().unwrap().is_empty());
        reads.applied(Index(9));
        let ready = ReadOutcome::Ready(Index(7));
        assert_eq!(*log.lock().unwrap(), [(0, ready), (1, ready)]);
        reads.ready(reads.ask().unwrap(), Index(8));
        assert_eq!(log.lock().unwrap()[2], (2, ReadOutcome::Ready(Index(8))));
    }

    #[test]
    fn a_lost_context_and_the_end_are_answered() {
        let (reads, log) = (ReadPoints::new(Index(5)), Log::default());
        add(&reads, &log, 0);
        reads.lost(reads.ask().unwrap());
        add(&reads, &log, 1);
        reads.ready(reads.ask().unwrap(), Index(6));
        add(&reads, &log, 2);
        reads.ask();
        add(&reads, &log, 3);
        reads.close();
        add(&reads, &log, 4);
        let answered: Vec<u32> = log.lock().unwrap().iter().map(|(name, _)| *name).collect();
        assert_eq!(answered, [0, 2, 1, 3, 4]);
        assert!(log.lock().unwrap().iter().all(|(_, outcome)| *outcome == ReadOutcome::TryAgain));
    }
}
