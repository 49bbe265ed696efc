//! Who belongs to a cluster: who votes and who only listens. Bytes as they stand in the applied row:
//!
//! ```text
//! four lists in this order: voters, outgoing voters, learners, next learners; each is
//!     count(2), then count * node id(8), strictly ascending, never 0
//! auto leave(1), 0 or 1
//! ```
//!
//! All integers are big-endian. Raft's own lists come out of hash sets; these are sorted, so equal members are equal
//! bytes (SAME-BYTES). How members change is raft's business, where their peers reach them is the state's.

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::ids::NodeId;
use crate::limits::MEMBERS_MAX;

/// The members of a cluster at one index; every list ascending and without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Voters; during a joint change those of the incoming configuration.
    pub voters: Vec<u64>,
    /// Members that receive entries and do not vote.
    pub learners: Vec<u64>,
    /// Voters of the outgoing configuration, while a joint change is under way.
    pub voters_outgoing: Vec<u64>,
    /// Voters that become learners when the joint change ends.
    pub learners_next: Vec<u64>,
    /// Raft leaves the joint configuration by itself.
    pub auto_leave: bool,
}

impl Members {
    /// The founders of a new cluster, in any order.
    #[must_use]
    pub fn founders(voters: &[NodeId]) -> Members {
        let mut members = Members { voters: voters.iter().map(|id| id.value()).collect(), ..Members::default() };
        members.sort();
        members.voters.dedup();
        members
    }

    /// Puts every list in ascending order.
    pub fn sort(&mut self) {
        for list in [&mut self.voters, &mut self.voters_outgoing, &mut self.learners, &mut self.learners_next] {
            list.sort_unstable();
        }
    }

    /// Whether every list can stand in a record.
    ///
    /// # Errors
    /// [`CodecError::Field`]: id 0, a list that does not ascend strictly, or more than [`MEMBERS_MAX`] in one.
    pub fn check(&self) -> Result<(), CodecError> {
        self.lists().into_iter().try_for_each(|(field, list)| {
            let is_ascending = list.first() != Some(&0) && list.is_sorted_by(|a, b| a < b);
            if is_ascending && list.len() <= MEMBERS_MAX { Ok(()) } else { Err(CodecError::Field { field }) }
        })
    }

    /// Whether `node` is the only voter and there is no other member: nobody needs old entries from it, or can decide
    /// anything without it.
    #[must_use]
    pub fn is_alone(&self, node: NodeId) -> bool {
        let others = [&self.learners, &self.voters_outgoing, &self.learners_next];
        self.voters == [node.value()] && others.iter().all(|members| members.is_empty())
    }

    /// Every member of any list once, ascending; `None` if there is an id 0.
    #[must_use]
    pub fn nodes(&self) -> Option<Vec<NodeId>> {
        let mut ids: Vec<u64> = self.lists().into_iter().flat_map(|(_, list)| list).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().map(NodeId::new).collect()
    }

    /// Appends the bytes drawn above.
    ///
    /// # Panics
    /// If a list is longer than its count can say.
    pub fn put(&self, out: &mut Vec<u8>) {
        for (_, list) in self.lists() {
            let count = u16::try_from(list.len()).expect("a cluster has at most MEMBERS_MAX members");
            out.extend_from_slice(&count.to_be_bytes());
            list.iter().for_each(|id| out.extend_from_slice(&id.to_be_bytes()));
        }
        out.push(u8::from(self.auto_leave));
    }

    /// Reads the bytes drawn above from the front of `reader`.
    ///
    /// # Errors
    /// [`CodecError`] if they are anything that [`Members::put`] does not write for members that pass [`Members::check`].
    pub(crate) fn take(reader: &mut Reader<'_>) -> Result<Members, CodecError> {
        let mut members = Members {
            voters: take_ids(reader, VOTERS)?,
            voters_outgoing: take_ids(reader, VOTERS_OUTGOING)?,
            learners: take_ids(reader, LEARNERS)?,
            learners_next: take_ids(reader, LEARNERS_NEXT)?,
            auto_leave: false,
        };
        members.check()?;
        members.auto_leave = reader.flag("auto leave")?;
        Ok(members)
    }

