//! Requests on their way from a node that does not lead to the one that does, and their outcomes on the way back: the bytes.
//!
//! ```text
//! bundle   off  size  field
//!          0    1     version, 0x01
//!          1    2     requests, at least 1
//!          3          the requests
//!
//! request  0    4     ms that it may still wait to be proposed
//!          4    8     bytes of values that its riding reads may answer with
//!          12   4     slots; of each: 0x00 the next write of the payload, or 0x01 and a read as drawn in `fsm::codec`
//!               4     length of the payload
//!                     the payload of its entry, as drawn in `fsm::codec`, with the stamp 0: the leader sets it
//!
//! answer   0    1     version, 0x01
//!          1    2     outcomes, one for each request of the bundle, in its order; 0 if the bundle is refused whole
//!          3          outcome(1): 0 replies: count(4), replies as drawn in `fsm::codec`
//!                                 1 not executed: try again   2 not executed: this node does not lead; the leader(8), 0 unknown
//!                                 3 not executed: too large   4 nobody knows
//!
//! refused  3    2     which request is malformed, from 0 on; 0xffff if it is the bundle itself
//!          5    2     length of the words
//!          7          words that say what is wrong, UTF-8
//! ```
//!
//! Both ends are authenticated nodes of one cluster, and of one wire version. Malformed bytes are refused whole all the same.

use std::time::Duration;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::crypto::envelope::FRAME_HEADER_LEN;
use crate::crypto::seal::SEALED_OVERHEAD;
use crate::fsm::codec::Payload;
use crate::fsm::codec::encode_read;
use crate::fsm::codec::encode_reply;
use crate::fsm::codec::take_read;
use crate::fsm::codec::take_reply;
use crate::fsm::command::PayloadError;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::Database;
use crate::limits::ARGUMENTS_MAX;
use crate::limits::ENTRY_BYTES_MAX;
use crate::limits::PROPOSE_BATCH_ENTRIES_MAX;
use crate::propose::request::Outcome;
use crate::propose::request::RequestSlot;
use crate::propose::waiters::WaiterSlots;

/// A bundle that the leader does not take. Nothing of it was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MalformedBundle {
    /// Which request is the reason; `None`: the bundle itself.
    pub(super) place: Option<usize>,
    pub(super) words: String,
}

/// One request as it travels.
pub(super) struct TravellingRequest<'a> {
    pub(super) wait: Duration,
    pub(super) reply_bytes_max: usize,
    pub(super) slots: Vec<RequestSlot>,
    pub(super) payload: &'a [u8],
}

/// Appends the head of a bundle or an answer of `count`.
pub(super) fn put_head(count: usize, out: &mut Vec<u8>) {
    out.push(VERSION);
    let count = u16::try_from(count).expect("at most PROPOSE_BATCH_ENTRIES_MAX");
    out.extend_from_slice(&count.to_be_bytes());
}

/// Appends a request; `false` if it cannot travel, and nothing is appended.
pub(super) fn put_request(
    wait: Duration,
    reply_bytes_max: usize,
    slots: &WaiterSlots,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    out.extend_from_slice(&u32::try_from(wait.as_millis()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&(reply_bytes_max as u64).to_be_bytes());
    put_len(slots.len(), out);
    for slot in slots.iter() {
        let put = match slot {
            None => {
                out.push(WRITE);
                Ok(())
            }
            Some((database, read)) => {
                out.push(READ);
                encode_read(database, read, out)
            }
        };
        if put.is_err() {
            out.truncate(start);
            return false;
        }
    }
    put_len(payload.len(), out);
    out.extend_from_slice(payload);
    true
}

/// Reads a bundle whole.
///
/// # Errors
/// [`MalformedBundle`]: nothing of it may be proposed.
pub(super) fn take_bundle(bytes: &[u8]) -> Result<Vec<TravellingRequest<'_>>, MalformedBundle> {
    let whole = |error: PayloadError| MalformedBundle { place: None, words: error.to_string() };
    let mut reader = Reader::new(bytes);
    let count = take_head(&mut reader).map_err(|error| whole(error.into()))?;
    if count == 0 {
        return Err(whole(PayloadError::Empty));
    }
    let of = |place, error: PayloadError| MalformedBundle { place: Some(place), words: error.to_string() };
    let requests = (0..count).map(|place| take_request(&mut reader).map_err(|error| of(place, error)));
    let requests = requests.collect::<Result<_, _>>()?;
    reader.end().map_err(|error| whole(error.into()))?;
    Ok(requests)
}

/// The answer to a bundle that is refused.
pub(super) fn refusal_bytes(refused: &MalformedBundle) -> Vec<u8> {
    let mut out = Vec::new();
    put_head(0, &mut out);
    let place = refused.place.and_then(|place| u16::try_from(place).ok()).unwrap_or(WHOLE);
    out.extend_from_slice(&place.to_be_bytes());
    let words = refused.words.as_bytes();
    let words = &words[..words.len().min(REFUSAL_BYTES_MAX)];
    out.extend_from_slice(&u16::try_from(words.len()).expect("cut above").to_be_bytes());
    out.extend_from_slice(words);
    out
}

