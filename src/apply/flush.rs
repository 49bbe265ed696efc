//! When the state is flushed, and what the log may drop afterwards.
//!
//! A flush is due once more than a quarter of the log's pool was written since the newest one began. It may run on a
//! separate thread: it takes what is in the store at that moment, and never more than apply has published.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::apply::halt::MachineError;
use crate::apply::metrics::Metrics;
use crate::apply::ports::ApplyLog;
use crate::fsm::state::Applied;
use crate::fsm::state::StateError;
use crate::fsm::store::StateRow;
use crate::fsm::store::Store;
use crate::fsm::store::StoreError;
use crate::ids::Position;

/// The position up to which everything is applied and answered, for any thread.
#[derive(Debug, Default)]
pub struct Published {
    position: Mutex<Position>,
}

impl Published {
    /// Begins at `position`.
    #[must_use]
    pub fn new(position: Position) -> Published {
        Published { position: Mutex::new(position) }
    }

    /// Index and term.
    #[must_use]
    pub fn position(&self) -> Position {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish(&self, position: Position) {
        let mut published = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(position.index >= published.index, "applied never moves back");
        *published = position;
    }
}

/// Flushes the store and says what the log may drop.
pub struct Flusher {
    store: Arc<dyn Store>,
    published: Arc<Published>,
    metrics: Arc<Metrics>,
    log: Arc<dyn ApplyLog>,
    /// What the gauge showed when the newest finished flush began.
    flushed_at_bytes: AtomicU64,
}

impl Flusher {
    /// A flusher that has not flushed yet: what the log holds from before counts from the first flush on.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        published: Arc<Published>,
        metrics: Arc<Metrics>,
        log: Arc<dyn ApplyLog>,
    ) -> Flusher {
        Flusher { store, published, metrics, log, flushed_at_bytes: AtomicU64::new(0) }
    }

    /// What apply has published.
    #[must_use]
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Whether a flush should be asked for.
    #[must_use]
    pub fn is_due(&self) -> bool {
        let since = self.log.bytes_used().saturating_sub(self.flushed_at_bytes.load(Ordering::Acquire));
        since > self.log.pool_bytes() / POOL_PART
    }

    /// Flushes, blocks until that is done, and lets the log drop what is durable.
    ///
    /// # Errors
    /// [`MachineError`]: the node must stop.
    pub fn flush(&self) -> Result<Position, MachineError> {
        let written = self.log.bytes_used();
        let published = self.published.position();
        self.store.flush()?;
        // Steps that were written but not yet published may be in the flush: raft has not been told of them, so
        // the log keeps them.
        let flushed = flushed_position(&*self.store)?;
        let trimmed = if flushed.index < published.index { flushed } else { published };
        self.log.trim(trimmed);
        self.flushed_at_bytes.store(written, Ordering::Release);
        self.metrics.flushed_index.store(flushed.index.0, Ordering::Relaxed);
        Metrics::add(&self.metrics.flushes, 1);
        Ok(trimmed)
    }
}

debug_fields!(self: Flusher { flushed_at_bytes: self.flushed_at_bytes });

/// The part of the log's pool that may lie above the flushed state: a slot is free again long before the pool is full.
const POOL_PART: u64 = 4;

/// The position that a crash would leave.
fn flushed_position(store: &dyn Store) -> Result<Position, MachineError> {
    let row = store.flushed_state(StateRow::Applied)?;
    let row = row.ok_or(StoreError::Malformed { what: "applied position" })?;
    let applied = Applied::decode(&row).map_err(|error| MachineError::Record(StateError::Malformed(error)))?;
    Ok(applied.position)
}
