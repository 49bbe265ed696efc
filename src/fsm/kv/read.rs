//! Commands that change nothing.

use std::collections::HashMap;

use bytes::Bytes;

use crate::fsm::command::KeyReply;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::fetched::Detail;
use crate::fsm::kv::key_reads::key_reply;
use crate::fsm::kv::lcs::lcs;
use crate::fsm::kv::scan::WalkPlace;
use crate::fsm::kv::scan::WalkRun;
use crate::fsm::kv::scan::is_cursor;
use crate::fsm::kv::scan::scanned;
use crate::fsm::kv::value_reads::value_reply;
use crate::fsm::kv::words;
use crate::fsm::name::Database;
use crate::fsm::name::RowKey;
use crate::fsm::name::RowName;
use crate::fsm::opening::ReadError;
use crate::fsm::reader::Base;
use crate::fsm::value::Value;
use crate::limits::LCS_CELLS_MAX;
use crate::limits::REPLY_BYTES_MAX;

/// A read, and where its rows are.
#[derive(Clone, Copy, Debug)]
pub struct NamedRead<'a> {
    /// The read.
    pub read: &'a ReadCommand,
    /// The database that it works on.
    pub database: Database,
    /// A name for each of its keys ([`names_of_read`](crate::fsm::naming::names_of_read)).
    pub names: &'a [RowName],
}

/// What a leader's read came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadAnswer {
    /// The reply.
    Reply(Reply),
    /// These rows are there by the applied stamp and past due by the leader's clock: have them removed
    /// (`WriteCommand::RemoveExpired`), then read again.
    PastDue(Vec<RowName>),
}

/// Answers `read` on `view`; a key whose deadline is at or before `now_ms` is not there.
///
/// `now_ms` is the entry's stamp for a read that rides with writes, the applied stamp otherwise.
///
/// # Errors
/// [`ReadError`] if a value cannot be read or opened.
pub fn read<B: Base + ?Sized>(view: &B, read: NamedRead<'_>, now_ms: u64) -> Result<Reply, ReadError> {
    read_within(view, read, now_ms, REPLY_BYTES_MAX)
}

/// The same for a read that shares its request's [`REPLY_BYTES_MAX`] with others: `bytes_left` are left for its values.
/// If they are not enough the reply is an error, and no more than them was kept.
///
/// # Errors
/// [`ReadError`] if a value cannot be read or opened.
pub fn read_within<B: Base + ?Sized>(
    view: &B,
    read: NamedRead<'_>,
    now_ms: u64,
    bytes_left: usize,
) -> Result<Reply, ReadError> {
    let place = WalkPlace::Riding;
    ReadRun { view, asked: read, stamp_ms: now_ms, clock_ms: 0, bytes_left, place, past_due: Vec::new() }.reply()
}

/// Answers a ReadIndex read on the leader, unless it meets a key that is past due by the leader's clock only.
///
/// # Errors
/// [`ReadError`] if a value cannot be read or opened.
pub fn read_as_leader<B: Base + ?Sized>(
    view: &B,
    read: NamedRead<'_>,
    stamp_ms: u64,
    clock_ms: u64,
) -> Result<ReadAnswer, ReadError> {
    let (bytes_left, place) = (REPLY_BYTES_MAX, WalkPlace::Aside);
    let mut looker = ReadRun { view, asked: read, stamp_ms, clock_ms, bytes_left, place, past_due: Vec::new() };
    let reply = looker.reply()?;
    Ok(if looker.past_due.is_empty() { ReadAnswer::Reply(reply) } else { ReadAnswer::PastDue(looker.past_due) })
}

struct ReadRun<'a, B: ?Sized> {
    view: &'a B,
    asked: NamedRead<'a>,
    stamp_ms: u64,
    clock_ms: u64,
    bytes_left: usize,
    place: WalkPlace,
    past_due: Vec<RowName>,
}

