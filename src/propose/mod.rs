//! Plaintext in: client requests become entries, sealed at the position that raft is about to give them.
//!
//! [`seal`] is the sealing of proposals as a library, for a raft and clients of one's own; the rest is the node's queue
//! in front of it: batches, the gate of control entries, waiters, read points.

mod batch;
mod control;
mod gate;
mod operator;
mod queue;
mod read_points;
pub mod seal;
mod stamp;
mod waiters;

#[cfg(test)]
mod tests;

pub use gate::Mode;
pub use gate::RenewLimits;
pub use operator::ControlCallback;
pub use operator::ControlDone;
pub use operator::ControlError;
pub use operator::ControlRequest;
pub use operator::ControlResult;
pub use operator::KekWitness;
pub use operator::MemberLack;
pub use operator::SoleVoter;
pub use queue::ProposeConfig;
pub use queue::ProposeHandle;
pub use queue::ProposeParts;
pub use queue::Queue;
pub use queue::queue;
pub use read_points::ReadDone;
pub use read_points::ReadPoints;
pub use stamp::AppliedFacts;
pub use waiters::Waiter;
pub use waiters::Waiters;

use std::fmt;

use bytes::Bytes;

use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::command::WriteCommand;
use crate::ids::Index;

/// What one connection had ready, to become one entry; reads that came after a write ride with it (design 2).
pub struct ClientRequest {
    /// In the order of the pipeline; at least one `RequestSlot::Write`.
    pub slots: Vec<RequestSlot>,
    /// Called exactly once, from the raft or apply thread: must not block.
    pub done: Box<dyn FnOnce(Outcome) + Send>,
}

impl fmt::Debug for ClientRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRequest").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

/// One command of a request.
#[derive(Debug)]
pub enum RequestSlot {
    /// Goes into the entry.
    Write(WriteCommand),
    /// Stays here and runs at its place among the writes when the entry is applied on this node.
    Read(ReadCommand),
}

/// How a request ended.
#[derive(Debug)]
pub enum Outcome {
    /// Applied: one reply a slot, in order.
    Replies(Vec<Reply>),
    /// Certainly not executed; the client may send it again.
    TryAgain,
    /// Certainly not executed: not the leader; the leader if known (node id).
    NotLeader(Option<u64>),
    /// Certainly not executed: too large or too many writes for one entry.
    TooLarge,
    /// Nobody knows: the connection must be closed.
    Unknown,
}

/// A linearizable read point was reached, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Everything up to this index is applied here and was committed when the read arrived: read now.
    Ready(Index),
    /// Ask again; nothing was read.
    TryAgain,
    /// Not the leader and none known.
    NotLeader(Option<u64>),
}

/// What `resp` sees of everything below: two questions, each answered once through its callback.
pub trait Gateway: Send + Sync {
    /// Puts a request in the queue; `Err` gives it back if the queue is full (BOUNDED): wait for space, read no more.
    ///
    /// # Errors
    /// The request itself, unchanged.
    fn propose(&self, request: ClientRequest) -> Result<(), ClientRequest>;

    /// Calls `done` once a ReadIndex taken after this call is applied here. One call serves any number of reads.
    fn read_index(&self, done: Box<dyn FnOnce(ReadOutcome) + Send>);

    /// Has keys that were found past due removed: an ordinary entry that nobody waits for. Dropped if the queue is full:
    /// they are found again.
    fn remove_expired(&self, keys: Vec<Bytes>) {
        let slots = vec![RequestSlot::Write(WriteCommand::RemoveExpired { keys })];
        let _ = self.propose(ClientRequest { slots, done: Box::new(|_| {}) });
    }

    /// The wall clock in ms that a leader judges past-due keys by.
    fn wall_ms(&self) -> u64;
}