    fn lists(&self) -> [(&'static str, &Vec<u64>); 4] {
        [
            (VOTERS, &self.voters),
            (VOTERS_OUTGOING, &self.voters_outgoing),
            (LEARNERS, &self.learners),
            (LEARNERS_NEXT, &self.learners_next),
        ]
    }
}

/// The count is judged before anything is allocated for it (BOUNDED).
fn take_ids(reader: &mut Reader<'_>, field: &'static str) -> Result<Vec<u64>, CodecError> {
    let count = usize::from(reader.u16(field)?);
    if count > MEMBERS_MAX {
        return Err(CodecError::Field { field });
    }
    (0..count).map(|_| reader.u64(field)).collect()
}

const VOTERS: &str = "voters";
const VOTERS_OUTGOING: &str = "outgoing voters";
const LEARNERS: &str = "learners";
const LEARNERS_NEXT: &str = "next learners";
const _: () = assert!(MEMBERS_MAX <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::tests::kit::garbage;

    fn node(id: u64) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn members(voters: &[u64]) -> Members {
        Members { voters: voters.to_vec(), ..Members::default() }
    }

    fn encode(members: &Members) -> Vec<u8> {
        let mut out = Vec::new();
        members.put(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Members, CodecError> {
        let mut reader = Reader::new(bytes);
        let members = Members::take(&mut reader)?;
        reader.end()?;
        Ok(members)
    }

    // The bytes are part of the state record: they never change.
    #[test]
    fn members_have_the_golden_bytes() {
        let all = Members { learners: vec![9], ..Members::founders(&[node(2), node(1), node(2)]) };
        let golden = "000200000000000000010000000000000002000000010000000000000009000000";
        assert_eq!(hex::encode(encode(&all)), golden);
        assert_eq!(decode(&encode(&all)), Ok(all));
    }

    #[test]
    fn every_list_and_the_flag_are_read_as_written() {
        let all = Members {
            voters: vec![1, 2],
            learners: vec![5],
            voters_outgoing: vec![1, 3],
            learners_next: vec![4],
            auto_leave: true,
        };
        let read = decode(&encode(&all)).unwrap();
        assert_eq!((read.voters.as_slice(), read.voters_outgoing.as_slice()), ([1, 2].as_slice(), [1, 3].as_slice()));
        assert_eq!((read.learners.as_slice(), read.learners_next.as_slice()), ([5].as_slice(), [4].as_slice()));
        assert!(read.auto_leave);
        assert_eq!(read.nodes().unwrap(), [1, 2, 3, 4, 5].map(node));
    }

    #[test]
    fn bytes_that_are_no_members_are_refused() {
        let good = encode(&members(&[1, 2]));
        for cut in 0..good.len() {
            assert!(decode(&good[..cut]).is_err(), "cut at {cut}");
        }
        let mut long = good.clone();
        long.push(0);
        assert!(decode(&long).is_err());
        let mut descending = good.clone();
        descending[9] = 7;
        assert_eq!(decode(&descending), Err(CodecError::Field { field: "voters" }));
        let mut flagged = good.clone();
        flagged[good.len() - 1] = 2;
        assert_eq!(decode(&flagged), Err(CodecError::Field { field: "auto leave" }));
        garbage(10, &[0, 1], decode);
    }

    /// SAME-BYTES: raft's lists come in any order, the row has one.
    #[test]
    fn members_are_sorted_whatever_order_they_came_in() {
        let make = |voters: &[u64]| {
            let mut members = Members { auto_leave: true, ..members(voters) };
            members.sort();
            members
        };
        let one = make(&[3, 1, 2]);
        assert_eq!(encode(&one), encode(&make(&[2, 3, 1])));
        assert_eq!((one.voters.as_slice(), one.auto_leave), (&[1, 2, 3][..], true));
        assert_eq!(decode(&encode(&one)), Ok(one));
    }

    #[test]
    fn members_with_id_0_a_double_or_too_many_are_refused() {
        let expected = Err(CodecError::Field { field: "voters" });
        assert_eq!(members(&[0, 1]).check(), expected);
        assert_eq!(members(&[1, 2, 2]).check(), expected);
        let too_many = members(&(1..=MEMBERS_MAX as u64 + 1).collect::<Vec<_>>());
        assert_eq!(too_many.check(), expected);
        assert_eq!(decode(&encode(&too_many)), Err(CodecError::Field { field: "voters" }));
        let full = members(&(1..=MEMBERS_MAX as u64).collect::<Vec<_>>());
        assert_eq!(decode(&encode(&full)), Ok(full));
    }

    #[test]
    fn a_member_is_alone_if_there_is_no_other_in_any_list() {
        assert!(members(&[3]).is_alone(node(3)));
        assert!(!members(&[3]).is_alone(node(4)));
        assert!(!Members { learners: vec![4], ..members(&[3]) }.is_alone(node(3)));
        assert!(!Members { voters_outgoing: vec![3], ..members(&[3]) }.is_alone(node(3)));
        assert!(!Members { learners_next: vec![4], ..members(&[3]) }.is_alone(node(3)));
    }
}
