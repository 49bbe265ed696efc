//! Readys on their way to the disk, from the log's queue until the log has them durably.
//!
//! A Ready goes to the log in as many groups as its entries need, its hard state in the first; it is durable with its last.
//! A Ready with nothing to write waits for the newest one that is not durable: its messages may promise entries of that one.

use std::collections::VecDeque;

use ::raft::eraftpb::Entry;
use ::raft::eraftpb::Message;

use crate::ids::Term;
use crate::limits::FRAME_BYTES_MAX;
use crate::limits::LOG_GROUPS_UNPERSISTED_MAX;
use crate::raft::convert::to_log_entry;
use crate::raft::log::GROUP_OVERHEAD;
use crate::raft::log::cost;
use crate::wal::Append;
use crate::wal::HardState;

/// The rest of a Ready, to be done once it is durable.
#[derive(Debug)]
pub(super) struct Afterwards {
    /// The library's number of the Ready, or of the newest that waited with it: for `on_persist_ready`.
    pub(super) number: u64,
    /// To be sent after that call, in this order.
    pub(super) messages: Vec<Message>,
}

#[derive(Debug)]
struct Unpersisted {
    /// Of its last group.
    ticket: u64,
    groups: usize,
    hard_state: HardState,
    afterwards: Afterwards,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Persisting {
    /// Oldest first.
    unpersisted: VecDeque<Unpersisted>,
    next_ticket: u64,
    groups: usize,
    /// As the log has it durably, and as it was handed over last.
    durable: HardState,
    logged: HardState,
}

impl Persisting {
    /// Nothing is on its way; the log holds `hard_state`.
    pub(super) fn new(hard_state: HardState) -> Persisting {
        let unpersisted = VecDeque::new();
        Persisting { unpersisted, next_ticket: 1, groups: 0, durable: hard_state, logged: hard_state }
    }

    /// Hands a Ready over through `log`. Gives the rest back at once if it has nothing to wait for.
    pub(super) fn write(
        &mut self,
        entries: &[Entry],
        hard_state: HardState,
        afterwards: Afterwards,
        mut log: impl FnMut(Append),
    ) -> Option<Afterwards> {
        assert!(self.logged.term <= hard_state.term, "terms never decrease");
        let is_vote_new = (hard_state.term, hard_state.vote) != (self.logged.term, self.logged.vote);
        if entries.is_empty() && !is_vote_new {
            // A commit that moved alone is written with the next group: it can always be learned again.
            return self.wait(afterwards);
        }
        let first_ticket = self.next_ticket;
        let mut first_hard_state = (hard_state != self.logged).then_some(hard_state);
        let mut rest = entries;
        while self.next_ticket == first_ticket || !rest.is_empty() {
            let (group, behind) = rest.split_at(first_group(rest));
            let (ticket, hard_state) = (self.next_ticket, first_hard_state.take());
            log(Append { ticket, hard_state, entries: group.iter().map(to_log_entry).collect(), ..Append::default() });
            self.next_ticket += 1;
            rest = behind;
        }
        let groups = usize::try_from(self.next_ticket - first_ticket).expect("at most one for each entry");
        self.logged = hard_state;
        self.groups += groups;
        self.unpersisted.push_back(Unpersisted { ticket: self.next_ticket - 1, groups, hard_state, afterwards });
        None
    }

    fn wait(&mut self, afterwards: Afterwards) -> Option<Afterwards> {
        let Some(newest) = self.unpersisted.back_mut() else { return Some(afterwards) };
        assert!(newest.afterwards.number < afterwards.number, "the library numbers Readys upwards");
        newest.afterwards.number = afterwards.number;
        newest.afterwards.messages.extend(afterwards.messages);
        None
    }

    /// Takes the oldest Ready whose last group is durable with `ticket`, the newest one that the log has durably.
    pub(super) fn pop(&mut self, ticket: u64) -> Option<Afterwards> {
        assert!(ticket < self.next_ticket, "only what was handed over becomes durable");
        let done = self.unpersisted.pop_front_if(|front| front.ticket <= ticket)?;
        assert!(done.groups <= self.groups, "each group was counted");
        self.groups -= done.groups;
        self.durable = done.hard_state;
        Some(done.afterwards)
    }

    /// Whether everything that was handed over is durable.
    pub(super) fn is_done(&self) -> bool {
        self.unpersisted.is_empty()
    }

    /// Whether the log's queue has its share of groups: then the door is closed.
    pub(super) fn is_full(&self) -> bool {
        self.groups >= LOG_GROUPS_UNPERSISTED_MAX
    }

    /// The term that this node has durably.
    pub(super) fn durable_term(&self) -> Term {
        self.durable.term
    }
}

/// How many entries the next group takes: as many as fit a frame, or one.
fn first_group(entries: &[Entry]) -> usize {
    let mut bytes = GROUP_OVERHEAD;
    let fits = |entry: &&Entry| {
        bytes += cost(entry);
        bytes <= FRAME_BYTES_MAX as u64
    };
    entries.iter().take_while(fits).count().max(entries.len().min(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn afterwards(number: u64) -> Afterwards {
        Afterwards { number, messages: Vec::new() }
    }

    #[test]
    fn groups_that_are_durable_make_place_in_the_logs_queue() {
        let mut persisting = Persisting::new(HardState::default());
        for number in 1..=2 * LOG_GROUPS_UNPERSISTED_MAX as u64 {
            let (mut newest, hard_state) = (0, HardState { term: Term(number), ..HardState::default() });
            let waits = persisting.write(&[], hard_state, afterwards(number), |append| newest = append.ticket);
            assert!(waits.is_none(), "a new term waits for the disk");
            assert_eq!(persisting.pop(newest).map(|done| done.number), Some(number));
            assert!(!persisting.is_full() && persisting.is_done());
        }
    }

    #[test]
    fn a_ready_that_waits_is_done_with_the_one_that_it_waits_for() {
        let mut persisting = Persisting::new(HardState::default());
        let hard_state = HardState { term: Term(1), ..HardState::default() };
        let mut newest = 0;
        assert!(persisting.write(&[], hard_state, afterwards(1), |append| newest = append.ticket).is_none());
        assert!(persisting.write(&[], hard_state, afterwards(2), |_| panic!("nothing to write")).is_none());
        assert_eq!(persisting.pop(newest).map(|done| done.number), Some(2));
    }
}
