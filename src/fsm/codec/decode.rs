//! Bytes to commands, at apply. The drawing is in the parent.
//!
//! Everything is checked in [`Payload::decode`]; after that, walking a batch, its commands and their lists cannot fail.

use crate::fsm::codec::COMMAND_HEADER_LEN;
use crate::fsm::codec::KIND_BATCH;
use crate::fsm::codec::KIND_CONTROL;
use crate::fsm::codec::VERSION;
use crate::fsm::codec::cursor::KeyList;
use crate::fsm::codec::cursor::PairList;
use crate::fsm::codec::cursor::PayloadReader;
use crate::fsm::codec::tag;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::limits::ENTRY_WRITES_MAX;

/// What an entry asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// Commands of clients.
    Batch(CommandBatch<'a>),
    /// A change of the keyring, as `keys` encoded it; not looked into here.
    Control(&'a [u8]),
}

/// The commands of one entry, checked, still in the entry's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandBatch<'a> {
    /// The proposer's time, ms since 1970.
    pub stamp_ms: u64,
    count: u32,
    sealed_writes_max: usize,
    commands: &'a [u8],
}

/// Walks the commands of a [`CommandBatch`] in order.
#[derive(Clone, Debug)]
pub struct Commands<'a> {
    left: u32,
    cursor: PayloadReader<'a>,
}

