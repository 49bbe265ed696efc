//! Commands that may change values: each reads through the overlay, decides by the entry's stamp, and writes to it.
//!
//! A command that answers an error has written nothing (but rows that it found past due are gone).

use bytes::Bytes;
use bytes::BytesMut;

use crate::fsm::codec::EntryCommand;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::KeyList;
use crate::fsm::command::NameList;
use crate::fsm::command::PairList;
use crate::fsm::command::Reply;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteRef;
use crate::fsm::kv::decimal::DecimalSum;
use crate::fsm::kv::decimal::add;
use crate::fsm::kv::words;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::overlay::Overlay;
use crate::fsm::overlay::WriteContext;
use crate::fsm::reader::Base;
use crate::fsm::value::Value;
use crate::limits::VALUE_BYTES_MAX;

impl Overlay {
    /// Runs one command of the entry that `context` stands for, on top of `base` and of what ran before.
    ///
    /// A plain SET reads nothing. The value's bytes are copied once, into the overlay. A row that holds another key answers an
    /// error where names are not secret.
    ///
    /// # Errors
    /// [`ReadError`] if a value cannot be read or opened: halt, and throw this overlay away.
    pub fn execute<B: Base + ?Sized>(
        &mut self,
        base: &B,
        command: EntryCommand<'_>,
        context: &mut WriteContext<'_>,
    ) -> Result<Reply, ReadError> {
        if let Some(line) = context.refusal() {
            return Ok(Reply::Error(line));
        }
        match (Execution { overlay: self, base, context }).run(command) {
            Ok(reply) => Ok(reply),
            Err(CommandEnd::Answer(line)) => Ok(Reply::Error(line)),
            Err(CommandEnd::Halt(error)) if error.is_other_key() && !self.has_secret_names() => {
                Ok(Reply::Error(words::NAME_TAKEN))
            }
            Err(CommandEnd::Halt(error)) => Err(error),
        }
    }
}

/// Why a command ends before its end.
enum CommandEnd {
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
enum Deadline {
    /// What it had.
    Unchanged,
    /// Ms since 1970, 0 = none.
    At(u64),
    /// Now or before: the key goes.
    Past,
}

struct Execution<'x, 'n, B: ?Sized> {
    overlay: &'x mut Overlay,
    base: &'x B,
    context: &'x mut WriteContext<'n>,
}

/// A user's key and the name of its row.
type KeyedRow<'a> = (RowName, &'a [u8]);

impl<B: Base + ?Sized> Execution<'_, '_, B> {
    fn run(&mut self, command: EntryCommand<'_>) -> Result<Reply, CommandEnd> {
        match command.write {
            WriteRef::Set { key, value, when, expiry, reply } => self.set(key, value, when, expiry, reply),
            WriteRef::SetMany { pairs, absent_only } => self.set_many(pairs, absent_only),
            WriteRef::Append { key, value } => self.append(key, value),
            WriteRef::SetRange { key, offset, value } => self.set_range(key, offset, value),
            WriteRef::IncrementBy { key, delta } => self.increment_by(key, delta),
            WriteRef::IncrementByFloat { key, delta } => self.increment_by_float(key, delta),
            WriteRef::GetDelete { key } => self.get_delete(key),
            WriteRef::GetExpire { key, expiry } => self.get_expire(key, expiry),
            WriteRef::Delete { keys } => self.delete(keys),
            WriteRef::Expire { key, expiry, when } => self.expire(key, expiry, when),
            WriteRef::Persist { key } => {
                let row = self.row(key);
                self.persist(row).map(flag)
            }
            WriteRef::FlushAll => {
                Database::all().for_each(|database| self.overlay.clear(database));
                Ok(Reply::Ok)
            }
            WriteRef::FlushDatabase => {
                self.overlay.clear(command.database);
                Ok(Reply::Ok)
            }
            WriteRef::RemoveExpired { names } => self.remove_expired(names),
        }
    }

