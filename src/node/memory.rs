//! How the memory of a node is shared out: from one setting follow the bounds of everything that grows.
//!
//! ```text
//! memory-bytes = fixed     the program, its buffers, RocksDB's work
//!              + tables    what was applied and not flushed, in plaintext; the frozen table; the run under way
//!              + kept      rows that were flushed, or read from the disk, and stay in memory, opened
//!              + cache     RocksDB's blocks
//!              + clients   requests and replies
//!              + entries   above applied, and the newest ones for followers
//! ```
//!
//! Each part has a least. What is left is shared out: a quarter to the tables, a quarter to clients, an eighth to entries, each up
//! to its most, and the rest to the cache until it has what indexes and filters of many rows take. Of what is above that seven
//! eighths go to kept rows: the kernel has blocks of files in what memory the node leaves free, so a read that goes down to the
//! base seldom waits for the disk, but it takes 5 us where a kept row takes 1 (2 cores, 2026-11-30). A part that the user names
//! takes what it was named.

use crate::apply::run::RunBounds;
use crate::limits::BLOCK_CACHE_BYTES_MIN;
use crate::limits::CACHE_PART_BESIDE_KEPT_ROWS;
use crate::limits::CLIENT_MEMORY_BYTES_DEFAULT_MAX;
use crate::limits::CLIENT_MEMORY_BYTES_MIN;
use crate::limits::ENTRY_CACHE_PART;
use crate::limits::ENTRY_MEMORY_BYTES_MIN;
use crate::limits::KEPT_ROWS_FROM_CACHE_BYTES;
use crate::limits::LOG_CACHE_BYTES_MAX;
use crate::limits::MEMORY_BYTES_DEFAULT_MIN;
use crate::limits::MEMORY_BYTES_SETTING_MAX;
use crate::limits::MEMORY_FIXED_BYTES;
use crate::limits::MEMORY_MACHINE_PART;
use crate::limits::MEMORY_PEERS_BYTES;
use crate::limits::OVERLAY_BYTES_MAX;
use crate::limits::PEER_QUEUE_BYTES_MAX;
use crate::limits::PEER_QUEUE_BYTES_MIN;
use crate::limits::PEER_QUEUE_PART;
use crate::limits::TABLE_BYTES_MAX;
use crate::limits::TABLE_BYTES_MIN;
use crate::limits::TABLE_RUN_PART;
use crate::limits::UNAPPLIED_BYTES_MAX;
use crate::node::settings::ConfigError;
use crate::node::words::ByteSize;

/// What a user says about memory; every size is within its own range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryWishes {
    /// `memory-bytes`.
    pub all_bytes: Option<u64>,
    /// `client-memory-bytes`.
    pub client_bytes: Option<u64>,
    /// `block-cache-bytes`.
    pub cache_bytes: Option<u64>,
    /// Whether the node is one of several.
    pub has_peers: bool,
}

/// The bounds of all parts. See the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// The setting: the parts together are never above it.
    pub all_bytes: u64,
    /// What does not grow.
    pub fixed_bytes: u64,
    /// The tables above the state on disk, with the run under way.
    pub table_bytes: u64,
    /// Rows that were flushed or read and stay in memory, however full the tables are.
    pub kept_bytes: u64,
    /// RocksDB's cache.
    pub cache_bytes: u64,
    /// What all clients together may hold.
    pub client_bytes: u64,
    /// Entries of the log.
    pub entry_bytes: u64,
    /// Whether a part of that is for followers.
    pub has_peers: bool,
}

impl MemoryPlan {
    /// The plan for a machine of `machine_bytes`.
    ///
    /// # Errors
    /// [`ConfigError::Range`]: the parts do not fit, and the least that would do.
    pub fn derive(wishes: MemoryWishes, machine_bytes: Option<u64>) -> Result<MemoryPlan, ConfigError> {
        let least = MemoryPlan::least(wishes);
        let quarter = whole_mib(machine_bytes.unwrap_or(0) / MEMORY_MACHINE_PART);
        let default = quarter.max(MEMORY_BYTES_DEFAULT_MIN).max(least.all_bytes);
        let all_bytes = wishes.all_bytes.unwrap_or(default);
        if !(least.all_bytes..=MEMORY_BYTES_SETTING_MAX).contains(&all_bytes) {
            return Err(ConfigError::Range {
                name: "memory-bytes",
                found: ByteSize(all_bytes).to_string(),
                expected: least.as_range(),
            });
        }
        Ok(least.grown_to(all_bytes, wishes))
    }

