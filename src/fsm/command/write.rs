//! Commands that may change the state: what each consists of, its bytes, and what it costs.
//!
//! One declaration a command: `tag Name { fields } costs ..`. The fields stand in the order of their bytes, which
//! `fields` and `options` draw. A (tag, version) never gets another meaning.

use std::ops::AddAssign;

use bytes::Bytes;

use crate::codec::Reader;
use crate::fsm::command::BitFieldStep;
use crate::fsm::command::BitOperation;
use crate::fsm::command::BitSteps;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::KeyList;
use crate::fsm::command::NameList;
use crate::fsm::command::PairList;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::bits::BitStepsField;
use crate::fsm::command::bits::StepList;
use crate::fsm::command::fields::EncodeError;
use crate::fsm::command::fields::Field;
use crate::fsm::command::fields::KeyField;
use crate::fsm::command::fields::KeysField;
use crate::fsm::command::fields::PairsField;
use crate::fsm::command::fields::PayloadError;
use crate::fsm::command::fields::ValueField;
use crate::fsm::command::names::NamesField;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::limits::VALUE_BYTES_MAX;

/// What a write costs its entry at most, known before it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteCost {
    /// Values that it seals: what counts towards `ENTRY_WRITES_MAX`.
    pub seals: usize,
    /// Stored values that it opens, kept in memory or not: each may take apply milliseconds.
    pub opens: usize,
    /// Stored values that it keeps in memory, whatever its own length: an entry may do that only so often
    /// (`ENTRY_VALUE_BYTES_MAX`), and a pipeline must not fail where its commands one by one would not.
    pub loads: usize,
    /// Bytes of a value that it makes without having been sent them.
    pub made_bytes: usize,
}

impl WriteCost {
    const NONE: WriteCost = WriteCost { seals: 0, opens: 0, loads: 0, made_bytes: 0 };
    /// A new value in place of one that is looked at.
    const REPLACES: WriteCost = WriteCost { seals: 1, opens: 1, ..WriteCost::NONE };
    /// A new value that is made of the old one's bytes.
    const REWRITES: WriteCost = WriteCost { loads: 1, ..WriteCost::REPLACES };
}

impl AddAssign for WriteCost {
    fn add_assign(&mut self, other: WriteCost) {
        self.seals += other.seals;
        self.opens += other.opens;
        self.loads += other.loads;
        self.made_bytes += other.made_bytes;
    }
}

/// The type of a field as a client gave it.
macro_rules! owned {
    (KeyField) => { Bytes };
    (ValueField) => { Bytes };
    (KeysField) => { Vec<Bytes> };
    (PairsField) => { Vec<(Bytes, Bytes)> };
    (NamesField) => { Vec<RowName> };
    (BitStepsField) => { Vec<BitFieldStep> };
    ($plain:ident) => { $plain };
}

/// The type of a field as it stands in an entry.
macro_rules! borrowed {
    ($entry:lifetime KeyField) => { &$entry [u8] };
    ($entry:lifetime ValueField) => { &$entry [u8] };
    ($entry:lifetime KeysField) => { KeyList<$entry> };
    ($entry:lifetime PairsField) => { PairList<$entry> };
    ($entry:lifetime NamesField) => { NameList<$entry> };
    ($entry:lifetime BitStepsField) => { BitSteps<$entry> };
    ($entry:lifetime $plain:ident) => { $plain };
}

