//! The queue between clients and raft: requests are encoded where they arrive, wait here, and leave as batches.
//!
//! [`ProposeHandle`] is what clients' threads hold; [`Queue`] is asked by the raft thread only. Full means that the caller gets
//! its request back and reads no further (BOUNDED). A request that waits too long is certainly not executed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::crypto::envelope::FRAME_HEADER_LEN;
use crate::fsm::codec::encode_batch;
use crate::keys::ring::Ring;
use crate::keys::ring::View;
use crate::limits::PROPOSE_ANSWER_DEADLINE;
use crate::limits::PROPOSE_BATCH_BYTES_MAX;
use crate::limits::PROPOSE_BATCH_ENTRIES_MAX;
use crate::limits::PROPOSE_QUEUE_BYTES_MAX;
use crate::limits::PROPOSE_QUEUE_DEADLINE;
use crate::limits::PROPOSE_QUEUE_MAX;
use crate::propose::ClientRequest;
use crate::propose::Gateway;
use crate::propose::Outcome;
use crate::propose::ReadOutcome;
use crate::propose::RequestSlot;
use crate::propose::batch::Bench;
use crate::propose::batch::ClientBatch;
use crate::propose::batch::ControlBatch;
use crate::propose::batch::Item;
use crate::propose::control;
use crate::propose::gate::Due;
use crate::propose::gate::Facts;
use crate::propose::gate::Gate;
use crate::propose::gate::Mode;
use crate::propose::gate::Next;
use crate::propose::gate::RenewLimits;
use crate::propose::gate::Scene;
use crate::propose::operator::ControlCallback;
use crate::propose::operator::ControlError;
use crate::propose::operator::ControlRequest;
use crate::propose::operator::KekWitness;
use crate::propose::operator::Order;
use crate::propose::operator::Orders;
use crate::propose::operator::SoleVoter;
use crate::propose::read_points::ReadPoints;
use crate::propose::stamp::AppliedFacts;
use crate::propose::stamp::StampClock;
use crate::propose::waiters::Waiter;
use crate::propose::waiters::Waiters;
use crate::raft::Batch;
use crate::raft::LeaderView;
use crate::raft::Proposer;
use crate::world::Clock;
use crate::world::Entropy;
use crate::world::random_array;

/// What the proposer is started with: checked settings.
#[derive(Clone, Copy, Debug)]
pub struct ProposeConfig {
    /// Whether entries are sealed.
    pub mode: Mode,
    /// How long a request may wait to be proposed; then [`Outcome::TryAgain`].
    pub queue_deadline: Duration,
    /// How long a proposed request may be unanswered; then [`Outcome::Unknown`].
    pub answer_deadline: Duration,
    /// When keys are renewed.
    pub limits: RenewLimits,
}

impl ProposeConfig {
    /// 5 s to be proposed, 10 s to be answered: above two elections, below the patience of usual clients.
    #[must_use]
    pub fn new(mode: Mode) -> ProposeConfig {
        ProposeConfig {
            mode,
            queue_deadline: PROPOSE_QUEUE_DEADLINE,
            answer_deadline: PROPOSE_ANSWER_DEADLINE,
            limits: RenewLimits::default(),
        }
    }
}

/// What the proposer shares with the rest of the node.
pub struct ProposeParts {
    /// Keys and cutover.
    pub ring: Arc<Ring>,
    /// Told by apply.
    pub facts: Arc<AppliedFacts>,
    /// Answered by apply.
    pub waiters: Arc<Waiters>,
    /// Answered by raft's port and apply.
    pub reads: Arc<ReadPoints>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Wakes the raft thread (`Input::Wake`); must not block, may be lost if that thread has a full queue anyway.
    pub wake: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for ProposeParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProposeParts").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<(Duration, Item)>,
    bytes: usize,
    is_closed: bool,
}

struct Shared {
    waiting: Mutex<Waiting>,
    orders: Orders,
    reads: Arc<ReadPoints>,
    clock: Arc<dyn Clock>,
    queue_deadline: Duration,
    answer_deadline: Duration,
    /// A wake is on its way, or the raft thread has not looked since.
    is_awake: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// Makes the two ends.
#[must_use]
pub fn queue(settings: ProposeConfig, parts: ProposeParts) -> (Queue, ProposeHandle) {
    let ProposeParts { ring, facts, waiters, reads, clock, entropy, wake } = parts;
    let shared = Arc::new(Shared {
        waiting: Mutex::default(),
        orders: Orders::default(),
        reads,
        clock: Arc::clone(&clock),
        queue_deadline: settings.queue_deadline,
        answer_deadline: settings.answer_deadline,
        is_awake: AtomicBool::new(false),
        wake,
    });
    let first_id = u64::from_be_bytes(random_array(&*entropy));
    let bench = Arc::new(Bench {
        ring,
        facts,
        waiters,
        clock,
        entropy,
        answer_deadline: settings.answer_deadline,
        stamps: Mutex::new(StampClock::default()),
        gate: Mutex::new(Gate::default()),
        next_id: first_id.into(),
    });
    let queue = Queue {
        mode: settings.mode,
        limits: settings.limits,
        members: Box::new(SoleVoter),
        order: None,
        shared: Arc::clone(&shared),
        bench,
    };
    (queue, ProposeHandle { shared })
}

/// The clients' end.
#[derive(Clone)]
pub struct ProposeHandle {
    shared: Arc<Shared>,
}

impl ProposeHandle {
    /// Requests that wait to be proposed.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting().items.len()
    }

