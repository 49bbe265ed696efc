//! The store on RocksDB: one column family, without RocksDB's log (ours replays), one write batch per commit.
//!
//! ```text
//! row key  0x00 | 0x01   applied row          state rows sort before all users' rows
//!          0x00 | 0x02   keyring row
//!          17 bytes      a user's row: its name, which begins with 0x01 to 0x10
//! ```
//!
//! A batch goes into one memtable whole, and a memtable is flushed whole into one file with one manifest edit; so with
//! one column family what a crash leaves is always some finished commit (ATOMIC-APPLY). What is durable is read with
//! RocksDB's persisted tier, which without its log means: from files only.

pub mod base;
mod file;
mod key;
pub mod start;
mod tuning;

use std::path::Path;

use rocksdb::BlockBasedOptions;
use rocksdb::Cache;
use rocksdb::DB;
use rocksdb::DBCompressionType;
use rocksdb::FlushOptions;
use rocksdb::InfoLogger;
use rocksdb::LogLevel;
use rocksdb::Options;
use rocksdb::ReadOptions;
use rocksdb::ReadTier;
use rocksdb::WriteBatch;
use rocksdb::WriteOptions;

use crate::fsm::name::RowName;
use crate::fsm::rocks::key::database_end;
use crate::fsm::rocks::key::database_start;
use crate::fsm::rocks::key::state_key;
use crate::fsm::store::Commit;
use crate::fsm::store::StateRow;
use crate::fsm::store::Store;
use crate::fsm::store::StoreError;
use crate::limits::BLOCK_CACHE_BYTES;
use crate::limits::FETCH_KEYS_MAX;

/// How much RocksDB may take. The default is for a small machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RocksOptions {
    /// Values are sealed, so compressing them is work for nothing. Without it rows are compressed with lz4.
    pub values_are_sealed: bool,
    /// Size of one memtable in bytes; a full one is flushed by RocksDB itself.
    pub memtable_bytes: usize,
    /// Memtables in memory, the one being written included; when all are full, writes wait for a flush.
    pub memtable_count: i32,
    /// Cache of uncompressed blocks in bytes, index and filter blocks included.
    pub block_cache_bytes: usize,
    /// Table files that are held open.
    pub open_files_max: i32,
    /// Threads that flush and compact.
    pub background_jobs: i32,
}

impl Default for RocksOptions {
    fn default() -> RocksOptions {
        RocksOptions {
            values_are_sealed: true,
            memtable_bytes: 64 << 20,
            memtable_count: 3,
            block_cache_bytes: BLOCK_CACHE_BYTES,
            open_files_max: 512,
            background_jobs: 2,
        }
    }
}

/// A [`Store`] in a directory.
pub struct RocksStore {
    db: DB,
}

impl RocksStore {
    /// Makes a new, empty store in `path`, whose parent must exist.
    ///
    /// # Errors
    /// [`StoreError::Backend`], also if there is a store already.
    pub fn create(path: &Path, options: &RocksOptions) -> Result<RocksStore, StoreError> {
        let mut db_options = db_options(options);
        db_options.create_if_missing(true);
        db_options.set_error_if_exists(true);
        RocksStore::finish(DB::open(&db_options, path))
    }

    /// Opens the store in `path`; one that is missing is never made.
    ///
    /// # Errors
    /// [`StoreError::Backend`]: missing, damaged, or held by another process.
    pub fn open(path: &Path, options: &RocksOptions) -> Result<RocksStore, StoreError> {
        RocksStore::finish(DB::open(&db_options(options), path))
    }

    /// Opens the store in `path` to look at it: nothing in the directory changes, and it may be held by
    /// another process. Writing answers an error.
    ///
    /// # Errors
    /// [`StoreError::Backend`]: missing or damaged.
    pub fn open_read_only(path: &Path, options: &RocksOptions) -> Result<RocksStore, StoreError> {
        RocksStore::finish(DB::open_for_read_only(&db_options(options), path, false))
    }

    fn finish(opened: Result<DB, rocksdb::Error>) -> Result<RocksStore, StoreError> {
        Ok(RocksStore { db: opened.map_err(|error| backend(&error))? })
    }

    fn read(&self, row_key: &[u8], options: &ReadOptions) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.db.get_pinned_opt(row_key, options).map_err(|error| backend(&error))?;
        Ok(row.map(|row| row.to_vec()))
    }
}

