//! Commands to bytes, at the proposer. The drawing is in the parent.

use crate::fsm::codec::BATCH_HEADER_LEN;
use crate::fsm::codec::COMMAND_HEADER_LEN;
use crate::fsm::codec::KIND_BATCH;
use crate::fsm::codec::KIND_CONTROL;
use crate::fsm::codec::LEN_LEN;
use crate::fsm::codec::VERSION;
use crate::fsm::codec::tag;
use crate::fsm::command::ExpireIf;
use crate::fsm::command::Expiry;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::limits::ENTRY_WRITES_MAX;
use crate::limits::KEY_BYTES_MAX;
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::limits::VALUE_BYTES_MAX;

/// Why commands cannot be one entry. The caller's to answer: nothing was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// No command: an entry has at least one.
    #[error("no command")]
    Empty,
    /// A key above `KEY_BYTES_MAX`.
    #[error("key of {found} bytes, at most {KEY_BYTES_MAX}")]
    KeyLong {
        /// Bytes of the key.
        found: usize,
    },
    /// A value above `VALUE_BYTES_MAX`.
    #[error("value of {found} bytes, at most {VALUE_BYTES_MAX}")]
    ValueLong {
        /// Bytes of the value.
        found: usize,
    },
    /// More sealed writes than `op` can number (design 3.4 N4).
    #[error("{found} writes, at most {ENTRY_WRITES_MAX}")]
    WritesMany {
        /// How many.
        found: usize,
    },
    /// More bytes than an entry holds.
    #[error("payload of {found} bytes, at most {PAYLOAD_BYTES_MAX}")]
    PayloadLong {
        /// Bytes of the payload.
        found: usize,
    },
}

/// Appends the payload of a client batch to `out`; on an error `out` is as it was.
///
/// # Errors
/// [`EncodeError`]: the commands do not fit one entry.
pub fn encode_batch<'w>(
    stamp_ms: u64,
    writes: impl IntoIterator<Item = &'w WriteCommand>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = out.len();
    let result = append_batch(stamp_ms, writes, out);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Appends the payload of a control entry to `out`; `change` is the keyring's own encoding.
///
/// # Errors
/// [`EncodeError::PayloadLong`]; `out` is as it was.
pub fn encode_control(change: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let found = 1 + change.len();
    if found > PAYLOAD_BYTES_MAX {
        return Err(EncodeError::PayloadLong { found });
    }
    out.push(KIND_CONTROL);
    out.extend_from_slice(change);
    Ok(())
}

/// Gives an encoded batch another stamp: it is encoded when it arrives and stamped when it is proposed.
///
/// # Panics
/// If `payload_inout` is not a client batch.
pub fn set_stamp(payload_inout: &mut [u8], stamp_ms: u64) {
    assert!(payload_inout.len() >= BATCH_HEADER_LEN, "a client batch has a header");
    assert_eq!(payload_inout[0], KIND_BATCH, "only a client batch has a stamp");
    payload_inout[1..9].copy_from_slice(&stamp_ms.to_be_bytes());
}

/// Bytes that `write` takes in a batch; with [`BATCH_HEADER_LEN`] the exact length of a payload.
#[must_use]
pub fn command_len(write: &WriteCommand) -> usize {
    let text = |bytes: &[u8]| LEN_LEN + bytes.len();
    COMMAND_HEADER_LEN
        + match write {
            WriteCommand::Set { key, value, expiry, .. } => 2 + expiry_len(*expiry) + text(key) + text(value),
            WriteCommand::SetMany { pairs, .. } => {
                5 + pairs.iter().map(|(key, value)| text(key) + text(value)).sum::<usize>()
            }
            WriteCommand::Append { key, value } => text(key) + text(value),
            WriteCommand::SetRange { key, value, .. } => 4 + text(key) + text(value),
            WriteCommand::IncrementBy { key, .. } => 8 + text(key),
            WriteCommand::IncrementByFloat { key, delta } => text(key) + text(delta),
            WriteCommand::GetDelete { key } | WriteCommand::Persist { key } => text(key),
            WriteCommand::GetExpire { key, expiry } => expiry_len(*expiry) + text(key),
            WriteCommand::Expire { key, expiry, .. } => 1 + expiry_len(*expiry) + text(key),
            WriteCommand::Delete { keys } | WriteCommand::RemoveExpired { keys } => {
                4 + keys.iter().map(|key| text(key)).sum::<usize>()
            }
            WriteCommand::FlushAll => 0,
        }
}

fn append_batch<'w>(
    stamp_ms: u64,
    writes: impl IntoIterator<Item = &'w WriteCommand>,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.push(KIND_BATCH);
    out.extend_from_slice(&stamp_ms.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    let mut count = 0_u32;
    let mut sealed_writes = 0;
    for write in writes {
        // Before the copy, so that `out` stays bounded whatever the command holds.
        let found = out.len() - start + command_len(write);
        if found > PAYLOAD_BYTES_MAX {
            return Err(EncodeError::PayloadLong { found });
        }
        append_command(write, out)?;
        count += 1;
        sealed_writes += write.sealed_writes_max();
    }
    if count == 0 {
        return Err(EncodeError::Empty);
    }
    if sealed_writes > ENTRY_WRITES_MAX {
        return Err(EncodeError::WritesMany { found: sealed_writes });
    }
    out[start + 9..start + BATCH_HEADER_LEN].copy_from_slice(&count.to_be_bytes());
    Ok(())
}

