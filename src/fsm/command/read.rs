//! Commands that change nothing: their fields and what they cost. They never stand in an entry, so they have no bytes.

use bytes::Bytes;

use crate::fsm::command::BitFieldStep;
use crate::fsm::command::BitSpan;

/// How TTL-like reads answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlForm {
    /// TTL.
    Seconds,
    /// PTTL.
    Millis,
    /// EXPIRETIME.
    AtSeconds {
        /// By how much the clock of the keys leads the one that the client means.
        lead_ms: u64,
    },
    /// PEXPIRETIME.
    AtMillis {
        /// The same.
        lead_ms: u64,
    },
}

/// What LCS answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LcsAnswer {
    /// The subsequence.
    Bytes,
    /// LEN.
    Length,
    /// IDX: where its pieces stand in both values.
    Ranges {
        /// MINMATCHLEN: shorter pieces are left out.
        least: u64,
        /// WITHMATCHLEN.
        shows_lengths: bool,
    },
}

/// What OBJECT and MEMORY ask about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFact {
    /// OBJECT ENCODING.
    Encoding,
    /// OBJECT REFCOUNT.
    References,
    /// OBJECT FREQ.
    Frequency,
    /// OBJECT IDLETIME.
    IdleTime,
    /// MEMORY USAGE.
    Memory,
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
    /// WATCH: for each key the index of the entry that changed it last, 0 if there is no such key.
    LastChanges {
        /// The keys; one answer each.
        keys: Vec<Bytes>,
    },
    /// A command whose arguments are wrong, for which Redis looks at the key first (GETEX, RESTORE).
    Refuse {
        /// The key.
        key: Bytes,
        /// The error if the key is there.
        there: &'static str,
        /// The error if it is not; `None` = null.
        absent: Option<&'static str>,
    },
    /// GETBIT.
    BitAt {
        /// The key.
        key: Bytes,
        /// Number of the bit.
        offset: u32,
    },
    /// BITCOUNT.
    BitCount {
        /// The key.
        key: Bytes,
        /// `None` = all.
        span: Option<BitSpan>,
    },
    /// BITPOS: -1 if there is none.
    BitPosition {
        /// The key.
        key: Bytes,
        /// Which bit is looked for.
        bit: bool,
        /// `None` = all.
        span: Option<BitSpan>,
    },
    /// BITFIELD_RO, and BITFIELD with GET only.
    BitFields {
        /// The key.
        key: Bytes,
        /// All of them reads.
        steps: Vec<BitFieldStep>,
    },
    /// DUMP.
    Dump {
        /// The key.
        key: Bytes,
    },
    /// LCS.
    CommonSubsequence {
        /// Two keys.
        keys: Vec<Bytes>,
        /// What is asked about it.
        answer: LcsAnswer,
    },
    /// OBJECT, MEMORY USAGE: null if there is no such key.
    Fact {
        /// The key.
        key: Bytes,
        /// What is asked about it.
        fact: KeyFact,
    },
    /// DBSIZE: one database, counted on demand. Names no key, so it never rides with a write.
    Count,
    /// SCAN: the next cursor and keys. Names no key either.
    Scan {
        /// Where to begin: 0, or what the call before answered.
        cursor: u64,
        /// About how many keys are looked at.
        count: u64,
        /// MATCH.
        pattern: Option<Bytes>,
    },
    /// KEYS.
    Keys {
        /// Which.
        pattern: Bytes,
    },
    /// RANDOMKEY.
    RandomKey {
        /// Drawn by who asks.
        place: u64,
    },
}

impl ReadCommand {
    /// Every key that it is about, in the order in which they are named.
    #[must_use]
    pub fn keys(&self) -> &[Bytes] {
        match self {
            ReadCommand::GetMany { keys }
            | ReadCommand::Exists { keys }
            | ReadCommand::LastChanges { keys }
            | ReadCommand::CommonSubsequence { keys, .. } => keys,
            ReadCommand::Get { key }
            | ReadCommand::Length { key }
            | ReadCommand::Range { key, .. }
            | ReadCommand::Refuse { key, .. }
            | ReadCommand::BitAt { key, .. }
            | ReadCommand::BitCount { key, .. }
            | ReadCommand::BitPosition { key, .. }
            | ReadCommand::BitFields { key, .. }
            | ReadCommand::Dump { key }
            | ReadCommand::Fact { key, .. }
            | ReadCommand::Ttl { key, .. }
            | ReadCommand::Type { key } => std::slice::from_ref(key),
            ReadCommand::Count
            | ReadCommand::Scan { .. }
            | ReadCommand::Keys { .. }
            | ReadCommand::RandomKey { .. } => &[],
        }
    }

    /// Whether it is about one key, and its reply lies in the value or is a number or word.
    #[must_use]
    pub fn is_of_one_key(&self) -> bool {
        match self {
            ReadCommand::Get { .. }
            | ReadCommand::Length { .. }
            | ReadCommand::Range { .. }
            | ReadCommand::Refuse { .. }
            | ReadCommand::Ttl { .. }
            | ReadCommand::Type { .. } => true,
            ReadCommand::GetMany { .. }
            | ReadCommand::Exists { .. }
            | ReadCommand::LastChanges { .. }
            | ReadCommand::Count
            | ReadCommand::Scan { .. }
            | ReadCommand::Keys { .. }
            | ReadCommand::RandomKey { .. }
            | ReadCommand::BitAt { .. }
            | ReadCommand::BitCount { .. }
            | ReadCommand::BitPosition { .. }
            | ReadCommand::BitFields { .. }
            | ReadCommand::Dump { .. }
            | ReadCommand::CommonSubsequence { .. }
            | ReadCommand::Fact { .. } => false,
        }
    }

    /// Whether it takes long, as a walk over rows does: no thread of the network should run it, and it rides with no write
    /// but those of its transaction.
    #[must_use]
    pub fn is_long(&self) -> bool {
        matches!(
            self,
            ReadCommand::Count
                | ReadCommand::Scan { .. }
                | ReadCommand::Keys { .. }
                | ReadCommand::RandomKey { .. }
                | ReadCommand::CommonSubsequence { .. }
        )
    }

    /// Stored values that it opens at most: one for each key that it names, none for a walk.
    #[must_use]
    pub fn opens(&self) -> usize {
        self.keys().len()
    }
}
