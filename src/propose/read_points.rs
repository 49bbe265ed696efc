//! Linearizable read points for clients: many callers share one ReadIndex, and are answered once that index is applied here.
//!
//! A leader that nobody else can outvote needs no round to know that it leads, and what it acknowledged is applied before
//! it is acknowledged: there every moment is a read point ([`ReadPoints::is_reached`]).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use crate::ids::Index;
use crate::limits::READS_WAITING_MAX;
use crate::propose::request::ReadDone;
use crate::propose::request::ReadOutcome;
use crate::propose::wakeup::Wakeup;

#[derive(Default)]
struct ReadTable {
    /// Callers since raft last asked: the next ReadIndex is taken after all of them.
    gathering: Vec<Box<dyn ReadDone>>,
    /// By context, with raft.
    asked: BTreeMap<u64, Vec<Box<dyn ReadDone>>>,
    /// By index, confirmed and not applied yet.
    confirmed: BTreeMap<u64, Vec<Box<dyn ReadDone>>>,
    newest_context: u64,
    count: usize,
    applied: u64,
    is_closed: bool,
}

/// All callers that wait for a read point on this node.
#[derive(Default)]
pub struct ReadPoints {
    table: Mutex<ReadTable>,
    /// Raft said that this node leads alone; false for ever once closed.
    leads_alone: AtomicBool,
    /// Raft said that this node leads.
    is_leader: AtomicBool,
}

impl ReadPoints {
    /// Nobody waits; `applied` is where the state is.
    #[must_use]
    pub fn new(applied: Index) -> ReadPoints {
        let table = Mutex::new(ReadTable { applied: applied.0, ..ReadTable::default() });
        ReadPoints { table, leads_alone: AtomicBool::new(false), is_leader: AtomicBool::new(false) }
    }

    /// Whether this node leads alone, as raft has it now. To be told before a message of the step leaves that changed it.
    pub fn set_leads_alone(&self, leads_alone: bool) {
        // Under the lock, so that it stays false behind a close.
        let table = self.table();
        self.leads_alone.store(leads_alone && !table.is_closed, Ordering::SeqCst);
    }

    /// Whether this node leads, as raft has it now.
    pub fn set_leader(&self, is_leader: bool) {
        self.is_leader.store(is_leader, Ordering::SeqCst);
    }

    pub(super) fn is_leader(&self) -> bool {
        self.is_leader.load(Ordering::SeqCst)
    }

    /// Whether this moment is a read point: everything that was acknowledged when this was asked is applied here. To be
    /// asked after the read arrived. One load.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.leads_alone.load(Ordering::SeqCst)
    }

    /// Takes a caller; the raft thread has to be woken afterwards.
    pub(super) fn add(&self, done: Box<dyn ReadDone>) {
        let mut table = self.table();
        if table.is_closed || table.count >= READS_WAITING_MAX {
            drop(table);
            return drop(done.done(ReadOutcome::TryAgain));
        }
        table.count += 1;
        assert!(table.count <= READS_WAITING_MAX, "BOUNDED");
        table.gathering.push(done);
    }

    /// A context for the callers since the last call: the ReadIndex has to be taken after this. They join `unsent`, a
    /// context that raft has not sent yet, if there is one; then there is no new one.
    pub(super) fn ask(&self, unsent: Option<u64>) -> Option<u64> {
        let mut table = self.table();
        let callers = std::mem::take(&mut table.gathering);
        if callers.is_empty() {
            return None;
        }
        let new = unsent.is_none().then_some(table.newest_context + 1);
        let context = unsent.or(new)?;
        assert!(context <= table.newest_context + 1, "contexts are given here");
        table.newest_context = table.newest_context.max(context);
        table.asked.entry(context).or_default().extend(callers);
        new
    }

    /// `context` was confirmed at `index`.
    pub fn ready(&self, context: u64, index: Index) {
        let mut table = self.table();
        let Some(callers) = table.asked.remove(&context) else {
            return;
        };
        if index.0 <= table.applied {
            table.uncount(callers.len());
            drop(table);
            answer([(callers, ReadOutcome::Ready(index))]);
        } else {
            table.confirmed.entry(index.0).or_default().extend(callers);
        }
    }

    /// `context` was not confirmed and will not be.
    pub fn lost(&self, context: u64) {
        let mut table = self.table();
        let callers = table.asked.remove(&context).unwrap_or_default();
        table.uncount(callers.len());
        drop(table);
        answer([(callers, ReadOutcome::TryAgain)]);
    }

    /// The state holds everything up to `index`.
    pub fn applied(&self, index: Index) {
        let mut table = self.table();
        table.applied = table.applied.max(index.0);
        let later = table.confirmed.split_off(&index.0.saturating_add(1));
        let reached = std::mem::replace(&mut table.confirmed, later);
        table.uncount(reached.values().map(Vec::len).sum::<usize>());
        drop(table);
        answer(reached.into_iter().map(|(index, callers)| (callers, ReadOutcome::Ready(Index(index)))));
    }

    /// A halt or the end of the process: nothing is read any more.
    pub fn close(&self) {
        let mut table = self.table();
        let left = std::mem::take(&mut *table);
        table.is_closed = true;
        self.leads_alone.store(false, Ordering::SeqCst);
        drop(table);
        let callers = left.asked.into_values().chain(left.confirmed.into_values()).chain([left.gathering]);
        answer(callers.map(|callers| (callers, ReadOutcome::TryAgain)));
    }

    fn table(&self) -> MutexGuard<'_, ReadTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadTable {
    fn uncount(&mut self, answered: usize) {
        assert!(answered <= self.count, "each caller was counted");
        self.count -= answered;
    }
}

