//! Committed entries on their way to apply: in order, each once, and never more batches than its queue holds.

use std::collections::VecDeque;

use crate::ids::Index;
use crate::limits::APPLY_QUEUE_MAX;
use crate::raft::Committed;
use crate::raft::Ports;
use crate::raft::fatal::RaftFatal;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct HandOut {
    /// The newest committed entry that came from raft.
    newest: Index,
    /// The last index of each batch that apply has not finished.
    unfinished: VecDeque<Index>,
    /// Entries that wait for a place in apply's queue.
    backlog: Vec<Committed>,
}

impl HandOut {
    /// The state holds everything up to `applied`.
    pub(super) fn new(applied: Index) -> HandOut {
        HandOut { newest: applied, unfinished: VecDeque::new(), backlog: Vec::new() }
    }

    /// Takes the next committed entry.
    pub(super) fn push(&mut self, committed: Committed) {
        assert_eq!(committed.entry.index, self.newest.next(), "IN-ORDER: raft commits without gaps");
        self.newest = committed.entry.index;
        self.backlog.push(committed);
    }

    /// Gives apply the entries that wait, unless it has so many batches that its queue could be full.
    pub(super) fn fill(&mut self, ports: &mut dyn Ports) {
        let Some(last) = self.backlog.last().map(|last| last.entry.index) else { return };
        if self.unfinished.len() < APPLY_QUEUE_MAX / 2 {
            assert!(self.unfinished.back().is_none_or(|before| *before < last), "batches follow one another");
            self.unfinished.push_back(last);
            ports.apply(std::mem::take(&mut self.backlog));
        }
    }

    /// The state holds everything up to `applied`.
    ///
    /// # Errors
    /// [`RaftFatal::AppliedAhead`]: apply never got that.
    pub(super) fn applied(&mut self, applied: Index) -> Result<(), RaftFatal> {
        if applied > self.newest {
            return Err(RaftFatal::AppliedAhead { applied, handed: self.newest });
        }
        while self.unfinished.pop_front_if(|last| *last <= applied).is_some() {}
        assert!(self.unfinished.iter().is_sorted(), "batches follow one another");
        Ok(())
    }
}