/// A command as it stands in an entry: `command::Write`, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of command::Write")]
pub enum WriteRef<'a> {
    /// See `Write::Set`.
    Set { key: &'a [u8], value: &'a [u8], when: SetIf, expiry: Expiry, reply: SetReply },
    /// See `Write::SetMany`.
    SetMany { pairs: PairList<'a>, absent_only: bool },
    /// See `Write::Append`.
    Append { key: &'a [u8], value: &'a [u8] },
    /// See `Write::SetRange`.
    SetRange { key: &'a [u8], offset: u32, value: &'a [u8] },
    /// See `Write::IncrementBy`.
    IncrementBy { key: &'a [u8], delta: i64 },
    /// See `Write::IncrementByFloat`.
    IncrementByFloat { key: &'a [u8], delta: &'a [u8] },
    /// See `Write::GetDelete`.
    GetDelete { key: &'a [u8] },
    /// See `Write::GetExpire`.
    GetExpire { key: &'a [u8], expiry: Expiry },
    /// See `Write::Delete`.
    Delete { keys: KeyList<'a> },
    /// See `Write::Expire`.
    Expire { key: &'a [u8], expiry: Expiry, when: ExpireIf },
    /// See `Write::Persist`.
    Persist { key: &'a [u8] },
    /// See `Write::FlushAll`.
    FlushAll,
    /// See `Write::RemoveExpired`.
    RemoveExpired { keys: KeyList<'a> },
}

/// Why bytes are not a payload: a bug, or an entry that another version made. Above the cutover apply halts (MALFORMED-HALT).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// A kind byte that this version does not know.
    #[error("payload has kind {kind:#04x}")]
    Kind {
        /// The byte.
        kind: u8,
    },
    /// The bytes end inside a field, or a count or length promises more than there is.
    #[error("payload ends early: {need} bytes wanted, {left} left")]
    Short {
        /// Bytes that the field takes at least.
        need: u64,
        /// Bytes that there are.
        left: usize,
    },
    /// A batch without a command.
    #[error("batch without a command")]
    Empty,
    /// A command, or a version of one, that this program does not know.
    #[error("command {tag} of version {version} is unknown")]
    Command {
        /// Which command.
        tag: u8,
        /// Which version of it.
        version: u8,
    },
    /// A one-byte field with a value that has no meaning.
    #[error("field {field} has value {found}")]
    Field {
        /// The field's name in the drawing.
        field: &'static str,
        /// The byte.
        found: u8,
    },
    /// A key or value above its bound.
    #[error("{field} of {found} bytes, at most {max}")]
    Long {
        /// `key` or `value`.
        field: &'static str,
        /// Its length.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// Bytes behind the last command.
    #[error("{count} bytes behind the last command")]
    Trailing {
        /// How many.
        count: usize,
    },
}

impl<'a> Payload<'a> {
    /// Checks `bytes` whole; allocates nothing.
    ///
    /// # Errors
    /// [`PayloadError`]: it is not a payload of this version.
    pub fn decode(bytes: &'a [u8]) -> Result<Payload<'a>, PayloadError> {
        let mut cursor = PayloadReader { rest: bytes };
        match cursor.byte()? {
            KIND_BATCH => decode_batch(cursor).map(Payload::Batch),
            KIND_CONTROL => Ok(Payload::Control(cursor.rest)),
            kind => Err(PayloadError::Kind { kind }),
        }
    }
}

impl<'a> CommandBatch<'a> {
    /// Commands in it, at least 1.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Whether it has more sealed writes than `op` can number. Nobody proposes such a batch; committed all the same, each
    /// of its commands answers an error and writes nothing (design 3.4 N4). `WriteContext::new` sees to that.
    #[must_use]
    pub fn exceeds_writes(&self) -> bool {
        self.sealed_writes_max > ENTRY_WRITES_MAX
    }

    /// The commands, in order.
    #[must_use]
    pub fn commands(&self) -> Commands<'a> {
        Commands { left: self.count, cursor: PayloadReader { rest: self.commands } }
    }
}

impl<'a> Iterator for Commands<'a> {
    type Item = WriteRef<'a>;

    fn next(&mut self) -> Option<WriteRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(decode_command(&mut self.cursor).expect("Payload::decode checked every command"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Commands<'_> {}

impl WriteRef<'_> {
    /// How many values this command seals at most: what counts towards `ENTRY_WRITES_MAX`.
    #[must_use]
    pub fn sealed_writes_max(&self) -> usize {
        match self {
            WriteRef::SetMany { pairs, .. } => pairs.len(),
            WriteRef::Delete { .. }
            | WriteRef::RemoveExpired { .. }
            | WriteRef::GetDelete { .. }
            | WriteRef::FlushAll => 0,
            WriteRef::Set { .. }
            | WriteRef::Append { .. }
            | WriteRef::SetRange { .. }
            | WriteRef::IncrementBy { .. }
            | WriteRef::IncrementByFloat { .. }
            | WriteRef::GetExpire { .. }
            | WriteRef::Expire { .. }
            | WriteRef::Persist { .. } => 1,
        }
    }
}

fn decode_batch(mut cursor: PayloadReader<'_>) -> Result<CommandBatch<'_>, PayloadError> {
    let stamp_ms = cursor.u64()?;
    let count = cursor.count(COMMAND_HEADER_LEN)?;
    if count == 0 {
        return Err(PayloadError::Empty);
    }
    let commands = cursor.rest;
    let mut sealed_writes_max = 0;
    for _ in 0..count {
        sealed_writes_max += decode_command(&mut cursor)?.sealed_writes_max();
    }
    match cursor.rest.len() {
        0 => Ok(CommandBatch { stamp_ms, count, sealed_writes_max, commands }),
        count => Err(PayloadError::Trailing { count }),
    }
}

fn decode_command<'a>(cursor: &mut PayloadReader<'a>) -> Result<WriteRef<'a>, PayloadError> {
    let tag = cursor.byte()?;
    let version = cursor.byte()?;
    if version != VERSION {
        return Err(PayloadError::Command { tag, version });
    }
    Ok(match tag {
        tag::SET => {
            let when = set_if(cursor.byte()?)?;
            let reply = set_reply(cursor.byte()?)?;
            let expiry = cursor.expiry()?;
            WriteRef::Set { key: cursor.key()?, value: cursor.value()?, when, expiry, reply }
        }
        tag::SET_MANY => {
            let absent_only = flag("absent_only", cursor.byte()?)?;
            WriteRef::SetMany { pairs: cursor.pairs()?, absent_only }
        }
        tag::APPEND => WriteRef::Append { key: cursor.key()?, value: cursor.value()? },
        tag::SET_RANGE => {
            let offset = cursor.u32()?;
            WriteRef::SetRange { key: cursor.key()?, offset, value: cursor.value()? }
        }
        tag::INCREMENT => {
            let delta = cursor.i64()?;
            WriteRef::IncrementBy { key: cursor.key()?, delta }
        }
        tag::INCREMENT_FLOAT => WriteRef::IncrementByFloat { key: cursor.key()?, delta: cursor.value()? },
        tag::GET_DELETE => WriteRef::GetDelete { key: cursor.key()? },
        tag::GET_EXPIRE => {
            let expiry = cursor.expiry()?;
            WriteRef::GetExpire { key: cursor.key()?, expiry }
        }
        tag::DELETE => WriteRef::Delete { keys: cursor.keys()? },
        tag::EXPIRE => {
            let when = expire_if(cursor.byte()?)?;
            let expiry = cursor.expiry()?;
            WriteRef::Expire { key: cursor.key()?, expiry, when }
        }
        tag::PERSIST => WriteRef::Persist { key: cursor.key()? },
        tag::FLUSH_ALL => WriteRef::FlushAll,
        tag::REMOVE_EXPIRED => WriteRef::RemoveExpired { keys: cursor.keys()? },
        _ => return Err(PayloadError::Command { tag, version }),
    })
}

fn set_if(found: u8) -> Result<SetIf, PayloadError> {
    Ok(match found {
        0 => SetIf::Always,
        1 => SetIf::Absent,
        2 => SetIf::Present,
        _ => return Err(PayloadError::Field { field: "when", found }),
    })
}

fn set_reply(found: u8) -> Result<SetReply, PayloadError> {
    Ok(match found {
        0 => SetReply::Ok,
        1 => SetReply::Old,
        2 => SetReply::Integer,
        _ => return Err(PayloadError::Field { field: "reply", found }),
    })
}

fn expire_if(found: u8) -> Result<ExpireIf, PayloadError> {
    Ok(match found {
        0 => ExpireIf::Always,
        1 => ExpireIf::None,
        2 => ExpireIf::Some,
        3 => ExpireIf::Later,
        4 => ExpireIf::Sooner,
        5 => ExpireIf::SomeSooner,
        _ => return Err(PayloadError::Field { field: "when", found }),
    })
}

fn flag(field: &'static str, found: u8) -> Result<bool, PayloadError> {
    match found {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(PayloadError::Field { field, found }),
    }
}
