//! Requests about members on their way to the leader, and its answers: the bytes.
//!
//! ```text
//! request  kind(1): 1 list   2 add: node(8), address   3 promote: node(8)   4 remove: node(8)
//!                   5 replace: old(8), new(8)   6 transfer: node(8), 0 = any
//! answer   kind(1): 1 list: count(2), then of each: node(8), flags(1), behind(8), address
//!                   2 proposed: index(8)   3 moving: node(8)
//!                   4 no leader   5 not now   6 the leader itself   7 words   8 unknown
//! flags    bit 0 voter, 1 leader, 2 active, 3 needs a snapshot
//! address, words  length(2), bytes of UTF-8
//! ```

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::limits::MEMBERS_MAX;
use crate::resp::MemberAnswer;
use crate::resp::MemberRefused;
use crate::resp::MemberRequest;
use crate::resp::MemberShown;

/// Appends a request.
pub(super) fn put_request(request: &MemberRequest, out: &mut Vec<u8>) {
    let (kind, numbers, address): (u8, Vec<u64>, Option<&str>) = match request {
        MemberRequest::List => (1, vec![], None),
        MemberRequest::Add { node, address } => (2, vec![*node], Some(address)),
        MemberRequest::Promote(node) => (3, vec![*node], None),
        MemberRequest::Remove(node) => (4, vec![*node], None),
        MemberRequest::Replace { old, new } => (5, vec![*old, *new], None),
        MemberRequest::Transfer(to) => (6, vec![to.unwrap_or(0)], None),
    };
    out.push(kind);
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
    address.iter().for_each(|address| put_text(address, out));
}

/// Reads a request whole.
///
/// # Errors
/// [`CodecError`].
pub(super) fn take_request(bytes: &[u8]) -> Result<MemberRequest, CodecError> {
    let mut reader = Reader::new(bytes);
    let request = match reader.u8("request")? {
        1 => MemberRequest::List,
        2 => MemberRequest::Add { node: reader.u64("node")?, address: take_text(&mut reader)? },
        3 => MemberRequest::Promote(reader.u64("node")?),
        4 => MemberRequest::Remove(reader.u64("node")?),
        5 => MemberRequest::Replace { old: reader.u64("old")?, new: reader.u64("new")? },
        6 => MemberRequest::Transfer(Some(reader.u64("node")?).filter(|node| *node != 0)),
        _ => return Err(CodecError::Field { field: "request" }),
    };
    reader.end()?;
    Ok(request)
}

/// An answer's bytes.
pub(super) fn answer_bytes(answer: &Result<MemberAnswer, MemberRefused>) -> Vec<u8> {
    let mut out = Vec::new();
    match answer {
        Ok(MemberAnswer::List(members)) => {
            out.push(1);
            let count = u16::try_from(members.len()).expect("a cluster has few members");
            out.extend_from_slice(&count.to_be_bytes());
            for member in members {
                out.extend_from_slice(&member.node.to_be_bytes());
                let flags = [member.is_voter, member.is_leader, member.is_active, member.needs_snapshot];
                out.push(flags.iter().enumerate().map(|(bit, is_set)| u8::from(*is_set) << bit).sum());
                out.extend_from_slice(&member.behind.to_be_bytes());
                put_text(&member.address, &mut out);
            }
        }
        Ok(MemberAnswer::Proposed(number)) | Ok(MemberAnswer::MovingTo(number)) => {
            out.push(if matches!(answer, Ok(MemberAnswer::Proposed(_))) { 2 } else { 3 });
            out.extend_from_slice(&number.to_be_bytes());
        }
        Err(MemberRefused::NoLeader) => out.push(4),
        Err(MemberRefused::NotNow) => out.push(5),
        Err(MemberRefused::LeaderItself) => out.push(6),
        Err(MemberRefused::Words(words)) => {
            out.push(7);
            put_text(words, &mut out);
        }
        Err(MemberRefused::Unknown) => out.push(8),
    }
    out
}

