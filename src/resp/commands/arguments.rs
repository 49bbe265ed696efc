//! Arguments with a meaning: keys, values, numbers, expiry times.

use bytes::Bytes;

use crate::fsm::command::Expiry;
use crate::fsm::name::Database;
use crate::limits::KEY_BYTES_MAX;
use crate::limits::PATTERN_BYTES_MAX;
use crate::limits::VALUE_BYTES_MAX;
use crate::resp::codec::arguments::Arguments;
use crate::resp::codec::request::parse_integer;
use crate::resp::commands::Call;
use crate::resp::commands::ErrorLine;
use crate::resp::commands::NOT_AN_INTEGER;

/// Seconds or milliseconds, from now or since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeForm {
    pub(super) is_seconds: bool,
    pub(super) is_absolute: bool,
}

impl TimeForm {
    /// EX
    pub(super) const SECONDS: TimeForm = TimeForm { is_seconds: true, is_absolute: false };
    /// PX
    pub(super) const MILLIS: TimeForm = TimeForm { is_seconds: false, is_absolute: false };
    /// EXAT
    pub(super) const AT_SECONDS: TimeForm = TimeForm { is_seconds: true, is_absolute: true };
    /// PXAT
    pub(super) const AT_MILLIS: TimeForm = TimeForm { is_seconds: false, is_absolute: true };
}

/// An argument as a database.
pub(crate) fn database_argument(arguments: Arguments<'_>, position: usize) -> Result<Database, ErrorLine> {
    let number = parse_integer(arguments.slice(position)).ok_or(NOT_AN_INTEGER)?;
    let number = u8::try_from(number).ok().and_then(Database::new);
    number.ok_or(ErrorLine::fixed("ERR DB index is out of range"))
}

impl Call<'_> {
    pub(super) fn len(&self) -> usize {
        self.arguments.len()
    }

    pub(super) fn slice(&self, position: usize) -> &[u8] {
        self.arguments.slice(position)
    }

    pub(super) fn is_word(&self, position: usize, word: &str) -> bool {
        self.slice(position).eq_ignore_ascii_case(word.as_bytes())
    }

    /// The key at a position.
    pub(super) fn key(&self, position: usize) -> Result<Bytes, ErrorLine> {
        let key = self.arguments.shared(position);
        if key.len() > KEY_BYTES_MAX {
            return Err(ErrorLine::made(format!(
                "ERR key of {} bytes is longer than the limit of {KEY_BYTES_MAX}",
                key.len()
            )));
        }
        Ok(key)
    }

    /// The keys from a position to the end.
    pub(super) fn keys_from(&self, first: usize) -> Result<Vec<Bytes>, ErrorLine> {
        (first..self.len()).map(|position| self.key(position)).collect()
    }

    /// The value at a position.
    pub(super) fn value(&self, position: usize) -> Result<Bytes, ErrorLine> {
        let value = self.arguments.shared(position);
        if value.len() > VALUE_BYTES_MAX {
            let len = value.len();
            return Err(ErrorLine::made(format!(
                "ERR value of {len} bytes is longer than the limit of {VALUE_BYTES_MAX}"
            )));
        }
        Ok(value)
    }

    /// The pattern at a position.
    pub(super) fn pattern(&self, position: usize) -> Result<Bytes, ErrorLine> {
        let pattern = squeezed(self.slice(position));
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(ErrorLine::made(format!("ERR a pattern may have {PATTERN_BYTES_MAX} bytes")));
        }
        Ok(Bytes::from(pattern))
    }

    pub(super) fn integer(&self, position: usize) -> Result<i64, ErrorLine> {
        parse_integer(self.slice(position)).ok_or(NOT_AN_INTEGER)
    }

    /// An expiry that must lie in the future (SET, GETEX and their like).
    pub(super) fn future_expiry(&self, position: usize, form: TimeForm) -> Result<Expiry, ErrorLine> {
        let amount = self.integer(position)?;
        if amount <= 0 {
            return Err(ErrorLine::expire_time(self.name));
        }
        self.expiry_of(amount, form)
    }

    /// An expiry that may lie in the past, which removes the key (EXPIRE and its like).
    pub(super) fn any_expiry(&self, position: usize, form: TimeForm) -> Result<Expiry, ErrorLine> {
        self.expiry_of(self.integer(position)?, form)
    }

    fn expiry_of(&self, amount: i64, form: TimeForm) -> Result<Expiry, ErrorLine> {
        let too_far = || ErrorLine::expire_time(self.name);
        let millis = if form.is_seconds { amount.checked_mul(1000).ok_or_else(too_far)? } else { amount };
        if form.is_absolute {
            return Ok(Expiry::At(millis.saturating_add_unsigned(self.lead_ms)));
        }
        if millis > i64::MAX - FARTHEST_STAMP_MS {
            return Err(too_far());
        }
        Ok(Expiry::In(millis))
    }
}

/// A pattern without stars that stand behind another one: they mean the same as one. Classes are left alone, and what is behind.
fn squeezed(pattern: &[u8]) -> Vec<u8> {
    let mut short = Vec::with_capacity(pattern.len().min(PATTERN_BYTES_MAX));
    let mut rest = pattern;
    loop {
        match rest {
            [] => return short,
            [b'[', ..] => {
                short.extend_from_slice(rest);
                return short;
            }
            [b'\\', escaped, behind @ ..] => {
                short.extend_from_slice(&[b'\\', *escaped]);
                rest = behind;
            }
            [b'*', b'*', ..] => rest = &rest[1..],
            [byte, behind @ ..] => {
                short.push(*byte);
                rest = behind;
            }
        }
    }
}

/// Later than every stamp there will be (the year 3084): what is added to a stamp must not overflow, and the stamp is
/// not known yet.
const FARTHEST_STAMP_MS: i64 = 1 << 45;
