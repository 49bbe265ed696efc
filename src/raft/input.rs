//! The inputs of the loop.

use std::fmt;

use crate::entry::LogEntry;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::raft::members_change::ChangeRefused;
use crate::raft::members_change::MemberChange;
use crate::raft::progress::MemberProgress;
use crate::raft::snapshot_point::SnapshotPoint;
use crate::raft::transfer::TransferRefused;
use crate::raft::transport::PeerMessage;

/// Answers a proposed membership change: where it stands, or why it was not proposed.
pub type ChangeDone = Box<dyn FnOnce(Result<Position, ChangeRefused>) + Send>;

/// Answers a hand-over: the node that leadership goes to, or why it does not begin.
pub type TransferDone = Box<dyn FnOnce(Result<NodeId, TransferRefused>) + Send>;

/// Gets what a leader knows of its members' logs; nothing on a node that does not lead.
pub type ProgressDone = Box<dyn FnOnce(Vec<MemberProgress>) + Send>;

/// One input of the loop.
pub enum Input {
    /// The proposer has something, or the log has space again.
    Wake,
    /// From a peer.
    Message(PeerMessage),
    /// The transport could not reach this member.
    Unreachable(u64),
    /// The log has this ticket and all before it durably.
    Persisted(u64),
    /// The state holds everything up to here.
    Applied(Position),
    /// What `Ports::fetch` asked for; empty if it is gone.
    Fetched(Vec<LogEntry>),
    /// The newest point of the state of which there is a snapshot; `None`: there is none any more.
    Snapshot(Option<SnapshotPoint>),
    /// A membership change that an operator wants.
    Change {
        /// Which.
        change: MemberChange,
        /// Called once.
        done: ChangeDone,
    },
    /// The leader hands over: to this voter, or to the one that has most of the log.
    Transfer {
        /// To whom.
        to: Option<NodeId>,
        /// Called once: whether it begins to.
        done: TransferDone,
    },
    /// What this node knows of its members' logs. Called once.
    Progress(ProgressDone),
    /// Whether this node has the keys that a leader needs; true at the start. Without them it does not campaign.
    HasKeys(bool),
    /// Whether this node takes part in the cluster; true at the start. One whose directory may have lost something does not, and
    /// does not campaign.
    TakesPart(bool),
    /// Give back all waiting batches and end.
    Stop,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Wake => f.write_str("Wake"),
            Input::Message(message) => write!(f, "Message({} from {})", message.kind(), message.from()),
            Input::Unreachable(node) => write!(f, "Unreachable({node})"),
            Input::Persisted(ticket) => write!(f, "Persisted({ticket})"),
            Input::Applied(position) => write!(f, "Applied({position:?})"),
            Input::Fetched(entries) => write!(f, "Fetched({} entries)", entries.len()),
            Input::Snapshot(point) => write!(f, "Snapshot({point:?})"),
            Input::Change { change, .. } => write!(f, "Change({change:?})"),
            Input::Transfer { to, .. } => write!(f, "Transfer({to:?})"),
            Input::Progress(_) => f.write_str("Progress"),
            Input::HasKeys(has) => write!(f, "HasKeys({has})"),
            Input::TakesPart(takes) => write!(f, "TakesPart({takes})"),
            Input::Stop => f.write_str("Stop"),
        }
    }
}
