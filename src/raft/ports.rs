//! The seam below and behind the loop: where its effects go.

use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Term;
use crate::members::Members;
use crate::raft::offers::SnapshotOffer;
use crate::wal::Append;

/// A committed entry on its way to apply. A membership change brings the members that raft has after it.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The entry.
    pub entry: LogEntry,
    /// The members after a membership change; `None` for normal entries, which are moved by the thousand.
    pub members: Option<Box<Members>>,
}

/// Where the raft loop's effects go. Calls must not block for the disk; the thread shell backs them with channels.
pub trait Ports: Send {
    /// To the log thread.
    fn log(&mut self, append: Append);
    /// To the apply thread.
    fn apply(&mut self, committed: Vec<Committed>);
    /// A ReadIndex with this context was confirmed at `index`.
    fn read_ready(&mut self, context: u64, index: Index);
    /// No ReadIndex with this context will be confirmed.
    fn read_lost(&mut self, context: u64);
    /// Something in it changed; called at most once a step.
    fn status(&mut self, status: Status);
    /// Entries `first..=last` are wanted for a follower and not in memory; answered by `Input::Fetched`. Called only if
    /// `RaftConfig::can_fetch`, one at a time. False: the log takes no question now; it is asked again when raft wants them again.
    fn fetch(&mut self, _first: Index, _last: Index) -> bool {
        false
    }
    /// A member lacks entries that are dropped: a snapshot is wanted, answered by `Input::Snapshot`. Called again until there is
    /// one.
    fn snapshot_wanted(&mut self) {}
    /// A leader offers a snapshot that goes beyond this log. Called again for as long as it does.
    fn snapshot_offered(&mut self, _offer: SnapshotOffer) {}
}

/// The raft thread's view of itself, for metrics and INFO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Current term.
    pub term: Term,
    /// This node leads.
    pub is_leader: bool,
    /// It leads, the empty entry of its term is applied here, and nobody else can take part in a decision: it is the only
    /// voter, no joint change is under way, and there is no learner, whose reads would follow commit rather than apply.
    pub leads_alone: bool,
    /// The leader, 0 = unknown.
    pub leader: u64,
    /// Newest committed index.
    pub committed: Index,
    /// Newest index that this node's log has durably.
    pub persisted: Index,
    /// Newest index in the log.
    pub last: Index,
    /// Memory of the entries that are kept: those above applied, and some for followers.
    pub entry_bytes: u64,
}
