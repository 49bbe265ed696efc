//! Replies as they travel from the node that applied an entry to the one that a client is connected to.
//!
//! ```text
//! reply  tag(1)  0 OK      1 word: line   2 error: line   3 integer(8)   4 bulk: len(4), bytes
//!                5 null    6 array: count(4), replies     7 map: count(4), pairs of replies
//! line   len(2), bytes of UTF-8
//! ```

use bytes::Bytes;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::fsm::codec::words::intern;
use crate::fsm::codec::words::put_word;
use crate::fsm::codec::words::take_word;
use crate::fsm::command::Reply;

/// Appends `reply`.
///
/// # Panics
/// If it holds more than 4 GiB.
pub fn encode_reply(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Ok => out.push(0),
        Reply::Simple(line) => {
            out.push(1);
            put_word(line, out);
        }
        Reply::Error(line) => {
            out.push(2);
            put_word(line, out);
        }
        Reply::Integer(number) => {
            out.push(3);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Reply::Bulk(bytes) => {
            out.push(4);
            put_len(bytes.len(), out);
            out.extend_from_slice(bytes);
        }
        Reply::Null => out.push(5),
        Reply::Array(parts) => {
            out.push(6);
            put_len(parts.len(), out);
            parts.iter().for_each(|part| encode_reply(part, out));
        }
        Reply::Map(pairs) => {
            out.push(7);
            put_len(pairs.len(), out);
            for (key, value) in pairs {
                encode_reply(key, out);
                encode_reply(value, out);
            }
        }
    }
}

/// Takes a reply off the front.
///
/// # Errors
/// [`CodecError`]: it is none.
pub(crate) fn take_reply(reader: &mut Reader<'_>) -> Result<Reply, CodecError> {
    take_within(reader, DEPTH_MAX)
}

fn take_within(reader: &mut Reader<'_>, depth: u32) -> Result<Reply, CodecError> {
    let inner = depth.checked_sub(1).ok_or(CodecError::Field { field: "depth of a reply" })?;
    Ok(match reader.u8("reply")? {
        0 => Reply::Ok,
        1 => Reply::Simple(intern(take_word(reader)?)),
        2 => Reply::Error(intern(take_word(reader)?)),
        3 => Reply::Integer(reader.array("integer").map(i64::from_be_bytes)?),
        4 => {
            let len = reader.count(1, "length of a bulk")?;
            Reply::Bulk(Bytes::copy_from_slice(reader.slice(len as usize, "bulk")?))
        }
        5 => Reply::Null,
        6 => {
            let count = reader.count(1, "count of an array")?;
            Reply::Array((0..count).map(|_| take_within(reader, inner)).collect::<Result<_, _>>()?)
        }
        7 => {
            let count = reader.count(2, "count of a map")?;
            let pair = |reader: &mut Reader<'_>| Ok((take_within(reader, inner)?, take_within(reader, inner)?));
            Reply::Map((0..count).map(|_| pair(reader)).collect::<Result<_, CodecError>>()?)
        }
        _ => return Err(CodecError::Field { field: "reply" }),
    })
}

fn put_len(len: usize, out: &mut Vec<u8>) {
    let len = u32::try_from(len).expect("a reply is far below 4 GiB");
    out.extend_from_slice(&len.to_be_bytes());
}

/// Arrays in arrays: LCS has four.
const DEPTH_MAX: u32 = 8;
