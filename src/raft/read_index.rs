//! Linearizable read points of the library: one round for each context of the proposer.
//!
//! The leader keeps the contexts of the whole cluster in one map and drops duplicates, so each is unique there: node id,
//! random number of this process, the proposer's context. A request can vanish without a word: it is sent again with the
//! same context (its answer is then newer than the reads), and given up at its deadline or when the leadership moves.

use std::collections::VecDeque;
use std::time::Duration;

use ::raft::RawNode;
use ::raft::ReadState;

use crate::ids::Index;
use crate::ids::NodeId;
use crate::limits::READ_BATCHES_MAX;
use crate::raft::Ports;
use crate::raft::Proposer;
use crate::raft::election::is_leader;
use crate::raft::log::Log;

/// Bytes by which the leader knows a round: node id, process, context.
const KEY_LEN: usize = 24;

#[derive(Debug)]
struct Round {
    context: u64,
    deadline: Duration,
    /// `None` until it is sent.
    resend_at: Option<Duration>,
}

/// All rounds without an answer, oldest first; only the newest may be unsent.
#[derive(Debug)]
pub(super) struct ReadIndex {
    node: NodeId,
    process: u64,
    rounds: VecDeque<Round>,
    patience: Duration,
    resend_after: Duration,
}

impl ReadIndex {
    /// `process` is random: an earlier life of this node may have left its contexts with the leader.
    pub(super) fn new(node: NodeId, process: u64, patience: Duration, resend_after: Duration) -> ReadIndex {
        ReadIndex { node, process, rounds: VecDeque::new(), patience, resend_after }
    }

    /// Asks the proposer for reads.
    pub(super) fn gather(&mut self, proposer: &mut dyn Proposer, now: Duration) {
        if let Some(context) = proposer.ask_reads(self.unsent()) {
            self.add(context, now);
        }
    }

    /// Asks raft for a read point of each round that is due.
    pub(super) fn send(&mut self, node: &mut RawNode<Log>, now: Duration) {
        let raft = &node.raft;
        // Before that, the library drops the request without a word.
        let is_heard =
            if is_leader(raft) { raft.commit_to_current_term() } else { raft.leader_id != ::raft::INVALID_ID };
        if is_heard {
            self.due(now).into_iter().for_each(|key| node.read_index(key));
        }
        self.assert_order();
    }

    /// The context that is not sent yet: reads may still join it.
    fn unsent(&self) -> Option<u64> {
        self.rounds.back().filter(|round| round.resend_at.is_none()).map(|round| round.context)
    }

    /// The context of [`ReadIndex::unsent`], which needs no round any more.
    pub(super) fn take_unsent(&mut self) -> Option<u64> {
        self.rounds.pop_back_if(|newest| newest.resend_at.is_none()).map(|round| round.context)
    }

    fn add(&mut self, context: u64, now: Duration) {
        assert_eq!(self.unsent(), None, "reads join the unsent context");
        assert!(self.rounds.back().is_none_or(|newest| newest.context < context), "contexts increase");
        self.rounds.push_back(Round { context, deadline: now + self.patience, resend_at: None });
    }

    /// The keys to ask raft for now: of rounds that had no answer for too long, and of the unsent one if few are under way.
    fn due(&mut self, now: Duration) -> Vec<Vec<u8>> {
        let sent = self.rounds.iter().filter(|round| round.resend_at.is_some()).count();
        let is_due = |round: &Round| round.resend_at.map_or(sent < READ_BATCHES_MAX, |resend_at| resend_at <= now);
        let keys: Vec<_> =
            self.rounds.iter().filter(|round| is_due(round)).map(|round| self.key(round).to_vec()).collect();
        let resend_at = Some(now + self.resend_after);
        self.rounds.iter_mut().filter(|round| is_due(round)).for_each(|round| round.resend_at = resend_at);
        assert!(keys.len() <= READ_BATCHES_MAX, "one unsent round, and few that are under way");
        keys
    }

    /// Raft confirmed read points. One that is not ours or was given up is passed over.
    pub(super) fn confirm(&mut self, states: &[ReadState], ports: &mut dyn Ports) {
        for state in states {
            if let Some(context) = self.take(&state.request_ctx) {
                ports.read_ready(context, Index(state.index));
            }
        }
    }

    fn take(&mut self, key: &[u8]) -> Option<u64> {
        let round = self.rounds.iter().position(|round| self.key(round) == key)?;
        let taken = self.rounds.remove(round);
        assert!(self.rounds.iter().all(|round| self.key(round) != key), "a context is answered once");
        self.assert_order();
        taken.map(|round| round.context)
    }

    /// Gives up the rounds whose deadline has passed.
    pub(super) fn expire(&mut self, now: Duration, ports: &mut dyn Ports) {
        self.lose(|round| round.deadline <= now, ports);
        assert!(self.rounds.iter().all(|round| round.deadline > now), "nobody waits beyond a deadline");
    }

    /// Gives up all that was sent, when the leadership moved: raft forgot it. The unsent round goes on waiting.
    pub(super) fn lose_sent(&mut self, ports: &mut dyn Ports) {
        self.lose(|round| round.resend_at.is_some(), ports);
        assert!(self.rounds.len() <= 1, "only the newest round may be unsent");
    }

