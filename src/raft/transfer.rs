//! Handing the leadership over. The library stops proposals until the other node leads, or an election timeout has passed.

use ::raft::Progress;
use ::raft::ProgressState;
use ::raft::Raft;
use ::raft::RawNode;

use crate::ids::NodeId;
use crate::limits::PROMOTE_LAG_MAX;
use crate::members::Members;
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
    /// Only a voter can lead, and not one that is about to leave.
    #[error("node {0} has no vote, or is about to lose it")]
    NoVoter(NodeId),
    /// Nothing could be written until it has the rest.
    #[error(
        "node {node} is {behind} entries behind, at most {PROMOTE_LAG_MAX} are allowed: wait until it has caught up"
    )]
    FarBehind {
        /// The voter.
        node: NodeId,
        /// Entries that it lacks.
        behind: u64,
    },
    /// No other voter has answered lately and has nearly all of the log.
    #[error("there is no other voter that can be reached and has nearly all of the log")]
    Nobody,
}

/// Hands over to `to`, or to the voter that has most of the log. The node that leadership goes to.
pub(super) fn transfer(
    node: &mut RawNode<Log>,
    members: &Members,
    to: Option<NodeId>,
) -> Result<NodeId, TransferRefused> {
    let raft = &node.raft;
    if !is_leader(raft) {
        let leader = Some(raft.leader_id).filter(|id| *id != ::raft::INVALID_ID);
        return Err(TransferRefused::NotLeader(leader));
    }
    if raft.lead_transferee.is_some() {
        return Err(TransferRefused::NotNow);
    }
    let to = match to {
        Some(to) if to.value() == raft.id => return Err(TransferRefused::LeadsAlready(to)),
        Some(to) => judged(raft, members, to)?,
        None => best(raft, members).ok_or(TransferRefused::Nobody)?,
    };
    tracing::info!(to = to.value(), "the leadership is handed over");
    node.transfer_leader(to.value());
    Ok(to)
}

/// Whether that node can lead from now on.
fn judged(raft: &Raft<Log>, members: &Members, to: NodeId) -> Result<NodeId, TransferRefused> {
    if !members.voters.contains(&to.value()) {
        return Err(TransferRefused::NoVoter(to));
    }
    let behind = raft.prs().get(to.value()).map_or(u64::MAX, |progress| behind(raft, progress));
    if behind > PROMOTE_LAG_MAX { Err(TransferRefused::FarBehind { node: to, behind }) } else { Ok(to) }
}

/// The voter that has most of the log, among those that stay, answer, and are not far behind.
fn best(raft: &Raft<Log>, members: &Members) -> Option<NodeId> {
    let can_lead = |(id, progress): &(&u64, &Progress)| {
        **id != raft.id
            && members.voters.contains(*id)
            && progress.recent_active
            && progress.state != ProgressState::Snapshot
            && behind(raft, progress) <= PROMOTE_LAG_MAX
    };
    let best = raft.prs().iter().filter(can_lead).max_by_key(|(id, progress)| (progress.matched, **id));
    best.and_then(|(id, _)| NodeId::new(*id))
}

/// Entries that a member is not known to hold.
pub(super) fn behind(raft: &Raft<Log>, progress: &Progress) -> u64 {
    raft.raft_log.last_index().saturating_sub(progress.matched)
}