    /// Asks the leader for a control entry; `done` is called once it is applied here, or with the reason why not.
    pub fn control(&self, request: ControlRequest, done: ControlCallback) {
        let deadline = self.shared.clock.monotonic() + self.shared.answer_deadline;
        self.shared.orders.add(request, deadline, done);
        self.shared.wake();
    }
}

impl Gateway for ProposeHandle {
    fn propose(&self, request: ClientRequest) -> Result<(), ClientRequest> {
        if self.shared.waiting().is_full(0) {
            return Err(request);
        }
        let mut data = vec![0; FRAME_HEADER_LEN];
        let writes = request.slots.iter().filter_map(|slot| match slot {
            RequestSlot::Write(write) => Some(write),
            RequestSlot::Read(_) => None,
        });
        // Encoded on the caller's thread; the stamp comes with the place.
        if let Err(error) = encode_batch(0, writes, &mut data) {
            tracing::debug!(%error, "a request is no entry");
            (request.done)(Outcome::TooLarge);
            return Ok(());
        }
        let deadline = self.shared.clock.monotonic() + self.shared.queue_deadline;
        let mut waiting = self.shared.waiting();
        if waiting.is_closed {
            drop(waiting);
            (request.done)(Outcome::TryAgain);
            return Ok(());
        }
        if waiting.is_full(data.len()) {
            return Err(request);
        }
        waiting.bytes += data.len();
        waiting.items.push_back((deadline, Item { data, waiter: Waiter::new(request.slots, request.done) }));
        drop(waiting);
        self.shared.wake();
        Ok(())
    }

    fn read_index(&self, done: Box<dyn FnOnce(ReadOutcome) + Send>) {
        self.shared.reads.add(done);
        self.shared.wake();
    }

    fn wall_ms(&self) -> u64 {
        self.shared.clock.wall_ms()
    }
}

impl fmt::Debug for ProposeHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProposeHandle").field("waiting", &self.waiting()).finish_non_exhaustive()
    }
}

/// The raft thread's end.
pub struct Queue {
    mode: Mode,
    limits: RenewLimits,
    members: Box<dyn KekWitness>,
    /// An operator's request under way; its progress is the gate's.
    order: Option<Order>,
    shared: Arc<Shared>,
    bench: Arc<Bench>,
}

impl Queue {
    /// The same for a cluster of several: `members` knows what they have shown of their KEKs.
    #[must_use]
    pub fn with_members(mut self, members: Box<dyn KekWitness>) -> Queue {
        self.members = members;
        self
    }

    fn control(&self, due: Due, is_ordered: bool, view: &LeaderView, keys: &View) -> Option<Box<dyn Batch>> {
        match control::make(&self.bench, &*self.members, due, view, keys) {
            Ok(batch) => Some(Box::new(ControlBatch { is_ordered, ..batch })),
            Err(error) if is_ordered => {
                self.gate().fail(error);
                None
            }
            Err(error) => {
                tracing::error!(entry = ?due, %error, "control entry cannot be made");
                self.gate().pause(due, self.bench.clock.monotonic());
                None
            }
        }
    }

    /// What the gate lets through; operators' requests that are done with are answered on the way.
    fn next_batch(&mut self, view: &LeaderView, now: Duration) -> Option<Box<dyn Batch>> {
        let ring = Arc::clone(&self.bench.ring);
        // The view after the cutover: whoever sees a cutover sees the keys that it asks for.
        let cutover = ring.cutover();
        let facts = Facts { cutover, has_client_commands: self.bench.facts.has_client_commands() };
        let keys = ring.view();
        let (mode, limits, has_kek) = (self.mode, self.limits, !ring.keks().is_empty());
        let scene = Scene { mode, view, keys: &keys, facts, has_kek, limits, now };
        loop {
            if self.order.is_none() {
                self.order = self.shared.orders.pop();
                self.order.iter().for_each(|order| self.gate().begin(order.request));
            }
            let next = self.gate().next(&scene, &self.bench.facts);
            match next {
                Next::Wait => return None,
                Next::Control(due) => return self.control(due, false, view, &keys),
                Next::Ordered(due) => {
                    if let Some(batch) = self.control(due, true, view, &keys) {
                        return Some(batch);
                    }
                }
                Next::Answer(result) => self.order.take().into_iter().for_each(|order| order.answer(result)),
                Next::Clients => return self.clients(view.space_bytes),
            }
        }
    }

