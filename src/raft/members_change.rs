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
use crate::limits::ADDRESS_BYTES_MAX;
use crate::limits::MEMBERS_CHANGE_BYTES_MAX;
use crate::limits::MEMBERS_MAX;
use crate::limits::PROMOTE_LAG_MAX;
use crate::members::Members;
use crate::raft::logger;

/// An entry that is no membership change, or one that this program never makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a membership change")]
pub struct NotAChange;

/// A change of the members, as an operator asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A node that is no member becomes a learner.
    AddLearner {
        /// Which.
        node: NodeId,
        /// Where the other members reach it.
        address: String,
    },
    /// A learner that has nearly all of the log becomes a voter.
    Promote(NodeId),
    /// Is no member any more.
    Remove(NodeId),
    /// A learner becomes a voter and a voter is no member any more, in one step: a joint change.
    Replace {
        /// The voter that goes.
        old: NodeId,
        /// The learner that takes its place.
        new: NodeId,
    },
}

/// Why a change was not proposed; nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// Only a leader can; the leader's id, if known.
    #[error("this node does not lead")]
    NotLeader(Option<u64>),
    /// A change, a transfer or a control entry is under way, or the term has just begun.
    #[error("another change is under way, or the leader has just begun: try again")]
    NotNow,
    /// The leader cannot remove itself: it would go on leading a cluster that it is not in.
    #[error("node {0} leads and cannot remove itself: move the leadership first")]
    LeaderItself(NodeId),
    /// The cluster would have no voter.
    #[error("node {0} is the last voter")]
    LastVoter(NodeId),
    /// The cluster would have too many members.
    #[error("a cluster has at most {MEMBERS_MAX} members")]
    TooMany,
    /// It is one already.
    #[error("node {0} is a member already")]
    IsMember(NodeId),
    /// There is no such member.
    #[error("node {0} is no member")]
    NotAMember(NodeId),
    /// Only a learner can become a voter.
    #[error("node {0} is no learner: only a learner becomes a voter")]
    NotALearner(NodeId),
    /// As a voter it would hold up all writes until it has caught up.
    #[error(
        "node {node} is {behind} entries behind, at most {PROMOTE_LAG_MAX} are allowed: wait until it has caught up"
    )]
    FarBehind {
        /// The learner.
        node: NodeId,
        /// Entries that it lacks.
        behind: u64,
    },
    /// An address that no entry can hold.
    #[error("an address of {bytes} bytes, expected HOST:PORT")]
    Address {
        /// Its length.
        bytes: usize,
    },
}

/// What the guard looks at.
#[derive(Clone, Copy)]
pub(super) struct ChangeView<'a> {
    pub(super) node: NodeId,
    pub(super) members: &'a Members,
    pub(super) is_gate_open: bool,
    pub(super) has_pending: bool,
    /// Entries that a member lacks, as far as this leader knows.
    pub(super) behind: &'a dyn Fn(NodeId) -> u64,
}

/// Whether `change` may be proposed: raft turns a second one into an empty entry and says Ok (trap A).
pub(super) fn guard(change: &MemberChange, view: ChangeView<'_>) -> Result<(), ChangeRefused> {
    let members = view.members;
    if view.has_pending || !view.is_gate_open || !members.voters_outgoing.is_empty() {
        return Err(ChangeRefused::NotNow);
    }
    match change {
        MemberChange::AddLearner { node, address } => view.admits(*node, address),
        MemberChange::Promote(node) => view.is_caught_up(*node),
        MemberChange::Remove(node) => view.can_go(*node),
        MemberChange::Replace { old, new } => {
            if !members.voters.contains(&old.value()) {
                return Err(ChangeRefused::NotAMember(*old));
            }
            if *old == view.node {
                return Err(ChangeRefused::LeaderItself(*old));
            }
            view.is_caught_up(*new)
        }
    }
}

