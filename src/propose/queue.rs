//! The proposer's two ends: clients' threads hold a [`ProposeHandle`], the raft thread asks the [`Queue`].
//!
//! Requests are encoded where they arrive, wait here, and leave as batches. Full means that the caller gets its request
//! back and reads no further (BOUNDED). A request that waits too long is certainly not executed.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::crypto::envelope::FRAME_HEADER_LEN;
use crate::fsm::codec::batch_len;
use crate::fsm::codec::encode_batch_if;
use crate::ids::NodeId;
use crate::keys::node_keys::NodeKeys;
use crate::limits::PROPOSE_ANSWER_DEADLINE;
use crate::limits::PROPOSE_QUEUE_DEADLINE;
use crate::propose::batch::BatchContext;
use crate::propose::batch::ClientBatch;
use crate::propose::batch::ControlBatch;
use crate::propose::control::ControlCallback;
use crate::propose::control::ControlError;
use crate::propose::control::ControlRequest;
use crate::propose::control::KekWitness;
use crate::propose::control_entry;
use crate::propose::due::Mode;
use crate::propose::due::Next;
use crate::propose::due::RenewLimits;
use crate::propose::due::Scene;
use crate::propose::facts::AppliedFacts;
use crate::propose::forward::Answered;
use crate::propose::forward::Forwarder;
use crate::propose::forward::forward_all;
use crate::propose::forward::take_in;
use crate::propose::orders::Orders;
use crate::propose::read_points::ReadPoints;
use crate::propose::request::ClientRequest;
use crate::propose::request::Gateway;
use crate::propose::request::Outcome;
use crate::propose::request::ReadDone;
use crate::propose::request::RequestSlot;
use crate::propose::requests::RequestQueue;
use crate::propose::shared::ForwardState;
use crate::propose::shared::SharedQueue;
use crate::propose::stamp::WallWatch;
use crate::propose::waiters::Waiters;
use crate::raft::Batch;
use crate::raft::LeaderView;
use crate::raft::Proposer;
use crate::world::Clock;
use crate::world::Entropy;

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
    /// What the other members have shown of their KEKs.
    pub witness: Box<dyn KekWitness>,
    /// Keys and cutover.
    pub node_keys: Arc<NodeKeys>,
    /// Set by apply.
    pub facts: Arc<AppliedFacts>,
    /// Answered by apply.
    pub waiters: Arc<Waiters>,
    /// Answered by raft's port and apply.
    pub reads: Arc<ReadPoints>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Wakes the raft thread (`Input::Wake`); must not block, may be lost if that thread has a full queue anyway.
    pub wake: Box<dyn Fn() + Send + Sync>,
}

debug_fields!(self: ProposeParts {});

/// Makes the two ends.
#[must_use]
pub fn queue(config: ProposeConfig, parts: ProposeParts) -> (Queue, ProposeHandle) {
    let ProposeParts { witness, node_keys, facts, waiters, reads, clock, entropy, wake } = parts;
    let shared = Arc::new(SharedQueue {
        requests: RequestQueue::default(),
        orders: Orders::default(),
        reads,
        facts: Arc::clone(&facts),
        clock: Arc::clone(&clock),
        queue_deadline: config.queue_deadline,
        answer_deadline: config.answer_deadline,
        forwards: ForwardState::default(),
        is_awake: AtomicBool::new(false),
        wake,
    });
    let forwarder = Arc::<OnceLock<Arc<dyn Forwarder>>>::default();
    let context = Arc::new(BatchContext::new(node_keys, facts, waiters, clock, entropy, config.answer_deadline));
    let (mode, limits, wall) = (config.mode, config.limits, WallWatch::default());
    let (ours, theirs) = (Arc::clone(&shared), Arc::clone(&forwarder));
    let queue = Queue { mode, limits, wall, witness, shared: ours, forwarder: theirs, context };
    (queue, ProposeHandle { shared, forwarder })
}

/// The clients' end.
#[derive(Clone)]
pub struct ProposeHandle {
    shared: Arc<SharedQueue>,
    forwarder: Arc<OnceLock<Arc<dyn Forwarder>>>,
}

impl ProposeHandle {
    /// Requests that wait to be proposed.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.requests.len()
    }

    /// Names what takes requests to another node that leads; without it they end with [`Outcome::NotLeader`]. Once.
    pub fn forward_by(&self, forwarder: Arc<dyn Forwarder>) {
        let is_first = self.forwarder.set(forwarder).is_ok();
        assert!(is_first, "there is one way to the other nodes");
    }

    /// Takes in the requests of another node's bundle. `answer` gets the bytes of its answer, once, and must not block.
    pub fn forwarded(&self, bundle: &[u8], answer: Answered) {
        take_in(&self.shared, bundle, answer);
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
        if self.shared.requests.is_full() {
            return Err(request);
        }
        let writes = || {
            request.slots.iter().filter_map(|slot| match slot {
                RequestSlot::Write(database, write) => Some((*database, write)),
                RequestSlot::Read(..) => None,
            })
        };
        // Space for all of it at once: a buffer that grows is copied again and again, and ends larger than what is counted of it.
        let mut data = Vec::with_capacity(FRAME_HEADER_LEN + batch_len(&request.conditions, writes()));
        data.resize(FRAME_HEADER_LEN, 0);
        // Encoded on the caller's thread; the stamp comes with the position.
        if let Err(error) = encode_batch_if(0, &request.conditions, writes(), &mut data) {
            tracing::debug!(%error, "a request is no entry");
            drop(request.done.done(Outcome::TooLarge));
            return Ok(());
        }
        let deadline = self.shared.clock.monotonic() + self.shared.queue_deadline;
        self.shared.requests.push(data, request, deadline)?;
        self.shared.wake();
        Ok(())
    }

    fn is_read_point(&self) -> bool {
        self.shared.reads.is_reached()
    }

    fn read_index(&self, done: Box<dyn ReadDone>) {
        self.shared.reads.add(done);
        self.shared.wake();
    }

    fn now_ms(&self) -> u64 {
        self.shared.facts.stamps().now_ms()
    }

    fn settled_ms(&self) -> Option<u64> {
        (!self.shared.reads.is_leader()).then(|| self.shared.facts.stamp_ms())
    }

    fn lead_ms(&self) -> u64 {
        self.shared.facts.stamps().lead_ms()
    }

    fn wall_ms(&self) -> u64 {
        self.shared.facts.stamps().wall_ms()
    }
}

