//! The log's free space: a gauge that the log thread sets and the raft thread reads at its door.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::disk::BLOCK_BYTES_MIN;
use crate::disk::padded;
use crate::ids::Index;
use crate::wal::frame::ENTRY_HEAD_LEN;
use crate::wal::frame::FRAME_OVERHEAD_MAX;

/// Shared between the log and the threads that hand it appends.
#[derive(Debug, Default)]
pub struct LogSpace {
    free: AtomicU64,
    free_slots: AtomicU64,
    slots_left: AtomicU64,
    pool: AtomicU64,
    /// Bytes that one frame gathers at most.
    gather: AtomicU64,
    /// Bytes ever handed over, and ever put into frames; the difference waits in between.
    handed: AtomicU64,
    framed: AtomicU64,
    /// Index of the newest entry that is dropped.
    compacted: AtomicU64,
    /// Nothing that takes memory is to be handed over for now.
    held: AtomicBool,
}

impl LogSpace {
    /// A gauge that shows this much: for tests of the rooms that read it.
    #[must_use]
    pub fn of(free: u64, pool: u64) -> LogSpace {
        LogSpace { free: AtomicU64::new(free), pool: AtomicU64::new(pool), ..LogSpace::default() }
    }

    /// Bytes that may still be handed over, padded, less the reserve for votes and trims and the appends that wait.
    #[must_use]
    pub fn available_bytes(&self) -> u64 {
        // Read before `free`: an append framed in between then counts twice, which errs on the safe side.
        let waiting = self.handed.load(Ordering::Acquire).saturating_sub(self.framed.load(Ordering::Acquire));
        self.free.load(Ordering::Acquire).saturating_sub(waiting)
    }

    /// The log gives back no entry up to here any more.
    #[must_use]
    pub fn compacted(&self) -> Index {
        Index(self.compacted.load(Ordering::Acquire))
    }

    /// While it is held, whoever takes entries out of the log has no memory for more.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// See [`LogSpace::is_held`].
    pub fn hold(&self, is_held: bool) {
        self.held.store(is_held, Ordering::Release);
    }

    /// Slots that hold nothing; at two or fewer the caller trims without regard for followers.
    #[must_use]
    pub fn free_slots(&self) -> u64 {
        self.free_slots.load(Ordering::Acquire)
    }

    /// Slots that segments can still begin in without a trim: free, needless, or not made yet. Each start takes one. With none
    /// left no later start can write, not even the trim that would free some.
    #[must_use]
    pub fn slots_left(&self) -> u64 {
        self.slots_left.load(Ordering::Acquire)
    }

    /// Bytes of all slots together.
    #[must_use]
    pub fn pool_bytes(&self) -> u64 {
        self.pool.load(Ordering::Acquire)
    }

    /// To be called with the [`LogSpace::cost_bytes`] of every append that is handed over (`LogThread::append` does).
    pub fn handed(&self, cost: u64) {
        self.handed.fetch_add(cost, Ordering::AcqRel);
    }

    /// Bytes ever handed over, by their [`LogSpace::cost_bytes`]; never decreases.
    #[must_use]
    pub fn handed_bytes(&self) -> u64 {
        self.handed.load(Ordering::Acquire)
    }

    /// Bytes of the log that entries of these lengths take at most, each in its own frame.
    #[must_use]
    pub fn cost_bytes(&self, lengths: impl Iterator<Item = usize>) -> u64 {
        let entries: usize = lengths.map(|length| ENTRY_HEAD_LEN + length).sum();
        let gather = usize::try_from(self.gather.load(Ordering::Acquire)).unwrap_or(usize::MAX);
        // Two frames in a row never fit one: otherwise they would have been one.
        let frames = 1 + 2 * entries / gather.max(BLOCK_BYTES_MIN);
        padded(entries, BLOCK_BYTES_MIN) as u64 + (frames * (FRAME_OVERHEAD_MAX + BLOCK_BYTES_MIN)) as u64
    }

    /// A gauge for frames of at most so many bytes.
    pub(crate) fn new(gather_max: usize) -> LogSpace {
        LogSpace { gather: AtomicU64::new(gather_max as u64), ..LogSpace::default() }
    }

    pub(crate) fn framed(&self, cost: u64) {
        self.framed.fetch_add(cost, Ordering::AcqRel);
    }

    pub(crate) fn set_compacted(&self, compacted: Index) {
        self.compacted.store(compacted.0, Ordering::Release);
    }

    pub(crate) fn set_slots_left(&self, slots_left: u64) {
        self.slots_left.store(slots_left, Ordering::Release);
    }

    pub(crate) fn set(&self, free: u64, free_slots: u64, pool: u64) {
        self.free.store(free, Ordering::Release);
        self.free_slots.store(free_slots, Ordering::Release);
        self.pool.store(pool, Ordering::Release);
    }
}
