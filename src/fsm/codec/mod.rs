//! The payload of an entry: the bytes inside the entry frame, or inside the envelope in it.
//!
//! ```text
//! payload   off  size  field
//!           0    1     kind: 0x01 client batch, 0x02 control entry; others are malformed, 0x00 for ever
//!
//! client    1    8     stamp_ms, ms since 1970
//! batch     9    4     conditions, at most ENTRY_CONDITIONS_MAX
//!           13   4     commands, at least 1
//!           17         the conditions, ascending by database and key, none twice; then the commands; nothing behind them
//!
//! control   1    N     a change of the keyring, drawn in `keys`; opaque here
//!
//! condition 0    1     database of the key, 0 to 15
//!           1    8     index of the last change that the key must still have; 0 = there must be no such key
//!           9          key
//!
//! command   0    1     tag
//!           1    1     version of this command; all are at 2
//!           2    1     database of all its keys, 0 to 15
//!           3          fields, in the order in which `command::write` declares them
//!
//! key       len(4), at most KEY_BYTES_MAX, and as many bytes
//! value     len(4), at most VALUE_BYTES_MAX, and as many bytes
//! keys      count(4), then a key each
//! pairs     count(4), then a key and a value each
//! names     count(4), then the 17 bytes of `name` each
//! number    4 or 8 bytes, two's complement where it is signed
//! expiry    1 byte: 0 clear, 1 keep, 2 in, 3 at; behind 2 and 3 the ms, 8 bytes, two's complement
//! when      of set: 0 always, 1 absent, 2 present; of expire: 0 always, 1 none, 2 some, 3 later, 4 sooner, 5 some sooner
//! reply     0 ok, 1 old, 2 integer
//! flag      0 no, 1 yes
//! operation of bits: 0 and, 1 or, 2 xor, 3 not
//! steps     count(4), then of each: action(1) 0 get, 1 set, 2 increment; flag signed(1); width(1), 1 to 64, unsigned to 63;
//!           overflow(1) 0 wrap, 1 saturate, 2 fail; offset(4); amount(8), two's complement
//! ```
//!
//! Integers are big-endian. A batch has one encoding: no conditions are the count 0, the first database is the byte 0. If
//! a condition does not hold when the entry is applied, none of its commands runs. Commands name users' keys; only the
//! removal of expired ones names rows. Version 1 knew one database, and is refused. What a (tag, version) means never
//! changes: another meaning takes another version. The kind
//! byte makes a control command inside a client's envelope, or a client's inside a control envelope, visible; that it
//! is then malformed is the caller's rule. A payload is checked whole before its first command is seen, allocates
//! nothing, and borrows keys and values from the opened entry; the one copy of a value is made where it is kept.

mod condition;
mod decode;
mod encode;
// What travels between nodes.
#[cfg(feature = "node")]
mod read;
#[cfg(feature = "node")]
mod reply;
#[cfg(feature = "node")]
mod words;

pub use condition::Condition;
pub use condition::ConditionRef;
pub use condition::Conditions;
pub use decode::BatchFacts;
pub(in crate::fsm) use decode::BatchPart;
pub use decode::CommandBatch;
pub use decode::Commands;
pub use decode::EntryCommand;
pub use decode::Payload;
pub use encode::batch_len;
pub use encode::encode_batch;
pub use encode::encode_batch_if;
pub use encode::encode_control;
pub use encode::set_stamp;
#[cfg(feature = "node")]
pub use read::encode_read;
#[cfg(feature = "node")]
pub(crate) use read::take_read;
#[cfg(feature = "node")]
pub use reply::encode_reply;
#[cfg(feature = "node")]
pub(crate) use reply::take_reply;

/// Bytes of a client batch in front of its first command.
pub const BATCH_HEADER_LEN: usize = 17;

const KIND_BATCH: u8 = 0x01;
const KIND_CONTROL: u8 = 0x02;
