//! What a leader knows of its members' logs.

use ::raft::ProgressState;
use ::raft::Raft;

use crate::ids::Index;
use crate::ids::NodeId;
use crate::raft::election::is_leader;
use crate::raft::log::Log;

/// How far a member's log is, as its leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberProgress {
    /// The member.
    pub node: NodeId,
    /// It is known to hold everything up to here.
    pub matched: Index,
    /// It has answered within an election timeout; true of the leader itself.
    pub is_active: bool,
    /// It needs a snapshot first.
    pub needs_snapshot: bool,
}

/// Of every member, ascending by node; nothing on a node that does not lead.
pub(super) fn progress(raft: &Raft<Log>) -> Vec<MemberProgress> {
    if !is_leader(raft) {
        return Vec::new();
    }
    let member = |(id, progress): (&u64, &::raft::Progress)| {
        Some(MemberProgress {
            node: NodeId::new(*id)?,
            matched: Index(progress.matched),
            is_active: progress.recent_active || *id == raft.id,
            needs_snapshot: progress.state == ProgressState::Snapshot,
        })
    };
    let mut all: Vec<MemberProgress> = raft.prs().iter().filter_map(member).collect();
    all.sort_by_key(|member| member.node);
    all
}
