//! The end of every run: one commit of the store, then everybody learns how far the state is.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::apply::flush::Published;
use crate::apply::halt::Halt;
use crate::apply::halt::MachineError;
use crate::apply::metrics::Metrics;
use crate::apply::ports::AppliedPort;
use crate::fsm::state::Applied;
use crate::fsm::store::Commit;
use crate::fsm::store::StateRow;
use crate::fsm::store::Store;
use crate::ids::Position;
use crate::keys::mac::MacKey;
use crate::keys::rules::RuleError;
use crate::propose::Waiters;
use crate::raft::Committed;

/// Owns the state record: what is applied, in the store and for everybody else.
pub(super) struct Committer {
    store: Arc<dyn Store>,
    applied: Applied,
    waiters: Arc<Waiters>,
    published: Arc<Published>,
    port: Box<dyn AppliedPort>,
    metrics: Arc<Metrics>,
}

/// What one run changes in the state record.
pub(super) struct Record {
    /// The record after the run.
    pub(super) applied: Applied,
    /// The keyring, if the run changed it.
    pub(super) keyring_row: Option<Vec<u8>>,
    /// Authenticates the record; `None` before bootstrap.
    pub(super) mac: Option<Arc<MacKey>>,
}

impl Committer {
    /// Goes on from `applied`, the record that is in the store.
    pub(super) fn new(
        store: Arc<dyn Store>,
        applied: Applied,
        waiters: Arc<Waiters>,
        published: Arc<Published>,
        port: Box<dyn AppliedPort>,
        metrics: Arc<Metrics>,
    ) -> Committer {
        metrics.applied_index.store(applied.position.index.0, Relaxed);
        Committer { store, applied, waiters, published, port, metrics }
    }

    /// The state record as it is in the store.
    pub(super) fn applied(&self) -> &Applied {
        &self.applied
    }

    /// Writes effects and state record, which become visible together (ATOMIC-APPLY). `first` is the run's first entry.
    pub(super) fn write(&mut self, mut commit: Commit, record: Record, first: Position) -> Result<(), Halt> {
        let Record { applied, keyring_row, mac } = record;
        assert!(applied.position.index > self.applied.position.index, "every commit moves applied on");
        assert!(applied.last_stamp_ms >= self.applied.last_stamp_ms, "the stamp never decreases");
        commit.state.push((StateRow::Applied, applied.encode(mac.as_deref())));
        commit.state.extend(keyring_row.map(|row| (StateRow::Keyring, row)));
        self.store.write(commit).map_err(|error| Halt::at(first, MachineError::Store(error)))?;
        self.applied = applied;
        Ok(())
    }

    /// Counts the entries of a run that was written.
    pub(super) fn count(&self, entries: &[Committed]) {
        Metrics::add(&self.metrics.runs, 1);
        Metrics::add(&self.metrics.entries, entries.len() as u64);
        let bytes = entries.iter().map(|committed| committed.entry.data.len() as u64).sum();
        Metrics::add(&self.metrics.applied_bytes, bytes);
        self.metrics.applied_index.store(self.applied.position.index.0, Relaxed);
    }

    /// Tells the outcome of a control entry; [`Committer::publish`] follows.
    pub(super) fn control(&mut self, position: Position, outcome: Result<(), RuleError>) {
        self.port.control(position, outcome);
    }

    /// Tells everybody how far the state is. Waiters at places up to there that have not been taken belong to other terms.
    pub(super) fn publish(&mut self) {
        let position = self.applied.position;
        self.waiters.passed(position.index);
        self.published.publish(position);
        self.port.applied(&self.applied);
    }
}
