//! The base as its holders have it, and how whoever puts another in its place learns that the last of them has let go.
//!
//! Views, readers, the flush and a checkpoint hold the base by clones of one pointer ([`hold`]). RocksDB finds its files by path and
//! number, so an instance that still runs while its directory is renamed would delete files of the state that comes in
//! its place. An install therefore lets go of its own handle, hands out no more, and waits on [`BaseClosing`].

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use crate::fsm::base::BaseError;
use crate::fsm::base::BaseMemory;
use crate::fsm::base::PinnedRows;
use crate::fsm::base::Pressure;
use crate::fsm::base::RowBase;
use crate::fsm::base::RowFile;
use crate::fsm::base::StateRow;
use crate::fsm::base::StateRows;
use crate::fsm::base::WriteFileError;
use crate::fsm::name::RowName;

/// Holders of a base that did not let go in time. Nothing may be renamed: the process ends, and a start goes on from there.
#[derive(Debug, thiserror::Error)]
#[error("state: {holders} readers still hold it after {waited:?}")]
pub struct StillHeld {
    /// How many there are.
    pub holders: usize,
    /// How long they were waited for.
    pub waited: Duration,
}

/// Waits for the last holder of a base.
pub struct BaseClosing {
    held: Weak<HeldBase>,
    closed: Arc<Closed>,
}

/// The first holder of `base`, and what waits for the last. Every clone of the pointer is a holder; the base is closed when
/// the last one is dropped, on the thread that drops it.
#[must_use]
pub fn hold(base: Box<dyn RowBase>) -> (Arc<dyn RowBase>, BaseClosing) {
    let closed = Arc::new(Closed::default());
    let held = Arc::new(HeldBase { base, _signal: ClosedSignal(Arc::clone(&closed)) });
    let closing = BaseClosing { held: Arc::downgrade(&held), closed };
    (held, closing)
}

impl BaseClosing {
    /// Blocks until the base is closed: every handle is gone and RocksDB has ended its threads and let go of its files.
    ///
    /// # Errors
    /// [`StillHeld`] after `timeout`; it may be asked again.
    pub fn wait(&self, timeout: Duration) -> Result<(), StillHeld> {
        let closed = self.closed.is_closed.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.closed.changed.wait_timeout_while(closed, timeout, |is_closed| !*is_closed);
        let (closed, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match *closed {
            true => Ok(()),
            false => Err(StillHeld { holders: self.held.strong_count(), waited: timeout }),
        }
    }

    /// Holders at this moment.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.held.strong_count()
    }
}

debug_fields!(self: BaseClosing { holders: self.held.strong_count() });

struct HeldBase {
    // Dropped in this order: the signal comes when the base is closed.
    base: Box<dyn RowBase>,
    _signal: ClosedSignal,
}

impl RowBase for HeldBase {
    fn row(&self, name: &RowName, visit: &mut dyn FnMut(&[u8])) -> Result<bool, BaseError> {
        self.base.row(name, visit)
    }

    fn rows(&self, names: &[RowName], visit: &mut dyn FnMut(usize, Option<&[u8]>) -> bool) -> Result<(), BaseError> {
        self.base.rows(names, visit)
    }

    fn pin(&self) -> Box<dyn PinnedRows + '_> {
        self.base.pin()
    }

    fn walk(
        &self,
        names: RangeInclusive<RowName>,
        visit: &mut dyn FnMut(RowName, &[u8]) -> bool,
    ) -> Result<(), BaseError> {
        self.base.walk(names, visit)
    }

    fn flushed_state(&self, row: StateRow) -> Result<Option<Vec<u8>>, BaseError> {
        self.base.flushed_state(row)
    }

    fn begin_file(&self, record: &StateRows) -> Result<Box<dyn RowFile + '_>, WriteFileError> {
        self.base.begin_file(record)
    }

    fn pressure(&self) -> Result<Pressure, BaseError> {
        self.base.pressure()
    }

    fn hears(&self, entry_bytes: u64) {
        self.base.hears(entry_bytes);
    }

    fn let_go(&self) -> bool {
        self.base.let_go()
    }

    fn keep(&self) {
        self.base.keep();
    }

    fn memory(&self) -> BaseMemory {
        self.base.memory()
    }

    fn checkpoint(&self, to: &Path) -> Result<(), BaseError> {
        self.base.checkpoint(to)
    }
}

#[derive(Default)]
struct Closed {
    is_closed: Mutex<bool>,
    changed: Condvar,
}

struct ClosedSignal(Arc<Closed>);

impl Drop for ClosedSignal {
    fn drop(&mut self) {
        *self.0.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }
}
