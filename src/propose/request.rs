//! Requests of clients' connections, their outcomes, and the trait that takes them.

use crate::fsm::codec::Condition;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::Database;
use crate::ids::Index;
use crate::propose::wakeup::Wakeup;

/// The commands of one connection that become one entry; reads behind a write ride with it.
pub struct ClientRequest {
    /// Keys that must not have changed when the entry is applied; else none of its writes runs and each slot is answered
    /// with the same error. Ascending by database and key, each once.
    pub conditions: Vec<Condition>,
    /// In the order of the pipeline; at least one `RequestSlot::Write`.
    pub slots: Vec<RequestSlot>,
    /// Who is told how it ended.
    pub done: Box<dyn RequestDone>,
}

debug_fields!(self: ClientRequest { slots: self.slots.len() });

/// Who is told how a request ended; a closure is one that has memory for every reply.
pub trait RequestDone: Send {
    /// Bytes of values that its riding reads may answer with now. Asked on the apply thread.
    fn reply_bytes_max(&self) -> usize {
        usize::MAX
    }

    /// Called exactly once, from the raft or apply thread: must not block. Whoever is told may see it only behind the wake-up.
    fn done(self: Box<Self>, outcome: Outcome) -> Wakeup;
}

impl<F: FnOnce(Outcome) + Send> RequestDone for F {
    fn done(self: Box<Self>, outcome: Outcome) -> Wakeup {
        (*self)(outcome);
        Wakeup::none()
    }
}

/// Who is told that a read point was reached, or not.
pub trait ReadDone: Send {
    /// As [`RequestDone::done`].
    fn done(self: Box<Self>, outcome: ReadOutcome) -> Wakeup;
}

impl<F: FnOnce(ReadOutcome) + Send> ReadDone for F {
    fn done(self: Box<Self>, outcome: ReadOutcome) -> Wakeup {
        (*self)(outcome);
        Wakeup::none()
    }
}

/// One command of a request.
#[derive(Debug)]
pub enum RequestSlot {
    /// Goes into the entry, as a command on that database.
    Write(Database, WriteCommand),
    /// Stays here and runs at its place among the writes when the entry is applied on this node.
    Read(Database, ReadCommand),
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
    /// Certainly not executed, and never will be by the node that leads: it does not understand the request. Its words.
    Malformed(String),
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
}

/// What `resp` sees of the rooms below: it proposes requests and asks for read points. Each is answered once, through its
/// callback.
pub trait Gateway: Send + Sync {
    /// Puts a request in the queue; `Err` gives it back if the queue is full (BOUNDED): wait for space, read no more.
    ///
    /// # Errors
    /// The request itself, unchanged.
    fn propose(&self, request: ClientRequest) -> Result<(), ClientRequest>;

    /// Whether the state may be read at once: this node leads, and nobody else can have decided anything. To be asked after
    /// the read arrived.
    fn is_read_point(&self) -> bool;

    /// Calls `done` once a ReadIndex taken after this call is applied here. One call serves any number of reads.
    fn read_index(&self, done: Box<dyn ReadDone>);

    /// The clock of this node, ms since 1970: a leader calls a key past due by it.
    fn now_ms(&self) -> u64;

    /// What calls a key past due after a removal was replicated for it: `None` for the clock of this node, which leads;
    /// elsewhere the newest applied stamp, since the leader's clock decides and may be behind this one.
    fn settled_ms(&self) -> Option<u64> {
        None
    }

    /// By how many ms that clock leads the wall clock: a client's absolute times are moved by it.
    fn lead_ms(&self) -> u64;

    /// The wall clock, ms since 1970.
    fn wall_ms(&self) -> u64;
}
