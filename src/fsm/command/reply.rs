//! Replies without their encoding.

use bytes::Bytes;

/// An answer, without its encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`.
    Ok,
    /// `+word`.
    Simple(&'static str),
    /// `-...`: the whole line as Redis spells it, first word included.
    Error(&'static str),
    /// `:n`.
    Integer(i64),
    /// A bulk string.
    Bulk(Bytes),
    /// `$-1` (RESP2) or `_` (RESP3).
    Null,
    /// An array.
    Array(Vec<Reply>),
    /// A map.
    Map(Vec<(Reply, Reply)>),
}

/// The answer to a read of one key, as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyReply<'a> {
    /// `+word`.
    Simple(&'static str),
    /// `-...`: the whole line.
    Error(&'static str),
    /// `:n`.
    Integer(i64),
    /// A bulk string.
    Bulk(&'a [u8]),
    /// `$-1` (RESP2) or `_` (RESP3).
    Null,
}

impl Reply {
    /// Bytes of values that it holds: what counts towards `REPLY_BYTES_MAX`.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        match self {
            Reply::Bulk(bytes) => bytes.len(),
            Reply::Array(parts) => parts.iter().map(Reply::value_bytes).sum(),
            Reply::Map(pairs) => pairs.iter().map(|(key, value)| key.value_bytes() + value.value_bytes()).sum(),
            Reply::Ok | Reply::Simple(_) | Reply::Error(_) | Reply::Integer(_) | Reply::Null => 0,
        }
    }
}
