//! Opening the sealed entries of a run, in parallel where that pays, into arenas that are kept from run to run.
//!
//! The result of an entry does not depend on how the run was split: each is opened alone, by its own place.

use std::sync::Arc;
#[cfg(feature = "testing")]
use std::sync::LazyLock;

use rayon::ThreadPool;
#[cfg(feature = "testing")]
use rayon::ThreadPoolBuilder;

use crate::crypto::envelope::OpenError;
use crate::crypto::open::EntryKeys;
use crate::crypto::open::OpenArena;
use crate::crypto::open::OpenJob;
use crate::crypto::open::open_entries;

/// Arenas and the threads that fill them.
#[derive(Default)]
pub struct Openings {
    /// Helps the calling thread; `None` = everything on the calling thread.
    pool: Option<Arc<ThreadPool>>,
    /// One for each part of a run.
    arenas: Vec<OpenArena>,
    /// How many of them the last run filled.
    filled: usize,
    /// Below this many bytes (with [`ENTRY_COST_BYTES`] an entry) nothing is split.
    parallel_bytes_min: usize,
    /// A run that is not split is opened and delivered in parts of so many bytes.
    part_bytes: usize,
}

impl Openings {
    /// Opens on the calling thread, and on those of `pool` where a run is large enough to be split.
    #[must_use]
    pub fn new(pool: Option<Arc<ThreadPool>>) -> Openings {
        Openings { pool, parallel_bytes_min: PARALLEL_BYTES_MIN, part_bytes: PART_BYTES, ..Openings::default() }
    }

    /// Splits every run of two entries or more, and without a pool each is a part: for tests.
    #[must_use]
    pub fn eager(pool: Option<Arc<ThreadPool>>) -> Openings {
        Openings { pool, ..Openings::default() }
    }

