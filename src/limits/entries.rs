//! The bounds of entries, and of what clients may put into them.

/// Largest Raft entry, in bytes of entry data (frame, envelope, payload): TiKV's entry limit; a log slot holds four.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;
/// Largest payload of an entry: what is left of [`ENTRY_BYTES_MAX`] beside entry frame (9) and envelope (34), rounded down.
pub const PAYLOAD_BYTES_MAX: usize = ENTRY_BYTES_MAX - 64;
/// Longest user key: it is copied into AAD and row keys, and lookups compare whole keys.
pub const KEY_BYTES_MAX: usize = 64 << 10;
/// Longest value of a client, so that command, frame and envelope fit an entry.
pub const VALUE_BYTES_MAX: usize = ENTRY_BYTES_MAX - KEY_BYTES_MAX - 4096;
/// Sealed writes of one entry, because `op` in the nonce of a stored value has 16 bits.
pub const ENTRY_WRITES_MAX: usize = 1 << 16;
/// Conditions of one entry, which are the keys that one transaction may watch: apply opens the stored value of each.
pub const ENTRY_CONDITIONS_MAX: usize = 1 << 10;
/// Bytes of values that the writes of one entry may load or make: 64 of the largest values. Without it a few kilobytes
/// of `SETRANGE key 8000000 x` or `EXPIRE` of large keys would make every replica hold 512 GiB, at every replay again.
pub const ENTRY_VALUE_BYTES_MAX: u64 = 512 << 20;

const _: () = assert!(VALUE_BYTES_MAX + KEY_BYTES_MAX < ENTRY_BYTES_MAX);
const _: () = assert!(PAYLOAD_BYTES_MAX >= VALUE_BYTES_MAX + KEY_BYTES_MAX + 64);
const _: () = assert!(ENTRY_VALUE_BYTES_MAX >= 2 * ENTRY_BYTES_MAX as u64);