impl ChangeView<'_> {
    fn admits(&self, node: NodeId, address: &str) -> Result<(), ChangeRefused> {
        let members = self.members;
        if members.voters.contains(&node.value()) || members.learners.contains(&node.value()) {
            return Err(ChangeRefused::IsMember(node));
        }
        if members.voters.len() + members.learners.len() >= MEMBERS_MAX {
            return Err(ChangeRefused::TooMany);
        }
        let bytes = address.len();
        if bytes == 0 || bytes > ADDRESS_BYTES_MAX { Err(ChangeRefused::Address { bytes }) } else { Ok(()) }
    }

    fn is_caught_up(&self, node: NodeId) -> Result<(), ChangeRefused> {
        if !self.members.learners.contains(&node.value()) {
            return Err(ChangeRefused::NotALearner(node));
        }
        let behind = (self.behind)(node);
        if behind > PROMOTE_LAG_MAX { Err(ChangeRefused::FarBehind { node, behind }) } else { Ok(()) }
    }

    fn can_go(&self, node: NodeId) -> Result<(), ChangeRefused> {
        let members = self.members;
        if members.voters == [node.value()] {
            return Err(ChangeRefused::LastVoter(node));
        }
        if node == self.node {
            return Err(ChangeRefused::LeaderItself(node));
        }
        let is_member = members.voters.contains(&node.value()) || members.learners.contains(&node.value());
        if is_member { Ok(()) } else { Err(ChangeRefused::NotAMember(node)) }
    }
}

/// The entry's data of `change`. The address of a new member travels as its context.
pub(super) fn encode_change(change: &MemberChange) -> Bytes {
    let single = |kind, node: NodeId| {
        let mut single = ConfChangeSingle::default();
        single.set_change_type(kind);
        single.node_id = node.value();
        single
    };
    let (singles, context) = match change {
        MemberChange::AddLearner { node, address } => {
            (vec![single(ConfChangeType::AddLearnerNode, *node)], Bytes::copy_from_slice(address.as_bytes()))
        }
        MemberChange::Promote(node) => (vec![single(ConfChangeType::AddNode, *node)], Bytes::new()),
        MemberChange::Remove(node) => (vec![single(ConfChangeType::RemoveNode, *node)], Bytes::new()),
        MemberChange::Replace { old, new } => {
            (vec![single(ConfChangeType::AddNode, *new), single(ConfChangeType::RemoveNode, *old)], Bytes::new())
        }
    };
    let mut change = ConfChangeV2::default();
    change.set_changes(singles.into());
    change.context = context;
    Bytes::from(change.write_to_bytes().expect("a message without required fields"))
}

