//! What the library knows of itself, as the rest of the node is told.

use ::raft::Raft;

use crate::ids::Index;
use crate::ids::Term;
use crate::raft::Status;
use crate::raft::election::is_leader;
use crate::raft::log::Log;

/// As of now. `is_alone`: nobody else can take part in a decision.
pub(super) fn status(raft: &Raft<Log>, is_alone: bool) -> Status {
    let is_leader = is_leader(raft);
    let own_term_applied = raft.raft_log.term(raft.raft_log.applied).is_ok_and(|term| term == raft.term);
    Status {
        term: Term(raft.term),
        is_leader,
        leads_alone: is_leader && own_term_applied && is_alone,
        leader: raft.leader_id,
        committed: Index(raft.raft_log.committed),
        persisted: Index(raft.raft_log.persisted),
        last: Index(raft.raft_log.last_index()),
        entry_bytes: raft.store().memory_bytes(),
    }
}
