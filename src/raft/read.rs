//! Linearizable read points: client reads that came together share one ReadIndex of the library.
//!
//! The leader keeps the contexts of the whole cluster in one map and drops duplicates, so each is unique: node id,
//! random number of this process, counter. A request can vanish without a word: it is sent again with the same context
//! (its answer is then newer than the reads all the same), and given up at its deadline or when the leadership moves.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::NodeId;
use crate::limits::READ_BATCHES_MAX;
use crate::limits::READS_WAITING_MAX;

/// Bytes of a context: node id, process, counter.
const CONTEXT_LEN: usize = 24;

/// One ReadIndex under way.
#[derive(Debug)]
struct Batch {
    counter: u64,
    reads: Vec<u64>,
    deadline: Duration,
    resend_at: Duration,
}

/// All reads that wait for their point.
#[derive(Debug)]
pub(super) struct Reads {
    node: NodeId,
    process: u64,
    counter: u64,
    waiting: Vec<u64>,
    waiting_deadline: Duration,
    batches: VecDeque<Batch>,
    patience: Duration,
    resend_after: Duration,
}

impl Reads {
    /// `process` is random: an earlier life of this node may have left its contexts with the leader.
    pub(super) fn new(node: NodeId, process: u64, patience: Duration, resend_after: Duration) -> Reads {
        let (waiting, batches) = (Vec::new(), VecDeque::new());
        Reads { node, process, counter: 0, waiting, waiting_deadline: Duration::ZERO, batches, patience, resend_after }
    }

    /// Takes a read; false if there are too many.
    pub(super) fn add(&mut self, read: u64, now: Duration) -> bool {
        if self.waiting.len() >= READS_WAITING_MAX {
            return false;
        }
        if self.waiting.is_empty() {
            self.waiting_deadline = now + self.patience;
        }
        self.waiting.push(read);
        true
    }

    /// The contexts to ask raft for now: a new one for what waits, and those that had no answer for too long.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Vec<u8>> {
        let mut contexts = Vec::new();
        for batch in self.batches.iter_mut().filter(|batch| batch.resend_at <= now) {
            batch.resend_at = now + self.resend_after;
            contexts.push(context(self.node, self.process, batch.counter));
        }
        if !self.waiting.is_empty() && self.batches.len() < READ_BATCHES_MAX {
            self.counter += 1;
            let reads = std::mem::take(&mut self.waiting);
            let (deadline, resend_at) = (self.waiting_deadline, now + self.resend_after);
            self.batches.push_back(Batch { counter: self.counter, reads, deadline, resend_at });
            contexts.push(context(self.node, self.process, self.counter));
        }
        contexts
    }

    /// The reads whose context was confirmed; none if it is not ours or was given up.
    pub(super) fn confirmed(&mut self, context: &[u8]) -> Vec<u64> {
        let Some(counter) = self.counter_of(context) else {
            return Vec::new();
        };
        match self.batches.iter().position(|batch| batch.counter == counter) {
            Some(slot) => self.batches.remove(slot).map_or_else(Vec::new, |batch| batch.reads),
            None => Vec::new(),
        }
    }

    /// The reads whose deadline has passed.
    pub(super) fn expired(&mut self, now: Duration) -> Vec<u64> {
        let mut lost = Vec::new();
        self.batches.retain_mut(|batch| {
            let is_alive = batch.deadline > now;
            if !is_alive {
                lost.append(&mut batch.reads);
            }
            is_alive
        });
        if !self.waiting.is_empty() && self.waiting_deadline <= now {
            lost.append(&mut self.waiting);
        }
        lost
    }

    /// Everything under way, when the leadership moved: raft forgot it. What waits goes on waiting.
    pub(super) fn lose_sent(&mut self) -> Vec<u64> {
        self.batches.drain(..).flat_map(|batch| batch.reads).collect()
    }

    /// Everything, at the end.
    pub(super) fn lose_all(&mut self) -> Vec<u64> {
        let mut lost = self.lose_sent();
        lost.append(&mut self.waiting);
        lost
    }

    fn counter_of(&self, context: &[u8]) -> Option<u64> {
        let (prefix, counter) = context.split_last_chunk::<8>()?;
        let ours = [self.node.value().to_be_bytes(), self.process.to_be_bytes()].concat();
        (prefix == ours).then(|| u64::from_be_bytes(*counter))
    }
}

fn context(node: NodeId, process: u64, counter: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(CONTEXT_LEN);
    for part in [node.value(), process, counter] {
        bytes.extend_from_slice(&part.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [u64; 0] = [];
    const SECOND: Duration = Duration::from_secs(1);

    fn reads() -> Reads {
        Reads::new(NodeId::new(3).unwrap(), 77, 5 * SECOND, SECOND)
    }

    #[test]
    fn reads_that_came_together_share_one_context() {
        let mut reads = reads();
        for read in 0..100 {
            assert!(reads.add(read, SECOND));
        }
        let contexts = reads.due(SECOND);
        assert_eq!(contexts.len(), 1);
        assert_eq!(contexts[0].len(), CONTEXT_LEN);
        assert_eq!(reads.confirmed(&contexts[0]), (0..100).collect::<Vec<_>>());
        assert_eq!(reads.confirmed(&contexts[0]), NONE, "answered once");
    }

    #[test]
    fn a_read_never_joins_a_context_that_was_sent_before_it() {
        let mut reads = reads();
        reads.add(1, SECOND);
        let first = reads.due(SECOND);
        reads.add(2, SECOND);
        let second = reads.due(SECOND);
        assert_ne!(first, second);
        assert_eq!(reads.confirmed(&first[0]), [1]);
        assert_eq!(reads.confirmed(&second[0]), [2]);
    }

    #[test]
    fn an_unanswered_context_is_sent_again_and_given_up_at_its_deadline() {
        let mut reads = reads();
        reads.add(1, SECOND);
        let sent = reads.due(SECOND);
        assert!(reads.due(SECOND).is_empty());
        assert_eq!(reads.due(3 * SECOND), sent);
        assert_eq!(reads.expired(5 * SECOND), NONE);
        assert_eq!(reads.expired(6 * SECOND), [1]);
        assert_eq!(reads.confirmed(&sent[0]), NONE, "too late");
    }

    #[test]
    fn contexts_of_others_and_of_earlier_lives_are_not_ours() {
        let mut earlier = Reads::new(NodeId::new(3).unwrap(), 76, SECOND, SECOND);
        earlier.add(1, SECOND);
        let foreign = earlier.due(SECOND);
        let mut reads = reads();
        reads.add(1, SECOND);
        reads.due(SECOND);
        assert_eq!(reads.confirmed(&foreign[0]), NONE);
        assert_eq!(reads.confirmed(b"short"), NONE);
        assert_eq!(reads.lose_all(), [1]);
    }
}
