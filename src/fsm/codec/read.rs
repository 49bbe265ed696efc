//! Reads as they travel between the nodes of a cluster, with the entry that they ride on.
//!
//! ```text
//! read   off  size  field
//!        0    1     database
//!        1    1     tag
//!        2          fields, in the order in which `command::read` declares them
//!
//! key    len(4) and as many bytes; keys: count(4), then a key each
//! text   flag(1): is it there; then len(2) and as many bytes of UTF-8, a line of this program
//! span   flag(1): is it there; then start(8), flag(1): has an end, end(8), flag(1): counts bits
//! ```
//!
//! They are in no entry and on no disk: both ends are of one wire version.

use bytes::Bytes;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::fsm::codec::words::intern;
use crate::fsm::codec::words::put_word;
use crate::fsm::codec::words::take_word;
use crate::fsm::command::BitSpan;
use crate::fsm::command::EncodeError;
use crate::fsm::command::KeyFact;
use crate::fsm::command::LcsAnswer;
use crate::fsm::command::PayloadError;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::TtlForm;
use crate::fsm::command::bits::BitStepsField;
use crate::fsm::command::fields::Field;
use crate::fsm::command::fields::KeyField;
use crate::fsm::command::fields::KeysField;
use crate::fsm::name::Database;

/// Appends `read`.
///
/// # Errors
/// [`EncodeError`]: a key or list that no client may send.
pub fn encode_read(database: Database, read: &ReadCommand, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.extend_from_slice(&[database.number(), tag_of(read)]);
    match read {
        ReadCommand::Get { key }
        | ReadCommand::Length { key }
        | ReadCommand::Type { key }
        | ReadCommand::Dump { key } => KeyField::put(key, out)?,
        ReadCommand::GetMany { keys } | ReadCommand::Exists { keys } | ReadCommand::LastChanges { keys } => {
            KeysField::put(keys, out)?;
        }
        ReadCommand::Range { key, start, end } => {
            KeyField::put(key, out)?;
            put_numbers(out, &[*start, *end]);
        }
        ReadCommand::Ttl { key, form } => {
            KeyField::put(key, out)?;
            let (form, lead_ms) = number_of(*form);
            out.push(form);
            out.extend_from_slice(&lead_ms.to_be_bytes());
        }
        ReadCommand::Refuse { key, there, absent } => {
            KeyField::put(key, out)?;
            put_word(there, out);
            out.push(u8::from(absent.is_some()));
            absent.iter().for_each(|line| put_word(line, out));
        }
        ReadCommand::BitAt { key, offset } => {
            KeyField::put(key, out)?;
            out.extend_from_slice(&offset.to_be_bytes());
        }
        ReadCommand::BitCount { key, span } => {
            KeyField::put(key, out)?;
            put_span(*span, out);
        }
        ReadCommand::BitPosition { key, bit, span } => {
            KeyField::put(key, out)?;
            out.push(u8::from(*bit));
            put_span(*span, out);
        }
        ReadCommand::BitFields { key, steps } => {
            KeyField::put(key, out)?;
            BitStepsField::put(steps, out)?;
        }
        ReadCommand::CommonSubsequence { keys, answer } => {
            KeysField::put(keys, out)?;
            put_lcs(*answer, out);
        }
        ReadCommand::Fact { key, fact } => {
            KeyField::put(key, out)?;
            out.push(place_of(&FACTS, fact));
        }
        ReadCommand::Count => {}
        ReadCommand::Scan { cursor, count, pattern } => {
            out.extend_from_slice(&cursor.to_be_bytes());
            out.extend_from_slice(&count.to_be_bytes());
            out.push(u8::from(pattern.is_some()));
            pattern.iter().try_for_each(|pattern| put_bytes(pattern, out))?;
        }
        ReadCommand::Keys { pattern } => put_bytes(pattern, out)?,
        ReadCommand::RandomKey { place } => out.extend_from_slice(&place.to_be_bytes()),
    }
    Ok(())
}

/// Takes a read off the front.
///
/// # Errors
/// [`PayloadError`]: it is none of this version.
pub(crate) fn take_read(reader: &mut Reader<'_>) -> Result<(Database, ReadCommand), PayloadError> {
    let database = Database::take(reader)?;
    let tag = reader.u8("read")?;
    let key = |reader: &mut Reader<'_>| KeyField::take(reader).map(Bytes::copy_from_slice);
    let keys = |reader: &mut Reader<'_>| KeysField::take(reader).map(|keys| keys.map(Bytes::copy_from_slice).collect());
    let read = match tag {
        1 => ReadCommand::Get { key: key(reader)? },
        2 => ReadCommand::GetMany { keys: keys(reader)? },
        3 => ReadCommand::Length { key: key(reader)? },
        4 => ReadCommand::Range { key: key(reader)?, start: take_i64(reader)?, end: take_i64(reader)? },
        5 => ReadCommand::Exists { keys: keys(reader)? },
        6 => ReadCommand::Ttl { key: key(reader)?, form: take_form(reader)? },
        7 => ReadCommand::Type { key: key(reader)? },
        8 => ReadCommand::LastChanges { keys: keys(reader)? },
        9 => {
            let (key, there) = (key(reader)?, intern(take_word(reader)?));
            let absent = if reader.flag("absent")? { Some(intern(take_word(reader)?)) } else { None };
            ReadCommand::Refuse { key, there, absent }
        }
        10 => ReadCommand::BitAt { key: key(reader)?, offset: reader.u32("offset")? },
        11 => ReadCommand::BitCount { key: key(reader)?, span: take_span(reader)? },
        12 => ReadCommand::BitPosition { key: key(reader)?, bit: reader.flag("bit")?, span: take_span(reader)? },
        13 => ReadCommand::BitFields { key: key(reader)?, steps: BitStepsField::take(reader)?.collect() },
        14 => ReadCommand::Dump { key: key(reader)? },
        15 => ReadCommand::CommonSubsequence { keys: keys(reader)?, answer: take_lcs(reader)? },
        16 => ReadCommand::Fact { key: key(reader)?, fact: take_fact(reader)? },
        17 => ReadCommand::Count,
        18 => ReadCommand::Scan {
            cursor: reader.u64("cursor")?,
            count: reader.u64("count")?,
            pattern: if reader.flag("pattern")? { Some(key(reader)?) } else { None },
        },
        19 => ReadCommand::Keys { pattern: key(reader)? },
        20 => ReadCommand::RandomKey { place: reader.u64("place")? },
        found => return Err(PayloadError::Field { field: "read", found }),
    };
    Ok((database, read))
}

