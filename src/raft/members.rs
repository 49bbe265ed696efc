//! Who votes and who only listens, and what may change about it. Bytes as they stand in the state record:
//!
//! ```text
//! four lists in this order: voters, outgoing voters, learners, learners to be; each is
//!     count(2), then count * node id(8), strictly ascending, never 0
//! auto leave(1), 0 or 1
//! ```
//!
//! All integers are big-endian. raft's own lists come out of hash sets; these are sorted, so equal members are equal
//! bytes. The state room reads the same bytes with a codec of its own: neither room may know the other.

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
use crate::raft::logger;

/// Bytes or a change that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// Shorter than its lists say, or longer.
    #[error("{bytes} bytes do not hold what they announce")]
    Length {
        /// How many there are.
        bytes: usize,
    },
    /// An unknown flag.
    #[error("flag {value:#04x} is unknown")]
    Flag {
        /// The byte.
        value: u8,
    },
    /// An id 0, a repeated one, a descending list, or too many.
    #[error("a list of members is not ascending, or has more than {MEMBERS_MAX}")]
    List,
    /// Not a membership change, or one whose bytes make no sense or are too many.
    #[error("not a membership change")]
    NotAChange,
}

/// The members of a cluster at one index; every list ascending and without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Who votes.
    pub voters: Vec<u64>,
    /// Who only receives.
    pub learners: Vec<u64>,
    /// The old half of a joint change.
    pub voters_outgoing: Vec<u64>,
    /// Who becomes a learner when the joint change is left.
    pub learners_next: Vec<u64>,
    /// raft leaves the joint change by itself.
    pub auto_leave: bool,
}

impl Members {
    /// A new cluster's founders.
    #[must_use]
    pub fn founders(voters: &[NodeId]) -> Members {
        let mut voters: Vec<u64> = voters.iter().map(|id| id.value()).collect();
        voters.sort_unstable();
        voters.dedup();
        Members { voters, ..Members::default() }
    }

    /// Whether `node` is the only voter and nobody listens: nobody needs old entries from it.
    #[must_use]
    pub fn is_alone(&self, node: NodeId) -> bool {
        self.voters == [node.value()]
            && self.learners.is_empty()
            && self.voters_outgoing.is_empty()
            && self.learners_next.is_empty()
    }

    /// The bytes drawn above.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        for list in [&self.voters, &self.voters_outgoing, &self.learners, &self.learners_next] {
            let count = u16::try_from(list.len()).expect("fewer members than MEMBERS_MAX");
            out.extend_from_slice(&count.to_be_bytes());
            for id in list {
                out.extend_from_slice(&id.to_be_bytes());
            }
        }
        out.push(u8::from(self.auto_leave));
        Bytes::from(out)
    }

    /// Reads the bytes drawn above.
    ///
    /// # Errors
    /// [`MembersError`] if they are anything that `encode` does not write.
    pub fn decode(bytes: &[u8]) -> Result<Members, MembersError> {
        let length = MembersError::Length { bytes: bytes.len() };
        let mut rest = bytes;
        let mut lists = [const { Vec::new() }; 4];
        for list in &mut lists {
            let (count, behind) = rest.split_first_chunk::<2>().ok_or(length)?;
            let count = usize::from(u16::from_be_bytes(*count));
            let (ids, behind) = behind.split_at_checked(count * 8).ok_or(length)?;
            *list = ids.as_chunks::<8>().0.iter().map(|id| u64::from_be_bytes(*id)).collect::<Vec<u64>>();
            let is_ascending = list.first() != Some(&0) && list.windows(2).all(|pair| pair[0] < pair[1]);
            if !is_ascending || count > MEMBERS_MAX {
                return Err(MembersError::List);
            }
            rest = behind;
        }
        let [voters, voters_outgoing, learners, learners_next] = lists;
        let auto_leave = match rest {
            [0] => false,
            [1] => true,
            [value] => return Err(MembersError::Flag { value: *value }),
            _ => return Err(length),
        };
        Ok(Members { voters, learners, voters_outgoing, learners_next, auto_leave })
    }

    /// The members after the committed membership change `entry`, for the replay before raft exists (design 6).
    ///
    /// # Errors
    /// [`MembersError::NotAChange`] if it is no membership change, or one that was never proposed by this program.
    pub fn after(&self, entry: &LogEntry) -> Result<Members, MembersError> {
        let change = decode_change(entry.kind, &entry.data)?;
        let store = MemStorage::new_with_conf_state(self.to_conf_state());
        let config = ::raft::Config { id: u64::MAX, ..::raft::Config::default() };
        let mut scratch =
            ::raft::RawNode::new(&config, store, &logger::discard()).map_err(|_| MembersError::NotAChange)?;
        Ok(change.apply(&mut scratch).unwrap_or_else(|| self.clone()))
    }

    pub(super) fn to_conf_state(&self) -> ConfState {
        ConfState {
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            voters_outgoing: self.voters_outgoing.clone(),
            learners_next: self.learners_next.clone(),
            auto_leave: self.auto_leave,
            ..ConfState::default()
        }
    }

    pub(super) fn from_conf_state(mut conf_state: ConfState) -> Members {
        let sorted = |mut list: Vec<u64>| {
            list.sort_unstable();
            list
        };
        Members {
            voters: sorted(conf_state.take_voters()),
            learners: sorted(conf_state.take_learners()),
            voters_outgoing: sorted(conf_state.take_voters_outgoing()),
            learners_next: sorted(conf_state.take_learners_next()),
            auto_leave: conf_state.auto_leave,
        }
    }
}

