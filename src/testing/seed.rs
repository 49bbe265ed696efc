//! The one seeded generator of tests and benches: chance for what a test tries, entropy for what it starts.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::world::Entropy;
use crate::world::KernelEntropy;
use crate::world::random_array;

/// The seed of a random test: `SEALKV_SEED` if set, else `default`; printed, so that a failure can be replayed.
#[must_use]
pub fn seed(default: u64) -> u64 {
    let seed = from_environment("SEALKV_SEED").unwrap_or(default);
    eprintln!("SEALKV_SEED={seed}");
    seed
}

/// The seeds of a test that makes many runs: `SEALKV_SEED` alone, or `SEALKV_RUNS` of them (without it `count`) from 1 on.
/// The test prints the seed of the run that fails.
#[must_use]
pub fn seeds(count: u64) -> Vec<u64> {
    match from_environment("SEALKV_SEED") {
        Some(seed) => vec![seed],
        None => (1..=runs(count)).collect(),
    }
}

/// How many runs a random test makes: `SEALKV_RUNS` if set (see `scripts/slow`), else `default`.
#[must_use]
pub fn runs(default: u64) -> u64 {
    from_environment("SEALKV_RUNS").unwrap_or(default)
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|word| word.parse().ok())
}

/// SplitMix64: small, seeded, good enough to choose faults and inputs. The keys that it makes are known to everybody.
#[derive(Debug)]
pub struct Seeded {
    state: AtomicU64,
}

impl Seeded {
    /// The sequence of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Seeded {
        Seeded { state: AtomicU64::new(seed) }
    }

    /// The sequence of [`seed`].
    #[must_use]
    pub fn replayable(default: u64) -> Seeded {
        Seeded::new(seed(default))
    }

    /// Another sequence in every run of the test; its seed is printed and `SEALKV_SEED` replays it.
    #[must_use]
    pub fn fresh() -> Seeded {
        Seeded::replayable(u64::from_be_bytes(random_array(&KernelEntropy)))
    }

    /// The next 64 bits.
    pub fn bits(&self) -> u64 {
        let state = self.state.fetch_add(STEP, Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&self, end: u64) -> u64 {
        self.bits() % end
    }

    /// A place in something of `len` items, which is not empty.
    pub fn index(&self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a usize")
    }

    /// One of `all`, which is not empty.
    pub fn pick<T: Copy>(&self, all: &[T]) -> T {
        all[self.index(all.len())]
    }

    /// True once in `odds` times on average.
    pub fn one_in(&self, odds: u64) -> bool {
        self.below(odds) == 0
    }

    /// So many bytes.
    pub fn bytes(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }

    /// `N` bytes.
    pub fn array<const N: usize>(&self) -> [u8; N] {
        random_array(self)
    }
}

impl Clone for Seeded {
    /// A generator at the same place of the same sequence.
    fn clone(&self) -> Seeded {
        Seeded::new(self.state.load(Relaxed))
    }
}

impl Entropy for Seeded {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.bits().to_be_bytes()[..chunk.len()]);
        }
    }
}

/// The golden ratio in 64 bits, as SplitMix64 has it.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
