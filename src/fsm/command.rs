//! What clients may ask of the state: the parsed commands and their replies.
//!
//! A command is parsed once, at the edge, into a type that cannot be wrong. Its bytes in an entry are drawn in `codec`;
//! what it does is in `kv`. Keys are at most `KEY_BYTES_MAX`, values at most `VALUE_BYTES_MAX`: the edge refuses longer
//! ones, the encoder refuses them again, and a decoder that meets one calls the entry malformed.

use bytes::Bytes;

/// How a write treats the expiry of its key. Relative times are resolved at apply against the entry's stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// The key has none afterwards.
    #[default]
    Clear,
    /// As it was (KEEPTTL; GETEX without option is a read).
    Keep,
    /// Milliseconds after the entry's stamp; may be negative or zero where Redis allows it (then the key is gone).
    In(i64),
    /// Milliseconds since 1970.
    At(i64),
}

/// When a SET takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetIf {
    /// Always.
    #[default]
    Always,
    /// NX.
    Absent,
    /// XX.
    Present,
}

/// What a SET-like command answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetReply {
    /// `OK`, or null if the condition failed (SET, SETEX, PSETEX).
    #[default]
    Ok,
    /// The old value or null (SET GET, GETSET).
    Old,
    /// 1 or 0 (SETNX).
    Integer,
}

/// When an EXPIRE takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpireIf {
    /// Always.
    #[default]
    Always,
    /// NX: only where there is none.
    None,
    /// XX: only where there is one.
    Some,
    /// GT: only later (none counts as infinite).
    Later,
    /// LT: only sooner (none counts as infinite, so a key without expiry gets one).
    Sooner,
    /// XX LT: only where there is one, and only sooner. (XX GT is GT.)
    SomeSooner,
}

/// A command that may change the state; it goes into an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteCommand {
    /// SET, SETNX, SETEX, PSETEX, GETSET.
    Set {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// NX, XX.
        when: SetIf,
        /// EX, PX, EXAT, PXAT, KEEPTTL, in ms. `In` and `At` must be above 0: else the answer is Redis's error.
        expiry: Expiry,
        /// GET, or the integers of SETNX.
        reply: SetReply,
    },
    /// MSET; MSETNX.
    SetMany {
        /// Key and value, in the client's order; a key named twice has its last value.
        pairs: Vec<(Bytes, Bytes)>,
        /// MSETNX: all or nothing, answers 1 or 0.
        absent_only: bool,
    },
    /// APPEND: answers the new length.
    Append {
        /// The key; made if absent.
        key: Bytes,
        /// What comes behind its value.
        value: Bytes,
    },
    /// SETRANGE: answers the new length.
    SetRange {
        /// The key; made if absent, unless `value` is empty.
        key: Bytes,
        /// Where `value` goes, in bytes; a gap is filled with zeros.
        offset: u32,
        /// What goes there.
        value: Bytes,
    },
    /// INCR, DECR, INCRBY, DECRBY: answers the new number.
    IncrementBy {
        /// The key; absent counts as 0.
        key: Bytes,
        /// What is added.
        delta: i64,
    },
    /// INCRBYFLOAT: answers the new number as a bulk string.
    IncrementByFloat {
        /// The key; absent counts as 0.
        key: Bytes,
        /// The increment as the client wrote it; it need not be a number (then Redis's error is the answer).
        delta: Bytes,
    },
    /// GETDEL.
    GetDelete {
        /// The key.
        key: Bytes,
    },
    /// GETEX with an option that changes the expiry.
    GetExpire {
        /// The key.
        key: Bytes,
        /// `Clear` is PERSIST; `In` and `At` must be above 0: else the answer is Redis's error. `Keep` changes nothing.
        expiry: Expiry,
    },
    /// DEL, UNLINK: answers how many were there.
    Delete {
        /// The keys; one named twice counts once.
        keys: Vec<Bytes>,
    },
    /// EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT: answers 1 or 0.
    Expire {
        /// The key.
        key: Bytes,
        /// `In` or `At`, any number: one that is past deletes the key. `Clear` acts as PERSIST, `Keep` changes nothing.
        expiry: Expiry,
        /// NX, XX, GT, LT.
        when: ExpireIf,
    },
    /// PERSIST: answers 1 or 0.
    Persist {
        /// The key.
        key: Bytes,
    },
    /// FLUSHALL, FLUSHDB.
    FlushAll,
    /// The leader found these past due: removed if they are past due by this entry's stamp. Nobody reads the answer.
    RemoveExpired {
        /// The keys.
        keys: Vec<Bytes>,
    },
}

impl WriteCommand {
    /// How many values this command seals at most: what counts towards `ENTRY_WRITES_MAX` (design 3.4 N4).
    #[must_use]
    pub fn sealed_writes_max(&self) -> usize {
        match self {
            WriteCommand::SetMany { pairs, .. } => pairs.len(),
            WriteCommand::Delete { .. }
            | WriteCommand::RemoveExpired { .. }
            | WriteCommand::GetDelete { .. }
            | WriteCommand::FlushAll => 0,
            WriteCommand::Set { .. }
            | WriteCommand::Append { .. }
            | WriteCommand::SetRange { .. }
            | WriteCommand::IncrementBy { .. }
            | WriteCommand::IncrementByFloat { .. }
            | WriteCommand::GetExpire { .. }
            | WriteCommand::Expire { .. }
            | WriteCommand::Persist { .. } => 1,
        }
    }
}

/// How TTL-like reads answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlForm {
    /// TTL.
    Seconds,
    /// PTTL.
    Millis,
    /// EXPIRETIME.
    AtSeconds,
    /// PEXPIRETIME.
    AtMillis,
}

/// A command that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadCommand {
    /// GET (and GETEX without option).
    Get {
        /// The key.
        key: Bytes,
    },
    /// MGET.
    GetMany {
        /// The keys; one answer each.
        keys: Vec<Bytes>,
    },
    /// STRLEN.
    Length {
        /// The key.
        key: Bytes,
    },
    /// GETRANGE, SUBSTR.
    Range {
        /// The key.
        key: Bytes,
        /// First byte; negative counts from the end.
        start: i64,
        /// Last byte, inclusive; negative counts from the end.
        end: i64,
    },
    /// EXISTS, TOUCH: counts.
    Exists {
        /// The keys; one named twice counts twice.
        keys: Vec<Bytes>,
    },
    /// TTL family: -2 no key, -1 no expiry.
    Ttl {
        /// The key.
        key: Bytes,
        /// Which of the family.
        form: TtlForm,
    },
    /// TYPE: `string` or `none`.
    Type {
        /// The key.
        key: Bytes,
    },
    /// DBSIZE: counted on demand. Names no key, so it never rides with a write.
    Count,
}

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
}

impl Reply {
    /// Bytes of values that it holds: what counts towards `REPLY_BYTES_MAX`.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        match self {
            Reply::Bulk(bytes) => bytes.len(),
            Reply::Array(parts) => parts.iter().map(Reply::value_bytes).sum(),
            Reply::Ok | Reply::Simple(_) | Reply::Error(_) | Reply::Integer(_) | Reply::Null => 0,
        }
    }
}