    /// The same beside the thread of a simulation, one helper for all of its nodes. What it does has no effect before its turn, so
    /// a run stays repeatable.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn simulated() -> Openings {
        static POOL: LazyLock<Arc<ThreadPool>> =
            LazyLock::new(|| Arc::new(ThreadPoolBuilder::new().num_threads(1).build().expect("a thread")));
        Openings::eager(Some(Arc::clone(&POOL)))
    }

    /// From now on the cores have clients to serve: only a run that is much larger is split.
    #[cfg(feature = "node")]
    pub(super) fn share_cores(&mut self) {
        self.parallel_bytes_min = self.parallel_bytes_min.saturating_mul(SHARED_CORES_FACTOR);
    }

    /// Others, on the same threads and by the same rule.
    #[cfg(feature = "node")]
    pub(super) fn beside(&self) -> Openings {
        Openings { pool: self.pool.clone(), arenas: Vec::new(), filled: 0, ..*self }
    }

    /// The threads.
    #[cfg(feature = "node")]
    pub(super) fn pool(&self) -> Option<&Arc<ThreadPool>> {
        self.pool.as_ref()
    }

    /// How many bytes of these entries should be opened at once: as many as a core's cache keeps until they are delivered.
    /// `None` = all, because that is split.
    pub(super) fn part_bytes<'e>(&self, entries: impl Iterator<Item = &'e [u8]>) -> Option<usize> {
        let is_split = self.pool.is_some() && self.is_worth_a_thread(entries);
        (!is_split).then_some(self.part_bytes)
    }

    /// Whether opening these entries takes longer than waking a thread for it.
    pub(super) fn is_worth_a_thread<'e>(&self, entries: impl Iterator<Item = &'e [u8]>) -> bool {
        let mut sum = 0;
        let mut entries = entries.peekable();
        entries.peek().is_some()
            && entries.any(|data| {
                sum += cost(data);
                sum >= self.parallel_bytes_min
            })
    }

    /// Opens every job; [`Openings::results`] then has one result for each, in the order of `jobs`.
    pub fn open(&mut self, keys: &EntryKeys, jobs: &[OpenJob<'_>]) {
        let parts_max = self.parts_for(jobs);
        if self.arenas.len() < parts_max {
            self.arenas.resize_with(parts_max, OpenArena::default);
        }
        let part_cost = jobs.iter().map(|job| cost(job.data)).sum::<usize>().div_ceil(parts_max.max(1));
        self.filled = match &self.pool {
            Some(pool) if parts_max > 1 => {
                let arenas = &mut self.arenas;
                pool.in_place_scope(|scope| {
                    let mut rest = jobs;
                    let mut filled = 0;
                    for arena in arenas.iter_mut() {
                        let (part, behind) =
                            rest.split_at(count_reaching(part_cost, rest.iter().map(|job| cost(job.data))));
                        rest = behind;
                        filled += 1;
                        if rest.is_empty() {
                            open_entries(keys, part, arena);
                            break;
                        }
                        scope.spawn(move |_| open_entries(keys, part, arena));
                    }
                    debug_assert!(rest.is_empty(), "as many arenas as parts");
                    filled
                })
            }
            _ if jobs.is_empty() => 0,
            _ => {
                open_entries(keys, jobs, &mut self.arenas[0]);
                1
            }
        };
    }

    /// The results of the last run.
    pub fn results(&self) -> impl Iterator<Item = Result<&[u8], OpenError>> {
        self.arenas[..self.filled].iter().flat_map(OpenArena::results)
    }

    /// Forgets the last run's results.
    pub(crate) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Gives up the space, which wipes what is in it.
    #[cfg(feature = "node")]
    pub(super) fn release(&mut self) {
        self.filled = 0;
        self.arenas = Vec::new();
    }

    fn parts_for(&self, jobs: &[OpenJob<'_>]) -> usize {
        let threads = self.pool.as_ref().map_or(0, |pool| pool.current_num_threads());
        let is_small = jobs.len() < 2 || jobs.iter().map(|job| cost(job.data)).sum::<usize>() < self.parallel_bytes_min;
        if is_small { jobs.len().min(1) } else { (threads + 1).min(jobs.len()) }
    }
}

debug_fields!(self: Openings { arenas: self.arenas.len() });

fn cost(data: &[u8]) -> usize {
    data.len() + ENTRY_COST_BYTES
}

/// How many of these, from the first on, are `least` together; all if they are fewer.
pub(super) fn count_reaching(least: usize, mut parts: impl ExactSizeIterator<Item = usize>) -> usize {
    let (all, mut sum) = (parts.len(), 0);
    let reached = parts.position(|part| {
        sum += part;
        sum >= least
    });
    reached.map_or(all, |last| last + 1)
}

/// What an entry costs beside its bytes, in bytes: its header, key look-up, counter and tag blocks. Measured 2026-11-23 by
/// `cargo bench -- apply::open` on two Zen 5 cores in the vaes512 tier: 18 ns an entry and 0.058 ns a byte.
const ENTRY_COST_BYTES: usize = 310;
/// Smaller runs are opened by the calling thread alone. The same bench: at 17 us of opening (512 entries of 256 bytes) a second
/// thread gave nothing, at 33 us (128 of 4 KiB) it took 15 % off, at 140 us and more 35 to 45 %; 30 us are about this much.
const PARALLEL_BYTES_MIN: usize = 512 << 10;
/// Bytes of entries that are opened together on one thread: less than its cache holds, and enough for all lanes. Measured with
/// arenas of as many bytes at sealing, see there.
const PART_BYTES: usize = 64 << 10;
/// So many times as large is a run that is split where no core is idle: the second thread then takes its time from those that
/// serve clients, and what it opened lies in the cache of another core. Measured 2026-11-30 on two Zen 5 cores, SET of 256 bytes
/// by 256 clients with pipelines of 16 (runs of 1.4 MB): 1.98 us of CPU a SET with runs in two parts, 1.87 in one, and 3 % more
/// SETs a second.
#[cfg(feature = "node")]
const SHARED_CORES_FACTOR: usize = 8;
