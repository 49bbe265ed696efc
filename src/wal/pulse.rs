//! Calls into the kernel as another thread sees them: a call that does not come back cannot report itself.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::disk::SlotId;

/// When the thread that drives the log began a call into the kernel that may block; read by a watchdog.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Microseconds of the monotonic clock, plus one; 0 = not in a call.
    since: AtomicU64,
    slot: AtomicU32,
}

impl Pulse {
    /// Which slot the current call is about, and when it began, by the monotonic clock.
    pub(crate) fn busy_since(&self) -> Option<(SlotId, Duration)> {
        let since = self.since.load(Ordering::Acquire).checked_sub(1)?;
        let slot = SlotId(self.slot.load(Ordering::Relaxed));
        Some((slot, Duration::from_micros(since)))
    }

    /// A call about this slot begins.
    pub(crate) fn begin(&self, slot: SlotId, now: Duration) {
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX - 1);
        self.slot.store(slot.0, Ordering::Relaxed);
        self.since.store(micros + 1, Ordering::Release);
    }

    /// It has come back.
    pub(crate) fn end(&self) {
        self.since.store(0, Ordering::Release);
    }
}
