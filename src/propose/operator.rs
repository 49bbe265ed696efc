//! What an operator may ask of the leader: the cutover and rotations, one at a time, each answered once.
//!
//! A request waits here until the raft thread's gate takes it up; from then on clients' requests are held back until it
//! is answered. Apply says what became of each control entry. Losing the leadership in between leaves the entry applied
//! or not, never half; whoever asked is then told that nobody knows, and STATUS tells.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::crypto::keystore::Purpose;
use crate::ids::Index;
use crate::ids::KeyId;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::keys::make::MakeError;
use crate::keys::rules::RuleError;
use crate::limits::CONTROL_OUTCOMES_MAX;
use crate::limits::CONTROL_QUEUE_MAX;

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRequest {
    /// The cutover, and the opener behind it: everything from then on is sealed.
    Enable,
    /// A new DEK in place of the active one.
    Rotate(Purpose),
}

/// It is applied here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlDone {
    /// Everything above is sealed, and the opener is applied.
    Enabled {
        /// The entry that turned sealing on, itself in the clear.
        cutover: Index,
    },
    /// The new DEK is active.
    Rotated {
        /// Its id.
        key_id: KeyId,
    },
}

/// Why it was not done. Only after [`ControlError::Unknown`] it may yet happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Operator: this node has no KEK.
    #[error(
        "this node was started without a KEK: start it with kek-file; a directory that was made without one must be replaced by a new node that has one"
    )]
    NoKek,
    /// Nothing to do.
    #[error("encryption is on since index {cutover}")]
    IsOn {
        /// Since this index.
        cutover: Index,
    },
    /// The rules say no.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The new key could not be made.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// Operator: another member could not unwrap the key.
    #[error(transparent)]
    Member(#[from] MemberLack),
    /// The control entry could not be sealed here.
    #[error("the control entry cannot be sealed: this node lacks a key, see its log")]
    NotSealed,
    /// Too many such requests wait.
    #[error("too many requests of operators wait")]
    Busy,
    /// Certainly not done: it waited too long for its turn, or the node stops.
    #[error("not done: no entry could be proposed in time")]
    TryAgain,
    /// Certainly not done: another node leads.
    #[error("not done: this node does not lead")]
    NotLeader(Option<u64>),
    /// The entry stands in this node's log, and whether it will be committed is not known here.
    #[error("it is not known whether it was done: ask for the status")]
    Unknown,
}

/// Why a key must not be put into the keyring yet (design 3.5): other members must be able to unwrap it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberLack {
    /// That member has shown that it lacks the KEK.
    #[error("member {node} lacks the KEK of this node: give it the KEK first")]
    Lacks {
        /// Which.
        node: NodeId,
    },
    /// Too few members have shown that they have it.
    #[error("only {shown} of {voters} voters have shown that they have the KEK of this node")]
    NoMajority {
        /// Voters that have, this one included.
        shown: usize,
        /// All.
        voters: usize,
    },
}

/// What the other members have shown of their KEKs. Asked on the raft thread before bootstrap, cutover and rotation.
pub trait KekWitness: Send + Sync {
    /// # Errors
    /// [`MemberLack`]: nothing is proposed.
    fn check(&self) -> Result<(), MemberLack>;
}

/// A sole voter: what it wraps it has unwrapped itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoleVoter;

impl KekWitness for SoleVoter {
    fn check(&self) -> Result<(), MemberLack> {
        Ok(())
    }
}

/// How a request of an operator ended.
pub type ControlResult = Result<ControlDone, ControlError>;

/// Called exactly once, from the raft thread or the caller's own: must not block.
pub type ControlCallback = Box<dyn FnOnce(ControlResult) + Send>;

/// A request and whoever waits for it. Dropped without an answer it says that nobody knows.
pub(super) struct Order {
    pub(super) request: ControlRequest,
    /// As monotonic time.
    pub(super) deadline: Duration,
    done: Option<ControlCallback>,
}

impl Order {
    pub(super) fn answer(mut self, result: ControlResult) {
        tracing::info!(request = ?self.request, ?result, "an operator's request is answered");
        if let Some(done) = self.done.take() {
            done(result);
        }
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(ControlError::Unknown));
        }
    }
}

#[derive(Default)]
struct Waiting {
    orders: VecDeque<Order>,
    is_closed: bool,
}

/// Requests of operators that wait for their turn.
#[derive(Default)]
pub(super) struct Orders(Mutex<Waiting>);

