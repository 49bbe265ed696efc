//! Membership changes: as an operator asks for them, as they stand in an entry, and what the members are afterwards.

use ::raft::RawNode;
use ::raft::Storage;
use ::raft::eraftpb::ConfChange;
use ::raft::eraftpb::ConfChangeSingle;
use ::raft::eraftpb::ConfChangeType;
use ::raft::eraftpb::ConfChangeV2;
use ::raft::eraftpb::ConfState;
use ::raft::storage::MemStorage;
use bytes::Bytes;
use protobuf::Message as _;

use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::NodeId;
use crate::limits::MEMBERS_CHANGE_BYTES_MAX;
use crate::limits::MEMBERS_MAX;
use crate::members::Members;
use crate::raft::logger;

/// An entry that is no membership change, or one that this program never makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a membership change")]
pub struct NotAChange;

/// One change of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Becomes a voter.
    AddVoter(NodeId),
    /// Becomes a learner.
    AddLearner(NodeId),
    /// Is no member any more.
    Remove(NodeId),
}

/// Why a change was not proposed; nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// Only a leader can; the leader's id, if known.
    #[error("not the leader")]
    NotLeader(Option<u64>),
    /// A change, a transfer or a control entry is under way, or the term has just begun.
    #[error("another change is under way")]
    NotNow,
    /// The leader cannot remove itself: it would go on leading a cluster that it is not in.
    #[error("the leader cannot remove itself; move leadership first")]
    LeaderItself,
    /// The cluster would have no voter, or too many members.
    #[error("this would leave no voter, or more than {MEMBERS_MAX} members")]
    Impossible,
}

/// What the guard looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChangeView<'a> {
    pub(super) node: NodeId,
    pub(super) members: &'a Members,
    pub(super) is_gate_open: bool,
    pub(super) has_pending: bool,
}

/// Whether `change` may be proposed: raft turns a second one into an empty entry and says Ok (trap A).
pub(super) fn guard(change: MemberChange, view: ChangeView<'_>) -> Result<(), ChangeRefused> {
    let members = view.members;
    if view.has_pending || !view.is_gate_open || !members.voters_outgoing.is_empty() {
        return Err(ChangeRefused::NotNow);
    }
    match change {
        MemberChange::Remove(id) | MemberChange::AddLearner(id) if id == view.node => Err(ChangeRefused::LeaderItself),
        MemberChange::Remove(id) | MemberChange::AddLearner(id) if members.voters == [id.value()] => {
            Err(ChangeRefused::Impossible)
        }
        MemberChange::AddVoter(_) | MemberChange::AddLearner(_)
            if members.voters.len() + members.learners.len() >= MEMBERS_MAX =>
        {
            Err(ChangeRefused::Impossible)
        }
        _ => Ok(()),
    }
}

/// The entry's data of `change`.
pub(super) fn encode_change(change: MemberChange) -> Bytes {
    let mut single = ConfChangeSingle::default();
    let (kind, node) = match change {
        MemberChange::AddVoter(node) => (ConfChangeType::AddNode, node),
        MemberChange::AddLearner(node) => (ConfChangeType::AddLearnerNode, node),
        MemberChange::Remove(node) => (ConfChangeType::RemoveNode, node),
    };
    single.set_change_type(kind);
    single.node_id = node.value();
    let mut change = ConfChangeV2::default();
    change.mut_changes().push(single);
    Bytes::from(change.write_to_bytes().expect("a message of two numbers has no required fields"))
}

/// A membership change as it stood in an entry.
#[derive(Debug)]
pub(super) enum Decoded {
    V1(ConfChange),
    V2(ConfChangeV2),
}

impl Decoded {
    /// Applies it; `None` if it cannot be, which every replica sees alike because all have the same members.
    pub(super) fn apply<S: Storage>(&self, node: &mut RawNode<S>) -> Option<Members> {
        let conf_state = match self {
            Decoded::V1(change) => node.apply_conf_change(change),
            Decoded::V2(change) => node.apply_conf_change(change),
        };
        conf_state.ok().map(from_conf_state)
    }
}

/// The members after the committed membership change `entry`, for the replay before raft exists.
///
/// # Errors
/// [`NotAChange`] if it is no membership change, or one that was never proposed by this program.
pub fn members_after(members: &Members, entry: &LogEntry) -> Result<Members, NotAChange> {
    let change = decode_change(entry.kind, &entry.data)?;
    let store = MemStorage::new_with_conf_state(to_conf_state(members));
    let config = ::raft::Config { id: u64::MAX, ..::raft::Config::default() };
    let mut scratch = RawNode::new(&config, store, &logger::discard()).map_err(|_| NotAChange)?;
    Ok(change.apply(&mut scratch).unwrap_or_else(|| members.clone()))
}

/// The members as the library has them.
pub(super) fn to_conf_state(members: &Members) -> ConfState {
    ConfState {
        voters: members.voters.clone(),
        learners: members.learners.clone(),
        voters_outgoing: members.voters_outgoing.clone(),
        learners_next: members.learners_next.clone(),
        auto_leave: members.auto_leave,
        ..ConfState::default()
    }
}

