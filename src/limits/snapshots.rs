//! The bounds of snapshots.

use std::time::Duration;

use crate::limits::DISK_FREE_BYTES_LOW;
use crate::limits::peers::PEER_ANSWER_BYTES_MAX;

/// A manifest: it is the answer to one request.
pub const SNAPSHOT_MANIFEST_BYTES_MAX: usize = 1 << 20;
/// How long an offer of a snapshot stands before it is made again: a member whose transfer died gets the next so soon.
pub const SNAPSHOT_OFFER_EVERY: Duration = Duration::from_secs(2);
/// Bytes of a file that travel at once.
pub const SNAPSHOT_PIECE_BYTES: usize = 1 << 20;
/// Bytes a second that a member fetches: TiKV's bound. A disk that serves clients has as much to spare.
pub const SNAPSHOT_BYTES_PER_SECOND: u64 = 100 << 20;
/// Files of a snapshot: tables of 64 MiB, so half a terabyte.
pub const SNAPSHOT_FILES_MAX: usize = 8192;
/// Bytes of one file: compaction makes tables of 64 MiB, a flush has no more than a few times the memory of its table.
pub const SNAPSHOT_FILE_BYTES_MAX: u64 = 1 << 40;
/// Longest name of such a file: RocksDB's have 20 bytes.
pub const SNAPSHOT_NAME_BYTES_MAX: usize = 64;
/// Bytes of the applied row in a manifest: its members are bounded to that.
pub const SNAPSHOT_ROW_BYTES_MAX: usize = 64 << 10;
/// A snapshot that nobody has asked for so long is removed: it keeps the space of files that the state has replaced.
pub const SNAPSHOT_IDLE_MAX: Duration = Duration::from_secs(60);
/// How often a snapshot is looked at for that, and how long nobody tries again after one that could not be made.
pub const SNAPSHOT_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Free bytes that a member leaves on its disk when it fetches one: below as much a node warns anyway.
pub const SNAPSHOT_SPACE_LEFT: u64 = DISK_FREE_BYTES_LOW;
/// How long one piece may take.
pub const SNAPSHOT_PIECE_DEADLINE: Duration = Duration::from_secs(10);
/// Between a request that failed and the next try: a connection may be made anew meanwhile.
pub const SNAPSHOT_PAUSE: Duration = Duration::from_millis(200);
/// How often in a row a piece may fail before the transfer is given up, until the next offer.
pub const SNAPSHOT_TRIES_MAX: u32 = 5;
/// How often a transfer says how far it is.
pub const SNAPSHOT_PROGRESS_EVERY: Duration = Duration::from_secs(5);

const _: () = assert!(
    SNAPSHOT_FILES_MAX * (SNAPSHOT_NAME_BYTES_MAX + 42) + SNAPSHOT_ROW_BYTES_MAX + 64 <= SNAPSHOT_MANIFEST_BYTES_MAX
);
const _: () = assert!(SNAPSHOT_MANIFEST_BYTES_MAX <= PEER_ANSWER_BYTES_MAX);
const _: () = assert!(SNAPSHOT_PIECE_BYTES <= PEER_ANSWER_BYTES_MAX);