debug_fields!(self: ProposeHandle { waiting: self.waiting() });

/// The raft thread's end.
pub struct Queue {
    mode: Mode,
    limits: RenewLimits,
    wall: WallWatch,
    witness: Box<dyn KekWitness>,
    shared: Arc<SharedQueue>,
    forwarder: Arc<OnceLock<Arc<dyn Forwarder>>>,
    context: Arc<BatchContext>,
}

impl Queue {
    /// The control entry or the batch of clients' requests that may be proposed now.
    fn next_batch(&mut self, view: &LeaderView, now: Duration) -> Option<Box<dyn Batch>> {
        let context = &self.context;
        // The keys after the cutover: a reader that sees a cutover sees the keys that it needs.
        let cutover = context.node_keys.cutover();
        let keys = context.node_keys.current();
        let scene = Scene {
            mode: self.mode,
            view,
            keys: &keys,
            cutover,
            has_client_commands: context.facts.has_client_commands(),
            has_kek: !context.node_keys.keks().is_empty(),
            lacks_clear_names: context.node_keys.lacks_clear_names(),
            limits: self.limits,
            now,
        };
        loop {
            let next = context.controls().next(&scene, &self.shared.orders, &context.facts);
            let (due, is_ordered) = match next {
                Next::Wait => return None,
                Next::Clients => {
                    assert!(view.own_term_applied, "N2: clients wait for the empty entry of this term");
                    return self.client_batch(view);
                }
                Next::Control { due, is_ordered } => (due, is_ordered),
            };
            match control_entry::make(context, &*self.witness, due, view, &keys) {
                Ok(batch) => return Some(Box::new(ControlBatch { is_ordered, ..batch })),
                // Answered on the way to the next decision.
                Err(error) if is_ordered => context.controls().fail(error),
                Err(error) => {
                    tracing::error!(entry = ?due, %error, "control entry cannot be made");
                    context.controls().pause(due, now);
                    return None;
                }
            }
        }
    }

    fn client_batch(&self, view: &LeaderView) -> Option<Box<dyn Batch>> {
        let mut requests = if view.is_held { Vec::new() } else { self.shared.requests.next_batch(view.space_bytes) };
        if requests.is_empty() {
            requests = self.shared.requests.next_clear(view.clear_bytes);
        }
        (!requests.is_empty())
            .then(|| Box::new(ClientBatch::new(Arc::clone(&self.context), requests)) as Box<dyn Batch>)
    }

    /// In every step, so at every tick.
    fn pass_time(&mut self, now: Duration, if_waited: impl Fn() -> Outcome) {
        self.wall.look(self.context.facts.stamps(), now);
        self.shared.orders.expire(now);
        self.context.controls().expire(now);
        self.shared.requests.expire(now, if_waited);
        self.context.waiters.expire(now);
    }
}

impl Proposer for Queue {
    fn next(&mut self, view: &LeaderView) -> Option<Box<dyn Batch>> {
        let now = self.shared.clock.monotonic();
        self.pass_time(now, || Outcome::TryAgain);
        if view.is_blocked { None } else { self.next_batch(view, now) }
    }

    fn not_leading(&mut self, leader: Option<u64>) {
        let now = self.shared.clock.monotonic();
        // It waited for a leader, or for the way to one.
        self.pass_time(now, || Outcome::NotLeader(None));
        let keys = self.context.node_keys.current();
        self.context.controls().not_leading(leader, keys.keyring(), &self.context.facts);
        self.shared.requests.give_back_forwarded(leader);
        // Without a known leader an election is under way: this node may well win it.
        let Some(leader) = leader else { return };
        self.shared.orders.drain(ControlError::NotLeader(Some(leader)), false);
        match (self.forwarder.get(), NodeId::new(leader)) {
            (Some(forwarder), Some(leader)) => forward_all(&self.shared, &**forwarder, leader, now),
            _ => self.shared.requests.drain(|| Outcome::NotLeader(Some(leader)), false),
        }
    }

    fn ask_reads(&mut self, unsent: Option<u64>) -> Option<u64> {
        self.shared.is_awake.store(false, SeqCst);
        self.shared.reads.ask(unsent)
    }

    fn stop(&mut self) {
        self.shared.requests.drain(|| Outcome::TryAgain, true);
        assert_eq!(self.shared.requests.len(), 0, "no request comes in behind the end");
        self.shared.orders.drain(ControlError::TryAgain, true);
        self.context.controls().give_up(ControlError::TryAgain);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.stop();
    }
}

debug_fields!(self: Queue { mode: self.mode });