/// The member that a committed change adds, and where it is reached.
#[must_use]
pub fn address_in(entry: &LogEntry) -> Option<(NodeId, String)> {
    let Ok(Decoded::V2(change)) = decode_change(entry.kind, &entry.data) else { return None };
    let [single] = change.changes.as_slice() else { return None };
    let address = std::str::from_utf8(&change.context).ok().filter(|address| !address.is_empty())?;
    let is_short = address.len() <= ADDRESS_BYTES_MAX;
    Some((NodeId::new(single.node_id).filter(|_| is_short)?, address.to_owned()))
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
        let add = entry(EntryKind::ConfChangeV2, encode_change(&learner(4)));
        assert_eq!(address_in(&add), Some((node(4), "db4:7379".to_owned())));
        let after = members_after(&members(&[1, 2, 3]), &add).unwrap();
        assert_eq!(after, Members { learners: vec![4], ..members(&[1, 2, 3]) });
        let vote = entry(EntryKind::ConfChangeV2, encode_change(&MemberChange::Promote(node(4))));
        assert_eq!(address_in(&vote), None);
        assert_eq!(members_after(&after, &vote).unwrap(), members(&[1, 2, 3, 4]));
        let swap = MemberChange::Replace { old: node(2), new: node(4) };
        let joint = members_after(&after, &entry(EntryKind::ConfChangeV2, encode_change(&swap))).unwrap();
        assert_eq!((joint.voters.as_slice(), joint.voters_outgoing.as_slice()), (&[1, 3, 4][..], &[1, 2, 3][..]));
        let left = members_after(&joint, &entry(EntryKind::ConfChangeV2, Bytes::new())).unwrap();
        assert_eq!(left, members(&[1, 3, 4]));
    }

    #[test]
    fn a_change_that_cannot_be_applied_changes_nothing() {
        let last = entry(EntryKind::ConfChangeV2, encode_change(&MemberChange::Remove(node(1))));
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
            // A field that nobody knows, with its length in two bytes.
            let head = |len: usize| [0x7a, 0x80 | (len & 0x7f) as u8, (len >> 7) as u8];
            let unknown = |count: usize| head(count - 3).into_iter().chain(vec![0; count - 3]);
            let at_bound: Vec<u8> = unknown(MEMBERS_CHANGE_BYTES_MAX).collect();
            let above: Vec<u8> = unknown(MEMBERS_CHANGE_BYTES_MAX + 1).collect();
            assert!(decode_change(kind, &at_bound).is_ok());
            assert!(decode_change(kind, &above).is_err());
        }
        let most = NodeId::new(u64::MAX).unwrap();
        for change in [
            MemberChange::AddLearner { node: most, address: "a".repeat(ADDRESS_BYTES_MAX) },
            MemberChange::Promote(most),
            MemberChange::Remove(most),
            MemberChange::Replace { old: most, new: most },
        ] {
            let bytes = encode_change(&change);
            assert!(bytes.len() <= MEMBERS_CHANGE_BYTES_MAX, "{} bytes", bytes.len());
            assert!(decode_change(EntryKind::ConfChangeV2, &bytes).is_ok());
        }
    }

    fn learner(id: u64) -> MemberChange {
        MemberChange::AddLearner { node: node(id), address: format!("db{id}:7379") }
    }

    #[test]
    fn no_change_is_proposed_while_one_is_pending() {
        let three = members(&[1, 2, 3]);
        let view =
            ChangeView { node: node(1), members: &three, is_gate_open: true, has_pending: false, behind: &|_| 0 };
        assert_eq!(guard(&learner(4), view), Ok(()));
        let not_now = Err(ChangeRefused::NotNow);
        assert_eq!(guard(&learner(4), ChangeView { has_pending: true, ..view }), not_now);
        assert_eq!(guard(&learner(4), ChangeView { is_gate_open: false, ..view }), not_now);
        let joint = Members { voters_outgoing: vec![1, 2], ..three.clone() };
        assert_eq!(guard(&learner(4), ChangeView { members: &joint, ..view }), not_now);
    }

    #[test]
    fn a_change_that_makes_no_sense_is_refused_with_its_reason() {
        let some = Members { learners: vec![4, 5], ..members(&[1, 2, 3]) };
        let behind = |id: NodeId| if id == node(5) { PROMOTE_LAG_MAX + 1 } else { PROMOTE_LAG_MAX };
        let view =
            ChangeView { node: node(1), members: &some, is_gate_open: true, has_pending: false, behind: &behind };
        let refusal = |change| guard(&change, view).err();
        assert_eq!(refusal(MemberChange::Promote(node(4))), None);
        assert_eq!(refusal(MemberChange::Remove(node(4))), None);
        assert_eq!(refusal(MemberChange::Remove(node(2))), None);
        assert_eq!(refusal(MemberChange::Replace { old: node(2), new: node(4) }), None);
        let far = ChangeRefused::FarBehind { node: node(5), behind: PROMOTE_LAG_MAX + 1 };
        for (change, why) in [
            (learner(2), ChangeRefused::IsMember(node(2))),
            (learner(4), ChangeRefused::IsMember(node(4))),
            (MemberChange::AddLearner { node: node(6), address: String::new() }, ChangeRefused::Address { bytes: 0 }),
            (MemberChange::Promote(node(2)), ChangeRefused::NotALearner(node(2))),
            (MemberChange::Promote(node(9)), ChangeRefused::NotALearner(node(9))),
            (MemberChange::Promote(node(5)), far),
            (MemberChange::Remove(node(1)), ChangeRefused::LeaderItself(node(1))),
            (MemberChange::Remove(node(9)), ChangeRefused::NotAMember(node(9))),
            (MemberChange::Replace { old: node(1), new: node(4) }, ChangeRefused::LeaderItself(node(1))),
            (MemberChange::Replace { old: node(9), new: node(4) }, ChangeRefused::NotAMember(node(9))),
            (MemberChange::Replace { old: node(2), new: node(5) }, far),
            (MemberChange::Replace { old: node(2), new: node(3) }, ChangeRefused::NotALearner(node(3))),
        ] {
            assert_eq!(refusal(change), Some(why));
        }
        let last = Members { learners: vec![2], ..members(&[1]) };
        let alone = ChangeView { members: &last, ..view };
        assert_eq!(guard(&MemberChange::Remove(node(1)), alone), Err(ChangeRefused::LastVoter(node(1))));
    }
}