fn take_request<'a>(reader: &mut Reader<'a>) -> Result<TravellingRequest<'a>, PayloadError> {
    let wait = Duration::from_millis(reader.u32("wait")?.into());
    let reply_bytes_max = usize::try_from(reader.u64("bytes of replies")?).unwrap_or(usize::MAX);
    let count = reader.count(1, "count of slots")?;
    // A slot in memory is far larger than its byte here (BOUNDED).
    if count as usize > ARGUMENTS_MAX {
        return Err(CodecError::Field { field: "count of slots" }.into());
    }
    let (mut slots, mut writes) = (Vec::new(), 0);
    for _ in 0..count {
        slots.push(match reader.u8("slot")? {
            WRITE => {
                writes += 1;
                // What it writes is in the payload, and nobody looks here.
                RequestSlot::Write(Database::FIRST, WriteCommand::RemoveExpired { names: Vec::new() })
            }
            READ => {
                let (database, read) = take_read(reader)?;
                RequestSlot::Read(database, read)
            }
            found => return Err(PayloadError::Field { field: "slot", found }),
        });
    }
    let len = reader.count(1, "length of the payload")?;
    if len as usize > ENTRY_BYTES_MAX - SEALED_OVERHEAD - FRAME_HEADER_LEN {
        return Err(CodecError::Field { field: "length of the payload" }.into());
    }
    let payload = reader.slice(len as usize, "payload")?;
    match Payload::decode(payload)? {
        Payload::Batch(batch) if batch.commands().len() == writes && !batch.exceeds_writes() => {}
        Payload::Batch(_) => return Err(CodecError::Field { field: "count of slots" }.into()),
        Payload::Control(_) => return Err(CodecError::Field { field: "payload" }.into()),
    }
    Ok(TravellingRequest { wait, reply_bytes_max, slots, payload })
}

/// Appends an outcome.
pub(super) fn put_outcome(outcome: &Outcome, out: &mut Vec<u8>) {
    match outcome {
        Outcome::Replies(replies) => {
            out.push(REPLIES);
            put_len(replies.len(), out);
            replies.iter().for_each(|reply| encode_reply(reply, out));
        }
        Outcome::TryAgain => out.push(TRY_AGAIN),
        Outcome::NotLeader(leader) => {
            out.push(NOT_LEADER);
            out.extend_from_slice(&leader.unwrap_or(0).to_be_bytes());
        }
        Outcome::TooLarge => out.push(TOO_LARGE),
        // No node answers a request of another one with it: that refuses the bundle.
        Outcome::Malformed(_) | Outcome::Unknown => out.push(UNKNOWN),
    }
}

/// Reads the answer to a bundle of `count` requests: their outcomes, or why it was refused.
///
/// # Errors
/// [`CodecError`]: nobody knows how they ended.
pub(super) fn take_answer(bytes: &[u8], count: usize) -> Result<Result<Vec<Outcome>, MalformedBundle>, CodecError> {
    let mut reader = Reader::new(bytes);
    let answer = match take_head(&mut reader)? {
        0 => Err(take_refusal(&mut reader, count)?),
        found if found == count => Ok((0..count).map(|_| take_outcome(&mut reader)).collect::<Result<_, _>>()?),
        _ => return Err(CodecError::Field { field: "count of outcomes" }),
    };
    reader.end()?;
    Ok(answer)
}

fn take_refusal(reader: &mut Reader<'_>, count: usize) -> Result<MalformedBundle, CodecError> {
    let place = reader.u16("place")?;
    let len = usize::from(reader.u16("length of the words")?);
    let words = String::from_utf8_lossy(reader.slice(len, "words")?).into_owned();
    match usize::from(place) {
        _ if place == WHOLE => Ok(MalformedBundle { place: None, words }),
        at if at < count => Ok(MalformedBundle { place: Some(at), words }),
        _ => Err(CodecError::Field { field: "place" }),
    }
}

fn take_outcome(reader: &mut Reader<'_>) -> Result<Outcome, CodecError> {
    Ok(match reader.u8("outcome")? {
        REPLIES => {
            let count = reader.count(1, "count of replies")?;
            Outcome::Replies((0..count).map(|_| take_reply(reader)).collect::<Result<_, _>>()?)
        }
        TRY_AGAIN => Outcome::TryAgain,
        NOT_LEADER => Outcome::NotLeader(Some(reader.u64("leader")?).filter(|leader| *leader != 0)),
        TOO_LARGE => Outcome::TooLarge,
        UNKNOWN => Outcome::Unknown,
        _ => return Err(CodecError::Field { field: "outcome" }),
    })
}

fn take_head(reader: &mut Reader<'_>) -> Result<usize, CodecError> {
    let version = reader.u8("version")?;
    if version != VERSION {
        return Err(CodecError::Version { found: version.into(), expected: VERSION.into() });
    }
    let count = usize::from(reader.u16("count")?);
    if count > PROPOSE_BATCH_ENTRIES_MAX {
        return Err(CodecError::Field { field: "count" });
    }
    Ok(count)
}

fn put_len(len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(len).expect("far below 4 GiB").to_be_bytes());
}

const VERSION: u8 = 0x01;
const WRITE: u8 = 0;
const READ: u8 = 1;
const REPLIES: u8 = 0;
const TRY_AGAIN: u8 = 1;
const NOT_LEADER: u8 = 2;
const TOO_LARGE: u8 = 3;
const UNKNOWN: u8 = 4;
/// The place of what concerns no single request.
const WHOLE: u16 = u16::MAX;
/// Words that say what is malformed.
const REFUSAL_BYTES_MAX: usize = 512;
const _: () = assert!(PROPOSE_BATCH_ENTRIES_MAX < WHOLE as usize);
