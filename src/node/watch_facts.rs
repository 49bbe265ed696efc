//! What the watch has seen last: why the node is not ready, and how much space its disks have.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::limits::DISK_FREE_BYTES_NONE;
use crate::limits::STUCK_AFTER;

/// What the watch has seen last, for `/readyz` and the metrics.
#[derive(Debug)]
pub(crate) struct WatchFacts {
    pub(super) apply_stuck_millis: AtomicU64,
    pub(super) log_stuck_millis: AtomicU64,
    pub(super) state_disk_millis: AtomicU64,
    /// The newest flush of the state failed: what clients write stays in memory, until there is no space in it either.
    pub(super) flush_fails: AtomicBool,
    pub(super) state_free_bytes: AtomicU64,
    pub(super) log_free_bytes: AtomicU64,
}

impl Default for WatchFacts {
    fn default() -> WatchFacts {
        WatchFacts {
            apply_stuck_millis: AtomicU64::new(0),
            log_stuck_millis: AtomicU64::new(0),
            state_disk_millis: AtomicU64::new(0),
            flush_fails: AtomicBool::new(false),
            // Until they were asked for.
            state_free_bytes: AtomicU64::new(u64::MAX),
            log_free_bytes: AtomicU64::new(u64::MAX),
        }
    }
}

impl WatchFacts {
    /// Why the node is not ready, in words.
    pub(crate) fn not_ready(&self) -> Vec<String> {
        let waits = [
            (&self.apply_stuck_millis, "committed entries have not been applied"),
            (&self.log_stuck_millis, "the disk of the log has not answered"),
            (&self.state_disk_millis, "the disk of the state has not answered"),
        ];
        let stuck = |millis: &AtomicU64| Some(millis.load(Relaxed)).filter(|millis| *millis >= millis_of(STUCK_AFTER));
        let mut reasons: Vec<String> = waits
            .into_iter()
            .filter_map(|(millis, what)| Some(format!("{what} for {} s", stuck(millis)? / 1000)))
            .collect();
        if self.state_free_bytes.load(Relaxed) < DISK_FREE_BYTES_NONE {
            reasons.push("the disk of the state is full".to_owned());
        }
        if self.flush_fails.load(Relaxed) {
            reasons.push("the state cannot be flushed: free space on its disk".to_owned());
        }
        reasons
    }

    /// Free bytes of the disks, by part of the directory, once they were asked for.
    pub(crate) fn free_bytes(&self) -> Vec<(&'static str, u64)> {
        let parts = [("log", self.log_free_bytes.load(Relaxed)), ("state", self.state_free_bytes.load(Relaxed))];
        parts.into_iter().filter(|(_, bytes)| *bytes != u64::MAX).collect()
    }
}

/// Whole milliseconds.
pub(super) fn millis_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_still_is_a_reason_in_words() {
        let facts = WatchFacts::default();
        assert!(facts.not_ready().is_empty() && facts.free_bytes().is_empty());
        facts.apply_stuck_millis.store(1999, Relaxed);
        assert!(facts.not_ready().is_empty());
        facts.apply_stuck_millis.store(2001, Relaxed);
        facts.state_free_bytes.store(0, Relaxed);
        assert_eq!(facts.not_ready().len(), 2, "{:?}", facts.not_ready());
        assert_eq!(facts.free_bytes(), [("state", 0)]);
        facts.flush_fails.store(true, Relaxed);
        assert!(facts.not_ready()[2].starts_with("the state cannot be flushed"), "{:?}", facts.not_ready());
    }
}
