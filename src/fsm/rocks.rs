//! RocksDB below the table: one column family, without RocksDB's log (ours replays) and without rows in its memtable; it
//! changes by whole files, each taken in by one edit of its manifest.

mod arrivals;
pub mod base;
mod file;
mod idle;
mod key;
mod level0;
mod lines;
mod pace;
mod paced_merge;
mod reserve;
pub mod start;
mod tuning;

use crate::limits::BLOCK_CACHE_BYTES;
use crate::limits::TABLE_BYTES;

/// How much RocksDB may take. The default is for a small machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// Values are sealed, so compressing them is work for nothing. Without it rows are compressed with lz4.
    pub values_are_sealed: bool,
    /// Cache of uncompressed blocks in bytes, index and filter blocks included.
    pub block_cache_bytes: usize,
    /// Size of level 1, into which ingested files are merged. See [`level1_bytes`].
    pub level1_bytes: u64,
    /// Size of the tables that merging makes.
    pub file_bytes: u64,
    /// Table files that are held open.
    pub open_files_max: i32,
    /// Threads that flush and compact.
    pub background_jobs: i32,
}

impl Default for RocksOptions {
    fn default() -> RocksOptions {
        RocksOptions {
            values_are_sealed: true,
            block_cache_bytes: BLOCK_CACHE_BYTES,
            level1_bytes: level1_bytes(TABLE_BYTES),
            file_bytes: 64 << 20,
            open_files_max: 512,
            background_jobs: 2,
        }
    }
}

/// Size of level 1 where tables of `table_bytes` in all are flushed above it. Each merge of ingested files rewrites all of it, because
/// every file spans all names; and whatever goes below it is rewritten once more with what lies there. Files that are merged at
/// once have about twice the bytes of all tables, and so has level 1.
///
/// Three times as much wrote a third less while 20 million keys were overwritten (5.4 bytes for each taken in), but with merges of up
/// to 10 GB there were 20 GB on the disk for 6 GB of rows, and clients waited for up to 1.9 s (2 cores, Zen 5, 2026-11-30).
#[must_use]
pub fn level1_bytes(table_bytes: u64) -> u64 {
    2 * table_bytes
}