    /// Every part at its least, or at what the user named.
    fn least(wishes: MemoryWishes) -> MemoryPlan {
        let peers_bytes = if wishes.has_peers { MEMORY_PEERS_BYTES } else { 0 };
        let mut plan = MemoryPlan {
            all_bytes: 0,
            fixed_bytes: MEMORY_FIXED_BYTES + peers_bytes,
            table_bytes: TABLE_BYTES_MIN,
            kept_bytes: 0,
            cache_bytes: wishes.cache_bytes.unwrap_or(CACHE_BYTES_LEAST),
            client_bytes: wishes.client_bytes.unwrap_or(CLIENT_MEMORY_BYTES_MIN as u64),
            entry_bytes: ENTRY_MEMORY_BYTES_MIN,
            has_peers: wishes.has_peers,
        };
        plan.all_bytes = plan.sum();
        plan
    }

    /// What is above the least is shared out.
    fn grown_to(mut self, all_bytes: u64, wishes: MemoryWishes) -> MemoryPlan {
        let more = all_bytes - self.sum();
        self.table_bytes = (self.table_bytes + whole_mib(more / 4)).min(TABLE_BYTES_MAX);
        self.entry_bytes = (self.entry_bytes + whole_mib(more / 8)).min(UNAPPLIED_BYTES_MAX);
        if wishes.client_bytes.is_none() {
            self.client_bytes = (self.client_bytes + whole_mib(more / 4)).min(CLIENT_MEMORY_BYTES_DEFAULT_MAX);
        }
        let rest = all_bytes - self.sum();
        if wishes.cache_bytes.is_some() {
            self.kept_bytes = whole_mib(rest);
        } else {
            let above = (self.cache_bytes + rest).saturating_sub(KEPT_ROWS_FROM_CACHE_BYTES);
            self.kept_bytes = whole_mib(above - above / CACHE_PART_BESIDE_KEPT_ROWS);
            self.cache_bytes += rest - self.kept_bytes;
        }
        self.all_bytes = all_bytes;
        assert!(self.sum() <= all_bytes, "the parts make no more than the whole");
        self
    }

