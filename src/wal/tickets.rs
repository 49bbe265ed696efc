//! The ticket office of the log: numbers for appends, in one order, and the owner of each until it is durable.
//!
//! Raft's groups, apply's trims and the cutover come from two threads. Each takes its number and puts its append into the
//! log thread's queue under one lock, so numbers reach the log in their order.

use std::collections::VecDeque;

use crossbeam_channel::Sender;

/// The one to be told that a ticket is durable.
#[derive(Debug)]
pub(super) enum Owner {
    /// The caller of `LogThread::append`, by the number that it gave.
    Caller(u64),
    /// A thread that waits for it.
    Waiter(Sender<()>),
    /// Nobody.
    Nobody,
}

/// Tickets that were issued and are not durable yet.
#[derive(Debug, Default)]
pub(super) struct Tickets {
    newest: u64,
    pending: VecDeque<(u64, Owner)>,
}

impl Tickets {
    /// The number that the next append gets.
    pub(super) fn next(&self) -> u64 {
        self.newest + 1
    }

    /// The append with the number [`Tickets::next`] is on its way.
    pub(super) fn issue(&mut self, owner: Owner) {
        self.newest += 1;
        assert!(self.pending.back().is_none_or(|(last, _)| *last < self.newest), "tickets increase");
        self.pending.push_back((self.newest, owner));
    }

    /// Everything up to `ticket` is durable. Wakes the threads that wait; the newest number that a caller gave, if any.
    pub(super) fn persisted(&mut self, ticket: u64) -> Option<u64> {
        assert!(ticket <= self.newest, "only issued tickets become durable");
        let mut newest = None;
        while let Some((_, owner)) = self.pending.pop_front_if(|(pending, _)| *pending <= ticket) {
            match owner {
                Owner::Caller(number) => newest = Some(number),
                // The thread may have given up; then nobody listens.
                Owner::Waiter(done) => drop(done.try_send(())),
                Owner::Nobody => {}
            }
        }
        newest
    }
}