/// The members as this program has them.
pub(super) fn from_conf_state(mut conf_state: ConfState) -> Members {
    let mut members = Members {
        voters: conf_state.take_voters(),
        learners: conf_state.take_learners(),
        voters_outgoing: conf_state.take_voters_outgoing(),
        learners_next: conf_state.take_learners_next(),
        auto_leave: conf_state.auto_leave,
    };
    members.sort();
    members
}

/// Either form of a membership change; nothing at all is "leave the joint change".
pub(super) fn decode_change(kind: EntryKind, data: &[u8]) -> Result<Decoded, NotAChange> {
    if data.len() > MEMBERS_CHANGE_BYTES_MAX {
        return Err(NotAChange);
    }
    let decoded = match kind {
        EntryKind::Normal => return Err(NotAChange),
        EntryKind::ConfChange => ConfChange::parse_from_bytes(data).map(Decoded::V1),
        EntryKind::ConfChangeV2 => ConfChangeV2::parse_from_bytes(data).map(Decoded::V2),
    };
    decoded.map_err(|_| NotAChange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Index;
    use crate::ids::Term;
    use crate::limits::ENTRY_BYTES_MAX;

    fn node(id: u64) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn members(voters: &[u64]) -> Members {
        Members { voters: voters.to_vec(), ..Members::default() }
    }

    fn entry(kind: EntryKind, data: Bytes) -> LogEntry {
        LogEntry { term: Term(2), index: Index(9), kind, data }
    }

    #[test]
    fn a_committed_change_gives_the_members_after_it() {
        let add = entry(EntryKind::ConfChangeV2, encode_change(MemberChange::AddLearner(node(4))));
        let after = members_after(&members(&[1, 2, 3]), &add).unwrap();
        assert_eq!(after, Members { learners: vec![4], ..members(&[1, 2, 3]) });
        let vote = entry(EntryKind::ConfChangeV2, encode_change(MemberChange::AddVoter(node(4))));
        assert_eq!(members_after(&after, &vote).unwrap(), members(&[1, 2, 3, 4]));
    }

    #[test]
    fn a_change_that_cannot_be_applied_changes_nothing() {
        let last = entry(EntryKind::ConfChangeV2, encode_change(MemberChange::Remove(node(1))));
        assert_eq!(members_after(&members(&[1]), &last).unwrap(), members(&[1]));
        let normal = entry(EntryKind::Normal, Bytes::new());
        assert_eq!(members_after(&members(&[1]), &normal), Err(NotAChange));
    }

    // The library's decoder recurses for each nested group, so that a few megabytes of them overflow its stack.
    #[test]
    fn a_change_of_more_bytes_than_the_bound_is_refused_before_it_is_parsed() {
        let nested = |count: usize| vec![0x0b; count];
        for kind in [EntryKind::ConfChange, EntryKind::ConfChangeV2] {
            assert!(matches!(decode_change(kind, &nested(ENTRY_BYTES_MAX)), Err(NotAChange)));
            let unknown = |count: usize| [0x7a, u8::try_from(count - 2).unwrap()].into_iter().chain(vec![0; count - 2]);
            let at_bound: Vec<u8> = unknown(MEMBERS_CHANGE_BYTES_MAX).collect();
            let above: Vec<u8> = unknown(MEMBERS_CHANGE_BYTES_MAX + 1).collect();
            assert!(decode_change(kind, &at_bound).is_ok());
            assert!(decode_change(kind, &above).is_err());
        }
        for change in [
            MemberChange::AddVoter(node(u64::MAX)),
            MemberChange::AddLearner(node(1)),
            MemberChange::Remove(node(u64::MAX)),
        ] {
            let bytes = encode_change(change);
            assert!(bytes.len() <= MEMBERS_CHANGE_BYTES_MAX / 4, "{} bytes", bytes.len());
            assert!(decode_change(EntryKind::ConfChangeV2, &bytes).is_ok());
        }
    }

    #[test]
    fn no_change_is_proposed_while_one_is_pending() {
        let three = members(&[1, 2, 3]);
        let view = ChangeView { node: node(1), members: &three, is_gate_open: true, has_pending: false };
        let change = MemberChange::AddVoter(node(4));
        assert_eq!(guard(change, view), Ok(()));
        assert_eq!(guard(change, ChangeView { has_pending: true, ..view }), Err(ChangeRefused::NotNow));
        assert_eq!(guard(change, ChangeView { is_gate_open: false, ..view }), Err(ChangeRefused::NotNow));
        let joint = Members { voters_outgoing: vec![1, 2], ..three.clone() };
        assert_eq!(guard(change, ChangeView { members: &joint, ..view }), Err(ChangeRefused::NotNow));
        assert_eq!(guard(MemberChange::Remove(node(1)), view), Err(ChangeRefused::LeaderItself));
    }
}