debug_fields!(self: ReadPoints { waiting: self.table().count });

/// Outside the lock.
fn answer(told: impl IntoIterator<Item = (Vec<Box<dyn ReadDone>>, ReadOutcome)>) {
    let wakeups =
        told.into_iter().flat_map(|(callers, outcome)| callers.into_iter().map(move |done| done.done(outcome)));
    drop(wakeups.collect::<Wakeup>());
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
        let context = reads.ask(None).unwrap();
        assert_eq!(reads.ask(None), None);
        add(&reads, &log, 2);
        reads.ready(context, Index(7));
        assert!(log.lock().unwrap().is_empty());
        reads.applied(Index(6));
        assert!(log.lock().unwrap().is_empty());
        reads.applied(Index(9));
        let ready = ReadOutcome::Ready(Index(7));
        assert_eq!(*log.lock().unwrap(), [(0, ready), (1, ready)]);
        reads.ready(reads.ask(None).unwrap(), Index(8));
        assert_eq!(log.lock().unwrap()[2], (2, ReadOutcome::Ready(Index(8))));
    }

    #[test]
    fn a_hundred_callers_between_two_turns_share_one_context() {
        let (reads, log) = (ReadPoints::new(Index(5)), Log::default());
        (0..100).for_each(|name| add(&reads, &log, name));
        let context = reads.ask(None).unwrap();
        assert_eq!(reads.ask(None), None);
        reads.ready(context, Index(5));
        let answered: Vec<u32> = log.lock().unwrap().iter().map(|(name, _)| *name).collect();
        assert_eq!(answered, (0..100).collect::<Vec<_>>());
        reads.ready(context, Index(5));
        assert_eq!(log.lock().unwrap().len(), 100, "answered once");
    }

    #[test]
    fn callers_join_a_context_that_raft_has_not_sent() {
        let (reads, log) = (ReadPoints::new(Index(5)), Log::default());
        add(&reads, &log, 0);
        let context = reads.ask(None).unwrap();
        add(&reads, &log, 1);
        assert_eq!(reads.ask(Some(context)), None);
        add(&reads, &log, 2);
        assert_eq!(reads.ask(None), Some(context + 1));
        reads.lost(context);
        let answered: Vec<u32> = log.lock().unwrap().iter().map(|(name, _)| *name).collect();
        assert_eq!(answered, [0, 1]);
    }

    #[test]
    fn every_moment_is_a_read_point_while_this_node_leads_alone_and_never_behind_the_end() {
        let reads = ReadPoints::new(Index(5));
        assert!(!reads.is_reached());
        for leads_alone in [true, false, true] {
            reads.set_leads_alone(leads_alone);
            assert_eq!(reads.is_reached(), leads_alone);
        }
        reads.close();
        assert!(!reads.is_reached());
        reads.set_leads_alone(true);
        assert!(!reads.is_reached());
    }

    #[test]
    fn a_lost_context_and_the_end_are_answered() {
        let (reads, log) = (ReadPoints::new(Index(5)), Log::default());
        add(&reads, &log, 0);
        reads.lost(reads.ask(None).unwrap());
        add(&reads, &log, 1);
        reads.ready(reads.ask(None).unwrap(), Index(6));
        add(&reads, &log, 2);
        reads.ask(None);
        add(&reads, &log, 3);
        reads.close();
        add(&reads, &log, 4);
        let answered: Vec<u32> = log.lock().unwrap().iter().map(|(name, _)| *name).collect();
        assert_eq!(answered, [0, 2, 1, 3, 4]);
        assert!(log.lock().unwrap().iter().all(|(_, outcome)| *outcome == ReadOutcome::TryAgain));
    }
}