    /// Where the row of the command's next key is.
    fn row<'k>(&mut self, key: &'k [u8]) -> KeyedRow<'k> {
        (self.context.next_name(), key)
    }

    fn set(
        &mut self,
        key: &[u8],
        value: &[u8],
        when: SetIf,
        expiry: Expiry,
        reply: SetReply,
    ) -> Result<Reply, CommandEnd> {
        let row = self.row(key);
        let deadline = self.positive_deadline(expiry, words::SET_EXPIRE)?;
        let is_blind = when == SetIf::Always && reply != SetReply::Old && deadline != Deadline::Unchanged;
        let old = if is_blind { None } else { self.live(row)? };
        let takes_place = match when {
            SetIf::Always => true,
            SetIf::Absent => old.is_none(),
            SetIf::Present => old.is_some(),
        };
        let old_expire_at_ms = old.as_ref().map_or(0, |old| old.expire_at_ms);
        let answer = match reply {
            SetReply::Ok if takes_place => Reply::Ok,
            SetReply::Ok => Reply::Null,
            SetReply::Old => self.bulk(old)?,
            SetReply::Integer => flag(takes_place),
        };
        if takes_place {
            self.charge(value.len())?;
            let bytes = Bytes::copy_from_slice(value);
            self.put_or_remove(row, bytes, deadline, old_expire_at_ms);
        }
        Ok(answer)
    }

    fn set_many(&mut self, pairs: PairList<'_>, absent_only: bool) -> Result<Reply, CommandEnd> {
        let names = self.context.next_names(pairs.len());
        let rows = || names.iter().zip(pairs).map(|(name, (key, value))| ((*name, key), value));
        if absent_only {
            for (row, _) in rows() {
                if self.live(row)?.is_some() {
                    return Ok(Reply::Integer(0));
                }
            }
        }
        self.charge(pairs.map(|(_, value)| value.len()).sum())?;
        for (row, value) in rows() {
            self.put(row, Bytes::copy_from_slice(value), 0);
        }
        Ok(if absent_only { Reply::Integer(1) } else { Reply::Ok })
    }

    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<Reply, CommandEnd> {
        let row = self.row(key);
        let Some(old) = self.live(row)? else {
            return self.grow(row, None, 0, value);
        };
        let offset = old.bytes.len();
        self.grow(row, Some(old), offset, value)
    }

    fn set_range(&mut self, key: &[u8], offset: u32, value: &[u8]) -> Result<Reply, CommandEnd> {
        let row = self.row(key);
        let old = self.live(row)?;
        if value.is_empty() {
            return Ok(integer(old.map_or(0, |old| old.bytes.len())));
        }
        self.grow(row, old, offset as usize, value)
    }

    /// Puts `value` at `offset`, with zeros before it where there is nothing.
    fn grow(
        &mut self,
        row: KeyedRow<'_>,
        old: Option<Value>,
        offset: usize,
        value: &[u8],
    ) -> Result<Reply, CommandEnd> {
        let end = offset + value.len();
        if end > VALUE_BYTES_MAX {
            return Err(CommandEnd::Answer(words::TOO_LONG));
        }
        let old_len = old.as_ref().map_or(0, |old| old.bytes.len());
        let new_len = end.max(old_len);
        self.charge(self.kept(old.as_ref()) + (new_len - old_len))?;
        let expire_at_ms = old.as_ref().map_or(0, |old| old.expire_at_ms);
        self.overlay.detach(&row.0);
        let mut bytes = owned(old.map(|old| old.bytes).unwrap_or_default(), new_len);
        bytes.resize(new_len, 0);
        bytes[offset..end].copy_from_slice(value);
        let held_bytes = bytes.capacity();
        self.put(row, bytes.freeze(), expire_at_ms);
        self.overlay.hold(&row.0, held_bytes);
        Ok(integer(new_len))
    }

    fn increment_by(&mut self, key: &[u8], delta: i64) -> Result<Reply, CommandEnd> {
        let row = self.row(key);
        let old = self.live(row)?;
        let number = match &old {
            Some(old) => parse_integer(&old.bytes).ok_or(CommandEnd::Answer(words::NOT_INTEGER))?,
            None => 0,
        };
        let sum = number.checked_add(delta).ok_or(CommandEnd::Answer(words::OVERFLOW))?;
        let mut digits = itoa::Buffer::new();
        let text = digits.format(sum).as_bytes();
        self.charge(text.len())?;
        self.put(row, Bytes::copy_from_slice(text), old.map_or(0, |old| old.expire_at_ms));
        Ok(Reply::Integer(sum))
    }

    fn increment_by_float(&mut self, key: &[u8], delta: &[u8]) -> Result<Reply, CommandEnd> {
        let row = self.row(key);
        let old = self.live(row)?;
        let number = old.as_ref().map_or(&b"0"[..], |old| &old.bytes);
        let text = match add(number, delta) {
            DecimalSum::Number(text) => Bytes::from(text),
            DecimalSum::NotANumber => return Err(CommandEnd::Answer(words::NOT_FLOAT)),
            DecimalSum::Infinite => return Err(CommandEnd::Answer(words::NAN_OR_INFINITY)),
        };
        self.charge(text.len())?;
        self.put(row, text.clone(), old.map_or(0, |old| old.expire_at_ms));
        Ok(Reply::Bulk(text))
    }

    fn get_delete(&mut self, key: &[u8]) -> Result<Reply, CommandEnd> {
        let row = self.row(key);
        let old = self.live(row)?;
        let is_there = old.is_some();
        let answer = self.bulk(old)?;
        if is_there {
            self.overlay.remove(row.0);
        }
        Ok(answer)
    }

    fn get_expire(&mut self, key: &[u8], expiry: Expiry) -> Result<Reply, CommandEnd> {
        let row = self.row(key);
        let Some(old) = self.live(row)? else {
            return Ok(Reply::Null);
        };
        let deadline = self.positive_deadline(expiry, words::GETEX_EXPIRE)?;
        let answer = self.bulk(Some(old.clone()))?;
        self.change_deadline(row, old, deadline)?;
        Ok(answer)
    }

    fn delete(&mut self, keys: KeyList<'_>) -> Result<Reply, CommandEnd> {
        let names = self.context.next_names(keys.len());
        let rows = || names.iter().copied().zip(keys);
        if keys.len() > 1 && !self.overlay.has_secret_names() {
            // One of them may answer an error: then none of them goes.
            for row in rows() {
                self.live(row)?;
            }
        }
        let mut count = 0;
        for row in rows() {
            if self.live(row)?.is_some() {
                self.overlay.remove(row.0);
                count += 1;
            }
        }
        Ok(Reply::Integer(count))
    }

    fn expire(&mut self, key: &[u8], expiry: Expiry, when: ExpireIf) -> Result<Reply, CommandEnd> {
        let row = self.row(key);
        let ms = match expiry {
            Expiry::Clear => return self.persist(row).map(flag),
            Expiry::Keep => return Ok(flag(self.live(row)?.is_some())),
            Expiry::In(ms) => i128::from(self.context.stamp_ms) + i128::from(ms),
            Expiry::At(ms) => i128::from(ms),
        };
        let deadline = self.deadline_at(ms).ok_or(CommandEnd::Answer(words::EXPIRE_EXPIRE))?;
        let Some(old) = self.live(row)? else {
            return Ok(flag(false));
        };
        let current = (old.expire_at_ms != 0).then_some(i128::from(old.expire_at_ms));
        let takes_place = match when {
            ExpireIf::Always => true,
            ExpireIf::None => current.is_none(),
            ExpireIf::Some => current.is_some(),
            ExpireIf::Later => current.is_some_and(|current| ms > current),
            ExpireIf::Sooner => current.is_none_or(|current| ms < current),
            ExpireIf::SomeSooner => current.is_some_and(|current| ms < current),
        };
        if takes_place {
            self.change_deadline(row, old, deadline)?;
        }
        Ok(flag(takes_place))
    }

    fn persist(&mut self, row: KeyedRow<'_>) -> Result<bool, CommandEnd> {
        match self.live(row)? {
            Some(old) if old.expire_at_ms != 0 => self.change_deadline(row, old, Deadline::At(0)).map(|()| true),
            _ => Ok(false),
        }
    }

    fn remove_expired(&mut self, names: NameList<'_>) -> Result<Reply, CommandEnd> {
        let mut count = 0;
        for name in names {
            let found = self.overlay.value_for(self.base, RowKey::named(name), self.context.index)?;
            if found.is_some_and(|value| value.is_past_due(self.context.stamp_ms)) {
                self.overlay.remove(name);
                count += 1;
            }
        }
        Ok(Reply::Integer(count))
    }

    /// The value of a row by this entry's stamp; one that is past due is removed on the way.
    fn live(&mut self, row: KeyedRow<'_>) -> Result<Option<Value>, CommandEnd> {
        let found = self.overlay.value_for(self.base, RowKey::new(row.0, row.1), self.context.index)?;
        if found.as_ref().is_some_and(|value| value.is_past_due(self.context.stamp_ms)) {
            self.overlay.remove(row.0);
            return Ok(None);
        }
        Ok(found)
    }

    /// A new header for the same bytes: one more sealed write, unless nothing changes (PERSIST of a key without expiry).
    fn change_deadline(&mut self, row: KeyedRow<'_>, old: Value, deadline: Deadline) -> Result<(), CommandEnd> {
        let is_same = match deadline {
            Deadline::Unchanged => true,
            Deadline::At(at) => at == 0 && old.expire_at_ms == 0,
            Deadline::Past => false,
        };
        if !is_same {
            if deadline != Deadline::Past {
                self.charge(self.kept(Some(&old)))?;
            }
            self.put_or_remove(row, old.bytes, deadline, old.expire_at_ms);
        }
        Ok(())
    }

    fn put_or_remove(&mut self, row: KeyedRow<'_>, bytes: Bytes, deadline: Deadline, old_expire_at_ms: u64) {
        match deadline {
            Deadline::Unchanged => self.put(row, bytes, old_expire_at_ms),
            Deadline::At(at) => self.put(row, bytes, at),
            Deadline::Past => self.overlay.remove(row.0),
        }
    }

    fn put(&mut self, row: KeyedRow<'_>, bytes: Bytes, expire_at_ms: u64) {
        assert!(bytes.len() <= VALUE_BYTES_MAX, "a value that is too long is refused before it is made");
        self.overlay.put(row.0, row.1, bytes, expire_at_ms, self.context);
    }

    /// The old value as a reply; what it holds is charged, since it lives until the client has it.
    fn bulk(&mut self, value: Option<Value>) -> Result<Reply, CommandEnd> {
        let Some(value) = value else {
            return Ok(Reply::Null);
        };
        self.charge(value.bytes.len())?;
        Ok(Reply::Bulk(value.bytes))
    }

    fn charge(&mut self, bytes: usize) -> Result<(), CommandEnd> {
        if self.context.charge(bytes) { Ok(()) } else { Err(CommandEnd::Answer(words::VALUES_LARGE)) }
    }

    /// Bytes that the overlay holds from now on because an older entry's value is written anew. By the value itself, not
    /// by where it was found: the answer must not depend on how entries were cut into runs.
    fn kept(&self, old: Option<&Value>) -> usize {
        old.filter(|old| old.last_change != self.context.index).map_or(0, |old| old.bytes.len())
    }

    /// What `expiry` means to SET and GETEX, which refuse what is not above 0.
    fn positive_deadline(&self, expiry: Expiry, refusal: &'static str) -> Result<Deadline, CommandEnd> {
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
    fn deadline_at(&self, ms: i128) -> Option<Deadline> {
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

/// A number as Redis's `string2ll` takes it: no sign but `-`, no leading zeros, no spaces, within i64.
fn parse_integer(text: &[u8]) -> Option<i64> {
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

fn flag(is_true: bool) -> Reply {
    Reply::Integer(i64::from(is_true))
}

fn integer(len: usize) -> Reply {
    Reply::Integer(i64::try_from(len).unwrap_or(i64::MAX))
}
