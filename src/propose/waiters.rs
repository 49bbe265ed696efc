//! Requests whose entries stand in the log, each found by `(term, index)` and by nothing else.
//!
//! The entry of that term is applied there: apply takes the waiter and answers it. An entry of another term is: this one
//! was certainly not executed. A snapshot past it, a halt, the deadline: nobody knows. Losing the leadership changes nothing.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::fsm::command::ReadCommand;
use crate::fsm::name::Database;
use crate::ids::Index;
use crate::ids::Position;
use crate::propose::request::Outcome;
use crate::propose::request::RequestDone;
use crate::propose::request::RequestSlot;
use crate::propose::wakeup::Wakeup;

/// What a waiter answers, one reply a slot. What is written stands in the entry, and is not kept here: it would hold the buffers of
/// a connection until the entry is applied, and another thread would give them back.
#[derive(Debug)]
pub enum WaiterSlots {
    /// So many writes, and nothing else.
    Writes(usize),
    /// Reads ride with the writes. In the order of the pipeline.
    Mixed(Vec<RequestSlot>),
}

impl WaiterSlots {
    /// The slots, and the writes that nobody needs any more.
    pub(super) fn of(slots: Vec<RequestSlot>) -> (WaiterSlots, Vec<RequestSlot>) {
        if slots.iter().all(|slot| matches!(slot, RequestSlot::Write(..))) {
            (WaiterSlots::Writes(slots.len()), slots)
        } else {
            (WaiterSlots::Mixed(slots), Vec::new())
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            WaiterSlots::Writes(count) => *count,
            WaiterSlots::Mixed(slots) => slots.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In the order of the pipeline; `None` = the next write of the entry.
    pub fn iter(&self) -> impl Iterator<Item = Option<(Database, &ReadCommand)>> {
        let (writes, mixed) = match self {
            WaiterSlots::Writes(count) => (*count, &[][..]),
            WaiterSlots::Mixed(slots) => (0, &slots[..]),
        };
        std::iter::repeat_n(None, writes).chain(mixed.iter().map(riding_read))
    }
}

fn riding_read(slot: &RequestSlot) -> Option<(Database, &ReadCommand)> {
    match slot {
        RequestSlot::Write(..) => None,
        RequestSlot::Read(database, read) => Some((*database, read)),
    }
}

/// A request whose entry stands in the log. Dropped without an answer it answers [`Outcome::Unknown`].
pub struct Waiter {
    /// Replies are in this order, one a slot.
    pub slots: WaiterSlots,
    done: Option<Box<dyn RequestDone>>,
}

impl Waiter {
    /// `done` is called exactly once, from whatever thread answers: it must not block.
    #[must_use]
    pub fn new(slots: Vec<RequestSlot>, done: Box<dyn RequestDone>) -> Waiter {
        Waiter::of(WaiterSlots::of(slots).0, done)
    }

    pub(super) fn of(slots: WaiterSlots, done: Box<dyn RequestDone>) -> Waiter {
        Waiter { slots, done: Some(done) }
    }

    /// Bytes of values that its riding reads may answer with now.
    #[must_use]
    pub fn reply_bytes_max(&self) -> usize {
        self.done.as_ref().map_or(0, |done| done.reply_bytes_max())
    }

    /// Calls the callback.
    pub fn answer(self, outcome: Outcome) {
        drop(self.tell(outcome));
    }

    /// Answers several, and wakes once whom it told.
    pub fn answer_all(told: impl IntoIterator<Item = (Waiter, Outcome)>) {
        drop(told.into_iter().map(|(waiter, outcome)| waiter.tell(outcome)).collect::<Wakeup>());
    }

    fn tell(mut self, outcome: Outcome) -> Wakeup {
        self.done.take().map(|done| done.done(outcome)).unwrap_or_default()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            drop(done.done(Outcome::Unknown));
        }
    }
}

debug_fields!(self: Waiter { slots: self.slots.len() });

/// `(index, term)`: ascending as the log is applied.
type WaiterKey = (u64, u64);

#[derive(Debug, Default)]
struct WaiterTable {
    by_key: BTreeMap<WaiterKey, Waiter>,
    deadlines: VecDeque<(Duration, WaiterKey)>,
    is_closed: bool,
}

/// All waiters of this node. The raft thread registers, apply takes.
#[derive(Debug, Default)]
pub struct Waiters(Mutex<WaiterTable>);

impl Waiters {
    /// Nobody waits.
    #[must_use]
    pub fn new() -> Waiters {
        Waiters::default()
    }

