//! Every bound in the program, each with its reason. Nothing here is a guess that a caller may exceed.

/// Largest Raft entry, in bytes of entry data (frame, envelope, payload): TiKV's entry limit; a log slot holds four.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;
/// Largest log frame that gathers several entries: beyond 1 MiB the device is saturated (findings/wal.md section 1).
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Sealed writes of one entry, because `op` in a value nonce has 16 bits (design 3.4 N4).
pub const ENTRY_WRITES_MAX: usize = 1 << 16;
/// Longest user key: it is copied into AAD and row keys, and lookups compare whole keys.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// Longest value of a client, so that command, frame and envelope fit an entry.
pub const VALUE_BYTES_MAX: usize = ENTRY_BYTES_MAX - KEY_BYTES_MAX - 4096;
/// Entries handed to raft in one `MsgPropose` (findings/raft-and-clients.md 1.4: no gain above 256).
pub const PROPOSE_BATCH_ENTRIES_MAX: usize = 256;
/// Bytes handed to raft in one `MsgPropose`; one entry may exceed it alone.
pub const PROPOSE_BATCH_BYTES_MAX: usize = 4 << 20;
/// Longest run that apply takes in one step of the store: bounds the overlay and the time a reader waits.
pub const RUN_ENTRIES_MAX: usize = 4096;
/// Bytes of one run; one entry may exceed it alone.
pub const RUN_BYTES_MAX: usize = 16 << 20;
/// Client requests waiting to be proposed; full means the connection is not read further.
pub const PROPOSE_QUEUE_MAX: usize = 8192;
/// Bytes of entries above applied that are held in memory before the door closes (design 2).
pub const UNAPPLIED_BYTES_MAX: u64 = 256 << 20;
/// Messages waiting for the raft thread.
pub const RAFT_QUEUE_MAX: usize = 65536;
/// Groups waiting for the log thread.
pub const LOG_QUEUE_MAX: usize = 1024;
/// Committed batches waiting for the apply thread.
pub const APPLY_QUEUE_MAX: usize = 1024;
/// DEKs in a keyring over its whole life (design 3.5).
pub const KEYRING_KEYS_MAX: usize = 4096;
/// Questions for old entries waiting for the log thread: raft asks once per lagging follower and waits.
pub const LOG_READS_MAX: usize = 64;
/// Slots of a new log: 8 of 64 MiB, three in use while five wait for a flush (design 7).
pub const LOG_SLOTS: u32 = 8;
/// Slots that a log may grow to: 2 GiB of 64 MiB slots; beyond that the door stays closed.
pub const LOG_SLOTS_MAX: u32 = 32;
/// Slots beyond that bound, for a start that finds none free: each holds one process's first segment until it trims.
pub const LOG_SLOTS_SPARE: u32 = 4;
/// Bytes of a slot of a new log.
pub const LOG_SLOT_BYTES: u64 = 64 << 20;
/// Largest slot: recovery reads it in windows, but offsets in messages and indexes stay small.
pub const LOG_SLOT_BYTES_MAX: u64 = 1 << 30;
/// Peers whose marks one frame of the log may hold: far above any cluster's members.
pub const PEER_MARKS_MAX: usize = 64;

const _: () = assert!(VALUE_BYTES_MAX + KEY_BYTES_MAX < ENTRY_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX <= ENTRY_BYTES_MAX);
const _: () = assert!(LOG_SLOT_BYTES >= 4 * ENTRY_BYTES_MAX as u64);
const _: () = assert!(LOG_SLOT_BYTES <= LOG_SLOT_BYTES_MAX);
const _: () = assert!(LOG_SLOTS <= LOG_SLOTS_MAX);
