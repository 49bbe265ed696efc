//! Plaintext in: client requests become entries, sealed at the position that raft is about to give them.

use crate::fsm::command::Read;
use crate::fsm::command::Reply;
use crate::fsm::command::Write;
use crate::ids::Index;

/// What one connection had ready, to become one entry; reads that came after a write ride with it (design 2).
pub struct Request {
    /// In the order of the pipeline; at least one `Slot::Write`.
    pub slots: Vec<Slot>,
    /// MULTI/EXEC: applied whole; today only a hint for metrics, an entry is atomic anyway.
    pub is_transaction: bool,
    /// Called exactly once, from the raft or apply thread: must not block.
    pub done: Box<dyn FnOnce(Outcome) + Send>,
}

/// One command of a request.
#[derive(Debug)]
pub enum Slot {
    /// Goes into the entry.
    Write(Write),
    /// Stays here and runs at its place among the writes when the entry is applied on this node.
    Read(Read),
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
    /// Puts a request in the queue; `Err` gives it back if the queue is full (BOUNDED): wait for room, read no more.
    ///
    /// # Errors
    /// The request itself, unchanged.
    fn propose(&self, request: Request) -> Result<(), Request>;

    /// Calls `done` once a ReadIndex taken after this call is applied here. One call serves any number of reads.
    fn read_index(&self, done: Box<dyn FnOnce(ReadOutcome) + Send>);

    /// The wall clock in ms that a leader judges past-due keys by.
    fn wall_ms(&self) -> u64;
}