/// Reads an answer whole; one that is none tells nothing.
pub(super) fn take_answer(bytes: &[u8]) -> Result<MemberAnswer, MemberRefused> {
    read_answer(bytes).unwrap_or(Err(MemberRefused::Unknown))
}

fn read_answer(bytes: &[u8]) -> Result<Result<MemberAnswer, MemberRefused>, CodecError> {
    let mut reader = Reader::new(bytes);
    let answer = match reader.u8("answer")? {
        1 => {
            let count = usize::from(reader.u16("count of members")?);
            if count > MEMBERS_MAX {
                return Err(CodecError::Field { field: "count of members" });
            }
            Ok(MemberAnswer::List((0..count).map(|_| take_member(&mut reader)).collect::<Result<_, _>>()?))
        }
        2 => Ok(MemberAnswer::Proposed(reader.u64("index")?)),
        3 => Ok(MemberAnswer::MovingTo(reader.u64("node")?)),
        4 => Err(MemberRefused::NoLeader),
        5 => Err(MemberRefused::NotNow),
        6 => Err(MemberRefused::LeaderItself),
        7 => Err(MemberRefused::Words(take_text(&mut reader)?)),
        8 => Err(MemberRefused::Unknown),
        _ => return Err(CodecError::Field { field: "answer" }),
    };
    reader.end()?;
    Ok(answer)
}

fn take_member(reader: &mut Reader<'_>) -> Result<MemberShown, CodecError> {
    let (node, flags, behind) = (reader.u64("node")?, reader.u8("flags")?, reader.u64("behind")?);
    let is_set = |bit: u8| flags >> bit & 1 == 1;
    Ok(MemberShown {
        node,
        address: take_text(reader)?,
        is_voter: is_set(0),
        is_leader: is_set(1),
        is_active: is_set(2),
        needs_snapshot: is_set(3),
        behind,
    })
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    let text = &text.as_bytes()[..text.len().min(TEXT_BYTES_MAX)];
    out.extend_from_slice(&u16::try_from(text.len()).expect("cut above").to_be_bytes());
    out.extend_from_slice(text);
}

fn take_text(reader: &mut Reader<'_>) -> Result<String, CodecError> {
    let len = usize::from(reader.u16("length of a text")?);
    let bytes = reader.slice(len, "text")?;
    if len > TEXT_BYTES_MAX {
        Err(CodecError::Field { field: "text" })
    } else {
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// An address, or a line of words.
const TEXT_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_come_back_as_they_were_and_no_part_of_one_does() {
        let requests = [
            MemberRequest::List,
            MemberRequest::Add { node: 4, address: "db4:7379".to_owned() },
            MemberRequest::Promote(5),
            MemberRequest::Remove(u64::MAX),
            MemberRequest::Replace { old: 1, new: 2 },
            MemberRequest::Transfer(None),
            MemberRequest::Transfer(Some(3)),
        ];
        for request in requests {
            let mut bytes = Vec::new();
            put_request(&request, &mut bytes);
            assert_eq!(take_request(&bytes), Ok(request));
            assert!((0..bytes.len()).all(|cut| take_request(&bytes[..cut]).is_err()));
        }
        let shown = MemberShown {
            node: 7,
            address: "a:1".to_owned(),
            is_voter: true,
            is_leader: false,
            is_active: true,
            needs_snapshot: false,
            behind: 9,
        };
        let answers = [
            Ok(MemberAnswer::List(vec![shown.clone(), MemberShown { needs_snapshot: true, ..shown }])),
            Ok(MemberAnswer::Proposed(8)),
            Ok(MemberAnswer::MovingTo(9)),
            Err(MemberRefused::NoLeader),
            Err(MemberRefused::NotNow),
            Err(MemberRefused::LeaderItself),
            Err(MemberRefused::Words("why".to_owned())),
        ];
        for answer in answers {
            let bytes = answer_bytes(&answer);
            assert_eq!(take_answer(&bytes), answer);
            assert!((0..bytes.len()).all(|cut| take_answer(&bytes[..cut]) == Err(MemberRefused::Unknown)));
        }
    }
}
