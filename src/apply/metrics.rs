//! Counters of the apply loop as plain atomics: written by one thread, read by the metrics endpoint.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::apply::halt::HaltClass;

/// What apply has done since the start of the process. Times are in nanoseconds.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Runs, each made visible in one step.
    pub runs: AtomicU64,
    /// Entries applied.
    pub entries: AtomicU64,
    /// Entries that were opened.
    pub opened_entries: AtomicU64,
    /// Bytes of envelopes that were opened.
    pub opened_bytes: AtomicU64,
    /// Bytes of entry data applied.
    pub applied_bytes: AtomicU64,
    /// Values that were sealed for a flush.
    pub sealed_values: AtomicU64,
    /// Reads riding with writes whose value could not be read.
    pub failed_reads: AtomicU64,
    /// Control entries that were a no-op with an error.
    pub refused_controls: AtomicU64,
    /// Time spent opening entries.
    pub open_nanos: AtomicU64,
    /// Time spent running commands.
    pub run_nanos: AtomicU64,
    /// Time spent on making runs visible.
    pub commit_nanos: AtomicU64,
    /// Index of the newest applied entry.
    pub applied_index: AtomicU64,
    /// Index that a crash would not lose, as of the last flush.
    pub flushed_index: AtomicU64,
    /// Flushes that were done.
    pub flushes: AtomicU64,
    /// Flushes whose file could not be written; each is tried again.
    pub failed_flushes: AtomicU64,
    halts: [AtomicU64; HaltClass::ALL.len()],
}

impl Metrics {
    /// Halts of one class: 0 or 1 in a real node.
    #[must_use]
    pub fn halts(&self, class: HaltClass) -> u64 {
        self.halts[class as usize].load(Relaxed)
    }

    /// Counts a halt.
    pub(crate) fn halted(&self, class: HaltClass) {
        self.halts[class as usize].fetch_add(1, Relaxed);
    }

    /// Adds to one counter.
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Relaxed);
    }
}
