//! The seam to time and randomness: every loop gets a [`Clock`] and an [`Entropy`] and reads neither from the kernel.
//!
//! The real ones live here; the simulated ones in `testing`. Nothing else in the crate calls the system clock or
//! the kernel's random source.

use std::sync::Arc;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use rustix::time::ClockId;
use rustix::time::clock_gettime;

/// Time as a loop may see it.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment of this process; never goes back.
    fn monotonic(&self) -> Duration;
    /// Time since the machine was started, including the time that it was suspended; never goes back.
    fn boottime(&self) -> Duration;
    /// Wall clock, ms since 1970; may jump either way.
    fn wall_ms(&self) -> u64;
}

/// Random bytes as a loop may draw them.
pub trait Entropy: Send + Sync {
    /// Fills `out` with bytes that cannot be guessed.
    ///
    /// # Panics
    /// If the kernel cannot give any: a node without randomness must not make keys or nonces.
    fn fill(&self, out: &mut [u8]);
}

/// Clock and entropy of one process, for everything in it that needs both.
#[derive(Clone)]
pub struct World {
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Its entropy.
    pub entropy: Arc<dyn Entropy>,
}

impl World {
    /// The machine's.
    #[must_use]
    pub fn real() -> World {
        World { clock: Arc::new(SystemClock::default()), entropy: Arc::new(KernelEntropy) }
    }
}

debug_fields!(self: World {});

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock { origin: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn boottime(&self) -> Duration {
        let since = clock_gettime(ClockId::Boottime);
        let nanos = u32::try_from(since.tv_nsec).expect("the kernel gives less than a second of them");
        Duration::new(u64::try_from(since.tv_sec).expect("a machine starts at 0"), nanos)
    }

    fn wall_ms(&self) -> u64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }
}

/// getrandom(2).
#[derive(Debug, Default)]
pub struct KernelEntropy;

impl Entropy for KernelEntropy {
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("getrandom(2) works on every kernel this program starts on");
    }
}

/// Tells a thread that has looked at something again and again that it stood still meanwhile: its process was stopped by a signal,
/// frozen with its container, or paused with its machine. What was under way in that time has not hung for it: the threads that the
/// kernel writes with stood still too.
#[derive(Debug, Default)]
pub struct Standstill {
    looked_at: Duration,
    ended_at: Duration,
}

impl Standstill {
    /// A look, at most `expected` after the one before where nothing stood still; whether something did. Times are of one clock that
    /// never goes back.
    pub fn look(&mut self, now: Duration, expected: Duration) -> bool {
        let stood_still = now.saturating_sub(self.looked_at) > expected.saturating_add(STANDSTILL_MIN);
        if stood_still {
            self.ended_at = now;
        }
        self.looked_at = now;
        stood_still
    }

    /// For how long something has been under way that began at `since`, without all up to the end of the last standstill.
    #[must_use]
    pub fn waited(&self, since: Duration, now: Duration) -> Duration {
        now.saturating_sub(since.max(self.ended_at))
    }
}

/// Why a thread was not joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotJoined {
    /// It ended with a panic.
    #[error("it panicked")]
    Panicked,
    /// It hangs, most likely in a call into the kernel: it goes with the process.
    #[error("it has not ended for {} s", waited.as_secs())]
    Hangs {
        /// For how long it was waited for.
        waited: Duration,
    },
}

/// Waits for a thread to end, so long at most: a disk that does not answer must not hold up the end of the process.
///
/// # Errors
/// [`NotJoined`].
pub fn join_within(thread: JoinHandle<()>, waited: Duration) -> Result<(), NotJoined> {
    let mut left = waited;
    while !thread.is_finished() {
        if left.is_zero() {
            return Err(NotJoined::Hangs { waited });
        }
        thread::sleep(JOIN_STEP);
        left = left.saturating_sub(JOIN_STEP);
    }
    thread.join().map_err(|_| NotJoined::Panicked)
}

/// `N` random bytes as an array.
#[must_use]
pub fn random_array<const N: usize>(entropy: &dyn Entropy) -> [u8; N] {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    bytes
}

/// Longer than a thread waits for a core, or works between two looks.
const STANDSTILL_MIN: Duration = Duration::from_secs(2);
/// How often [`join_within`] looks.
const JOIN_STEP: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_under_way_through_a_standstill_has_as_long_again_behind_it() {
        let (second, mut looks) = (Duration::from_secs(1), Standstill::default());
        for at in 1..=9 {
            assert!(!looks.look(at * second, second));
        }
        assert_eq!(looks.waited(2 * second, 9 * second), 7 * second, "nothing stood still");
        assert!(!looks.look(12 * second, second), "a busy machine is none");
        assert!(looks.look(40 * second, second));
        assert_eq!(looks.waited(2 * second, 40 * second), Duration::ZERO);
        assert!(!looks.look(41 * second, second));
        assert_eq!(looks.waited(2 * second, 41 * second), second, "what hangs still is seen");
        assert_eq!(looks.waited(41 * second, 43 * second), 2 * second);
    }

    #[test]
    fn a_thread_is_waited_for_and_one_that_hangs_is_left_behind() {
        let brief = Duration::from_millis(20);
        let (hold, held) = mpsc::channel::<()>();
        let hangs = thread::spawn(move || assert!(held.recv().is_err()));
        assert_eq!(join_within(hangs, brief), Err(NotJoined::Hangs { waited: brief }));
        drop(hold);
        assert_eq!(join_within(thread::spawn(|| ()), Duration::MAX), Ok(()));
        let panics = thread::spawn(|| panic!("as the test wants"));
        assert_eq!(join_within(panics, Duration::MAX), Err(NotJoined::Panicked));
    }
}
