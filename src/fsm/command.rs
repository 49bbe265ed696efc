//! What clients may ask of the state: the parsed commands, their replies, and their bytes in an entry.
//!
//! A command is parsed once, at the edge, into a type that cannot be wrong; what stands in an entry is drawn here.

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
    /// LT: only sooner.
    Sooner,
}

/// A command that may change the state; it goes into an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// SET, SETNX, SETEX, PSETEX, GETSET.
    Set {
        key: Bytes,
        value: Bytes,
        when: SetIf,
        expiry: Expiry,
        reply: SetReply,
    },
    /// MSET; `absent_only` is MSETNX (all or nothing, answers 1 or 0).
    SetMany {
        pairs: Vec<(Bytes, Bytes)>,
        absent_only: bool,
    },
    /// APPEND: answers the new length.
    Append { key: Bytes, value: Bytes },
    /// SETRANGE: answers the new length.
    SetRange { key: Bytes, offset: u32, value: Bytes },
    /// INCR, DECR, INCRBY, DECRBY: answers the new number.
    IncrementBy { key: Bytes, delta: i64 },
    /// INCRBYFLOAT: the increment as the client wrote it; answers the new number as a bulk string.
    IncrementByFloat { key: Bytes, delta: Bytes },
    /// GETDEL.
    GetDelete { key: Bytes },
    /// GETEX with an option that changes the expiry (`Clear` is PERSIST).
    GetExpire { key: Bytes, expiry: Expiry },
    /// DEL, UNLINK: answers how many were there.
    Delete { keys: Vec<Bytes> },
    /// EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT: answers 1 or 0.
    Expire { key: Bytes, expiry: Expiry, when: ExpireIf },
    /// PERSIST: answers 1 or 0.
    Persist { key: Bytes },
    /// FLUSHALL, FLUSHDB.
    FlushAll,
    /// The leader found these past due: removed if they are past due by this entry's stamp. Nobody reads the answer.
    RemoveExpired { keys: Vec<Bytes> },
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
pub enum Read {
    /// GET (and GETEX without option).
    Get { key: Bytes },
    /// MGET.
    GetMany { keys: Vec<Bytes> },
    /// STRLEN.
    Length { key: Bytes },
    /// GETRANGE, SUBSTR: inclusive, negative from the end.
    Range { key: Bytes, start: i64, end: i64 },
    /// EXISTS, TOUCH: counts, a key named twice counts twice.
    Exists { keys: Vec<Bytes> },
    /// TTL family: -2 no key, -1 no expiry.
    Ttl { key: Bytes, form: TtlForm },
    /// TYPE: `string` or `none`.
    Type { key: Bytes },
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