macro_rules! write_commands {
    ($(
        $(#[$doc:meta])*
        $tag:literal $name:ident $({ $($(#[$field_doc:meta])* $field:ident: $kind:ident,)* })? costs $cost:expr;
    )*) => {
        /// A command that may change the state; it goes into an entry.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum WriteCommand {
            $($(#[$doc])* $name $({ $($(#[$field_doc])* $field: owned!($kind),)* })?,)*
        }

        /// A [`WriteCommand`] as it stands in an entry: borrowed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum WriteRef<'a> {
            $($(#[$doc])* $name $({ $($(#[$field_doc])* $field: borrowed!('a $kind),)* })?,)*
        }

        impl WriteCommand {
            /// What it costs its entry at most.
            #[must_use]
            pub fn cost(&self) -> WriteCost {
                match self {
                    $(WriteCommand::$name $({ $($field,)* })? => {
                        $($(let _ = $field;)*)?
                        $cost
                    })*
                }
            }

            /// Bytes that it takes in an entry.
            #[must_use]
            pub fn encoded_len(&self) -> usize {
                HEADER_LEN + match self {
                    $(WriteCommand::$name $({ $($field,)* })? => 0 $($(+ <$kind as Field>::len($field))*)?,)*
                }
            }

            /// Appends its bytes, as a command on `database`.
            ///
            /// # Errors
            /// A key or a value above its bound.
            pub(in crate::fsm) fn encode(&self, database: Database, out: &mut Vec<u8>) -> Result<(), EncodeError> {
                match self {
                    $(WriteCommand::$name $({ $($field,)* })? => {
                        out.extend_from_slice(&[$tag, VERSION, database.number()]);
                        $($(<$kind as Field>::put($field, out)?;)*)?
                    })*
                }
                Ok(())
            }
        }

        impl<'a> WriteRef<'a> {
            /// What it costs its entry at most.
            #[must_use]
            pub fn cost(&self) -> WriteCost {
                match self {
                    $(WriteRef::$name $({ $($field,)* })? => {
                        $($(let _ = $field;)*)?
                        $cost
                    })*
                }
            }

            /// Takes one command off the front, with its database.
            ///
            /// # Errors
            /// The bytes are not those of a command of this version.
            pub(in crate::fsm) fn take(reader: &mut Reader<'a>) -> Result<(Database, WriteRef<'a>), PayloadError> {
                let [tag, version, number] = reader.array("tag, version and database")?;
                let database = || Database::new(number).ok_or(PayloadError::Field { field: "database", found: number });
                match (tag, version) {
                    $(($tag, VERSION) => {
                        $($(let $field = <$kind as Field>::take(reader)?;)*)?
                        Ok((database()?, WriteRef::$name $({ $($field,)* })?))
                    })*
                    _ => Err(PayloadError::Command { tag, version }),
                }
            }

            /// Shows every key that it is about, in the order in which they stand in it.
            pub fn each_key(&self, visit: &mut dyn FnMut(&'a [u8])) {
                match self {
                    $(WriteRef::$name $({ $($field,)* })? => {
                        $($(<$kind as Field>::each_key($field, visit);)*)?
                    })*
                }
            }

            /// A copy that outlives the entry.
            #[cfg(test)]
            pub(in crate::fsm) fn copied(self) -> WriteCommand {
                match self {
                    $(WriteRef::$name $({ $($field,)* })? => {
                        WriteCommand::$name $({ $($field: <$kind as Field>::copied($field),)* })?
                    })*
                }
            }
        }
    };
}

write_commands! {
    /// SET, SETNX, SETEX, PSETEX, GETSET.
    1 Set {
        /// NX, XX.
        when: SetIf,
        /// GET, or the integers of SETNX.
        reply: SetReply,
        /// EX, PX, EXAT, PXAT, KEEPTTL, in ms. `In` and `At` must be above 0: else the answer is Redis's error.
        expiry: Expiry,
        /// The key.
        key: KeyField,
        /// Its new value.
        value: ValueField,
    } costs WriteCost {
        seals: 1,
        opens: usize::from(*when != SetIf::Always || *reply == SetReply::Old || *expiry == Expiry::Keep),
        loads: usize::from(*reply == SetReply::Old),
        made_bytes: 0,
    };

    /// MSET; MSETNX.
    2 SetMany {
        /// MSETNX: all or nothing, answers 1 or 0.
        absent_only: bool,
        /// Key and value, in the client's order; a key named twice has its last value.
        pairs: PairsField,
    } costs WriteCost {
        seals: pairs.len(),
        opens: if *absent_only { pairs.len() } else { 0 },
        ..WriteCost::NONE
    };

    /// APPEND: answers the new length.
    3 Append {
        /// The key; made if absent.
        key: KeyField,
        /// The bytes that go behind its value.
        value: ValueField,
    } costs WriteCost::REWRITES;

    /// SETRANGE: answers the new length.
    4 SetRange {
        /// Where `value` goes, in bytes; a gap is filled with zeros.
        offset: u32,
        /// The key; made if absent, unless `value` is empty.
        key: KeyField,
        /// The bytes that go there.
        value: ValueField,
    } costs WriteCost {
        // One that would be too large is refused before anything is made.
        made_bytes: if value.is_empty() { 0 } else { (*offset as usize).min(VALUE_BYTES_MAX) },
        ..WriteCost::REWRITES
    };

    /// INCR, DECR, INCRBY, DECRBY: answers the new number.
    5 IncrementBy {
        /// The amount that is added.
        delta: i64,
        /// The key; absent counts as 0.
        key: KeyField,
    } costs WriteCost::REPLACES;

    /// INCRBYFLOAT: answers the new number as a bulk string.
    6 IncrementByFloat {
        /// The key; absent counts as 0.
        key: KeyField,
        /// The increment as the client wrote it; it need not be a number (then Redis's error is the answer).
        delta: ValueField,
    } costs WriteCost::REPLACES;

    /// GETDEL.
    7 GetDelete {
        /// The key.
        key: KeyField,
    } costs WriteCost { opens: 1, loads: 1, ..WriteCost::NONE };

    /// GETEX with an option that changes the expiry.
    8 GetExpire {
        /// `Clear` is PERSIST; `In` and `At` must be above 0: else the answer is Redis's error. `Keep` changes nothing.
        expiry: Expiry,
        /// The key.
        key: KeyField,
    } costs WriteCost::REWRITES;

    /// DEL, UNLINK: answers how many were there.
    9 Delete {
        /// The keys; one named twice counts once.
        keys: KeysField,
    } costs WriteCost { opens: keys.len(), ..WriteCost::NONE };

    /// EXPIRE, PEXPIRE, EXPIREAT, PEXPIREAT: answers 1 or 0.
    10 Expire {
        /// NX, XX, GT, LT.
        when: ExpireIf,
        /// `In` or `At`, any number: one that is past deletes the key. `Clear` acts as PERSIST, `Keep` changes nothing.
        expiry: Expiry,
        /// The key.
        key: KeyField,
    } costs WriteCost::REWRITES;

    /// PERSIST: answers 1 or 0.
    11 Persist {
        /// The key.
        key: KeyField,
    } costs WriteCost::REWRITES;

    /// FLUSHALL: every database.
    12 FlushAll costs WriteCost::NONE;

    /// The leader found these past due: removed if they are past due by this entry's stamp. Nobody reads the answer.
    /// It goes by names, each with its database: whoever walks over rows sees no keys.
    13 RemoveExpired {
        /// The names of their rows.
        names: NamesField,
    } costs WriteCost { opens: names.len(), ..WriteCost::NONE };

    /// FLUSHDB: the database that it works on.
    14 FlushDatabase costs WriteCost::NONE;

    /// RENAME: answers OK, or an error if there is no such key; RENAMENX: answers 1 or 0.
    15 Rename {
        /// RENAMENX: only if there is no such target.
        absent_only: bool,
        /// The key that goes.
        key: KeyField,
        /// The key that has its value and expiry afterwards.
        target: KeyField,
    } costs WriteCost { opens: 2, ..WriteCost::REWRITES };

    /// COPY: answers 1 or 0.
    16 Copy {
        /// Of the target.
        target_database: Database,
        /// REPLACE: the target may be there already.
        replaces: bool,
        /// The key that stays.
        key: KeyField,
        /// The key that has its value and expiry afterwards.
        target: KeyField,
    } costs WriteCost { opens: 2, ..WriteCost::REWRITES };

    /// MOVE: answers 1 or 0.
    17 Move {
        /// Where the key goes, unless it is there already.
        target_database: Database,
        /// The key.
        key: KeyField,
    } costs WriteCost { opens: 2, ..WriteCost::REWRITES };

    /// SETBIT: answers what the bit was.
    18 SetBit {
        /// Number of the bit; a gap is filled with zeros.
        offset: u32,
        /// What it becomes.
        bit: bool,
        /// The key; made if absent.
        key: KeyField,
    } costs WriteCost { made_bytes: (*offset as usize / 8).min(VALUE_BYTES_MAX), ..WriteCost::REWRITES };

    /// BITOP: answers the length of the result; an empty one removes the target.
    19 CombineBits {
        /// AND, OR, XOR, NOT.
        operation: BitOperation,
        /// The key that has the result afterwards.
        target: KeyField,
        /// What is combined; a missing one is empty.
        keys: KeysField,
    } costs WriteCost {
        seals: 1,
        opens: keys.len(),
        // The result is kept too, and may be as long as the longest of them.
        loads: keys.len() + 1,
        made_bytes: 0,
    };

    /// BITFIELD with a step that writes: one answer each.
    20 ChangeBitFields {
        /// The key; made if absent.
        key: KeyField,
        /// In this order.
        steps: BitStepsField,
    } costs WriteCost {
        made_bytes: steps.written_bytes().min(VALUE_BYTES_MAX),
        ..WriteCost::REWRITES
    };

    /// RESTORE: answers OK, or an error if the key is there already.
    21 Restore {
        /// REPLACE: the key may be there already.
        replaces: bool,
        /// `Clear`, `In` or `At`, any number: one that is past removes the key. `Keep` acts as `Clear`.
        expiry: Expiry,
        /// The key.
        key: KeyField,
        /// Its value.
        value: ValueField,
    } costs WriteCost::REPLACES;

    /// SET IFEQ, SET IFNE.
    22 SetIfValue {
        /// IFEQ: the value must be this one. IFNE: it must be another, or there must be none.
        wants_equal: bool,
        /// GET or not.
        reply: SetReply,
        /// As for SET.
        expiry: Expiry,
        /// The key.
        key: KeyField,
        /// Its new value.
        value: ValueField,
        /// What its value is compared with.
        compared: ValueField,
    } costs WriteCost { loads: usize::from(*reply == SetReply::Old), ..WriteCost::REPLACES };

    /// DELEX IFEQ, DELEX IFNE, DELIFEQ: answers 1 or 0.
    23 DeleteIfValue {
        /// IFEQ: the value must be this one. IFNE: it must be another.
        wants_equal: bool,
        /// The key.
        key: KeyField,
        /// What its value is compared with.
        compared: ValueField,
    } costs WriteCost { opens: 1, ..WriteCost::NONE };
}

/// Bytes of a command in front of its fields: tag, version, database.
pub(in crate::fsm) const HEADER_LEN: usize = 3;
const VERSION: u8 = 2;
