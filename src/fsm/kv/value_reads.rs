//! Reads of one key whose reply is made of its value: bits, DUMP, OBJECT, MEMORY.

use bytes::Bytes;

use crate::fsm::command::KeyFact;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::Reply;
use crate::fsm::dump::dump;
use crate::fsm::kv::bits;
use crate::fsm::kv::execution::parse_integer;
use crate::fsm::kv::words;
use crate::fsm::name::ROW_NAME_LEN;
use crate::fsm::value::BODY_PREFIX_LEN;
use crate::fsm::value::HEADER_LEN;

/// The reply to such a read; `None` if there is no such key.
///
/// # Panics
/// If it is another read.
pub(super) fn value_reply(read: &ReadCommand, value: Option<&Bytes>) -> Reply {
    let bytes = value.map_or(&[][..], |value| value);
    match read {
        ReadCommand::BitAt { offset, .. } => Reply::Integer(i64::from(bits::bit_at(bytes, *offset))),
        ReadCommand::BitCount { span, .. } => number(bits::count(bytes, *span)),
        ReadCommand::BitPosition { bit, span, .. } => match value {
            Some(bytes) => bits::position(bytes, *bit, *span).map_or(Reply::Integer(-1), number),
            // As if it were zeros without an end.
            None => Reply::Integer(if *bit { -1 } else { 0 }),
        },
        ReadCommand::BitFields { steps, .. } => {
            Reply::Array(steps.iter().map(|step| bits::field(bytes, step)).collect())
        }
        ReadCommand::Dump { .. } => value.map_or(Reply::Null, |value| Reply::Bulk(dump(value).into())),
        ReadCommand::Fact { key, fact } => value.map_or(Reply::Null, |value| key_fact(key, value, *fact)),
        other => unreachable!("not a read of one value: {other:?}"),
    }
}

/// What OBJECT and MEMORY answer. The encoding is the one that Redis gives a value that was set at once.
fn key_fact(key: &[u8], value: &[u8], fact: KeyFact) -> Reply {
    match fact {
        KeyFact::Encoding if parse_integer(value).is_some() => Reply::Bulk(Bytes::from_static(b"int")),
        KeyFact::Encoding if value.len() <= EMBEDDED_BYTES_MAX => Reply::Bulk(Bytes::from_static(b"embstr")),
        KeyFact::Encoding => Reply::Bulk(Bytes::from_static(b"raw")),
        KeyFact::References => Reply::Integer(1),
        KeyFact::Frequency => Reply::Error(words::NO_FREQUENCY),
        KeyFact::IdleTime => Reply::Error(words::NO_IDLE_TIME),
        KeyFact::Memory => number((ROW_OVERHEAD + key.len() + value.len()) as u64),
    }
}

fn number(count: u64) -> Reply {
    Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX))
}

/// Longest value that Redis keeps beside its object.
const EMBEDDED_BYTES_MAX: usize = 44;
/// What a row takes beside key and value: name, header, envelope, and the front of its body.
const ROW_OVERHEAD: usize = ROW_NAME_LEN + HEADER_LEN + ENVELOPE_LEN + BODY_PREFIX_LEN;
/// Bytes of an envelope beside its text.
const ENVELOPE_LEN: usize = 34;
