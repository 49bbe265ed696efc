//! The bounds of a node's memory as a whole, and of the parts that it is shared out to.

use super::BLOCK_CACHE_BYTES_MIN;
use super::CLIENT_MEMORY_BYTES_MIN;
use super::ENTRY_BYTES_MAX;
use super::LOG_CACHE_BYTES_MAX;
use super::TABLE_BYTES;
use super::UNAPPLIED_BYTES_MAX;

/// Part of the machine's memory that a node takes, if the settings give no number: the kernel caches the files of the state in
/// the rest.
pub const MEMORY_MACHINE_PART: u64 = 4;
/// Least that a node takes, if the settings give no number: more than the least of every part together, also for one of several.
pub const MEMORY_BYTES_DEFAULT_MIN: u64 = 512 << 20;
/// Most that a setting may ask for: above 16 TiB it is a typing error.
pub const MEMORY_BYTES_SETTING_MAX: u64 = 1 << 44;
/// What does not grow with the setting: the program and its stacks (some 40 MiB), what runs open (20 MiB: an entry in a buffer
/// that doubled, and two runs that are prepared), rows for those that come next ([`SPARE_ROWS_BYTES`](super::SPARE_ROWS_BYTES)),
/// waiting log lines (24 MiB), buffers of the log (8 MiB), what RocksDB takes for merging and for the file of a flush.
pub const MEMORY_FIXED_BYTES: u64 = 112 << 20;
/// The same beside it of a node of several: frames of its peers that come in and go out.
pub const MEMORY_PEERS_BYTES: u64 = 64 << 20;
/// Cache of a second state beside the node's own, a snapshot that is checked: in [`MEMORY_PEERS_BYTES`].
pub const SECOND_CACHE_BYTES: usize = 8 << 20;
/// Least for the tables above the state: a third of it is one table, and a run may come on top.
pub const TABLE_BYTES_MIN: u64 = 64 << 20;
/// Most for them: a third of it has about as many rows as a quarter of the log, so that more would not be used, and a stop flushes what
/// is in them within seconds. The larger the tables, the less merging: see the sizes of RocksDB's levels.
pub const TABLE_BYTES_MAX: u64 = 1 << 30;
/// Most for clients, if the settings give no number: rows that stay in memory are of more use to all of them.
pub const CLIENT_MEMORY_BYTES_DEFAULT_MAX: u64 = 1 << 30;
/// The cache of blocks has so much before rows that were flushed have a part of their own: indexes and filters of 80 million rows,
/// at 3.3 bytes each.
pub const KEPT_ROWS_FROM_CACHE_BYTES: u64 = 256 << 20;
/// Above that the cache has this part, and kept rows have the rest.
pub const CACHE_PART_BESIDE_KEPT_ROWS: u64 = 8;
/// Part of the memory for tables that one run may hold: runs are cut there.
pub const TABLE_RUN_PART: u64 = 4;
/// Least for entries above applied, and for those that stay for followers that lag: four of the largest entries.
pub const ENTRY_MEMORY_BYTES_MIN: u64 = 32 << 20;
/// Part of that for followers that lag.
pub const ENTRY_CACHE_PART: u64 = 4;

const _: () = assert!(
    MEMORY_FIXED_BYTES
        + MEMORY_PEERS_BYTES
        + TABLE_BYTES_MIN
        + ENTRY_MEMORY_BYTES_MIN
        + (BLOCK_CACHE_BYTES_MIN + CLIENT_MEMORY_BYTES_MIN) as u64
        <= MEMORY_BYTES_DEFAULT_MIN
);
const _: () = assert!(SECOND_CACHE_BYTES as u64 <= MEMORY_PEERS_BYTES && SECOND_CACHE_BYTES >= BLOCK_CACHE_BYTES_MIN);
const _: () = assert!(CLIENT_MEMORY_BYTES_MIN as u64 <= CLIENT_MEMORY_BYTES_DEFAULT_MAX);
const _: () = assert!(TABLE_BYTES_MIN <= TABLE_BYTES && TABLE_BYTES <= TABLE_BYTES_MAX);
const _: () = assert!(ENTRY_MEMORY_BYTES_MIN - ENTRY_MEMORY_BYTES_MIN / ENTRY_CACHE_PART >= 2 * ENTRY_BYTES_MAX as u64);
const _: () = assert!(ENTRY_MEMORY_BYTES_MIN <= UNAPPLIED_BYTES_MAX && LOG_CACHE_BYTES_MAX <= UNAPPLIED_BYTES_MAX);
