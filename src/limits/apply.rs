//! Bounds of apply and of the tables above the state.

use std::time::Duration;

use super::HUNG_SYNC;
use super::LOG_READ_BYTES_MAX;
use super::PROPOSE_ANSWER_DEADLINE;
use super::is_shorter;

/// Committed batches waiting for the apply thread.
pub const APPLY_QUEUE_MAX: usize = 1024;
/// Longest run that apply takes in one commit of the store: bounds the overlay and the time a reader waits.
pub const RUN_ENTRIES_MAX: usize = 4096;
/// Bytes of one run; one entry may exceed it alone. What is opened stays in a core's cache until it is executed, and a replay has
/// the next run read back and opened meanwhile.
pub const RUN_BYTES_MAX: usize = LOG_READ_BYTES_MAX;
/// Most plaintext held by one run before it is cut between two entries; one entry may exceed it alone.
pub const OVERLAY_BYTES_MAX: u64 = 64 << 20;
/// Memory of the tables above the state on disk, in bytes: maps as they are allocated, keys, values. A third of it is one table,
/// so that the next one has twice as much space while it is flushed; one run may exceed it. For who runs apply without a plan for its memory.
pub const TABLE_BYTES: u64 = 256 << 20;
/// Memory of overwritten rows that the thread which applies keeps for the next ones: the largest run of small values has about so
/// much. Tables do not count it.
pub const SPARE_ROWS_BYTES: usize = 2 << 20;
/// Before the next look whether the base has merged its files: it costs nothing, and everybody waits for it.
pub const FLUSH_HELD_LOOK: Duration = Duration::from_millis(25);
/// The longest time that a flush which waits for the base is expected to take, see `apply::pace`.
pub const PACE_EXPECTED_MAX: Duration = Duration::from_secs(4);
/// How long such a flush may slow down apply at most: requests that were proposed must be answered in time, and a follower that waits
/// here is late when it is to lead.
pub const PACE_GIVEN_UP_MAX: Duration = Duration::from_secs(6);
/// Before the next try of a flush whose file could not be written. Each doubles it up to the second number: freed space is noticed
/// soon, and a full disk is not written full again all the time.
pub const FLUSH_RETRY: Duration = Duration::from_millis(250);
/// See [`FLUSH_RETRY`].
pub const FLUSH_RETRY_MAX: Duration = Duration::from_secs(8);
/// How often a flush that waits for the base is said: the first time after ten seconds, which merging may take under load.
pub const FLUSH_HELD_SAID_EVERY: Duration = Duration::from_secs(60);
/// See [`FLUSH_HELD_SAID_EVERY`].
pub const FLUSH_HELD_SAID_AFTER: Duration = Duration::from_secs(10);
/// How long a start waits for the state to merge its files, with nothing replayed meanwhile: level 0 at its bound is merged in a
/// minute on a slow disk.
pub const REPLAY_HELD_MAX: Duration = Duration::from_secs(600);
/// How long a start waits for a file that cannot be written, a full disk above all, before it ends with the reason.
pub const REPLAY_FAILED_MAX: Duration = Duration::from_secs(10);
/// What the flush under way at a stop or a halt may still take: a table of its largest size on a slow disk. The log has it all.
pub const FLUSH_END_DEADLINE: Duration = Duration::from_secs(30);
/// What the threads of apply may take to end at a stop: the flush, an entry that waits for its cutover, and a run. One that takes
/// longer hangs on the disk.
pub const APPLY_END_DEADLINE: Duration = Duration::from_secs(50);
/// How long apply waits for the cutover to be durable in the log: longer than [`HUNG_SYNC`], which ends the node with a
/// message that names the device.
pub const CUTOVER_DEADLINE: Duration = Duration::from_secs(15);

const _: () = assert!(is_shorter(PACE_EXPECTED_MAX, PACE_GIVEN_UP_MAX));
const _: () = assert!(is_shorter(PACE_GIVEN_UP_MAX, PROPOSE_ANSWER_DEADLINE));
const _: () = assert!(is_shorter(HUNG_SYNC, CUTOVER_DEADLINE));
const _: () = assert!(is_shorter(FLUSH_END_DEADLINE.saturating_add(CUTOVER_DEADLINE), APPLY_END_DEADLINE));
