//! The options of writes, with their bytes.

use crate::codec::Reader;
use crate::fsm::command::fields::EncodeError;
use crate::fsm::command::fields::Field;
use crate::fsm::command::fields::OneByte;
use crate::fsm::command::fields::PayloadError;

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

impl OneByte for SetIf {
    const FIELD: &'static str = "when";
    const MEANINGS: &'static [SetIf] = &[SetIf::Always, SetIf::Absent, SetIf::Present];
}

impl OneByte for SetReply {
    const FIELD: &'static str = "reply";
    const MEANINGS: &'static [SetReply] = &[SetReply::Ok, SetReply::Old, SetReply::Integer];
}

impl OneByte for ExpireIf {
    const FIELD: &'static str = "when";
    const MEANINGS: &'static [ExpireIf] =
        &[ExpireIf::Always, ExpireIf::None, ExpireIf::Some, ExpireIf::Later, ExpireIf::Sooner, ExpireIf::SomeSooner];
}

impl OneByte for bool {
    const FIELD: &'static str = "flag";
    const MEANINGS: &'static [bool] = &[false, true];
}

impl Field for Expiry {
    type Owned = Expiry;
    type Borrowed<'a> = Expiry;

    fn len(owned: &Expiry) -> usize {
        match owned {
            Expiry::Clear | Expiry::Keep => 1,
            Expiry::In(_) | Expiry::At(_) => 9,
        }
    }

    fn put(owned: &Expiry, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let (form, ms) = match owned {
            Expiry::Clear => (0, None),
            Expiry::Keep => (1, None),
            Expiry::In(ms) => (2, Some(ms)),
            Expiry::At(ms) => (3, Some(ms)),
        };
        out.push(form);
        ms.map_or(Ok(()), |ms| i64::put(ms, out))
    }

    fn take<'a>(reader: &mut Reader<'a>) -> Result<Expiry, PayloadError> {
        Ok(match reader.u8("expiry")? {
            0 => Expiry::Clear,
            1 => Expiry::Keep,
            2 => Expiry::In(i64::take(reader)?),
            3 => Expiry::At(i64::take(reader)?),
            found => return Err(PayloadError::Field { field: "expiry", found }),
        })
    }

    #[cfg(test)]
    fn copied(borrowed: Expiry) -> Expiry {
        borrowed
    }
}