    /// All parts together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.fixed_bytes + self.table_bytes + self.kept_bytes + self.cache_bytes + self.client_bytes + self.entry_bytes
    }

    /// What kept rows, which take `kept_bytes`, may take from now on, where the process takes `resident_bytes`. Twice what it takes too
    /// much: of what they leave only whole pages come back, and rows of other sizes may lie on the same ones.
    #[must_use]
    pub fn kept_bytes_allowed(&self, kept_bytes: u64, resident_bytes: u64) -> u64 {
        let allowed = match self.all_bytes.checked_sub(resident_bytes) {
            Some(free) => kept_bytes.saturating_add(free),
            None => kept_bytes.saturating_sub(2 * (resident_bytes - self.all_bytes)),
        };
        allowed.min(self.kept_bytes)
    }

    /// What the tables may take before a run begins.
    #[must_use]
    pub fn settled_table_bytes(&self) -> u64 {
        self.table_bytes - self.run_bytes()
    }

    /// How long a run may become.
    #[must_use]
    pub fn run_bounds(&self) -> RunBounds {
        RunBounds { overlay_bytes_max: self.run_bytes(), ..RunBounds::default() }
    }

    /// Entries above applied.
    #[must_use]
    pub fn unapplied_bytes(&self) -> u64 {
        self.entry_bytes - self.entry_cache_bytes()
    }

    /// Applied entries that are kept for followers.
    #[must_use]
    pub fn entry_cache_bytes(&self) -> u64 {
        if self.has_peers { (self.entry_bytes / ENTRY_CACHE_PART).min(LOG_CACHE_BYTES_MAX) } else { 0 }
    }

    /// What may wait for one connection to a peer.
    #[must_use]
    pub fn peer_queue_bytes(&self) -> usize {
        let part = usize::try_from(self.entry_bytes / PEER_QUEUE_PART).unwrap_or(usize::MAX);
        part.clamp(PEER_QUEUE_BYTES_MIN, PEER_QUEUE_BYTES_MAX)
    }

    /// Entries that a start may hold: clients and the cache have nothing yet. A quarter of what is theirs is for the reading itself.
    #[must_use]
    pub fn start_entry_bytes(&self) -> u64 {
        (self.entry_bytes + self.client_bytes + self.cache_bytes) / 4 * 3
    }

    fn run_bytes(&self) -> u64 {
        (self.table_bytes / TABLE_RUN_PART).min(OVERLAY_BYTES_MAX)
    }

    fn as_range(&self) -> String {
        let size = ByteSize;
        format!(
            "at least {}, of which the tables take {}, the cache of blocks {}, clients {}, entries of the log {} and the rest of the node {}, and at most {}",
            size(self.all_bytes),
            size(self.table_bytes),
            size(self.cache_bytes),
            size(self.client_bytes),
            size(self.entry_bytes),
            size(self.fixed_bytes),
            size(MEMORY_BYTES_SETTING_MAX),
        )
    }
}

fn whole_mib(bytes: u64) -> u64 {
    bytes >> 20 << 20
}