    /// Answers the operator's request under way without waiting for more.
    fn give_up(&mut self, if_not_placed: ControlError) {
        if let Some(order) = self.order.take() {
            let error = self.gate().give_up(if_not_placed);
            order.answer(Err(error));
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.bench.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clients(&self, space_bytes: u64) -> Option<Box<dyn Batch>> {
        let mut items = Vec::new();
        let mut sealed_bytes = 0;
        let mut waiting = self.shared.waiting();
        while let Some((_, item)) = waiting.items.front() {
            let more = sealed_bytes + item.sealed_len();
            let fits = more as u64 <= space_bytes && (items.is_empty() || more <= PROPOSE_BATCH_BYTES_MAX);
            if !fits || items.len() == PROPOSE_BATCH_ENTRIES_MAX {
                break;
            }
            sealed_bytes = more;
            let (_, item) = waiting.pop().expect("there is a front");
            items.push(item);
        }
        drop(waiting);
        (!items.is_empty()).then(|| Box::new(ClientBatch::new(Arc::clone(&self.bench), items)) as Box<dyn Batch>)
    }

    /// Who waited too long was certainly not executed; who waits for an answer too long cannot know.
    fn expire(&mut self, now: Duration) {
        self.shared.orders.expire(now);
        if self.order.as_ref().is_some_and(|order| order.deadline <= now) {
            self.give_up(ControlError::TryAgain);
        }
        let mut expired = Vec::new();
        let mut waiting = self.shared.waiting();
        while waiting.items.front().is_some_and(|(deadline, _)| *deadline <= now) {
            expired.extend(waiting.pop());
        }
        drop(waiting);
        answer_all(expired, || Outcome::TryAgain);
        self.bench.waiters.expire(now);
    }

    fn drain(&self, outcome: impl Fn() -> Outcome, is_closed: bool) {
        let mut waiting = self.shared.waiting();
        waiting.is_closed |= is_closed;
        waiting.bytes = 0;
        let all = std::mem::take(&mut waiting.items);
        drop(waiting);
        answer_all(all, outcome);
    }
}

impl Proposer for Queue {
    fn next(&mut self, view: &LeaderView) -> Option<Box<dyn Batch>> {
        let now = self.shared.clock.monotonic();
        self.expire(now);
        if view.is_blocked {
            return None;
        }
        self.next_batch(view, now)
    }

    fn not_leading(&mut self, leader: Option<u64>) {
        self.expire(self.shared.clock.monotonic());
        if self.order.is_some() {
            let settled = self.gate().settled(self.bench.ring.view().keyring(), &self.bench.facts);
            settled.into_iter().for_each(|result| self.order.take().into_iter().for_each(|order| order.answer(result)));
        }
        // Without a known leader an election is under way: this node may well win it.
        if leader.is_some() {
            self.drain(|| Outcome::NotLeader(leader), false);
            self.shared.orders.drain(ControlError::NotLeader(leader), false);
            // Whoever has an entry in the log waits for its fate, like a client.
            if !self.gate().stands() {
                self.give_up(ControlError::NotLeader(leader));
            }
        }
    }

    fn ask_reads(&mut self, unsent: Option<u64>) -> Option<u64> {
        self.shared.is_awake.store(false, SeqCst);
        self.shared.reads.ask(unsent)
    }

    fn stop(&mut self) {
        self.drain(|| Outcome::TryAgain, true);
        self.shared.orders.drain(ControlError::TryAgain, true);
        self.give_up(ControlError::TryAgain);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Waiting {
    /// One request may exceed the bytes alone.
    fn is_full(&self, more: usize) -> bool {
        let is_long = self.items.len() >= PROPOSE_QUEUE_MAX;
        is_long || (!self.items.is_empty() && self.bytes + more > PROPOSE_QUEUE_BYTES_MAX)
    }

    fn pop(&mut self) -> Option<(Duration, Item)> {
        let front = self.items.pop_front()?;
        self.bytes -= front.1.data.len();
        Some(front)
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if !self.is_awake.swap(true, SeqCst) {
            (self.wake)();
        }
    }
}

/// Outside the lock.
fn answer_all(items: impl IntoIterator<Item = (Duration, Item)>, outcome: impl Fn() -> Outcome) {
    for (_, item) in items {
        item.waiter.answer(outcome());
    }
}
