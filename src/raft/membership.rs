//! The members as the library has them: changes are proposed behind a guard and applied as they are handed out.

use ::raft::INVALID_ID;
use ::raft::RawNode;
use ::raft::eraftpb::EntryType;

use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::members::Members;
use crate::raft::LeaderView;
use crate::raft::append::append;
use crate::raft::config::RaftConfig;
use crate::raft::election::is_leader;
use crate::raft::fatal::RaftFatal;
use crate::raft::log::Log;
use crate::raft::members_change::ChangeRefused;
use crate::raft::members_change::ChangeView;
use crate::raft::members_change::MemberChange;
use crate::raft::members_change::decode_change;
use crate::raft::members_change::encode_change;
use crate::raft::members_change::guard;
use crate::raft::transfer::behind;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Membership {
    node: NodeId,
    members: Members,
    /// Bytes of applied entries that stay in memory for followers.
    entry_cache_bytes_max: u64,
}

impl Membership {
    /// As of the state at the start.
    pub(super) fn new(config: &RaftConfig, members: Members, raft: &mut RawNode<Log>) -> Membership {
        let RaftConfig { node_id: node, entry_cache_bytes_max, .. } = *config;
        let membership = Membership { node, members, entry_cache_bytes_max };
        membership.keep_for_followers(raft);
        membership
    }

    /// As of the newest change handed to apply.
    pub(super) fn members(&self) -> &Members {
        &self.members
    }

    /// Appends a change behind the last entry, unless the guard refuses it. `view` is as of now.
    ///
    /// # Errors
    /// [`RaftFatal::Misplaced`]: it stands elsewhere, or as something else. Nothing of it has left this node.
    pub(super) fn propose(
        &self,
        change: &MemberChange,
        view: &LeaderView,
        raft: &mut RawNode<Log>,
    ) -> Result<Result<Position, ChangeRefused>, RaftFatal> {
        let seen = ChangeView {
            node: self.node,
            members: &self.members,
            is_gate_open: view.own_term_applied && !view.is_blocked,
            has_pending: raft.raft.has_pending_conf(),
            behind: &|member| {
                let progress = raft.raft.prs().get(member.value());
                progress.map_or(view.last_index.0, |progress| behind(&raft.raft, progress))
            },
        };
        if let Err(refused) = guard(change, seen) {
            return Ok(Err(refused));
        }
        let first = view.last_index.next();
        // The kind is compared as well: raft makes a change that it refuses an empty entry and says Ok.
        if !append(raft, EntryType::EntryConfChangeV2, view.term, first, &[encode_change(change)])? {
            return Ok(Err(ChangeRefused::NotNow));
        }
        assert!(raft.raft.has_pending_conf(), "an appended change is pending until it is applied");
        Ok(Ok(Position { term: view.term, index: first }))
    }

    /// Applies a committed change to raft. The members after it, or `None` for an entry that is no change. One that is malformed is
    /// none either: apply halts at it, here as in a replay.
    pub(super) fn apply(&mut self, entry: &LogEntry, raft: &mut RawNode<Log>) -> Option<Members> {
        if entry.kind == EntryKind::Normal {
            return None;
        }
        let change = decode_change(entry.kind, &entry.data).ok()?;
        if let Some(members) = change.apply(raft) {
            assert!(!members.voters.is_empty(), "a cluster keeps a voter");
            self.members = members;
            self.keep_for_followers(raft);
            step_down_without_a_vote(raft);
        }
        Some(self.members.clone())
    }

    /// Applied entries stay in memory only where another member may still ask for them.
    fn keep_for_followers(&self, raft: &mut RawNode<Log>) {
        let bytes = if self.members.is_alone(self.node) { 0 } else { self.entry_cache_bytes_max };
        raft.mut_store().keep_applied(bytes);
    }
}

/// A leader whose own removal, or loss of the vote, is applied leads no longer: the library lets it go on, and ends the process
/// at the next answer of a follower, since it finds no progress of its own. Leadership is moved before a leader is taken out,
/// but the change may have been appended by a leader before it.
fn step_down_without_a_vote(raft: &mut RawNode<Log>) {
    if is_leader(&raft.raft) && !raft.raft.promotable() {
        let term = raft.raft.term;
        tracing::info!(term, "this node has no vote any more and leads no longer");
        raft.raft.become_follower(term, INVALID_ID);
    }
}