fn tag_of(read: &ReadCommand) -> u8 {
    match read {
        ReadCommand::Get { .. } => 1,
        ReadCommand::GetMany { .. } => 2,
        ReadCommand::Length { .. } => 3,
        ReadCommand::Range { .. } => 4,
        ReadCommand::Exists { .. } => 5,
        ReadCommand::Ttl { .. } => 6,
        ReadCommand::Type { .. } => 7,
        ReadCommand::LastChanges { .. } => 8,
        ReadCommand::Refuse { .. } => 9,
        ReadCommand::BitAt { .. } => 10,
        ReadCommand::BitCount { .. } => 11,
        ReadCommand::BitPosition { .. } => 12,
        ReadCommand::BitFields { .. } => 13,
        ReadCommand::Dump { .. } => 14,
        ReadCommand::CommonSubsequence { .. } => 15,
        ReadCommand::Fact { .. } => 16,
        ReadCommand::Count => 17,
        ReadCommand::Scan { .. } => 18,
        ReadCommand::Keys { .. } => 19,
        ReadCommand::RandomKey { .. } => 20,
    }
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[i64]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
}

/// A pattern is as long as a key at most: the edge refuses longer ones.
fn put_bytes(bytes: &Bytes, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    KeyField::put(bytes, out)
}

fn take_i64(reader: &mut Reader<'_>) -> Result<i64, CodecError> {
    reader.array("number").map(i64::from_be_bytes)
}

fn number_of(form: TtlForm) -> (u8, u64) {
    match form {
        TtlForm::Seconds => (0, 0),
        TtlForm::Millis => (1, 0),
        TtlForm::AtSeconds { lead_ms } => (2, lead_ms),
        TtlForm::AtMillis { lead_ms } => (3, lead_ms),
    }
}

fn take_form(reader: &mut Reader<'_>) -> Result<TtlForm, PayloadError> {
    let (form, lead_ms) = (reader.u8("form")?, reader.u64("lead")?);
    match form {
        0 => Ok(TtlForm::Seconds),
        1 => Ok(TtlForm::Millis),
        2 => Ok(TtlForm::AtSeconds { lead_ms }),
        3 => Ok(TtlForm::AtMillis { lead_ms }),
        found => Err(PayloadError::Field { field: "form", found }),
    }
}

fn put_span(span: Option<BitSpan>, out: &mut Vec<u8>) {
    out.push(u8::from(span.is_some()));
    let Some(BitSpan { start, end, is_bits }) = span else { return };
    put_numbers(out, &[start]);
    out.push(u8::from(end.is_some()));
    put_numbers(out, &[end.unwrap_or(0)]);
    out.push(u8::from(is_bits));
}

fn take_span(reader: &mut Reader<'_>) -> Result<Option<BitSpan>, CodecError> {
    if !reader.flag("span")? {
        return Ok(None);
    }
    let (start, has_end, end) = (take_i64(reader)?, reader.flag("end")?, take_i64(reader)?);
    Ok(Some(BitSpan { start, end: has_end.then_some(end), is_bits: reader.flag("bits")? }))
}

fn put_lcs(answer: LcsAnswer, out: &mut Vec<u8>) {
    let (kind, least, shows_lengths) = match answer {
        LcsAnswer::Bytes => (0, 0, false),
        LcsAnswer::Length => (1, 0, false),
        LcsAnswer::Ranges { least, shows_lengths } => (2, least, shows_lengths),
    };
    out.push(kind);
    out.extend_from_slice(&least.to_be_bytes());
    out.push(u8::from(shows_lengths));
}

fn take_lcs(reader: &mut Reader<'_>) -> Result<LcsAnswer, PayloadError> {
    let (kind, least, shows_lengths) = (reader.u8("answer")?, reader.u64("least")?, reader.flag("lengths")?);
    match kind {
        0 => Ok(LcsAnswer::Bytes),
        1 => Ok(LcsAnswer::Length),
        2 => Ok(LcsAnswer::Ranges { least, shows_lengths }),
        found => Err(PayloadError::Field { field: "answer", found }),
    }
}

fn place_of<T: PartialEq>(meanings: &[T], meaning: &T) -> u8 {
    let place = meanings.iter().position(|known| known == meaning).expect("every meaning is listed");
    u8::try_from(place).expect("a few meanings")
}

fn take_fact(reader: &mut Reader<'_>) -> Result<KeyFact, PayloadError> {
    let found = reader.u8("fact")?;
    FACTS.get(usize::from(found)).copied().ok_or(PayloadError::Field { field: "fact", found })
}

const FACTS: [KeyFact; 5] =
    [KeyFact::Encoding, KeyFact::References, KeyFact::Frequency, KeyFact::IdleTime, KeyFact::Memory];
