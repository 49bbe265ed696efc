//! How fast a snapshot travels: it keeps to a rate, and says how far it is.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use crate::limits::SNAPSHOT_BYTES_PER_SECOND;
use crate::limits::SNAPSHOT_PROGRESS_EVERY;
use crate::node::snapshot::numbers::SnapshotNumbers;

/// See the head of this file. Dropped: nothing is being fetched any more.
pub(super) struct Pace<'a> {
    numbers: &'a SnapshotNumbers,
    began: Instant,
    moved: u64,
    skipped: u64,
    all: u64,
    said: Instant,
}

impl Pace<'_> {
    /// Of `all` bytes.
    pub(super) fn new(numbers: &SnapshotNumbers, all: u64) -> Pace<'_> {
        let now = Instant::now();
        numbers.expected_bytes.store(all, Relaxed);
        Pace { numbers, began: now, moved: 0, skipped: 0, all, said: now }
    }

    /// So many bytes are there already.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.skipped += bytes;
        self.numbers.present_bytes.fetch_add(bytes, Relaxed);
    }

    /// So many bytes came; waits until the next may come.
    pub(super) fn wait(&mut self, bytes: u64) {
        self.moved += bytes;
        self.numbers.fetched_bytes.fetch_add(bytes, Relaxed);
        self.numbers.present_bytes.fetch_add(bytes, Relaxed);
        let due = Duration::from_micros(self.moved * 1000 / (SNAPSHOT_BYTES_PER_SECOND / 1000));
        thread::sleep(due.saturating_sub(self.began.elapsed()));
        if self.said.elapsed() >= SNAPSHOT_PROGRESS_EVERY {
            self.said = Instant::now();
            tracing::info!(bytes = self.skipped + self.moved, of = self.all, "a snapshot is being fetched");
        }
    }
}

impl Drop for Pace<'_> {
    fn drop(&mut self) {
        self.numbers.present_bytes.store(0, Relaxed);
        self.numbers.expected_bytes.store(0, Relaxed);
    }
}
