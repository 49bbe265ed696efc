//! What the nodes of a simulated cluster did, in the order in which they did it: for a model that is stepped with it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::entry::LogEntry;
use crate::ids::Position;
use crate::ids::Term;

/// What a node did.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Its process began: with this log, and with everything up to `applied` applied.
    Started {
        /// Of the recovered hard state.
        term: Term,
        /// Entries up to here are gone from the log.
        compacted: Position,
        /// The entries above that.
        entries: Vec<Position>,
        /// As it is once the start has applied what it may.
        applied: Position,
        /// Row of the keyring then.
        keyring: Option<Vec<u8>>,
    },
    /// Raft handed a group to the log: the first entry and what follows take the place of what was there.
    Handed {
        /// The term, if the hard state is new.
        term: Option<Term>,
        /// Consecutive.
        entries: Vec<LogEntry>,
    },
    /// So many of the oldest groups are durable.
    Persisted(usize),
    /// Everything up to here is applied.
    Applied {
        /// The last entry of the run.
        at: Position,
        /// Row of the keyring then.
        keyring: Option<Vec<u8>>,
    },
}

/// One deed.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The step of the cluster.
    pub step: u64,
    /// Who.
    pub node: u64,
    /// What.
    pub deed: Deed,
}

#[derive(Debug, Default)]
struct Tape {
    is_on: bool,
    step: u64,
    deeds: Vec<Recorded>,
}

/// The nodes of a cluster write into one and the same, once somebody wants it. A clone is the same record.
#[derive(Clone, Debug, Default)]
pub struct Record {
    tape: Arc<Mutex<Tape>>,
}

impl Record {
    /// From now on everything is noted.
    pub(super) fn begin(&self) {
        self.tape().is_on = true;
    }

    pub(super) fn begin_step(&self, step: u64) {
        self.tape().step = step;
    }

    /// For what a node does.
    pub(super) fn of(&self, node: u64) -> NodeRecord {
        NodeRecord { node, record: self.clone() }
    }

    /// Takes out what was noted until now.
    #[must_use]
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.tape().deeds)
    }

    fn tape(&self) -> MutexGuard<'_, Tape> {
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The record, for one node.
#[derive(Clone, Debug)]
pub(super) struct NodeRecord {
    node: u64,
    record: Record,
}

impl NodeRecord {
    pub(super) fn note(&self, deed: impl FnOnce() -> Deed) {
        let mut tape = self.record.tape();
        if tape.is_on {
            let (step, node) = (tape.step, self.node);
            tape.deeds.push(Recorded { step, node, deed: deed() });
        }
    }
}
