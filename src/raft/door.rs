//! The door: which entries may come into the log. Raft cannot take back an accepted entry, so space is checked before.
//!
//! Two bounds hold at once: free bytes of the log on disk, and bytes above raft's applied index, which are all in memory.
//! Control entries may use the log's reserve. A peer's append is never dropped: entries without space are cut from its end,
//! and the rest is stepped, so that the match is answered and the commit is learned. Behind a control entry or a membership
//! change the door is closed until that is applied (N3).

use std::sync::Arc;

use ::raft::Raft;
use ::raft::eraftpb::Message;

use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::PROPOSE_BATCH_ENTRIES_MAX;
use crate::raft::LeaderView;
use crate::raft::log::ENTRY_OVERHEAD;
use crate::raft::log::GROUP_OVERHEAD;
use crate::raft::log::Log;
use crate::raft::log::cost;
use crate::wal::LogSpace;

/// Bytes that a batch takes besides its sealed entries, at most: the proposer sees so much less space.
const BATCH_OVERHEAD: u64 = PROPOSE_BATCH_ENTRIES_MAX as u64 * ENTRY_OVERHEAD + 8 * GROUP_OVERHEAD;

/// Bytes that one small entry takes besides its data: what is left between this and [`BATCH_OVERHEAD`] is for a few of them.
const CLEAR_OVERHEAD: u64 = ENTRY_OVERHEAD + 2 * GROUP_OVERHEAD;

/// Bytes that a peer's append takes besides its entries: they are about one frame at most, so two groups.
const APPEND_OVERHEAD: u64 = 2 * GROUP_OVERHEAD;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct EntryDoor {
    space: Arc<LogSpace>,
    /// Bytes above raft's applied index that may be in memory.
    unapplied_bytes_max: u64,
    /// Bytes of peers' entries stepped since the last Ready: nothing else counts them yet.
    stepped_bytes: u64,
    /// The newest control entry or membership change proposed here.
    barrier: Position,
}

impl EntryDoor {
    pub(super) fn new(space: Arc<LogSpace>, unapplied_bytes_max: u64) -> EntryDoor {
        EntryDoor { space, unapplied_bytes_max, stepped_bytes: 0, barrier: Position::default() }
    }

    /// The log gives back no entry up to here. A gauge and not a message: what dropped them may have been a start, before there was
    /// a raft to tell, and with one message lost a leader would ask the log for dropped entries as long as it leads.
    pub(super) fn compacted(&self) -> Index {
        self.space.compacted()
    }

    /// The view of a leader's proposer. `is_log_full`: the log's queue has its share of groups.
    pub(super) fn view(&self, raft: &Raft<Log>, is_log_full: bool) -> LeaderView {
        let applied = raft.raft_log.applied;
        let term = raft.raft_log.term(applied).unwrap_or(0);
        // One of an earlier term is applied or gone once the own empty entry is applied (N2), and the log may end below it.
        let is_closed = self.barrier.term.0 == raft.term && self.barrier.index.0 > applied;
        LeaderView {
            term: Term(raft.term),
            last_index: Index(raft.raft_log.last_index()),
            applied: Position { term: Term(term), index: Index(applied) },
            own_term_applied: term == raft.term,
            is_blocked: is_closed || raft.lead_transferee.is_some(),
            space_bytes: self.client_bytes(raft, is_log_full, BATCH_OVERHEAD),
            clear_bytes: self.client_bytes(raft, is_log_full, CLEAR_OVERHEAD),
            is_held: self.space.is_held(),
        }
    }

    /// Own proposals stop while entries above *commit* take half of the log's pool, so that a leader without a quorum
    /// cannot fill it.
    fn client_bytes(&self, raft: &Raft<Log>, is_log_full: bool, overhead: u64) -> u64 {
        let uncommitted = raft.store().log_bytes_above(raft.raft_log.committed);
        if uncommitted >= self.space.pool_bytes() / 2 {
            return 0;
        }
        self.free_bytes(raft, is_log_full, 0).saturating_sub(overhead)
    }

    /// Bytes that memory and log can still take once `freed` bytes of memory are overwritten.
    fn free_bytes(&self, raft: &Raft<Log>, is_log_full: bool, freed: u64) -> u64 {
        if is_log_full {
            return 0;
        }
        let memory = self.unapplied_bytes_max.saturating_sub(raft.store().unapplied_bytes()) + freed;
        memory.min(self.space.available_bytes()).saturating_sub(self.stepped_bytes)
    }

    /// Cuts entries without space from the end of a peer's append, all if need be. Entries that are here already need none.
    pub(super) fn cut(&mut self, message: &mut Message, raft: &Raft<Log>, is_log_full: bool) {
        let known =
            message.entries.iter().take_while(|entry| raft.raft_log.match_term(entry.index, entry.term)).count();
        let Some(conflict) = message.entries.get(known) else { return };
        let freed = raft.store().bytes_from(conflict.index);
        let is_log_full = is_log_full || self.space.is_held();
        let mut left = self.free_bytes(raft, is_log_full, freed).saturating_sub(APPEND_OVERHEAD);
        let mut fits = known;
        for entry in message.entries.iter().skip(known) {
            let Some(rest) = left.checked_sub(cost(entry)) else { break };
            self.stepped_bytes += cost(entry);
            left = rest;
            fits += 1;
        }
        if fits > known {
            self.stepped_bytes += APPEND_OVERHEAD;
        }
        assert!(known <= fits, "entries that are here stay");
        if fits < message.entries.len() {
            tracing::debug!(cut = message.entries.len() - fits, "no space for a peer's entries");
            message.mut_entries().truncate(fits);
        }
    }

    /// A Ready took the stepped entries: the log counts them from now on.
    pub(super) fn ready(&mut self) {
        self.stepped_bytes = 0;
    }

    /// Nothing comes in behind `barrier` until it is applied, or another term begins.
    pub(super) fn close_behind(&mut self, barrier: Position) {
        let before = self.barrier;
        assert!(before.term < barrier.term || before.index < barrier.index, "barriers stand one behind another");
        self.barrier = barrier;
    }
}
