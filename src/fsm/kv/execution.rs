//! One command of an entry while it runs: rows by this entry's stamp, new values within their bounds, deadlines.

use bytes::Bytes;
use bytes::BytesMut;

use crate::fsm::command::Expiry;
use crate::fsm::command::Reply;
use crate::fsm::kv::words;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::overlay::Overlay;
use crate::fsm::overlay::WriteContext;
use crate::fsm::reader::Base;
use crate::fsm::table_row::RowBytes;
use crate::fsm::value::Value;
use crate::limits::VALUE_BYTES_MAX;

/// Why a command ends before its end.
pub(super) enum CommandEnd {
    /// With an error line for the client.
    Answer(&'static str),
    /// A value cannot be read.
    Halt(ReadError),
}

impl From<ReadError> for CommandEnd {
    fn from(error: ReadError) -> CommandEnd {
        CommandEnd::Halt(error)
    }
}

/// The expiry that a key gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Deadline {
    /// What it had.
    Unchanged,
    /// Ms since 1970, 0 = none.
    At(u64),
    /// Now or before: the key goes.
    Past,
}

pub(super) struct Execution<'x, 'n, B: ?Sized> {
    pub(super) overlay: &'x mut Overlay,
    pub(super) base: &'x B,
    pub(super) context: &'x mut WriteContext<'n>,
    /// Of the command's keys, from the next one on.
    pub(super) names: &'n [RowName],
}

/// A user's key and the name of its row.
pub(super) type KeyedRow<'a> = (RowName, &'a [u8]);

