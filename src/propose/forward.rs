//! Requests at a node that does not lead go to the one that does, once, and their outcomes come back.
//!
//! ```text
//! requests wait -> this node does not lead, another one does -> Bundle -> Forwarder -> the leader: ProposeHandle::forwarded
//!        ^                                                        |
//!        '---- certainly not executed: not sent, or no leader ----'---- answered: replies, or nobody knows
//! ```
//!
//! A bundle that may have arrived is never sent again: without an answer its requests have an unknown outcome. One that was
//! not sent, or that met a node that does not lead, was certainly not executed: its requests wait again, as long as
//! they may wait to be proposed. A request that the leader does not understand is refused, and those beside it go again. A
//! request that came from another node is not forwarded a second time.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::crypto::envelope::FRAME_HEADER_LEN;
use crate::fsm::command::Reply;
use crate::ids::NodeId;
use crate::limits::FORWARD_REPLY_BYTES_MAX;
use crate::limits::PROPOSE_ANSWER_DEADLINE;
use crate::limits::REPLY_BYTES_MAX;
use crate::propose::bundle;
use crate::propose::bundle::MalformedBundle;
use crate::propose::request::Outcome;
use crate::propose::request::RequestDone;
use crate::propose::requests::QueuedRequest;
use crate::propose::shared::SharedQueue;
use crate::propose::waiters::Waiter;
use crate::propose::wakeup::Wakeup;

/// Takes bundles to the node that leads.
pub trait Forwarder: Send + Sync {
    /// Sends [`Bundle::bytes`] to `leader` once, and tells the bundle what became of it. Called on the raft thread: must not block.
    fn forward(&self, leader: NodeId, bundle: Bundle);
}

/// Gets the bytes of an answer, once; must not block.
pub type Answered = Box<dyn FnOnce(Vec<u8>) + Send>;

/// Requests that travel together. Dropped without an answer, nobody knows how they ended.
pub struct Bundle {
    items: Vec<QueuedRequest>,
    shared: Arc<SharedQueue>,
    bytes: Vec<u8>,
}

debug_fields!(self: Bundle { requests: self.items.len() });

impl Bundle {
    /// What is to be sent; once.
    pub fn bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// How long the answer may take: what the requests may wait there, and be unanswered.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.shared.queue_deadline + PROPOSE_ANSWER_DEADLINE + Duration::from_secs(1)
    }

    /// It did not leave this node: its requests wait again.
    pub fn not_sent(mut self) {
        self.shared.forwards.pause(self.shared.clock.monotonic());
        self.shared.requests.put_back(std::mem::take(&mut self.items));
    }

    /// No frame holds it: its requests were certainly not executed, and never will be.
    pub fn too_large(mut self) {
        let items = std::mem::take(&mut self.items);
        Waiter::answer_all(items.into_iter().map(|item| (item.waiter, Outcome::TooLarge)));
    }

    /// The node that it was sent to answered.
    pub fn answered(mut self, answer: &[u8]) {
        let items = std::mem::take(&mut self.items);
        let outcomes = match bundle::take_answer(answer, items.len()) {
            Ok(Ok(outcomes)) => outcomes,
            Ok(Err(refused)) => return self.refused(items, &refused),
            Err(error) => {
                tracing::warn!(%error, "an answer that is none, to a forwarded request");
                return drop(items);
            }
        };
        let (mut ended, mut again) = (Vec::new(), Vec::new());
        for (item, outcome) in items.into_iter().zip(outcomes) {
            match outcome {
                Outcome::NotLeader(_) => again.push(item),
                other => ended.push((item.waiter, other)),
            }
        }
        Waiter::answer_all(ended);
        if !again.is_empty() {
            self.shared.forwards.pause(self.shared.clock.monotonic());
            self.shared.requests.put_back(again);
        }
    }

    /// Nothing was executed. What is malformed would be so the next time; the others go without it.
    fn refused(&self, items: Vec<QueuedRequest>, refused: &MalformedBundle) {
        let MalformedBundle { place, words } = refused;
        tracing::error!(place, words, "the node that leads does not understand a forwarded request");
        let mut again = Vec::new();
        for (at, item) in items.into_iter().enumerate() {
            if place.is_none_or(|place| place == at) {
                item.waiter.answer(Outcome::Malformed(words.clone()));
            } else {
                again.push(item);
            }
        }
        self.shared.requests.put_back(again);
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.shared.forwards.end();
        // There is a place for those that wait.
        self.shared.wake();
    }
}