impl Orders {
    pub(super) fn add(&self, request: ControlRequest, deadline: Duration, done: ControlCallback) {
        let order = Order { request, deadline, done: Some(done) };
        let mut waiting = self.waiting();
        let refusal = if waiting.is_closed {
            ControlError::TryAgain
        } else if waiting.orders.len() >= CONTROL_QUEUE_MAX {
            ControlError::Busy
        } else {
            return waiting.orders.push_back(order);
        };
        drop(waiting);
        order.answer(Err(refusal));
    }

    pub(super) fn pop(&self) -> Option<Order> {
        self.waiting().orders.pop_front()
    }

    /// Those that waited too long were certainly not done.
    pub(super) fn expire(&self, now: Duration) {
        let mut expired = Vec::new();
        let mut waiting = self.waiting();
        while waiting.orders.front().is_some_and(|order| order.deadline <= now) {
            expired.extend(waiting.orders.pop_front());
        }
        drop(waiting);
        expired.into_iter().for_each(|order| order.answer(Err(ControlError::TryAgain)));
    }

    pub(super) fn drain(&self, error: ControlError, is_closed: bool) {
        let mut waiting = self.waiting();
        waiting.is_closed |= is_closed;
        let all = std::mem::take(&mut waiting.orders);
        drop(waiting);
        all.into_iter().for_each(|order| order.answer(Err(error)));
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Orders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orders").field("waiting", &self.waiting().orders.len()).finish_non_exhaustive()
    }
}

/// What became of the newest control entries, as apply tells it before it says how far it is.
#[derive(Debug, Default)]
pub(super) struct Outcomes(Mutex<VecDeque<(Position, Result<(), RuleError>)>>);

impl Outcomes {
    pub(super) fn note(&self, position: Position, outcome: Result<(), RuleError>) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.len() >= CONTROL_OUTCOMES_MAX {
            newest.pop_front();
        }
        newest.push_back((position, outcome));
    }

    /// `None` if no control entry of that term was applied there.
    pub(super) fn of(&self, position: Position) -> Option<Result<(), RuleError>> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.iter().rev().find(|(at, _)| *at == position).map(|(_, outcome)| *outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::Term;

    #[test]
    fn requests_wait_in_a_bounded_queue_and_each_is_answered_once() {
        let (orders, ends) = (Orders::default(), Arc::<Mutex<Vec<ControlResult>>>::default());
        let add = |deadline| {
            let ends = Arc::clone(&ends);
            let deadline = Duration::from_secs(deadline);
            orders.add(ControlRequest::Enable, deadline, Box::new(move |result| ends.lock().unwrap().push(result)));
        };
        for deadline in 0..CONTROL_QUEUE_MAX as u64 {
            add(deadline);
        }
        assert!(ends.lock().unwrap().is_empty());
        add(99);
        assert_eq!(ends.lock().unwrap().pop(), Some(Err(ControlError::Busy)));
        orders.expire(Duration::from_secs(1));
        assert_eq!(std::mem::take(&mut *ends.lock().unwrap()), [Err(ControlError::TryAgain); 2]);
        drop(orders.pop());
        assert_eq!(ends.lock().unwrap().pop(), Some(Err(ControlError::Unknown)), "dropped: nobody knows");
        orders.drain(ControlError::NotLeader(Some(3)), true);
        add(99);
        let ends = ends.lock().unwrap();
        assert_eq!(ends.len(), CONTROL_QUEUE_MAX - 3 + 1);
        assert_eq!(ends[0], Err(ControlError::NotLeader(Some(3))));
        assert_eq!(ends.last(), Some(&Err(ControlError::TryAgain)), "closed");
    }

    #[test]
    fn an_outcome_is_found_by_term_and_index_only() {
        let outcomes = Outcomes::default();
        let at = |term, index| Position { term: Term(term), index: Index(index) };
        outcomes.note(at(3, 7), Ok(()));
        outcomes.note(at(4, 8), Err(RuleError::SecondBootstrap));
        assert_eq!(outcomes.of(at(3, 7)), Some(Ok(())));
        assert_eq!(outcomes.of(at(2, 7)), None);
        assert_eq!(outcomes.of(at(4, 8)), Some(Err(RuleError::SecondBootstrap)));
        for index in 9..9 + CONTROL_OUTCOMES_MAX as u64 {
            outcomes.note(at(4, index), Ok(()));
        }
        assert_eq!(outcomes.of(at(3, 7)), None, "bounded");
    }
}
