//! RocksDB for ingestion: nothing is ever written into its memtable, sorted files come whole and overlap each other.
//!
//! The state rows are in every file, so each file overlaps every other and goes to level 0. What is tuned is how level 0
//! becomes level 1, and how a name is found.

use std::sync::Arc;

use rocksdb::BlockBasedOptions;
use rocksdb::Cache;
use rocksdb::DBCompressionType;
use rocksdb::DataBlockIndexType;
use rocksdb::Options;

use crate::fsm::rocks::RocksOptions;
use crate::fsm::rocks::lines::info_log;
use crate::fsm::rocks::pace::MergePace;
use crate::fsm::rocks::paced_merge::PacedMerges;
use crate::limits::LEVEL0_FILES_MERGED;

/// RocksDB's options, and the pace that its merges keep to by them.
pub(crate) struct BaseOptions {
    pub(crate) db: Options,
    pub(crate) pace: Arc<MergePace>,
}

/// Options of a base, for RocksDB and for the writer of files alike: both must make the same tables.
pub(crate) fn base_options(options: &RocksOptions) -> BaseOptions {
    let pace = MergePace::new();
    let mut db = Options::default();
    db.set_block_based_table_factory(&tables(options));
    db.set_compression_type(match options.values_are_sealed {
        true => DBCompressionType::None,
        false => DBCompressionType::Lz4,
    });
    db.set_write_buffer_size(MEMTABLE_BYTES);
    db.set_level_zero_file_num_compaction_trigger(LEVEL0_TRIGGER);
    db.set_max_bytes_for_level_base(options.level1_bytes);
    db.set_target_file_size_base(options.file_bytes);
    db.set_max_open_files(options.open_files_max);
    // RocksDB keeps one of them for flushes of the memtable, which never come. With a single one left, level 0 would wait
    // until a long merge below it has ended.
    db.set_max_background_jobs(options.background_jobs + 1);
    // What compaction has written goes to the device little by little: at once, the log's syncs would wait behind it.
    db.set_bytes_per_sync(SYNC_BYTES);
    db.set_compaction_filter_factory(PacedMerges(Arc::clone(&pace)));
    // With a filter RocksDB would rewrite each file every 30 days for it.
    db.set_periodic_compaction_seconds(0);
    db.set_paranoid_checks(true);
    // Both write to the info log on a timer, and the second keeps statistics in a hidden column family.
    db.set_stats_dump_period_sec(0);
    db.set_stats_persist_period_sec(0);
    db.set_info_logger(info_log());
    BaseOptions { db, pace }
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
/// Ingested files from which on they are merged into level 1: the more at once, the less is rewritten for each, and each miss looks
/// into more of them.
///
/// 15 million SETs of 256 B over 5 million keys (2 cores, Zen 5, 2026-11-30); us of merging and bytes written for each, SETs a second,
/// and ms at p99.9 while keys are overwritten:
///
/// ```text
/// tables  trigger  level 1
///  512 M     4     512 M    2.4   1519   270 k   151
///  512 M     8     2 G      1.9   1263   308 k   114
/// 1024 M     4     512 M    2.1   1430   279 k   155
/// 1024 M     4     2 G      1.6   1135   310 k   122
/// 1024 M     8     2 G      1.2    940   368 k    63     as it is, see [`level1_bytes`](crate::fsm::rocks::level1_bytes)
/// ```
///
/// Universal compaction wrote less still, but it merges all of the state at once now and then, however large that is. Levels of fixed
/// sizes (`level_compaction_dynamic_level_bytes` off) wrote 2 % less while 20 million keys were overwritten, and 6 % less with a
/// level 1 of twice that size, with the same waits: not worth their disk.
const LEVEL0_TRIGGER: i32 = LEVEL0_FILES_MERGED as i32;
/// Bytes that compaction writes between two syncs of its file.
///
/// Compaction past the kernel's cache (`O_DIRECT`) takes a fifth less CPU, but what it has merged is not in that cache: GETs of it
/// fell from 148 k to 15 k a second, and reading it once behind the merge took back what was won (2 cores, Zen 5, 2026-11-30). Its
/// threads at nice 5 or 10: no gain beyond noise. As idle ones: 18 % more SETs, but a machine that is busy with something else would
/// merge nothing. Waiting for each such piece (`strict_bytes_per_sync`, with 1 and 4 MiB): up to a tenth fewer SETs, and nobody waited
/// less. The writer of files drops what it has written from the kernel's cache, and the merge reads it from the device again; without
/// that (`posix_fadvise` made empty) merging took a seventh less CPU, and there were no more SETs, with twice the waits.
const SYNC_BYTES: u64 = 1 << 20;
/// One false positive in a hundred look-ups of absent names; RocksDB's own recommendation.
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Fixed, so that a newer RocksDB writes what the one before it can read.
const TABLE_FORMAT: i32 = 5;
