//! Membership as two rooms write it: raft's members and the ConfState of the state record are the same lists.

use bytes::Bytes;

use crate::fsm::state::Applied;
use crate::fsm::state::ConfLists;
use crate::fsm::state::ConfState;
use crate::fsm::state::Member;
use crate::ids::NodeId;
use crate::raft::Members;

/// The members in a state record, as raft is started with.
#[must_use]
pub fn members_of(conf_state: &ConfState) -> Members {
    Members {
        voters: conf_state.voters().to_vec(),
        learners: conf_state.learners().to_vec(),
        voters_outgoing: conf_state.voters_outgoing().to_vec(),
        learners_next: conf_state.learners_next().to_vec(),
        auto_leave: conf_state.auto_leave(),
    }
}

/// Puts the members that raft encoded into `applied`; `None` if they are none. Known addresses stay with their nodes.
pub(crate) fn set_members(applied: &mut Applied, encoded: &Bytes) -> Option<()> {
    let Members { voters, learners, voters_outgoing, learners_next, auto_leave } = Members::decode(encoded).ok()?;
    let lists = ConfLists { voters, voters_outgoing, learners, learners_next, auto_leave };
    let mut ids: Vec<u64> = [&lists.voters, &lists.voters_outgoing, &lists.learners, &lists.learners_next]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    ids.sort_unstable();
    ids.dedup();
    let members = ids.into_iter().map(|id| {
        let node = NodeId::new(id)?;
        let known = applied.members.iter().find(|member| member.node == node);
        let address = known.map(|member| member.address.clone()).unwrap_or_default();
        Some(Member { node, address })
    });
    applied.members = members.collect::<Option<Vec<Member>>>()?;
    applied.conf_state = ConfState::new(lists).ok()?;
    Some(())
}