impl<B: Base + ?Sized> Execution<'_, '_, B> {
    /// Where the row of the command's next key is.
    pub(super) fn row<'k>(&mut self, key: &'k [u8]) -> KeyedRow<'k> {
        let (name, rest) = self.names.split_first().expect("each key of the command has its name");
        self.names = rest;
        (*name, key)
    }

    /// Changes a value in place. It has at least `len` bytes then, zeros where there was nothing. How long it is.
    pub(super) fn change(
        &mut self,
        row: KeyedRow<'_>,
        old: Option<Value>,
        len: usize,
        change: impl FnOnce(&mut [u8]),
    ) -> Result<usize, CommandEnd> {
        if len > VALUE_BYTES_MAX {
            return Err(CommandEnd::Answer(words::TOO_LONG));
        }
        let old_len = old.as_ref().map_or(0, |old| old.bytes.len());
        let new_len = len.max(old_len);
        self.charge(self.kept(old.as_ref()) + (new_len - old_len))?;
        let expire_at_ms = old.as_ref().map_or(0, |old| old.expire_at_ms);
        self.overlay.detach(&row.0);
        let mut bytes = owned(old.map(|old| old.bytes).unwrap_or_default(), new_len);
        bytes.resize(new_len, 0);
        change(&mut bytes);
        let held_bytes = bytes.capacity();
        self.put(row, RowBytes::Owned { bytes: bytes.freeze(), held_bytes }, expire_at_ms);
        Ok(new_len)
    }

    /// The value of a row by this entry's stamp; one that is past due is removed on the way.
    pub(super) fn live(&mut self, row: KeyedRow<'_>) -> Result<Option<Value>, CommandEnd> {
        let found = self.overlay.value_for(self.base, RowKey::new(row.0, row.1), self.context.index)?;
        if found.as_ref().is_some_and(|value| value.is_past_due(self.context.stamp_ms)) {
            self.overlay.remove(row.0);
            return Ok(None);
        }
        Ok(found)
    }

    /// A new header for the same bytes: one more sealed write, unless nothing changes (PERSIST of a key without expiry).
    pub(super) fn change_deadline(
        &mut self,
        row: KeyedRow<'_>,
        old: Value,
        deadline: Deadline,
    ) -> Result<(), CommandEnd> {
        let is_same = match deadline {
            Deadline::Unchanged => true,
            Deadline::At(at) => at == 0 && old.expire_at_ms == 0,
            Deadline::Past => false,
        };
        if !is_same {
            if deadline != Deadline::Past {
                self.charge(self.kept(Some(&old)))?;
            }
            let expire_at_ms = old.expire_at_ms;
            self.put_or_remove(row, again(row, old), deadline, expire_at_ms);
        }
        Ok(())
    }

    /// The value of another row, or of this one, as it is.
    pub(super) fn put_old(&mut self, row: KeyedRow<'_>, old: Value) {
        let expire_at_ms = old.expire_at_ms;
        self.put(row, again(row, old), expire_at_ms);
    }

    pub(super) fn put_or_remove(
        &mut self,
        row: KeyedRow<'_>,
        bytes: RowBytes<'_>,
        deadline: Deadline,
        old_expire_at_ms: u64,
    ) {
        match deadline {
            Deadline::Unchanged => self.put(row, bytes, old_expire_at_ms),
            Deadline::At(at) => self.put(row, bytes, at),
            Deadline::Past => self.overlay.remove(row.0),
        }
    }

    pub(super) fn put(&mut self, row: KeyedRow<'_>, bytes: RowBytes<'_>, expire_at_ms: u64) {
        assert!(bytes.len() <= VALUE_BYTES_MAX, "a value that is too long is refused before it is made");
        self.overlay.put(row.0, row.1, bytes, expire_at_ms, self.context);
    }

    /// The old value as a reply; what it holds is charged, since it lives until the client has it.
    pub(super) fn bulk(&mut self, value: Option<Value>) -> Result<Reply, CommandEnd> {
        let Some(value) = value else {
            return Ok(Reply::Null);
        };
        self.charge(value.bytes.len())?;
        Ok(Reply::Bulk(value.bytes))
    }

    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), CommandEnd> {
        if self.context.charge(bytes) { Ok(()) } else { Err(CommandEnd::Answer(words::VALUES_LARGE)) }
    }

    /// Bytes that the overlay holds from now on because an older entry's value is written anew. By the value itself, not
    /// by where it was found: the answer must not depend on how entries were cut into runs.
    pub(super) fn kept(&self, old: Option<&Value>) -> usize {
        old.filter(|old| old.last_change != self.context.index).map_or(0, |old| old.bytes.len())
    }

    /// What `expiry` means to SET and GETEX, which refuse what is not above 0.
    pub(super) fn positive_deadline(&self, expiry: Expiry, refusal: &'static str) -> Result<Deadline, CommandEnd> {
        let ms = match expiry {
            Expiry::Clear => return Ok(Deadline::At(0)),
            Expiry::Keep => return Ok(Deadline::Unchanged),
            Expiry::In(ms) | Expiry::At(ms) if ms <= 0 => return Err(CommandEnd::Answer(refusal)),
            Expiry::In(ms) => i128::from(self.context.stamp_ms) + i128::from(ms),
            Expiry::At(ms) => i128::from(ms),
        };
        self.deadline_at(ms).ok_or(CommandEnd::Answer(refusal))
    }

    /// `None` above what Redis can say in an i64.
    pub(super) fn deadline_at(&self, ms: i128) -> Option<Deadline> {
        if ms > i128::from(i64::MAX) {
            return None;
        }
        match u64::try_from(ms) {
            Ok(at) if at > self.context.stamp_ms => Some(Deadline::At(at)),
            _ => Some(Deadline::Past),
        }
    }
}

/// `bytes` to be changed: in place if nobody else holds them, so that many appends to one value cost no more than their
/// own bytes; else a copy. Which of the two never shows.
fn owned(bytes: Bytes, new_len: usize) -> BytesMut {
    bytes.try_into_mut().unwrap_or_else(|shared| {
        let mut copy = BytesMut::with_capacity(new_len);
        copy.extend_from_slice(&shared);
        copy
    })
}

/// The bytes of an old value, which go into a row once more.
fn again(row: KeyedRow<'_>, old: Value) -> RowBytes<'static> {
    RowBytes::Owned { held_bytes: old.row_len(row.1), bytes: old.bytes }
}

pub(super) fn flag(is_true: bool) -> Reply {
    Reply::Integer(i64::from(is_true))
}

pub(super) fn integer(len: usize) -> Reply {
    Reply::Integer(i64::try_from(len).unwrap_or(i64::MAX))
}

/// A number as Redis's `string2ll` takes it: no sign but `-`, no leading zeros, no spaces, within i64.
pub(super) fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_canonical = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.len() < 19 && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !is_canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
