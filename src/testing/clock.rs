//! Clocks that a test moves.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::world::Clock;
use crate::world::SystemClock;

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct SimClock {
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    monotonic: Duration,
    /// How long the machine was suspended in all.
    suspended: Duration,
    /// The wall clock when the monotonic one was zero, as if it had never been set.
    wall_origin_ms: u64,
}

impl SimClock {
    /// A clock that shows these two times.
    #[must_use]
    pub fn showing(monotonic: Duration, wall_ms: u64) -> SimClock {
        let clock = SimClock { times: Mutex::new(Times { monotonic, suspended: Duration::ZERO, wall_origin_ms: 0 }) };
        clock.set_wall_ms(wall_ms);
        clock
    }

    /// Lets time pass on all clocks.
    pub fn advance(&self, by: Duration) {
        self.times().monotonic += by;
    }

    /// Lets so many ms pass on all clocks.
    pub fn advance_ms(&self, ms: u64) {
        self.advance(Duration::from_millis(ms));
    }

    /// Suspends the machine for so long: its monotonic clock stands still.
    pub fn suspend(&self, by: Duration) {
        let mut times = self.times();
        times.suspended += by;
        times.wall_origin_ms = times.wall_origin_ms.wrapping_add(millis(by));
    }

    /// Sets the wall clock, forward or back.
    pub fn set_wall_ms(&self, wall_ms: u64) {
        let mut times = self.times();
        times.wall_origin_ms = wall_ms.wrapping_sub(millis(times.monotonic));
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn boottime(&self) -> Duration {
        let times = *self.times();
        times.monotonic + times.suspended
    }

    fn wall_ms(&self) -> u64 {
        let times = *self.times();
        times.wall_origin_ms.wrapping_add(millis(times.monotonic))
    }
}

/// The machine's clocks, but for the wall clock: it is off by as many ms as a file says. For a node in a process of its own,
/// whose date a test sets.
#[derive(Debug)]
pub struct ShiftedClock {
    clock: SystemClock,
    file: PathBuf,
}

impl ShiftedClock {
    /// The clock of the file that the environment names, if it names one.
    #[must_use]
    pub fn of_environment() -> Option<ShiftedClock> {
        let file = std::env::var_os(ShiftedClock::VARIABLE)?.into();
        Some(ShiftedClock { clock: SystemClock::default(), file })
    }

    /// Names the file.
    pub const VARIABLE: &str = "TESTING_WALL_SHIFT";
}

impl Clock for ShiftedClock {
    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn boottime(&self) -> Duration {
        self.clock.boottime()
    }

    fn wall_ms(&self) -> u64 {
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        self.clock.wall_ms().saturating_add_signed(text.trim().parse().unwrap_or(0))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Some day in 2026, so that stamps look like stamps.
const WALL_ORIGIN_MS: u64 = 1_780_000_000_000;
