//! Seeded chance and a clock that only a test moves.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::world::Clock;
use crate::world::Entropy;

/// The seed of a random test: `SEALKV_SEED` if set, else `default`; printed, so that a failure can be replayed.
#[must_use]
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("SEALKV_SEED").ok().and_then(|word| word.parse().ok()).unwrap_or(default);
    eprintln!("SEALKV_SEED={seed}");
    seed
}

/// How many runs a random test makes: `SEALKV_RUNS` if set (see `scripts/slow`), else `default`.
#[must_use]
pub fn runs(default: u64) -> u64 {
    std::env::var("SEALKV_RUNS").ok().and_then(|word| word.parse().ok()).unwrap_or(default)
}

/// SplitMix64: small, seeded, good enough to choose faults. Never for keys.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Chance {
        Chance { state: seed }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// True once in `odds` times on average.
    pub fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

/// Entropy that a seed decides.
#[derive(Debug)]
pub struct SimEntropy {
    chance: Mutex<Chance>,
}

impl SimEntropy {
    /// The bytes of a seed.
    #[must_use]
    pub fn new(seed: u64) -> SimEntropy {
        SimEntropy { chance: Mutex::new(Chance::new(seed)) }
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, out: &mut [u8]) {
        let mut chance = locked(&self.chance);
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&chance.bits().to_be_bytes()[..chunk.len()]);
        }
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct SimClock {
    now: Mutex<Duration>,
}

impl SimClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        *locked(&self.now) += by;
    }
}

impl Clock for SimClock {
    fn monotonic(&self) -> Duration {
        *locked(&self.now)
    }

    fn wall_ms(&self) -> u64 {
        WALL_ORIGIN_MS + u64::try_from(self.monotonic().as_millis()).unwrap_or(0)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Some day in 2026, so that stamps look like stamps.
const WALL_ORIGIN_MS: u64 = 1_780_000_000_000;