impl Store for RocksStore {
    fn get(&self, name: &RowName) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(name.as_bytes(), &ReadOptions::default())
    }

    fn get_each(&self, names: &[RowName], visit: &mut dyn FnMut(Option<Vec<u8>>) -> bool) -> Result<(), StoreError> {
        let snapshot = self.db.snapshot();
        for some in names.chunks(FETCH_KEYS_MAX) {
            for row in snapshot.multi_get(some.iter().map(RowName::as_bytes)) {
                if !visit(row.map_err(|error| backend(&error))?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn state(&self, row: StateRow) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(&state_key(row), &ReadOptions::default())
    }

    fn flushed_state(&self, row: StateRow) -> Result<Option<Vec<u8>>, StoreError> {
        let mut options = ReadOptions::default();
        options.set_read_tier(ReadTier::Persisted);
        self.read(&state_key(row), &options)
    }

    fn write(&self, commit: Commit) -> Result<(), StoreError> {
        let mut batch = WriteBatch::default();
        for database in &commit.cleared {
            batch.delete_range(database_start(*database), database_end(*database));
        }
        for name in &commit.deletes {
            batch.delete(name.as_bytes());
        }
        for (name, row) in &commit.puts {
            batch.put(name.as_bytes(), row);
        }
        for (row, bytes) in &commit.state {
            batch.put(state_key(*row), bytes);
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(|error| backend(&error))
    }

    fn flush(&self) -> Result<(), StoreError> {
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_opt(&options).map_err(|error| backend(&error))
    }

    fn scan(&self, visit: &mut dyn FnMut(&RowName, &[u8]) -> bool) -> Result<(), StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(USERS_BEGIN);
        options.set_iterate_upper_bound(USERS_END);
        // A walk over everything must not push out what clients read.
        options.fill_cache(false);
        let mut rows = self.db.raw_iterator_opt(options);
        rows.seek_to_first();
        while let Some((row_key, row)) = rows.item() {
            let Some(name) = RowName::from_bytes(row_key) else {
                return Err(StoreError::Malformed { what: "a user" });
            };
            if !visit(&name, row) {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(|error| backend(&error))
    }
}

debug_fields!(self: RocksStore { path: self.db.path() });

fn db_options(options: &RocksOptions) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(options.block_cache_bytes));
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    table.set_whole_key_filtering(true);
    table.set_format_version(TABLE_FORMAT);

    let mut db = Options::default();
    db.set_block_based_table_factory(&table);
    db.set_memtable_whole_key_filtering(true);
    db.set_memtable_prefix_bloom_ratio(MEMTABLE_BLOOM_RATIO);
    db.set_write_buffer_size(options.memtable_bytes);
    db.set_max_write_buffer_number(options.memtable_count);
    db.set_max_open_files(options.open_files_max);
    db.set_max_background_jobs(options.background_jobs);
    db.set_compression_type(match options.values_are_sealed {
        true => DBCompressionType::None,
        false => DBCompressionType::Lz4,
    });
    db.set_paranoid_checks(true);
    // Both write to the info log on a timer, and the second keeps statistics in a hidden column family.
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    // Instead of a LOG file that grows with every start: only what an operator must know, to where everything is logged.
    db.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, |level, line| match level {
        LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "rocksdb", "{}", shortened(line)),
        LogLevel::Warn => tracing::warn!(target: "rocksdb", "{}", shortened(line)),
        // Headers, its list of hundreds of options at every open, come whatever level is asked for.
        LogLevel::Header | LogLevel::Info | LogLevel::Debug => {
            tracing::trace!(target: "rocksdb", "{}", shortened(line));
        }
    }));
    db
}

/// RocksDB's words. They name files, offsets and at most keys, never values; they are cut to be safe.
fn backend(error: &rocksdb::Error) -> StoreError {
    StoreError::Backend(shortened(error.as_ref()).to_owned())
}

fn shortened(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default().trim_end()
}

const USERS_BEGIN: [u8; 1] = [0x01];
const USERS_END: [u8; 1] = [0x11];
/// One false positive in a hundred look-ups of absent keys; RocksDB's own recommendation.
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Part of a memtable that its filter takes: 2 %, so that a miss does not walk the skip list (measured).
const MEMTABLE_BLOOM_RATIO: f64 = 0.02;
/// Fixed, so that a newer RocksDB writes what the one before it can read.
const TABLE_FORMAT: i32 = 5;
/// Longest line that is taken over from RocksDB.
const TEXT_BYTES_MAX: usize = 256;