    /// Registers waiters for consecutive positions from `first` on, before apply can see their entries.
    pub fn register(&self, first: Position, waiters: impl IntoIterator<Item = Waiter>, deadline: Duration) {
        let mut table = self.table();
        if table.is_closed {
            drop(table);
            return waiters.into_iter().for_each(drop);
        }
        for (index, waiter) in (first.index.0..).zip(waiters) {
            let key = (index, first.term.0);
            let before = table.by_key.insert(key, waiter);
            assert!(before.is_none(), "raft makes at most one entry for a position");
            table.deadlines.push_back((deadline, key));
        }
    }

    /// The waiter of the client entry at `position`, which is being applied. To be called for each of them, in order.
    ///
    /// Waiters at or below that index in another term are answered [`Outcome::TryAgain`]: another entry stands there.
    #[must_use]
    pub fn take(&self, position: Position) -> Option<Waiter> {
        let mut table = self.table();
        let exact = table.by_key.remove(&(position.index.0, position.term.0));
        let passed = table.up_to(position.index);
        drop(table);
        answer_all(passed);
        exact
    }

    /// Everything up to `index` is applied, and `take` was called for every entry among it that somebody waits for.
    pub fn passed(&self, index: Index) {
        let passed = self.table().up_to(index);
        answer_all(passed);
    }

    /// A snapshot replaced the state up to `index`: nobody knows how the entries up to there ended.
    pub fn skipped(&self, index: Index) {
        drop(self.table().up_to(index));
    }

    /// Gives up those whose deadline has passed: nobody knows.
    pub fn expire(&self, now: Duration) {
        let mut expired = Vec::new();
        let mut table = self.table();
        while let Some((deadline, key)) = table.deadlines.front().copied()
            && deadline <= now
        {
            table.deadlines.pop_front();
            expired.extend(table.by_key.remove(&key));
        }
        drop(table);
        drop(expired);
    }

