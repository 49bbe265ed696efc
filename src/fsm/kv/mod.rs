//! What commands do to values: strings as Redis 7 has them, its error words included.
//!
//! Deterministic: an outcome depends on the commands, the stamp and the values below, and on nothing else. Expiry is
//! judged by the stamp; at its deadline a key is gone, and a write that finds it past due removes the row. Where Redis
//! computes with `long double`, this computes with decimals (`decimal`), so every machine gets the same digits.

mod begin;
mod bit_writes;
mod bits;
mod decimal;
mod execution;
mod key_reads;
mod lcs;
mod read;
mod replace;
mod scan;
mod value_reads;
mod write;

pub use key_reads::KEY_READS_MAX;
pub use key_reads::KeyAnswer;
pub use key_reads::read_keys_as_leader;
pub use read::NamedRead;
pub use read::ReadAnswer;
pub use read::read;
pub use read::read_as_leader;
pub use read::read_within;

/// Error lines as Redis 7 spells them; those at the end are our own.
pub(crate) mod words {
    pub(crate) const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
    pub(crate) const OVERFLOW: &str = "ERR increment or decrement would overflow";
    pub(crate) const NOT_FLOAT: &str = "ERR value is not a valid float";
    pub(crate) const NAN_OR_INFINITY: &str = "ERR increment would produce NaN or Infinity";
    pub(crate) const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    pub(crate) const SET_EXPIRE: &str = "ERR invalid expire time in 'set' command";
    pub(crate) const RESTORE_EXPIRE: &str = "ERR invalid expire time in 'restore' command";
    pub(crate) const GETEX_EXPIRE: &str = "ERR invalid expire time in 'getex' command";
    pub(crate) const EXPIRE_EXPIRE: &str = "ERR invalid expire time in 'expire' command";
    pub(crate) const NO_SUCH_KEY: &str = "ERR no such key";
    pub(crate) const BUSY_KEY: &str = "BUSYKEY Target key name already exists.";
    pub(crate) const LCS_LARGE: &str = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
    pub(crate) const NO_FREQUENCY: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. \
         Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.";
    pub(crate) const NO_IDLE_TIME: &str = "ERR sealkv does not keep when a key was last used";
    pub(crate) const CONDITION_FAILED: &str = "ERR a watched key has changed, nothing was executed";
    /// Names `TRANSACTION_SCAN_ROWS_MAX`.
    pub(crate) const KEYS_MANY: &str = "ERR KEYS inside a transaction looks at 4096 keys at most, use SCAN";
    pub(crate) const PATTERN_SLOW: &str = "ERR the pattern takes too long to match";
    pub(crate) const WRITES_MANY: &str = "ERR too many writes in one transaction or pipeline";
    pub(crate) const VALUES_LARGE: &str = "ERR values of one transaction or pipeline take too much memory";
    pub(crate) const NAME_TAKEN: &str = "ERR another key is stored under the same name as this one";
    /// Names `REPLY_BYTES_MAX`; a test holds the number.
    pub(crate) const REPLY_LARGE: &str =
        "ERR reply is too large: the replies of one request may hold 62914560 bytes of values";
}