    /// Gives up everything, at the end.
    pub(super) fn lose_all(&mut self, ports: &mut dyn Ports) {
        self.lose(|_| true, ports);
        assert!(self.rounds.is_empty(), "nothing is left to wait for");
    }

    fn lose(&mut self, is_lost: impl Fn(&Round) -> bool, ports: &mut dyn Ports) {
        let (lost, left): (VecDeque<Round>, VecDeque<Round>) = self.rounds.drain(..).partition(is_lost);
        self.rounds = left;
        self.assert_order();
        lost.iter().for_each(|round| ports.read_lost(round.context));
    }

    /// Contexts increase, and only the newest round may be unsent: reads that come now join that one.
    fn assert_order(&self) {
        assert!(self.rounds.iter().is_sorted_by_key(|round| round.context), "oldest first");
        let mut older = self.rounds.iter().rev().skip(1);
        assert!(older.all(|round| round.resend_at.is_some()), "only the newest round may be unsent");
    }

    fn key(&self, round: &Round) -> [u8; KEY_LEN] {
        let mut key = [0; KEY_LEN];
        for (part, number) in key.chunks_exact_mut(8).zip([self.node.value(), self.process, round.context]) {
            part.copy_from_slice(&number.to_be_bytes());
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::Committed;
    use crate::raft::Status;
    use crate::wal::Append;

    const NONE: [u64; 0] = [];
    const SECOND: Duration = Duration::from_secs(1);

    fn reads() -> ReadIndex {
        ReadIndex::new(NodeId::new(3).unwrap(), 77, 5 * SECOND, SECOND)
    }

    #[derive(Default)]
    struct Lost(Vec<u64>);

    impl Ports for Lost {
        fn log(&mut self, _append: Append) {}

        fn apply(&mut self, _committed: Vec<Committed>) {}

        fn read_ready(&mut self, _context: u64, _index: Index) {}

        fn read_lost(&mut self, context: u64) {
            self.0.push(context);
        }

        fn status(&mut self, _status: Status) {}
    }

    /// The contexts that are given up.
    fn lost(give_up: impl FnOnce(&mut Lost)) -> Vec<u64> {
        let mut lost = Lost::default();
        give_up(&mut lost);
        lost.0
    }

    #[test]
    fn reads_that_came_together_share_one_context() {
        let mut reads = reads();
        reads.add(1, SECOND);
        assert_eq!(reads.unsent(), Some(1), "reads that come now join it");
        let keys = reads.due(SECOND);
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].len(), KEY_LEN);
        assert_eq!(reads.take(&keys[0]), Some(1));
        assert_eq!(reads.take(&keys[0]), None, "answered once");
    }

    #[test]
    fn a_read_never_joins_a_context_that_was_sent_before_it() {
        let mut reads = reads();
        reads.add(1, SECOND);
        let first = reads.due(SECOND);
        assert_eq!(reads.unsent(), None, "it was sent");
        reads.add(2, SECOND);
        let second = reads.due(SECOND);
        assert_ne!(first, second);
        assert_eq!(reads.take(&first[0]), Some(1));
        assert_eq!(reads.take(&second[0]), Some(2));
    }

    #[test]
    fn few_rounds_are_under_way_at_once_and_the_next_waits() {
        let mut reads = reads();
        let sent = (1..=READ_BATCHES_MAX as u64).map(|context| {
            reads.add(context, SECOND);
            reads.due(SECOND).remove(0)
        });
        let sent: Vec<_> = sent.collect();
        reads.add(1000, SECOND);
        assert!(reads.due(SECOND).is_empty());
        assert_eq!(reads.unsent(), Some(1000));
        assert_eq!(reads.take(&sent[0]), Some(1));
        assert_eq!(reads.due(SECOND).len(), 1);
        assert_eq!(reads.unsent(), None);
    }

    #[test]
    fn an_unanswered_context_is_sent_again_and_given_up_at_its_deadline() {
        let mut reads = reads();
        reads.add(1, SECOND);
        let sent = reads.due(SECOND);
        assert!(reads.due(SECOND).is_empty());
        assert_eq!(reads.due(3 * SECOND), sent);
        assert_eq!(lost(|ports| reads.expire(5 * SECOND, ports)), NONE);
        assert_eq!(lost(|ports| reads.expire(6 * SECOND, ports)), [1]);
        assert_eq!(reads.take(&sent[0]), None, "too late");
    }

    #[test]
    fn contexts_of_others_and_of_earlier_lives_are_not_ours() {
        let mut earlier = ReadIndex::new(NodeId::new(3).unwrap(), 76, SECOND, SECOND);
        earlier.add(1, SECOND);
        let foreign = earlier.due(SECOND);
        let mut reads = reads();
        reads.add(1, SECOND);
        reads.due(SECOND);
        assert_eq!(reads.take(&foreign[0]), None);
        assert_eq!(reads.take(b"short"), None);
        assert_eq!(lost(|ports| reads.lose_all(ports)), [1]);
    }

    #[test]
    fn the_unsent_context_outlives_a_leadership() {
        let mut reads = reads();
        reads.add(1, SECOND);
        reads.due(SECOND);
        reads.add(2, SECOND);
        assert_eq!(lost(|ports| reads.lose_sent(ports)), [1]);
        assert_eq!(reads.unsent(), Some(2));
    }
}
