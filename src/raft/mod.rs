//! Agreement. One thread owns the state machine of the `raft` crate; what is in an entry is opaque here.

mod config;
mod input;
mod log;
mod logger;
mod members_change;
mod place;
mod read;
mod ready;
mod run;
mod start;
pub mod thread;
mod transport;

#[cfg(test)]
mod tests;

pub use config::RaftConfig;
pub use config::RaftFatal;
pub use config::StartingPoint;
pub use input::ChangeDone;
pub use input::Input;
pub use members_change::ChangeRefused;
pub use members_change::MemberChange;
pub use members_change::NotAChange;
pub use members_change::members_after;
pub use run::RaftLoop;
pub use run::RaftParts;
pub use transport::Nowhere;
pub use transport::PeerMessage;
pub use transport::Transport;

use bytes::Bytes;

use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::members::Members;
use crate::wal::Append;

/// Why a batch was given back. Nothing of it was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchRefusal {
    /// This node does not lead; the leader's id, if known.
    NotLeader(Option<u64>),
    /// Leading, but a transfer is under way, the gate is not open, or the deadline for space passed.
    NotNow,
    /// The batch could not be sealed (no key for this term): a bug or a race; nothing left this node.
    SealFailed,
}

/// Entries to be, which raft can only ask for their bytes, once, for the place they will have.
pub trait Batch: Send {
    /// Entries in it, at least 1.
    fn count(&self) -> usize;
    /// Upper bound of their sealed bytes, for the door.
    fn bytes_max(&self) -> u64;
    /// Control entries may use the reserve of the door.
    fn is_control(&self) -> bool;
    /// The entries' data for `(term, first_index)`, `(term, first_index + 1)`, ...; called at most once.
    ///
    /// # Errors
    /// [`BatchRefusal::SealFailed`]: nothing was made.
    fn seal(&mut self, term: Term, first_index: Index) -> Result<Vec<Bytes>, BatchRefusal>;
    /// They stand in the log from `first` on (N6 was checked): waiters are registered here, before apply can see them.
    fn placed(self: Box<Self>, first: Position);
    /// Given back.
    fn refused(self: Box<Self>, refusal: BatchRefusal);
}

/// What the proposer may know when it is asked for the next batch.
#[derive(Clone, Copy, Debug)]
pub struct LeaderView {
    /// Current term; this node leads it.
    pub term: Term,
    /// Index of the last entry in the log.
    pub last_index: Index,
    /// Applied by the apply loop, as raft was told.
    pub applied: Position,
    /// Whether the empty entry of this term is applied here (N2).
    pub own_term_applied: bool,
    /// A membership change, a control entry or a transfer is under way: nothing would be taken (N3).
    pub is_blocked: bool,
    /// Bytes of client entries that the door lets through now; control entries may ignore it.
    pub space_bytes: u64,
}

/// The source of batches. Called on the raft thread only.
pub trait Proposer: Send {
    /// The next batch for `view`, or nothing now. Called until it answers `None`.
    fn next(&mut self, view: &LeaderView) -> Option<Box<dyn Batch>>;
    /// This node does not lead (any more): give back what waits, at once if the leader is known. Called in every step
    /// of a node that does not lead.
    fn not_leading(&mut self, leader: Option<u64>);
    /// A context for the reads that came since the last call; their ReadIndex is taken after this. Called in every step.
    fn ask_reads(&mut self) -> Option<u64> {
        None
    }
    /// Nothing will be taken any more: give everything back.
    fn stop(&mut self) {}
}

/// A committed entry on its way to apply. A membership change brings the members that raft has after it.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The entry.
    pub entry: LogEntry,
    /// The members after a membership change; `None` for normal entries.
    pub members: Option<Members>,
}

/// Where the raft loop's effects go. Calls must not block for the disk; the thread shell backs them with channels.
pub trait Ports: Send {
    /// To the log thread.
    fn log(&mut self, append: Append);
    /// To the apply thread.
    fn apply(&mut self, committed: Vec<Committed>);
    /// A ReadIndex with this context was confirmed at `index`.
    fn read_ready(&mut self, context: u64, index: Index);
    /// It was not, and will not be.
    fn read_lost(&mut self, context: u64, leader: Option<u64>);
    /// Something in it changed; called at most once a step.
    fn status(&mut self, status: Status);
    /// Entries `first..=last` are wanted for a follower and not in memory; answered by `Input::Fetched`. Called only if
    /// `RaftConfig::can_fetch`, one at a time.
    fn fetch(&mut self, _first: Index, _last: Index) {}
}

/// The raft thread's view of itself, for metrics, INFO and the gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Current term.
    pub term: Term,
    /// This node leads.
    pub is_leader: bool,
    /// The leader, 0 = unknown.
    pub leader: u64,
    /// Newest committed index.
    pub committed: Index,
    /// Newest index that this node's log has durably.
    pub persisted: Index,
    /// Newest index in the log.
    pub last: Index,
}
