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

/// How often [`join_within`] looks.
const JOIN_STEP: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

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
