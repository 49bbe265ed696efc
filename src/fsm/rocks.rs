//! RocksDB below the table: one column family, without RocksDB's log (ours replays) and without rows in its memtable; it
//! changes by whole files, each taken in by one edit of its manifest.

pub mod base;
mod file;
mod key;
mod lines;
mod reserve;
pub mod start;
mod tuning;

use crate::limits::BLOCK_CACHE_BYTES;

/// How much RocksDB may take. The default is for a small machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// Values are sealed, so compressing them is work for nothing. Without it rows are compressed with lz4.
    pub values_are_sealed: bool,
    /// Cache of uncompressed blocks in bytes, index and filter blocks included.
    pub block_cache_bytes: usize,
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
            file_bytes: 64 << 20,
            open_files_max: 512,
            background_jobs: 2,
        }
    }
}
