//! A clock that only a test moves.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::world::Clock;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct SimClock {
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    monotonic: Duration,
    /// The wall clock when the monotonic one was zero, as if it had never been set.
    wall_origin_ms: u64,
}

impl SimClock {
    /// A clock that shows these two times.
    #[must_use]
    pub fn showing(monotonic: Duration, wall_ms: u64) -> SimClock {
        let clock = SimClock { times: Mutex::new(Times { monotonic, wall_origin_ms: 0 }) };
        clock.set_wall_ms(wall_ms);
        clock
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        self.times().monotonic += by;
    }

    /// Lets so many ms pass on both clocks.
    pub fn advance_ms(&self, ms: u64) {
        self.advance(Duration::from_millis(ms));
    }

    /// Sets the wall clock, forward or back.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        let mut times = self.times();
        times.wall_origin_ms = wall_ms.wrapping_sub(times.monotonic_ms());
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Times {
    fn monotonic_ms(self) -> u64 {
        u64::try_from(self.monotonic.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for SimClock {
    fn default() -> SimClock {
        SimClock::showing(Duration::ZERO, WALL_ORIGIN_MS)
    }
}

impl Clock for SimClock {
    fn monotonic(&self) -> Duration {
        self.times().monotonic
    }

    fn wall_ms(&self) -> u64 {
        let times = *self.times();
        times.wall_origin_ms.wrapping_add(times.monotonic_ms())
    }
}

/// Some day in 2026, so that stamps look like stamps.
const WALL_ORIGIN_MS: u64 = 1_780_000_000_000;