fn append_command(write: &WriteCommand, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.extend_from_slice(&[tag_of(write), VERSION]);
    match write {
        WriteCommand::Set { key, value, when, expiry, reply } => {
            out.extend_from_slice(&[set_if_byte(*when), set_reply_byte(*reply)]);
            append_expiry(*expiry, out);
            append_key(key, out)?;
            append_value(value, out)
        }
        WriteCommand::SetMany { pairs, absent_only } => {
            out.push(u8::from(*absent_only));
            append_count(pairs.len(), out)?;
            for (key, value) in pairs {
                append_key(key, out)?;
                append_value(value, out)?;
            }
            Ok(())
        }
        WriteCommand::Append { key, value } | WriteCommand::IncrementByFloat { key, delta: value } => {
            append_key(key, out)?;
            append_value(value, out)
        }
        WriteCommand::SetRange { key, offset, value } => {
            out.extend_from_slice(&offset.to_be_bytes());
            append_key(key, out)?;
            append_value(value, out)
        }
        WriteCommand::IncrementBy { key, delta } => {
            out.extend_from_slice(&delta.to_be_bytes());
            append_key(key, out)
        }
        WriteCommand::GetDelete { key } | WriteCommand::Persist { key } => append_key(key, out),
        WriteCommand::GetExpire { key, expiry } => {
            append_expiry(*expiry, out);
            append_key(key, out)
        }
        WriteCommand::Expire { key, expiry, when } => {
            out.push(expire_if_byte(*when));
            append_expiry(*expiry, out);
            append_key(key, out)
        }
        WriteCommand::Delete { keys } | WriteCommand::RemoveExpired { keys } => {
            append_count(keys.len(), out)?;
            keys.iter().try_for_each(|key| append_key(key, out))
        }
        WriteCommand::FlushAll => Ok(()),
    }
}

fn append_key(key: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(EncodeError::KeyLong { found: key.len() });
    }
    append_text(key, out)
}

fn append_value(value: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if value.len() > VALUE_BYTES_MAX {
        return Err(EncodeError::ValueLong { found: value.len() });
    }
    append_text(value, out)
}

fn append_text(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    append_count(bytes.len(), out)?;
    out.extend_from_slice(bytes);
    Ok(())
}

fn append_count(count: usize, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let short = u32::try_from(count).map_err(|_| EncodeError::PayloadLong { found: count })?;
    out.extend_from_slice(&short.to_be_bytes());
    Ok(())
}

fn append_expiry(expiry: Expiry, out: &mut Vec<u8>) {
    match expiry {
        Expiry::Clear => out.push(0),
        Expiry::Keep => out.push(1),
        Expiry::In(ms) => {
            out.push(2);
            out.extend_from_slice(&ms.to_be_bytes());
        }
        Expiry::At(ms) => {
            out.push(3);
            out.extend_from_slice(&ms.to_be_bytes());
        }
    }
}

fn expiry_len(expiry: Expiry) -> usize {
    match expiry {
        Expiry::Clear | Expiry::Keep => 1,
        Expiry::In(_) | Expiry::At(_) => 9,
    }
}

fn set_if_byte(when: SetIf) -> u8 {
    match when {
        SetIf::Always => 0,
        SetIf::Absent => 1,
        SetIf::Present => 2,
    }
}

fn set_reply_byte(reply: SetReply) -> u8 {
    match reply {
        SetReply::Ok => 0,
        SetReply::Old => 1,
        SetReply::Integer => 2,
    }
}

fn expire_if_byte(when: ExpireIf) -> u8 {
    match when {
        ExpireIf::Always => 0,
        ExpireIf::None => 1,
        ExpireIf::Some => 2,
        ExpireIf::Later => 3,
        ExpireIf::Sooner => 4,
        ExpireIf::SomeSooner => 5,
    }
}

fn tag_of(write: &WriteCommand) -> u8 {
    match write {
        WriteCommand::Set { .. } => tag::SET,
        WriteCommand::SetMany { .. } => tag::SET_MANY,
        WriteCommand::Append { .. } => tag::APPEND,
        WriteCommand::SetRange { .. } => tag::SET_RANGE,
        WriteCommand::IncrementBy { .. } => tag::INCREMENT,
        WriteCommand::IncrementByFloat { .. } => tag::INCREMENT_FLOAT,
        WriteCommand::GetDelete { .. } => tag::GET_DELETE,
        WriteCommand::GetExpire { .. } => tag::GET_EXPIRE,
        WriteCommand::Delete { .. } => tag::DELETE,
        WriteCommand::Expire { .. } => tag::EXPIRE,
        WriteCommand::Persist { .. } => tag::PERSIST,
        WriteCommand::FlushAll => tag::FLUSH_ALL,
        WriteCommand::RemoveExpired { .. } => tag::REMOVE_EXPIRED,
    }
}