/// Sends what waits to `leader`, as far as bundles may go out.
pub(super) fn forward_all(shared: &Arc<SharedQueue>, forwarder: &dyn Forwarder, leader: NodeId, now: Duration) {
    while shared.forwards.is_open(now) {
        let items = shared.requests.next_bundle();
        if items.is_empty() {
            return;
        }
        shared.forwards.begin();
        let mut out = Vec::new();
        bundle::put_head(items.len(), &mut out);
        for item in &items {
            let (wait, replies) = (item.deadline.saturating_sub(now), item.waiter.reply_bytes_max());
            let payload = &item.data[FRAME_HEADER_LEN..];
            let put =
                bundle::put_request(wait, replies.min(FORWARD_REPLY_BYTES_MAX), &item.waiter.slots, payload, &mut out);
            assert!(put, "the edge refuses what cannot travel");
        }
        forwarder.forward(leader, Bundle { items, shared: Arc::clone(shared), bytes: out });
    }
}

/// Takes the requests of a bundle of another node; `answer` gets the bytes of their outcomes once all are there.
pub(super) fn take_in(shared: &Arc<SharedQueue>, bytes: &[u8], answer: Answered) {
    let requests = match bundle::take_bundle(bytes) {
        Ok(requests) => requests,
        Err(refused) => {
            let MalformedBundle { place, words } = &refused;
            tracing::warn!(place, words, "a bundle of another node is malformed");
            return answer(bundle::refusal_bytes(&refused));
        }
    };
    let gathering = Arc::new(Gathering::new(requests.len(), answer));
    let now = shared.clock.monotonic();
    for (place, request) in requests.into_iter().enumerate() {
        let mut data = vec![0; FRAME_HEADER_LEN];
        data.extend_from_slice(request.payload);
        let done = Box::new(GatheredDone {
            gathering: Arc::clone(&gathering),
            place,
            reply_bytes_max: request.reply_bytes_max.min(FORWARD_REPLY_BYTES_MAX),
        });
        let deadline = now + request.wait.min(shared.queue_deadline);
        let waiter = Waiter::new(request.slots, done);
        shared.requests.push_forwarded(data, waiter, deadline);
    }
    shared.wake();
}

/// The outcomes of a bundle, until all are there.
struct Gathering {
    left: AtomicUsize,
    outcomes: Mutex<Vec<Outcome>>,
    answer: Mutex<Option<Answered>>,
}

impl Gathering {
    fn new(count: usize, answer: Answered) -> Gathering {
        let outcomes = std::iter::repeat_with(|| Outcome::Unknown).take(count).collect();
        Gathering { left: count.into(), outcomes: Mutex::new(outcomes), answer: Mutex::new(Some(answer)) }
    }

    fn put(&self, place: usize, outcome: Outcome) {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)[place] = outcome;
        if self.left.fetch_sub(1, SeqCst) > 1 {
            return;
        }
        let outcomes = std::mem::take(&mut *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner));
        let mut out = Vec::new();
        bundle::put_head(outcomes.len(), &mut out);
        outcomes.iter().for_each(|outcome| bundle::put_outcome(outcome, &mut out));
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(answer) = answer {
            answer(out);
        }
    }
}

/// One request of a bundle.
struct GatheredDone {
    gathering: Arc<Gathering>,
    place: usize,
    reply_bytes_max: usize,
}

impl RequestDone for GatheredDone {
    fn reply_bytes_max(&self) -> usize {
        self.reply_bytes_max
    }

    fn done(self: Box<Self>, outcome: Outcome) -> Wakeup {
        let is_large = match &outcome {
            Outcome::Replies(replies) => replies.iter().map(Reply::value_bytes).sum::<usize>() > FRAMED_BYTES_MAX,
            _ => false,
        };
        // It was executed; an answer that no frame can hold is no answer.
        self.gathering.put(self.place, if is_large { Outcome::Unknown } else { outcome });
        Wakeup::none()
    }
}

/// Values of writes come on top of those of reads.
const FRAMED_BYTES_MAX: usize = REPLY_BYTES_MAX;
