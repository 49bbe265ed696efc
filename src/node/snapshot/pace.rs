//! How fast a snapshot travels: it keeps to a rate, and says how far it is.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::limits::SNAPSHOT_BYTES_PER_SECOND;
use crate::limits::SNAPSHOT_PROGRESS_EVERY;
use crate::node::snapshot::numbers::SnapshotNumbers;
use crate::world::Clock;

/// See the head of this file. Dropped: nothing is being fetched any more.
pub(super) struct Pace {
    numbers: Arc<SnapshotNumbers>,
    clock: Arc<dyn Clock>,
    began: Duration,
    moved: u64,
    skipped: u64,
    all: u64,
    said: Duration,
}

impl Pace {
    /// Of `all` bytes.
    pub(super) fn new(numbers: Arc<SnapshotNumbers>, clock: Arc<dyn Clock>, all: u64) -> Pace {
        let now = clock.monotonic();
        numbers.expected_bytes.store(all, Relaxed);
        Pace { numbers, clock, began: now, moved: 0, skipped: 0, all, said: now }
    }

    /// So many bytes are there already.
    pub(super) fn skip(&mut self, bytes: u64) {
        self.skipped += bytes;
        self.numbers.present_bytes.fetch_add(bytes, Relaxed);
    }

    /// So many bytes came.
    pub(super) fn moved(&mut self, bytes: u64) {
        self.moved += bytes;
        self.numbers.fetched_bytes.fetch_add(bytes, Relaxed);
        self.numbers.present_bytes.fetch_add(bytes, Relaxed);
        let now = self.clock.monotonic();
        // Time in which nothing moved is not made up for: that would be a burst at any rate.
        self.began = self.began.max(now.saturating_sub(self.due() + BURST));
        if now.saturating_sub(self.said) >= SNAPSHOT_PROGRESS_EVERY {
            self.said = now;
            tracing::info!(bytes = self.skipped + self.moved, of = self.all, "a snapshot is being fetched");
        }
    }

    /// How long it is until the next bytes may be asked for.
    pub(super) fn pause(&self) -> Duration {
        self.due().saturating_sub(self.clock.monotonic().saturating_sub(self.began))
    }

    /// How long what has moved takes at the rate.
    fn due(&self) -> Duration {
        Duration::from_micros(self.moved * 1000 / (SNAPSHOT_BYTES_PER_SECOND / 1000))
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.numbers.present_bytes.store(0, Relaxed);
        self.numbers.expected_bytes.store(0, Relaxed);
    }
}

/// So much time may be made up for: threads sleep longer than they are told to.
const BURST: Duration = Duration::from_millis(100);
