//! The two kinds of batches: their bytes are made when raft knows their position, as [`crate::raft::Batch`] says.
//!
//! At or below the cutover an entry's data is the frame around the payload; above it the frame around an envelope. Which
//! one is decided when the position is known. Sealed entries that raft does not append are dropped and never sealed
//! again (N6).

use std::error::Error;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;

use crate::crypto::envelope::EntryFrame;
use crate::crypto::envelope::FRAME_HEADER_LEN;
use crate::crypto::seal::SEALED_OVERHEAD;
use crate::crypto::seal::seal_control;
use crate::fsm::codec::set_stamp;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::ProposalId;
use crate::ids::Term;
use crate::keys::node_keys::NodeKeys;
use crate::propose::control::ControlError;
use crate::propose::due::ControlQueue;
use crate::propose::due::Due;
use crate::propose::facts::AppliedFacts;
use crate::propose::request::Outcome;
use crate::propose::requests::QueuedRequest;
use crate::propose::seal::LeaderSealer;
use crate::propose::seal::Proposal;
use crate::propose::seal::SealerError;
use crate::propose::seal::seal_batch;
use crate::propose::waiters::Waiter;
use crate::propose::waiters::Waiters;
use crate::raft::Batch;
use crate::raft::BatchRefusal;
use crate::world::Clock;
use crate::world::Entropy;
use crate::world::random_array;

/// What every batch of this node uses.
pub(super) struct BatchContext {
    pub(super) node_keys: Arc<NodeKeys>,
    pub(super) facts: Arc<AppliedFacts>,
    pub(super) waiters: Arc<Waiters>,
    clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    answer_deadline: Duration,
    controls: Mutex<ControlQueue>,
    /// Random start, then counted: ids of two lives of a node do not meet.
    next_id: AtomicU64,
}

impl BatchContext {
    pub(super) fn new(
        node_keys: Arc<NodeKeys>,
        facts: Arc<AppliedFacts>,
        waiters: Arc<Waiters>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        answer_deadline: Duration,
    ) -> BatchContext {
        let next_id = u64::from_be_bytes(random_array(&*entropy)).into();
        let controls = Mutex::default();
        BatchContext { node_keys, facts, waiters, clock, entropy, answer_deadline, controls, next_id }
    }

    fn next_id(&self) -> ProposalId {
        ProposalId(self.next_id.fetch_add(1, Relaxed))
    }

    /// For the raft thread: no other takes this lock.
    pub(super) fn controls(&self) -> MutexGuard<'_, ControlQueue> {
        self.controls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_sealed(&self, index: Index) -> bool {
        index > self.node_keys.cutover()
    }

    /// The one way of clients' entries into raft. Above the cutover there is no way without a key.
    fn seal(&self, first: Position, proposals: Vec<Proposal>) -> Result<Vec<Bytes>, SealerError> {
        let count = proposals.len();
        let entries = if self.is_sealed(first.index) {
            let key = self.node_keys.current().leadership_key()?;
            seal_batch(Some(&LeaderSealer::new(&key, &*self.entropy)), first, proposals)?
        } else {
            seal_batch(None, first, proposals)?
        };
        assert_eq!(entries.len(), count, "each proposal has its position");
        Ok(entries)
    }
}

/// Requests of clients.
pub(super) struct ClientBatch {
    context: Arc<BatchContext>,
    payloads: Vec<Vec<u8>>,
    waiters: Vec<Waiter>,
    bytes_max: u64,
    gives_back: bool,
}

impl ClientBatch {
    pub(super) fn new(context: Arc<BatchContext>, items: Vec<QueuedRequest>) -> ClientBatch {
        let gives_back = items.iter().all(QueuedRequest::clears);
        let bytes_max = items.iter().map(|item| item.sealed_len() as u64).sum();
        let (payloads, waiters) = items.into_iter().map(|item| (item.data, item.waiter)).unzip();
        ClientBatch { context, payloads, waiters, bytes_max, gives_back }
    }
}

impl Batch for ClientBatch {
    fn count(&self) -> usize {
        self.waiters.len()
    }

    fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    fn is_control(&self) -> bool {
        false
    }