/// Least of the cache where the user names none: index and filter blocks of the newest files, and some rows.
const CACHE_BYTES_LEAST: u64 = 16 << 20;
const _: () = assert!(CACHE_BYTES_LEAST >= BLOCK_CACHE_BYTES_MIN as u64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ENTRY_BYTES_MAX;

    const MIB: u64 = 1 << 20;

    fn plan(mib: u64) -> MemoryPlan {
        MemoryPlan::derive(MemoryWishes { all_bytes: Some(mib * MIB), ..MemoryWishes::default() }, None).unwrap()
    }

    fn parts(plan: &MemoryPlan) -> [u64; 6] {
        let MemoryPlan { fixed_bytes, table_bytes, kept_bytes, cache_bytes, client_bytes, entry_bytes, .. } = *plan;
        [fixed_bytes, table_bytes, kept_bytes, cache_bytes, client_bytes, entry_bytes].map(|part| part / MIB)
    }

    fn refusal(wishes: MemoryWishes) -> String {
        MemoryPlan::derive(wishes, Some(64 << 30)).unwrap_err().to_string()
    }

    #[test]
    fn the_parts_make_the_whole_and_none_shrinks_where_the_whole_grows() {
        assert_eq!(parts(&plan(416)), [112, 64, 0, 16, 192, 32]);
        assert_eq!(parts(&plan(512)), [112, 88, 0, 52, 216, 44]);
        assert_eq!(parts(&plan(1024)), [112, 216, 0, 244, 344, 108]);
        assert_eq!(parts(&plan(2048)), [112, 472, 325, 303, 600, 236]);
        assert_eq!(parts(&plan(6144)), [112, 1024, 3038, 690, 1024, 256]);
        let mut before = plan(416);
        for mib in (417..8192).step_by(7).chain([16 << 10, 1 << 20]) {
            let next = plan(mib);
            assert_eq!(next.sum(), mib * MIB);
            assert!(parts(&before).iter().zip(parts(&next)).all(|(less, more)| *less <= more), "{before:?} {next:?}");
            assert!(next.settled_table_bytes() + next.run_bounds().overlay_bytes_max <= next.table_bytes);
            before = next;
        }
    }

    #[test]
    fn a_quarter_of_the_machine_is_the_default_and_at_least_512_mib() {
        let default = |machine, has_peers| {
            let wishes = MemoryWishes { has_peers, ..MemoryWishes::default() };
            MemoryPlan::derive(wishes, machine).unwrap().all_bytes / MIB
        };
        for has_peers in [false, true] {
            for machine in [None, Some(1), Some(256 * MIB), Some(2048 * MIB)] {
                assert_eq!(default(machine, has_peers), 512);
            }
            assert_eq!(default(Some(24 << 30), has_peers), 6144);
        }
    }

    #[test]
    fn kept_rows_give_way_where_the_process_is_too_large_and_grow_again_where_it_is_not() {
        let (plan, all) = (plan(6144), 6144 * MIB);
        assert_eq!(plan.kept_bytes_allowed(0, 0), plan.kept_bytes);
        assert_eq!(plan.kept_bytes_allowed(2000 * MIB, all - 100 * MIB), 2100 * MIB);
        assert_eq!(plan.kept_bytes_allowed(2000 * MIB, all), 2000 * MIB);
        assert_eq!(plan.kept_bytes_allowed(2000 * MIB, all + 100 * MIB), 1800 * MIB);
        assert_eq!(plan.kept_bytes_allowed(2000 * MIB, 2 * all), 0);
        assert_eq!(plan.kept_bytes_allowed(9000 * MIB, all), plan.kept_bytes);
    }

    #[test]
    fn too_little_is_refused_with_the_least_that_would_do() {
        let alone = refusal(MemoryWishes { all_bytes: Some(415 * MIB), ..MemoryWishes::default() });
        assert!(alone.contains("memory-bytes is 415M") && alone.contains("at least 416M"), "{alone}");
        let several = refusal(MemoryWishes { all_bytes: Some(1), has_peers: true, ..MemoryWishes::default() });
        assert!(several.contains("memory-bytes is 1,") && several.contains("at least 480M"), "{several}");
        let typing = refusal(MemoryWishes { all_bytes: Some(1 << 50), ..MemoryWishes::default() });
        assert!(typing.contains("at most 16384G"), "{typing}");
    }

    #[test]
    fn named_parts_take_what_was_named_and_the_least_counts_them() {
        let wishes =
            MemoryWishes { client_bytes: Some(512 * MIB), cache_bytes: Some(256 * MIB), ..MemoryWishes::default() };
        let told = MemoryWishes { all_bytes: Some(1024 * MIB), ..wishes };
        assert_eq!(parts(&MemoryPlan::derive(told, None).unwrap()), [112, 76, 30, 256, 512, 38]);
        let less = refusal(MemoryWishes { all_bytes: Some(975 * MIB), ..wishes });
        assert!(less.contains("at least 976M") && less.contains("clients 512M"), "{less}");
        // The default is nobody's word: it grows to what was named.
        let default = MemoryPlan::derive(wishes, Some(1 << 30)).unwrap();
        assert_eq!(parts(&default), [112, 64, 0, 256, 512, 32]);
    }

    #[test]
    fn entries_for_followers_are_a_part_of_all_entries() {
        for mib in [480, 512, 6144] {
            let wishes = MemoryWishes { all_bytes: Some(mib * MIB), has_peers: true, ..MemoryWishes::default() };
            let plan = MemoryPlan::derive(wishes, None).unwrap();
            assert_eq!(plan.sum(), mib * MIB);
            assert_eq!(plan.unapplied_bytes() + plan.entry_cache_bytes(), plan.entry_bytes);
            assert!(plan.entry_cache_bytes() > 0);
        }
        assert_eq!(plan(512).entry_cache_bytes(), 0);
    }

    #[test]
    fn what_waits_for_a_peer_follows_from_the_memory_and_takes_the_largest_entry() {
        let of = |mib| plan(mib).peer_queue_bytes();
        assert_eq!(of(480), PEER_QUEUE_BYTES_MIN);
        assert_eq!(of(1024) as u64, plan(1024).entry_bytes / 4);
        assert!((of(1024)..=PEER_QUEUE_BYTES_MAX).contains(&of(1 << 20)) && of(1 << 20) > of(1024));
        const { assert!(PEER_QUEUE_BYTES_MIN > ENTRY_BYTES_MAX) };
    }
}