impl<B: Base + ?Sized> ReadRun<'_, B> {
    fn reply(&mut self) -> Result<Reply, ReadError> {
        let NamedRead { read, database, names } = self.asked;
        assert_eq!(read.keys().len(), names.len(), "a name for each key");
        let now_ms = self.stamp_ms.max(self.clock_ms);
        let reply = match read {
            ReadCommand::GetMany { keys } => self.many(&rows(keys, names))?,
            ReadCommand::Exists { keys } => {
                let (unlike, times) = tallied(&rows(keys, names));
                let (mut times, mut count) = (times.into_iter(), 0);
                let saw_all = self.each(&unlike, Detail::Facts, |value| {
                    let named = times.next().unwrap_or(0);
                    count += if value.is_some() { named } else { 0 };
                    true
                })?;
                whole(saw_all, integer(count))
            }
            ReadCommand::LastChanges { keys } => {
                let mut changes = Vec::with_capacity(keys.len());
                let saw_all = self.each(&rows(keys, names), Detail::Facts, |value| {
                    changes.push(last_change(value.as_ref()));
                    true
                })?;
                whole(saw_all, Reply::Array(changes))
            }
            ReadCommand::CommonSubsequence { keys, answer } => {
                let cells_max = LCS_CELLS_MAX / if self.place == WalkPlace::Aside { 1 } else { 16 };
                match &self.all_bytes(&rows(keys, names))?[..] {
                    [left, right] => lcs(left, right, *answer, cells_max),
                    _ => Reply::Error(words::VALUES_LARGE),
                }
            }
            ReadCommand::BitAt { key, .. }
            | ReadCommand::BitCount { key, .. }
            | ReadCommand::BitPosition { key, .. }
            | ReadCommand::BitFields { key, .. }
            | ReadCommand::Dump { key }
            | ReadCommand::Fact { key, .. } => value_reply(read, self.one(key)?.map(|value| value.bytes).as_ref()),
            ReadCommand::Scan { cursor, .. } if !is_cursor(*cursor) => scanned(0, Vec::new()),
            ReadCommand::Scan { cursor, count, pattern } => self.walk().scan(*cursor, *count, pattern.as_deref())?,
            ReadCommand::Keys { pattern } => self.walk().keys(pattern)?,
            ReadCommand::RandomKey { place } => self.walk().random_key(*place)?,
            ReadCommand::Count => {
                let count = self.view.count(database, now_ms)?;
                Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX))
            }
            ReadCommand::Get { key }
            | ReadCommand::Length { key }
            | ReadCommand::Range { key, .. }
            | ReadCommand::Refuse { key, .. }
            | ReadCommand::Ttl { key, .. }
            | ReadCommand::Type { key } => {
                let value = self.one(key)?;
                owned(key_reply(read, value.as_ref().map(Value::borrowed), now_ms), value.as_ref())
            }
        };
        Ok(if reply.value_bytes() > self.bytes_left { Reply::Error(words::REPLY_LARGE) } else { reply })
    }

    fn walk(&self) -> WalkRun<'_, B> {
        let now_ms = self.stamp_ms.max(self.clock_ms);
        let ReadRun { view, place, bytes_left, .. } = *self;
        WalkRun { view, database: self.asked.database, now_ms, place, bytes_left }
    }

    /// The value of the only key of a read.
    fn one(&mut self, key: &[u8]) -> Result<Option<Value>, ReadError> {
        let row = RowKey::new(self.asked.names[0], key);
        let found = self.view.value(row)?;
        Ok(self.judge(row.name, found))
    }

    /// The bytes of the values of a read, none for a key that is not there. Fewer than rows if the view gave no more.
    fn all_bytes(&mut self, rows: &[RowKey<'_>]) -> Result<Vec<Bytes>, ReadError> {
        let mut found = Vec::with_capacity(rows.len());
        self.each(rows, Detail::Values, |value| {
            found.push(value.map(|value| value.bytes).unwrap_or_default());
            true
        })?;
        Ok(found)
    }

    /// Keeps values only as long as their reply can be given.
    fn many(&mut self, rows: &[RowKey<'_>]) -> Result<Reply, ReadError> {
        let (mut kept, mut bytes, bytes_left) = (Vec::with_capacity(rows.len()), 0, self.bytes_left);
        let saw_all = self.each(rows, Detail::Values, |value| {
            bytes += value.as_ref().map_or(0, |value| value.bytes.len());
            kept.push(bulk(value));
            bytes <= bytes_left
        })?;
        Ok(if bytes > bytes_left { Reply::Error(words::REPLY_LARGE) } else { whole(saw_all, Reply::Array(kept)) })
    }

    /// Shows `take` the value of each row, or that there is none, until it answers false, or the view has opened as much
    /// as it may. Whether it saw all of them.
    fn each(
        &mut self,
        rows: &[RowKey<'_>],
        detail: Detail,
        mut take: impl FnMut(Option<Value>) -> bool,
    ) -> Result<bool, ReadError> {
        let mut asked = rows.iter();
        let view = self.view;
        view.each_value(rows, detail, &mut |found| {
            let row = asked.next().expect("at most one value for each row");
            take(self.judge(row.name, found))
        })?;
        Ok(asked.len() == 0)
    }

    fn judge(&mut self, name: RowName, found: Option<Value>) -> Option<Value> {
        let value = found.filter(|value| !value.is_past_due(self.stamp_ms))?;
        if value.is_past_due(self.clock_ms) {
            self.past_due.push(name);
        }
        Some(value)
    }
}

/// `reply`, if it was made of all rows: a part of them is no answer.
fn whole(saw_all: bool, reply: Reply) -> Reply {
    if saw_all { reply } else { Reply::Error(words::VALUES_LARGE) }
}

fn rows<'a>(keys: &'a [Bytes], names: &[RowName]) -> Vec<RowKey<'a>> {
    keys.iter().zip(names).map(|(key, name)| RowKey::new(*name, key)).collect()
}

/// Each row once, in the order of their first places, and how often it is named: it must not be opened as often.
fn tallied<'a>(rows: &[RowKey<'a>]) -> (Vec<RowKey<'a>>, Vec<usize>) {
    let mut places: HashMap<RowName, usize> = HashMap::with_capacity(rows.len());
    let (mut unlike, mut times) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in rows {
        let place = *places.entry(row.name).or_insert(unlike.len());
        if place == unlike.len() {
            unlike.push(*row);
            times.push(0);
        }
        times[place] += 1;
    }
    (unlike, times)
}

fn bulk(value: Option<Value>) -> Reply {
    value.map_or(Reply::Null, |value| Reply::Bulk(value.bytes))
}

fn last_change(value: Option<&Value>) -> Reply {
    let index = value.map_or(0, |value| value.last_change.0);
    Reply::Integer(i64::try_from(index).expect("an index of the log is far below 2^63"))
}

fn integer(count: usize) -> Reply {
    Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

/// The reply as it lies in `value`, held by itself.
fn owned(reply: KeyReply<'_>, value: Option<&Value>) -> Reply {
    match reply {
        KeyReply::Simple(word) => Reply::Simple(word),
        KeyReply::Error(line) => Reply::Error(line),
        KeyReply::Integer(number) => Reply::Integer(number),
        KeyReply::Null => Reply::Null,
        KeyReply::Bulk(part) => Reply::Bulk(match value {
            Some(value) if part.len() > value.bytes.len() / 2 => value.bytes.slice_ref(part),
            // A small piece must not hold the whole value in memory: its bytes are what is counted.
            _ => Bytes::copy_from_slice(part),
        }),
    }
}
