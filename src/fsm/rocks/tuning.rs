//! RocksDB for ingestion: nothing is ever written into its memtable, sorted files come whole and overlap each other.
//!
//! The state rows are in every file, so each file overlaps every other and goes to level 0. What is tuned is how level 0
//! becomes level 1, and how a name is found.

use rocksdb::BlockBasedOptions;
use rocksdb::Cache;
use rocksdb::DBCompressionType;
use rocksdb::DataBlockIndexType;
use rocksdb::Options;

use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::lines::info_log;

/// Options of a base, for RocksDB and for the writer of files alike: both must make the same tables.
pub(crate) fn base_options(options: &RocksOptions) -> Options {
    let mut db = Options::default();
    db.set_block_based_table_factory(&tables(options));
    db.set_compression_type(match options.values_are_sealed {
        true => DBCompressionType::None,
        false => DBCompressionType::Lz4,
    });
    db.set_write_buffer_size(MEMTABLE_BYTES);
    db.set_level_zero_file_num_compaction_trigger(LEVEL0_TRIGGER);
    db.set_max_bytes_for_level_base(LEVEL1_BYTES);
    db.set_target_file_size_base(options.file_bytes);
    db.set_max_open_files(options.open_files_max);
    // RocksDB keeps one of them for flushes of the memtable, which never come. With a single one left, level 0 would wait
    // until a long merge below it has ended.
    db.set_max_background_jobs(options.background_jobs + 1);
    // What compaction has written goes to the device little by little: at once, the log's syncs would wait behind it.
    db.set_bytes_per_sync(SYNC_BYTES);
    db.set_paranoid_checks(true);
    // Both write to the info log on a timer, and the second keeps statistics in a hidden column family.
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db.set_info_logger(info_log());
    db
}

fn tables(options: &RocksOptions) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(options.block_cache_bytes));
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    table.set_whole_key_filtering(true);
    table.set_format_version(TABLE_FORMAT);
    // Names are random and mostly looked up one by one: in its block a row is found by a hash.
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    table
}

/// The memtable stays empty: the least that RocksDB takes.
const MEMTABLE_BYTES: usize = 64 << 10;
/// Ingested files from which on they are merged into level 1. Twice as many write 0.5 bytes less for each byte taken in, and
/// each miss looks into twice as many files.
const LEVEL0_TRIGGER: i32 = 4;
/// Size of level 1: each merge of level 0 rewrites all of it, because every file spans all names; so it is not much larger
/// than the files that are merged at once.
///
/// Measured with `scripts/bench base`, 10 M random names, on two cores that had other work (2026-11-28); bytes written for
/// each taken in, us of compaction for each row: 4.0 and 5.3 as it is; 4.6 and 6.1 with 2 GiB; 3.5 and 4.9 with a trigger of
/// eight. Universal compaction: 2.9 and 2.8, but it merges all of the state at once now and then, and needs its space twice.
const LEVEL1_BYTES: u64 = 512 << 20;
/// Bytes that compaction writes between two syncs of its file.
///
/// Compaction past the kernel's cache (`O_DIRECT`), with level 0 up to 16 files, took 400 k new keys of 256 B a second in place of
/// 320 k, with 82 ms at p99.9 in place of 149; but what it had merged was not in that cache, and GETs of it fell from 148 k to
/// 15 k a second (2 cores, Zen 5, 2026-11-30). Its threads at nice 5 or 19: no gain beyond noise, and longer waits at p99.9.
const SYNC_BYTES: u64 = 1 << 20;
/// One false positive in a hundred look-ups of absent names; RocksDB's own recommendation.
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Fixed, so that a newer RocksDB writes what the one before it can read.
const TABLE_FORMAT: i32 = 5;