/// One change of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
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
pub(super) fn guard(change: Change, view: ChangeView<'_>) -> Result<(), ChangeRefused> {
    let members = view.members;
    if view.has_pending || !view.is_gate_open || !members.voters_outgoing.is_empty() {
        return Err(ChangeRefused::NotNow);
    }
    match change {
        Change::Remove(id) | Change::AddLearner(id) if id == view.node => Err(ChangeRefused::LeaderItself),
        Change::Remove(id) | Change::AddLearner(id) if members.voters == [id.value()] => Err(ChangeRefused::Impossible),
        Change::AddVoter(_) | Change::AddLearner(_) if members.voters.len() + members.learners.len() >= MEMBERS_MAX => {
            Err(ChangeRefused::Impossible)
        }
        _ => Ok(()),
    }
}

/// The entry's data of `change`.
pub(super) fn encode_change(change: Change) -> Bytes {
    let mut single = ConfChangeSingle::default();
    let (kind, node) = match change {
        Change::AddVoter(node) => (ConfChangeType::AddNode, node),
        Change::AddLearner(node) => (ConfChangeType::AddLearnerNode, node),
        Change::Remove(node) => (ConfChangeType::RemoveNode, node),
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
        conf_state.ok().map(Members::from_conf_state)
    }
}

/// Either form of a membership change; nothing at all is "leave the joint change".
pub(super) fn decode_change(kind: EntryKind, data: &[u8]) -> Result<Decoded, MembersError> {
    if data.len() > MEMBERS_CHANGE_BYTES_MAX {
        return Err(MembersError::NotAChange);
    }
    let decoded = match kind {
        EntryKind::Normal => return Err(MembersError::NotAChange),
        EntryKind::ConfChange => ConfChange::parse_from_bytes(data).map(Decoded::V1),
        EntryKind::ConfChangeV2 => ConfChangeV2::parse_from_bytes(data).map(Decoded::V2),
    };
    decoded.map_err(|_| MembersError::NotAChange)
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

    // The bytes are part of the state record: they never change.
    #[test]
    fn members_have_the_golden_bytes() {
        let all = Members { learners: vec![9], ..Members::founders(&[node(2), node(1), node(2)]) };
        let golden = "000200000000000000010000000000000002000000010000000000000009000000";
        assert_eq!(hex::encode(all.encode()), golden);
        assert_eq!(Members::decode(&all.encode()), Ok(all));
    }

    #[test]
    fn bytes_that_are_no_members_are_refused() {
        let good = members(&[1, 2]).encode();
        for cut in 0..good.len() {
            assert!(Members::decode(&good[..cut]).is_err(), "cut at {cut}");
        }
        let mut long = good.to_vec();
        long.push(0);
        assert!(Members::decode(&long).is_err());
        let mut descending = good.to_vec();
        descending[9] = 7;
        assert_eq!(Members::decode(&descending), Err(MembersError::List));
        let mut flagged = good.to_vec();
        flagged[good.len() - 1] = 2;
        assert_eq!(Members::decode(&flagged), Err(MembersError::Flag { value: 2 }));
    }

    #[test]
    fn a_committed_change_gives_the_members_after_it() {
        let add = entry(EntryKind::ConfChangeV2, encode_change(Change::AddLearner(node(4))));
        let after = members(&[1, 2, 3]).after(&add).unwrap();
        assert_eq!(after, Members { learners: vec![4], ..members(&[1, 2, 3]) });
        let vote = entry(EntryKind::ConfChangeV2, encode_change(Change::AddVoter(node(4))));
        assert_eq!(after.after(&vote).unwrap(), members(&[1, 2, 3, 4]));
    }

    #[test]
    fn a_change_that_cannot_be_applied_changes_nothing() {
        let last = entry(EntryKind::ConfChangeV2, encode_change(Change::Remove(node(1))));
        assert_eq!(members(&[1]).after(&last).unwrap(), members(&[1]));
        let normal = entry(EntryKind::Normal, Bytes::new());
        assert_eq!(members(&[1]).after(&normal), Err(MembersError::NotAChange));
    }

    // The library's decoder recurses for each nested group, so that a few megabytes of them overflow its stack.
    #[test]
    fn a_change_of_more_bytes_than_the_bound_is_refused_before_it_is_parsed() {
        let nested = |count: usize| vec![0x0b; count];
        for kind in [EntryKind::ConfChange, EntryKind::ConfChangeV2] {
            assert!(matches!(decode_change(kind, &nested(ENTRY_BYTES_MAX)), Err(MembersError::NotAChange)));
            let unknown = |count: usize| [0x7a, u8::try_from(count - 2).unwrap()].into_iter().chain(vec![0; count - 2]);
            let at_bound: Vec<u8> = unknown(MEMBERS_CHANGE_BYTES_MAX).collect();
            let above: Vec<u8> = unknown(MEMBERS_CHANGE_BYTES_MAX + 1).collect();
            assert!(decode_change(kind, &at_bound).is_ok());
            assert!(decode_change(kind, &above).is_err());
        }
        for change in [Change::AddVoter(node(u64::MAX)), Change::AddLearner(node(1)), Change::Remove(node(u64::MAX))] {
            let bytes = encode_change(change);
            assert!(bytes.len() <= MEMBERS_CHANGE_BYTES_MAX / 4, "{} bytes", bytes.len());
            assert!(decode_change(EntryKind::ConfChangeV2, &bytes).is_ok());
        }
    }

    #[test]
    fn no_change_is_proposed_while_one_is_pending() {
        let three = members(&[1, 2, 3]);
        let view = ChangeView { node: node(1), members: &three, is_gate_open: true, has_pending: false };
        let change = Change::AddVoter(node(4));
        assert_eq!(guard(change, view), Ok(()));
        assert_eq!(guard(change, ChangeView { has_pending: true, ..view }), Err(ChangeRefused::NotNow));
        assert_eq!(guard(change, ChangeView { is_gate_open: false, ..view }), Err(ChangeRefused::NotNow));
        let joint = Members { voters_outgoing: vec![1, 2], ..three.clone() };
        assert_eq!(guard(change, ChangeView { members: &joint, ..view }), Err(ChangeRefused::NotNow));
        assert_eq!(guard(Change::Remove(node(1)), view), Err(ChangeRefused::LeaderItself));
    }
}
