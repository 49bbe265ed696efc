//! Handing the leadership over. The library stops proposals until the other node leads, or an election timeout has passed.

use ::raft::RawNode;

use crate::ids::NodeId;
use crate::raft::election::is_leader;
use crate::raft::log::Log;

/// Why a hand-over does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferRefused {
    /// Only a leader can; the leader's id, if known.
    #[error("this node does not lead")]
    NotLeader(Option<u64>),
    /// One is under way.
    #[error("the leadership is being handed over already")]
    NotNow,
    /// It leads already.
    #[error("node {0} leads already")]
    LeadsAlready(NodeId),
    /// Only a voter can lead.
    #[error("node {0} has no vote")]
    NoVoter(NodeId),
    /// No other voter has answered lately.
    #[error("there is no other voter that can be reached")]
    Nobody,
}

/// Hands over to `to`, or to the voter that has most of the log. The node that leadership goes to.
pub(super) fn transfer(node: &mut RawNode<Log>, to: Option<NodeId>) -> Result<NodeId, TransferRefused> {
    let raft = &node.raft;
    if !is_leader(raft) {
        let leader = Some(raft.leader_id).filter(|id| *id != ::raft::INVALID_ID);
        return Err(TransferRefused::NotLeader(leader));
    }
    if raft.lead_transferee.is_some() {
        return Err(TransferRefused::NotNow);
    }
    let voters = raft.prs().conf().voters();
    let to = match to {
        Some(to) if to.value() == raft.id => return Err(TransferRefused::LeadsAlready(to)),
        Some(to) if !voters.contains(to.value()) => return Err(TransferRefused::NoVoter(to)),
        Some(to) => to,
        None => {
            let others = raft
                .prs()
                .iter()
                .filter(|(id, progress)| **id != raft.id && progress.recent_active && voters.contains(**id));
            let (id, _) =
                others.max_by_key(|(id, progress)| (progress.matched, **id)).ok_or(TransferRefused::Nobody)?;
            NodeId::new(*id).ok_or(TransferRefused::Nobody)?
        }
    };
    tracing::info!(to = to.value(), "the leadership is handed over");
    node.transfer_leader(to.value());
    Ok(to)
}
