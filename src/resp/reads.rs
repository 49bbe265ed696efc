//! The seam to the state for reads that follow a ReadIndex: what a client may see, and what is past due.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::fsm::command::Read;
use crate::fsm::kv::Answer;
use crate::fsm::kv::read_as_leader;
use crate::fsm::reader::ReadError;
use crate::fsm::reader::Reader;

/// Reads the applied state. Called from the threads of the network; may touch the disk.
pub trait Reads: Send + Sync {
    /// Runs `read` on the state as it is applied now; `wall_ms` is the leader's clock, which tells what is past due.
    ///
    /// # Errors
    /// [`ReadError`] if the state cannot be read or a value does not open.
    fn read(&self, read: &Read, wall_ms: u64) -> Result<Answer, ReadError>;
}

/// The store, read at the stamp that apply publishes.
#[derive(Debug)]
pub struct AppliedReads {
    reader: Reader,
    stamp_ms: Arc<AtomicU64>,
}

impl AppliedReads {
    /// `stamp_ms` is the stamp of the last applied entry; apply stores it after its step of the store.
    #[must_use]
    pub fn new(reader: Reader, stamp_ms: Arc<AtomicU64>) -> AppliedReads {
        AppliedReads { reader, stamp_ms }
    }
}

impl Reads for AppliedReads {
    fn read(&self, read: &Read, wall_ms: u64) -> Result<Answer, ReadError> {
        // The stamp first: with an older one than the rows, a key may be called past due that need not be, which costs
        // a removal; with a newer one, a key could be hidden here that a later read finds again.
        let stamp_ms = self.stamp_ms.load(Ordering::Acquire);
        read_as_leader(&self.reader, read, stamp_ms, wall_ms)
    }
}