    fn gives_back(&self) -> bool {
        self.gives_back
    }

    fn seal(&mut self, term: Term, first_index: Index) -> Result<Vec<Bytes>, BatchRefusal> {
        assert!(!self.payloads.is_empty(), "sealed once");
        let stamp_ms = self.context.facts.stamps().now_ms();
        let proposals = std::mem::take(&mut self.payloads).into_iter().map(|mut data| {
            set_stamp(&mut data[FRAME_HEADER_LEN..], stamp_ms);
            Proposal::in_place(self.context.next_id(), data)
        });
        let proposals = proposals.collect();
        let position = Position { term, index: first_index };
        let sealed = self.context.seal(position, proposals).map_err(|error| seal_failed(&error))?;
        assert!(bytes_of(&sealed) <= self.bytes_max, "the door let through no more than it was asked for");
        Ok(sealed)
    }

    fn placed(self: Box<Self>, first: Position) {
        let deadline = self.context.clock.monotonic() + self.context.answer_deadline;
        assert!(self.payloads.is_empty(), "placed entries were sealed");
        self.context.waiters.register(first, self.waiters, deadline);
    }

    fn refused(self: Box<Self>, refusal: BatchRefusal) {
        let outcome = || match refusal {
            BatchRefusal::NotLeader(leader) => Outcome::NotLeader(leader),
            BatchRefusal::NotNow | BatchRefusal::SealFailed => Outcome::TryAgain,
        };
        Waiter::answer_all(self.waiters.into_iter().map(|waiter| (waiter, outcome())));
    }
}

/// One control entry, made for one term.
pub(super) struct ControlBatch {
    pub(super) context: Arc<BatchContext>,
    pub(super) due: Due,
    /// For an operator's request.
    pub(super) is_ordered: bool,
    pub(super) term: Term,
    pub(super) payload: Vec<u8>,
}

impl ControlBatch {
    fn seal_entry(&self, position: Position) -> Result<Bytes, BatchRefusal> {
        let proposal_id = self.context.next_id();
        if !self.context.is_sealed(position.index) {
            return Ok(EntryFrame { proposal_id, payload: &self.payload }.encode());
        }
        let dek = self.context.node_keys.current().control_key().map_err(|lack| seal_failed(&lack.into()))?;
        let nonce = random_array(&*self.context.entropy);
        let sealed = seal_control(&dek, position, proposal_id, nonce, &self.payload);
        sealed.map_err(|error| seal_failed(&error.into()))
    }
}

impl Batch for ControlBatch {
    fn count(&self) -> usize {
        1
    }

    fn bytes_max(&self) -> u64 {
        (self.payload.len() + SEALED_OVERHEAD) as u64
    }

    fn is_control(&self) -> bool {
        true
    }

    fn seal(&mut self, term: Term, first_index: Index) -> Result<Vec<Bytes>, BatchRefusal> {
        if term != self.term {
            return Err(BatchRefusal::SealFailed);
        }
        let entry = self.seal_entry(Position { term, index: first_index })?;
        assert!(entry.len() as u64 <= self.bytes_max(), "the door let through no more than it was asked for");
        Ok(vec![entry])
    }

    fn placed(self: Box<Self>, first: Position) {
        tracing::info!(entry = ?self.due, term = %first.term, index = %first.index, "control entry proposed");
        self.context.controls().placed(first, self.due, self.is_ordered);
    }

    fn refused(self: Box<Self>, refusal: BatchRefusal) {
        tracing::warn!(entry = ?self.due, ?refusal, "control entry not proposed");
        let now = self.context.clock.monotonic();
        let mut controls = self.context.controls();
        controls.pause(self.due, now);
        if self.is_ordered && refusal == BatchRefusal::SealFailed {
            controls.fail(ControlError::NotSealed);
        }
    }
}

fn bytes_of(entries: &[Bytes]) -> u64 {
    entries.iter().map(|entry| entry.len() as u64).sum()
}

/// Clients get `TRYAGAIN`; the reason is for the operator.
fn seal_failed(error: &SealerError) -> BatchRefusal {
    tracing::error!(error = error as &dyn Error, "nothing can be sealed");
    BatchRefusal::SealFailed
}
