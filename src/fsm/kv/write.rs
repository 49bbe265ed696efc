//! Commands that may change values: each reads through the overlay, decides by the entry's stamp, and writes to it.
//!
//! A command that answers an error has written nothing (but rows that it found past due are gone).

use bytes::Bytes;

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
use crate::fsm::kv::bit_writes;
use crate::fsm::kv::decimal::DecimalSum;
use crate::fsm::kv::decimal::add;
use crate::fsm::kv::execution::CommandEnd;
use crate::fsm::kv::execution::Deadline;
use crate::fsm::kv::execution::Execution;
use crate::fsm::kv::execution::KeyedRow;
use crate::fsm::kv::execution::flag;
use crate::fsm::kv::execution::integer;
use crate::fsm::kv::execution::parse_integer;
use crate::fsm::kv::replace;
use crate::fsm::kv::words;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::opening::ReadError;
use crate::fsm::overlay::Overlay;
use crate::fsm::overlay::WriteContext;
use crate::fsm::reader::Base;
use crate::fsm::table_row::RowBytes;

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
        let names = context.names_of(&command.write);
        if let Some(line) = context.refusal() {
            return Ok(Reply::Error(line));
        }
        match (Execution { overlay: self, base, context, names }).run(command) {
            Ok(reply) => Ok(reply),
            Err(CommandEnd::Answer(line)) => Ok(Reply::Error(line)),
            Err(CommandEnd::Halt(error)) if error.is_other_key() && !self.has_secret_names() => {
                Ok(Reply::Error(words::NAME_TAKEN))
            }
            Err(CommandEnd::Halt(error)) => Err(error),
        }
    }
}

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
            WriteRef::Rename { key, target, absent_only } => replace::rename(self, key, target, absent_only),
            WriteRef::Copy { key, target, target_database, replaces } => {
                replace::copy(self, key, target, (command.database, target_database), replaces)
            }
            WriteRef::Move { key, target_database } => replace::move_to(self, key, (command.database, target_database)),
            WriteRef::SetBit { key, offset, bit } => bit_writes::set_bit(self, key, offset, bit),
            WriteRef::CombineBits { operation, target, keys } => bit_writes::combine(self, operation, target, keys),
            WriteRef::ChangeBitFields { key, steps } => bit_writes::change_fields(self, key, steps),
            WriteRef::Restore { key, value, expiry, replaces } => replace::restore(self, key, value, expiry, replaces),
            WriteRef::SetIfValue { key, value, compared, wants_equal, expiry, reply } => {
                let condition = replace::ValueIs { compared, wants_equal };
                replace::set_if(self, key, value, &condition, (expiry, reply))
            }
            WriteRef::DeleteIfValue { key, compared, wants_equal } => {
                replace::delete_if(self, key, &replace::ValueIs { compared, wants_equal })
            }
        }
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
            self.put_or_remove(row, RowBytes::Copied(value), deadline, old_expire_at_ms);
        }
        Ok(answer)
    }

    fn set_many(&mut self, pairs: PairList<'_>, absent_only: bool) -> Result<Reply, CommandEnd> {
        let names = self.names;
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
            self.put(row, RowBytes::Copied(value), 0);
        }
        Ok(if absent_only { Reply::Integer(1) } else { Reply::Ok })
    }

    fn append(&mut self, key: &[u8], value: &[u8]) -> Result<Reply, CommandEnd> {
        let row = self.row(key);
        let old = self.live(row)?;
        let offset = old.as_ref().map_or(0, |old| old.bytes.len());
        let end = offset + value.len();
        self.change(row, old, end, |bytes| bytes[offset..end].copy_from_slice(value)).map(integer)
    }

    fn set_range(&mut self, key: &[u8], offset: u32, value: &[u8]) -> Result<Reply, CommandEnd> {
        let row = self.row(key);
        let old = self.live(row)?;
        if value.is_empty() {
            return Ok(integer(old.map_or(0, |old| old.bytes.len())));
        }
        let (offset, end) = (offset as usize, offset as usize + value.len());
        self.change(row, old, end, |bytes| bytes[offset..end].copy_from_slice(value)).map(integer)
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
        self.put(row, RowBytes::Copied(text), old.map_or(0, |old| old.expire_at_ms));
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
        self.put(row, RowBytes::Copied(&text), old.map_or(0, |old| old.expire_at_ms));
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
        let names = self.names;
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
}
