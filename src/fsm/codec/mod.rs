//! The payload of an entry: what is inside the entry frame (design 3.2), or inside the envelope in it.
//!
//! ```text
//! payload   off  size  field
//!           0    1     kind: 0x01 client batch, 0x02 control entry; others are malformed, 0x00 for ever
//!
//! client    1    8     stamp_ms, ms since 1970 (design 2, Time)
//! batch     9    4     count, at least 1
//!           13         count commands; nothing behind them
//!
//! control   1    N     a change of the keyring, drawn in `keys`; opaque here
//!
//! command   0    1     tag
//!           1    1     version of this command; all are at 1
//!           2          fields, in the order below
//!
//! tag  command           fields
//! 1    set               when(1) reply(1) expiry key value
//! 2    set many          absent_only(1) count(4), then key value each
//! 3    append            key value
//! 4    set range         offset(4) key value
//! 5    increment         delta(8, two's complement) key
//! 6    increment float   key delta(as a value)
//! 7    get delete        key
//! 8    get expire        expiry key
//! 9    delete            count(4), then a key each
//! 10   expire            when(1) expiry key
//! 11   persist           key
//! 12   flush all
//! 13   remove expired    count(4), then a key each
//!
//! key       len(4), at most KEY_BYTES_MAX, and as many bytes
//! value     len(4), at most VALUE_BYTES_MAX, and as many bytes
//! expiry    1 byte: 0 clear, 1 keep, 2 in, 3 at; behind 2 and 3 the ms, 8 bytes, two's complement
//! when      of set: 0 always, 1 absent, 2 present; of expire: 0 always, 1 none, 2 some, 3 later, 4 sooner, 5 some sooner
//! reply     0 ok, 1 old, 2 integer; absent_only: 0 or 1
//! ```
//!
//! Integers are big-endian. What a (tag, version) means never changes: another meaning takes another version. The kind
//! byte makes a control command inside a client's envelope, or a client's inside a control envelope, visible; that it
//! is then malformed is the caller's rule. A payload is checked whole before its first command is seen, allocates
//! nothing, and borrows keys and values from the opened entry; the one copy of a value is made where it is kept.

mod cursor;
mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub use cursor::KeyList;
pub use cursor::PairList;
pub use decode::CommandBatch;
pub use decode::Commands;
pub use decode::Payload;
pub use decode::PayloadError;
pub use decode::WriteRef;
pub use encode::EncodeError;
pub use encode::command_len;
pub use encode::encode_batch;
pub use encode::encode_control;
pub use encode::set_stamp;

/// Bytes of a client batch in front of its first command.
pub const BATCH_HEADER_LEN: usize = 13;

const KIND_BATCH: u8 = 0x01;
const KIND_CONTROL: u8 = 0x02;
/// Bytes of a command in front of its fields.
const COMMAND_HEADER_LEN: usize = 2;
/// Bytes of a key or value in front of its own.
const LEN_LEN: usize = 4;
const VERSION: u8 = 1;

mod tag {
    pub(super) const SET: u8 = 1;
    pub(super) const SET_MANY: u8 = 2;
    pub(super) const APPEND: u8 = 3;
    pub(super) const SET_RANGE: u8 = 4;
    pub(super) const INCREMENT: u8 = 5;
    pub(super) const INCREMENT_FLOAT: u8 = 6;
    pub(super) const GET_DELETE: u8 = 7;
    pub(super) const GET_EXPIRE: u8 = 8;
    pub(super) const DELETE: u8 = 9;
    pub(super) const EXPIRE: u8 = 10;
    pub(super) const PERSIST: u8 = 11;
    pub(super) const FLUSH_ALL: u8 = 12;
    pub(super) const REMOVE_EXPIRED: u8 = 13;
}
