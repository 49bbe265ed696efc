//! The stamp of an entry, and the replicated facts that the proposer reads.
//!
//! A stamp is the larger of the wall clock and (last stamp + monotonic time since): it never goes back, also when the
//! leader's clock does or the leadership moves. Apply keeps the newest in the state record.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::sync::atomic::Ordering::Release;
use std::time::Duration;

use crate::ids::Position;
use crate::keys::rules::RuleError;
use crate::propose::orders::ControlOutcomes;
use crate::world::Clock;

/// Facts that apply sets before it reports its position.
#[derive(Debug, Default)]
pub struct AppliedFacts {
    stamp_ms: AtomicU64,
    has_client_commands: AtomicBool,
    controls: ControlOutcomes,
}

impl AppliedFacts {
    /// As of the state at the start.
    #[must_use]
    pub fn new(stamp_ms: u64, has_client_commands: bool) -> AppliedFacts {
        AppliedFacts {
            stamp_ms: stamp_ms.into(),
            has_client_commands: has_client_commands.into(),
            controls: ControlOutcomes::default(),
        }
    }

    /// As of the commit that was just written.
    pub fn set(&self, stamp_ms: u64, has_client_commands: bool) {
        self.stamp_ms.store(stamp_ms, Release);
        self.has_client_commands.store(has_client_commands, Release);
    }

    /// What became of the control entry at `position`, which is being applied.
    pub fn control(&self, position: Position, outcome: Result<(), RuleError>) {
        self.controls.note(position, outcome);
    }

    pub(super) fn control_outcome(&self, position: Position) -> Option<Result<(), RuleError>> {
        self.controls.of(position)
    }

    /// The newest applied stamp, ms since 1970.
    #[must_use]
    pub fn stamp_ms(&self) -> u64 {
        self.stamp_ms.load(Acquire)
    }

    /// Whether an entry of client commands was ever applied: then a bootstrap cannot be the cutover.
    #[must_use]
    pub fn has_client_commands(&self) -> bool {
        self.has_client_commands.load(Acquire)
    }
}

/// Gives stamps that never decrease.
#[derive(Debug, Default)]
pub(super) struct StampClock {
    last_ms: u64,
    /// Monotonic time at which `last_ms` was now.
    at: Duration,
}

impl StampClock {
    /// The stamp of a batch sealed now; `applied_ms` is the newest applied one.
    pub(super) fn stamp(&mut self, clock: &dyn Clock, applied_ms: u64) -> u64 {
        let now = clock.monotonic();
        self.observe(applied_ms, now);
        let since = now.saturating_sub(self.at);
        let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let continued = self.last_ms.saturating_add(since_ms);
        let wall_ms = clock.wall_ms();
        if wall_ms >= continued {
            (self.last_ms, self.at) = (wall_ms, now);
        } else {
            // Only whole milliseconds were added: the rest is not lost, or many batches would slow time down.
            (self.last_ms, self.at) = (continued, self.at + Duration::from_millis(since_ms));
        }
        assert!(self.last_ms >= applied_ms, "stamps never decrease");
        self.last_ms
    }

    /// Another leader's stamps count from the moment they are seen.
    pub(super) fn observe(&mut self, applied_ms: u64, now: Duration) {
        if applied_ms > self.last_ms {
            (self.last_ms, self.at) = (applied_ms, now);
        }
        assert!(self.last_ms >= applied_ms, "no stamp is below an applied one");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::clock::SimClock;

    fn stamp(clock: &mut StampClock, monotonic_us: u64, wall_ms: u64, applied_ms: u64) -> u64 {
        clock.stamp(&SimClock::showing(Duration::from_micros(monotonic_us), wall_ms), applied_ms)
    }

    #[test]
    fn stamps_follow_the_wall_clock_and_never_go_back() {
        let mut clock = StampClock::default();
        assert_eq!(stamp(&mut clock, 0, 1_000_000, 0), 1_000_000);
        assert_eq!(stamp(&mut clock, 5_000, 1_000_020, 0), 1_000_020);
        assert_eq!(stamp(&mut clock, 8_000, 900_000, 0), 1_000_023, "the wall clock was set back");
        assert_eq!(stamp(&mut clock, 9_000, 1_000_100, 0), 1_000_100);
    }

    #[test]
    fn another_leaders_stamps_are_continued() {
        let mut clock = StampClock::default();
        stamp(&mut clock, 0, 1_000, 0);
        assert_eq!(stamp(&mut clock, 1_000, 1_001, 5_000), 5_000);
        assert_eq!(stamp(&mut clock, 4_000, 1_004, 5_000), 5_003);
    }

    #[test]
    fn many_batches_within_a_millisecond_do_not_slow_time_down() {
        let mut clock = StampClock::default();
        stamp(&mut clock, 0, 1_000, 0);
        for step in 1..=100 {
            stamp(&mut clock, step * 300, 0, 0);
        }
        assert_eq!(stamp(&mut clock, 30_000, 0, 0), 1_030);
    }
}