    /// A halt or the end of the process: nobody knows, now or later.
    pub fn close(&self) {
        let mut table = self.table();
        table.is_closed = true;
        table.deadlines.clear();
        let all = std::mem::take(&mut table.by_key);
        drop(table);
        drop(all);
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().by_key.len()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, WaiterTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WaiterTable {
    /// Removes everything at or below `index`, and the deadlines in front that wait for nobody any more.
    fn up_to(&mut self, index: Index) -> BTreeMap<WaiterKey, Waiter> {
        while self.deadlines.front().is_some_and(|(_, key)| key.0 <= index.0) {
            self.deadlines.pop_front();
        }
        // Hardly ever is one left: its entry would be of another term. To split the map costs more than all else here.
        if self.by_key.first_key_value().is_none_or(|(key, _)| key.0 > index.0) {
            return BTreeMap::new();
        }
        let above = self.by_key.split_off(&(index.0.saturating_add(1), 0));
        let passed = std::mem::replace(&mut self.by_key, above);
        assert!(self.by_key.first_key_value().is_none_or(|(key, _)| key.0 > index.0), "the rest is above");
        passed
    }
}

/// Outside the lock: an answer may do anything but block.
fn answer_all(not_executed: BTreeMap<WaiterKey, Waiter>) {
    Waiter::answer_all(not_executed.into_values().map(|waiter| (waiter, Outcome::TryAgain)));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::Term;
    use crate::propose::wakeup::Sleeper;
    use crate::testing::leader::word;

    type Log = Arc<Mutex<Vec<(u32, &'static str)>>>;

    fn waiter(log: &Log, name: u32) -> Waiter {
        let log = Arc::clone(log);
        Waiter::new(Vec::new(), Box::new(move |outcome| log.lock().unwrap().push((name, word(&outcome)))))
    }

    fn at(term: u64, index: u64) -> Position {
        Position { term: Term(term), index: Index(index) }
    }

    fn setup() -> (Waiters, Log) {
        (Waiters::new(), Log::default())
    }

    const SOON: Duration = Duration::from_secs(1);

    #[test]
    fn a_waiter_is_found_by_term_and_index_only() {
        let (waiters, log) = setup();
        waiters.register(at(3, 10), [waiter(&log, 0), waiter(&log, 1)], SOON);
        assert!(waiters.take(at(3, 9)).is_none());
        waiters.take(at(3, 10)).unwrap().answer(Outcome::Replies(Vec::new()));
        assert_eq!(*log.lock().unwrap(), [(0, "replies")]);
        assert!(waiters.take(at(3, 10)).is_none());
        assert_eq!(waiters.len(), 1);
    }

    #[test]
    fn an_entry_of_another_term_there_means_not_executed() {
        let (waiters, log) = setup();
        waiters.register(at(3, 10), [waiter(&log, 0), waiter(&log, 1), waiter(&log, 2)], SOON);
        waiters.register(at(5, 11), [waiter(&log, 9)], SOON);
        let taken = waiters.take(at(5, 11)).unwrap();
        assert_eq!(*log.lock().unwrap(), [(0, "try again"), (1, "try again")]);
        taken.answer(Outcome::Replies(Vec::new()));
        waiters.passed(Index(12));
        assert_eq!(log.lock().unwrap()[2..], [(9, "replies"), (2, "try again")]);
    }

    #[test]
    fn nobody_knows_after_a_deadline_a_halt_or_a_snapshot() {
        let (waiters, log) = setup();
        waiters.register(at(3, 10), [waiter(&log, 0)], SOON);
        waiters.expire(SOON - Duration::from_millis(1));
        assert!(log.lock().unwrap().is_empty());
        waiters.expire(SOON);
        waiters.register(at(3, 11), [waiter(&log, 1)], SOON);
        waiters.skipped(Index(11));
        waiters.register(at(3, 12), [waiter(&log, 2)], SOON);
        waiters.close();
        waiters.register(at(3, 13), [waiter(&log, 3)], SOON);
        assert_eq!(*log.lock().unwrap(), [(0, "unknown"), (1, "unknown"), (2, "unknown"), (3, "unknown")]);
        assert!(waiters.is_empty());
    }

    /// Reads what was told when it is woken.
    struct Reader {
        log: Log,
        seen: Mutex<Vec<usize>>,
    }

    impl Sleeper for Reader {
        fn wake(&self) {
            self.seen.lock().unwrap().push(self.log.lock().unwrap().len());
        }
    }

    struct Sleeping(Arc<Reader>);

    impl RequestDone for Sleeping {
        fn done(self: Box<Self>, outcome: Outcome) -> Wakeup {
            self.0.log.lock().unwrap().push((0, word(&outcome)));
            Wakeup::of(self.0)
        }
    }

    #[test]
    fn those_who_are_answered_together_are_woken_once_behind_the_last_answer() {
        let (waiters, log) = setup();
        let reader = Arc::new(Reader { log, seen: Mutex::default() });
        let some = || (0..3).map(|_| Waiter::new(Vec::new(), Box::new(Sleeping(Arc::clone(&reader)))));
        Waiter::answer_all(some().map(|waiter| (waiter, Outcome::TryAgain)));
        assert_eq!(*reader.seen.lock().unwrap(), [3]);
        waiters.register(at(3, 10), some(), SOON);
        waiters.passed(Index(12));
        assert_eq!(*reader.seen.lock().unwrap(), [3, 6]);
        some().for_each(|waiter| waiter.answer(Outcome::TryAgain));
        drop(some().collect::<Vec<_>>());
        assert_eq!(*reader.seen.lock().unwrap(), [3, 6, 7, 8, 9, 10, 11, 12], "nobody sleeps on");
    }

    #[test]
    fn a_waiter_that_is_dropped_is_answered_with_unknown() {
        let (waiters, log) = setup();
        waiters.register(at(3, 10), [waiter(&log, 0)], SOON);
        drop(waiters.take(at(3, 10)));
        assert_eq!(*log.lock().unwrap(), [(0, "unknown")]);
    }
}
