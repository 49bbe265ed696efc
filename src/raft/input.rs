//! What the loop is told, and entries in the forms of the library and of the log.

use std::fmt;

use ::raft::eraftpb::Entry;
use ::raft::eraftpb::EntryType;

use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::raft::members_change::ChangeRefused;
use crate::raft::members_change::MemberChange;
use crate::raft::transport::PeerMessage;

/// Answers a proposed membership change: where it stands, or why it was not proposed.
pub type ChangeDone = Box<dyn FnOnce(Result<Position, ChangeRefused>) + Send>;

/// What the loop is told.
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
    /// The log dropped everything up to here.
    Trimmed(Position),
    /// What `Ports::fetch` asked for; empty if it is gone.
    Fetched(Vec<LogEntry>),
    /// A membership change that an operator wants.
    Change {
        /// Which.
        change: MemberChange,
        /// Called once.
        done: ChangeDone,
    },
    /// Whether this node can open what a leader must (design 3.5); true at the start.
    MayCampaign(bool),
    /// Give back what waits and end.
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
            Input::Trimmed(position) => write!(f, "Trimmed({position:?})"),
            Input::Fetched(entries) => write!(f, "Fetched({} entries)", entries.len()),
            Input::Change { change, .. } => write!(f, "Change({change:?})"),
            Input::MayCampaign(may) => write!(f, "MayCampaign({may})"),
            Input::Stop => f.write_str("Stop"),
        }
    }
}

/// The library's entry as the log writes it.
pub(super) fn to_log_entry(entry: &Entry) -> LogEntry {
    let kind = match entry.get_entry_type() {
        EntryType::EntryNormal => EntryKind::Normal,
        EntryType::EntryConfChange => EntryKind::ConfChange,
        EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
    };
    LogEntry { term: Term(entry.term), index: Index(entry.index), kind, data: entry.data.clone() }
}

/// The other way.
pub(super) fn to_raft_entry(entry: &LogEntry) -> Entry {
    let mut out = Entry::default();
    out.set_entry_type(match entry.kind {
        EntryKind::Normal => EntryType::EntryNormal,
        EntryKind::ConfChange => EntryType::EntryConfChange,
        EntryKind::ConfChangeV2 => EntryType::EntryConfChangeV2,
    });
    out.term = entry.term.0;
    out.index = entry.index.0;
    out.data = entry.data.clone();
    out
}
