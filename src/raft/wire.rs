//! A message as it travels between members. All integers are big-endian:
//!
//! ```text
//! off   size  field
//! 0     1     kind: 1 append, 2 its answer, 3 vote, 4 its answer, 5 pre-vote, 6 its answer, 7 heartbeat, 8 its answer,
//!             9 read, 10 its answer, 11 transfer, 12 timeout now, 13 snapshot
//! 1     1     flags: bit 0 reject
//! 2     72    to(8) from(8) term(8) log term(8) index(8) commit(8) commit term(8) reject hint(8) request snapshot(8)
//! 74    2     length of the context
//! 76    4     count of entries
//! 80          context
//!             count * entry head: kind(1) term(8) index(8) length(4)
//!             of a snapshot: index(8) term(8) members (`crate::members`)
//!             the entries' bytes, one behind another
//! ```
//!
//! There are no other kinds: a proposal, and what the library sends to itself, cannot be written. The payloads come last, so
//! that they are written from where they lie. Priorities and the contexts of entries are not used and do not travel.

use bytes::Bytes;

use ::raft::eraftpb::Entry;
use ::raft::eraftpb::EntryType;
use ::raft::eraftpb::Message;
use ::raft::eraftpb::MessageType;
use ::raft::eraftpb::Snapshot;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::entry::EntryKind;
use crate::limits::ENTRY_BYTES_MAX;
use crate::limits::LOG_NUMBER_MAX;
use crate::limits::PEER_CONTEXT_BYTES_MAX;
use crate::limits::PEER_MESSAGE_ENTRIES_MAX;
use crate::members::Members;
use crate::raft::convert::kind_of;
use crate::raft::convert::type_of;
use crate::raft::members_change::from_conf_state;
use crate::raft::members_change::to_conf_state;

/// Bytes before the context.
const FIXED_LEN: usize = 80;
/// Bytes of an entry's head.
const ENTRY_HEAD_LEN: usize = 21;
/// Flag: the message rejects something.
const REJECT: u8 = 1;

/// The kinds and their numbers.
const KINDS: [(u8, MessageType); 13] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgRequestPreVote),
    (6, MessageType::MsgRequestPreVoteResponse),
    (7, MessageType::MsgHeartbeat),
    (8, MessageType::MsgHeartbeatResponse),
    (9, MessageType::MsgReadIndex),
    (10, MessageType::MsgReadIndexResp),
    (11, MessageType::MsgTransferLeader),
    (12, MessageType::MsgTimeoutNow),
    (13, MessageType::MsgSnapshot),
];

/// Everything but the payloads.
///
/// # Panics
/// If the message is of a kind that must not travel, or a context is longer than raft makes any.
pub(super) fn put_head(message: &Message, out: &mut Vec<u8>) {
    let kind = KINDS.iter().find(|(_, kind)| *kind == message.get_msg_type());
    out.push(kind.expect("a peer message is of a kind that travels").0);
    out.push(if message.reject { REJECT } else { 0 });
    numbers(message).into_iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
    let context = u16::try_from(message.context.len()).expect("raft's contexts are short");
    out.extend_from_slice(&context.to_be_bytes());
    let entries = entries(message);
    put_u32(out, entries.len());
    out.extend_from_slice(&message.context);
    for entry in entries {
        out.push(u8::try_from(kind_of(entry.get_entry_type()) as u32).expect("three kinds"));
        out.extend_from_slice(&entry.term.to_be_bytes());
        out.extend_from_slice(&entry.index.to_be_bytes());
        put_u32(out, entry.data.len());
    }
    if let Some(snapshot) = snapshot(message) {
        let metadata = snapshot.get_metadata();
        out.extend_from_slice(&metadata.index.to_be_bytes());
        out.extend_from_slice(&metadata.term.to_be_bytes());
        from_conf_state(metadata.get_conf_state().clone()).put(out);
    }
}

/// Length of what [`put_head`] writes, rounded up where a snapshot is in it.
pub(super) fn head_bytes(message: &Message) -> usize {
    let of_snapshot = snapshot(message).map_or(0, |snapshot| {
        let state = snapshot.get_metadata().get_conf_state();
        let ids = state.voters.len() + state.voters_outgoing.len() + state.learners.len() + state.learners_next.len();
        25 + 8 * ids
    });
    FIXED_LEN + message.context.len() + entries(message).len() * ENTRY_HEAD_LEN + of_snapshot
}

/// What follows the head.
pub(super) fn payloads(message: &Message) -> impl Iterator<Item = &Bytes> {
    entries(message).iter().map(|entry| &entry.data)
}

/// The message of these bytes.
///
/// # Errors
/// [`CodecError`].
pub(super) fn read(bytes: &Bytes) -> Result<Message, CodecError> {
    let mut reader = Reader::new(bytes);
    let mut message = Message::default();
    message.set_msg_type(read_kind(&mut reader)?);
    message.reject = read_reject(&mut reader)?;
    read_numbers(&mut reader, &mut message)?;
    let context = usize::from(reader.u16("context")?);
    if context > PEER_CONTEXT_BYTES_MAX {
        return Err(CodecError::Field { field: "context" });
    }
    let count = reader.count(ENTRY_HEAD_LEN, "entries")? as usize;
    if count > PEER_MESSAGE_ENTRIES_MAX {
        return Err(CodecError::Field { field: "entries" });
    }
    message.context = Bytes::copy_from_slice(reader.slice(context, "context")?);
    let mut lengths = Vec::with_capacity(count);
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let (entry, length) = read_entry_head(&mut reader)?;
        entries.push(entry);
        lengths.push(length);
    }
    let snapshot = match message.get_msg_type() {
        MessageType::MsgSnapshot => Some(read_snapshot(&mut reader)?),
        _ => None,
    };
    for (entry, length) in entries.iter_mut().zip(lengths) {
        entry.data = bytes.slice_ref(reader.slice(length, "entry")?);
    }
    message.set_entries(entries.into());
    snapshot.into_iter().for_each(|snapshot| message.set_snapshot(snapshot));
    reader.end()?;
    Ok(message)
}

fn read_kind(reader: &mut Reader<'_>) -> Result<MessageType, CodecError> {
    let number = reader.u8("kind")?;
    let kind = KINDS.iter().find(|(known, _)| *known == number);
    kind.map(|(_, kind)| *kind).ok_or(CodecError::Field { field: "kind" })
}

fn read_reject(reader: &mut Reader<'_>) -> Result<bool, CodecError> {
    match reader.u8("flags")? {
        0 => Ok(false),
        REJECT => Ok(true),
        _ => Err(CodecError::Field { field: "flags" }),
    }
}

fn numbers(message: &Message) -> [u64; 9] {
    [
        message.to,
        message.from,
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
        message.request_snapshot,
    ]
}

/// The library counts on from terms and indexes; only ids of nodes may be as large as they like.
fn read_numbers(reader: &mut Reader<'_>, message: &mut Message) -> Result<(), CodecError> {
    message.to = read_id(reader, "to")?;
    message.from = read_id(reader, "from")?;
    message.term = read_number(reader, "term")?;
    message.log_term = read_number(reader, "log term")?;
    message.index = read_number(reader, "index")?;
    message.commit = read_number(reader, "commit")?;
    message.commit_term = read_number(reader, "commit term")?;
    message.reject_hint = read_number(reader, "reject hint")?;
    message.request_snapshot = read_number(reader, "request snapshot")?;
    Ok(())
}

fn read_id(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, CodecError> {
    match reader.u64(field)? {
        0 => Err(CodecError::Field { field }),
        id => Ok(id),
    }
}

fn read_number(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, CodecError> {
    match reader.u64(field)? {
        number if number <= LOG_NUMBER_MAX => Ok(number),
        _ => Err(CodecError::Field { field }),
    }
}

/// An entry without its bytes, and how many it has.
fn read_entry_head(reader: &mut Reader<'_>) -> Result<(Entry, usize), CodecError> {
    let mut entry = Entry::default();
    entry.set_entry_type(read_entry_type(reader)?);
    entry.term = read_number(reader, "term of an entry")?;
    entry.index = read_number(reader, "index of an entry")?;
    let length = read_length(reader, ENTRY_BYTES_MAX, "length of an entry")?;
    Ok((entry, length))
}

fn read_entry_type(reader: &mut Reader<'_>) -> Result<EntryType, CodecError> {
    let kind = EntryKind::from_number(u32::from(reader.u8("kind of an entry")?));
    kind.map(type_of).ok_or(CodecError::Field { field: "kind of an entry" })
}

fn read_snapshot(reader: &mut Reader<'_>) -> Result<Snapshot, CodecError> {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = read_number(reader, "index of a snapshot")?;
    metadata.term = read_number(reader, "term of a snapshot")?;
    metadata.set_conf_state(to_conf_state(&Members::take(reader)?));
    Ok(snapshot)
}

fn read_length(reader: &mut Reader<'_>, max: usize, field: &'static str) -> Result<usize, CodecError> {
    match reader.u32(field)? as usize {
        length if length <= max => Ok(length),
        _ => Err(CodecError::Field { field }),
    }
}

/// Those that travel: raft sends the rest again when the answer says what arrived.
fn entries(message: &Message) -> &[Entry] {
    let entries: &[Entry] = &message.entries;
    &entries[..entries.len().min(PEER_MESSAGE_ENTRIES_MAX)]
}

fn snapshot(message: &Message) -> Option<&Snapshot> {
    (message.get_msg_type() == MessageType::MsgSnapshot).then(|| message.get_snapshot())
}

fn put_u32(out: &mut Vec<u8>, length: usize) {
    out.extend_from_slice(&u32::try_from(length).expect("below the bounds of an entry").to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::PeerMessage;
    use crate::testing::seed::Seeded;
    use crate::testing::seed::runs;

    /// A message of any kind with anything in it.
    fn random(chance: &Seeded) -> Message {
        let mut message = Message::default();
        message.set_msg_type(KINDS[chance.below(KINDS.len() as u64) as usize].1);
        let number = || match chance.below(4) {
            0 => 0,
            1 => chance.below(300),
            2 => LOG_NUMBER_MAX,
            _ => chance.below(LOG_NUMBER_MAX),
        };
        (message.to, message.from) = (number() + 1, number() + 1);
        (message.term, message.log_term, message.index) = (number(), number(), number());
        (message.commit, message.commit_term) = (number(), number());
        (message.reject_hint, message.request_snapshot) = (number(), number());
        message.reject = chance.below(2) == 1;
        message.context = vec![7; chance.below(PEER_CONTEXT_BYTES_MAX as u64 + 1) as usize].into();
        for _ in 0..chance.below(5) {
            let mut entry = Entry::default();
            let kinds = [EntryType::EntryNormal, EntryType::EntryConfChange, EntryType::EntryConfChangeV2];
            entry.set_entry_type(kinds[chance.below(3) as usize]);
            (entry.term, entry.index) = (number(), number());
            entry.data = vec![chance.below(256) as u8; chance.below(100) as usize].into();
            message.mut_entries().push(entry);
        }
        if message.get_msg_type() == MessageType::MsgSnapshot {
            let metadata = message.mut_snapshot().mut_metadata();
            (metadata.index, metadata.term) = (number(), number());
            let members = Members { voters: vec![1, 2, 9], learners: vec![5], auto_leave: true, ..Members::default() };
            metadata.set_conf_state(to_conf_state(&members));
        }
        message
    }

    fn bytes_of(message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        put_head(message, &mut out);
        payloads(message).for_each(|payload| out.extend_from_slice(payload));
        out
    }

    #[test]
    fn every_message_comes_back_as_it_was_and_its_length_is_known_before() {
        let chance = Seeded::fresh();
        for _ in 0..runs(2000) {
            let message = random(&chance);
            let bytes = bytes_of(&message);
            let known = head_bytes(&message) + payloads(&message).map(Bytes::len).sum::<usize>();
            assert_eq!(bytes.len(), known);
            assert_eq!(read(&bytes.into()), Ok(message));
        }
    }

    #[test]
    fn every_kind_that_travels_has_a_number_and_no_other_is_read() {
        for (number, kind) in KINDS {
            let mut message = Message::default();
            (message.to, message.from) = (1, 2);
            message.set_msg_type(kind);
            assert!(PeerMessage::new(message.clone()).is_some(), "{kind:?} travels");
            assert_eq!(bytes_of(&message)[0], number);
        }
        for number in (0..=0xff).filter(|number| !(1..=13).contains(number)) {
            let mut bytes = vec![0; 80];
            (bytes[0], bytes[9], bytes[17]) = (number, 1, 2);
            assert_eq!(read(&bytes.into()), Err(CodecError::Field { field: "kind" }));
        }
    }

    #[test]
    fn a_prefix_and_a_longer_message_are_refused() {
        let chance = Seeded::fresh();
        for _ in 0..runs(100) {
            let bytes = Bytes::from(bytes_of(&random(&chance)));
            for length in 0..bytes.len() {
                let read = read(&bytes.slice(..length));
                assert!(matches!(read, Err(CodecError::Truncated { .. })), "{length} of {}: {read:?}", bytes.len());
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(read(&longer.into()), Err(CodecError::Trailing { bytes: 1 }));
        }
    }

    // Whatever comes, it is refused or it is what would be written: nothing is read in two ways.
    #[test]
    fn changed_bytes_are_refused_or_are_another_message() {
        let chance = Seeded::fresh();
        let mut read_anyway = 0;
        for _ in 0..runs(20_000) {
            let mut bytes = bytes_of(&random(&chance));
            for _ in 0..=chance.below(3) {
                let at = chance.below(bytes.len() as u64) as usize;
                bytes[at] = if chance.below(2) == 0 { chance.below(256) as u8 } else { 0xff };
            }
            if let Ok(message) = read(&bytes.clone().into()) {
                assert_eq!(bytes_of(&message), bytes);
                read_anyway += 1;
            }
        }
        assert!(read_anyway > 0, "some changes make another message");
    }

    #[test]
    fn what_is_beyond_a_bound_is_refused_by_the_name_of_its_field() {
        let mut message = Message::default();
        (message.to, message.from) = (1, 2);
        message.set_msg_type(MessageType::MsgAppend);
        let mut entry = Entry::default();
        entry.data = vec![1].into();
        message.mut_entries().push(entry);
        let good = bytes_of(&message);
        assert!(read(&good.clone().into()).is_ok());
        let zero = [0; 8];
        let large = (LOG_NUMBER_MAX + 1).to_be_bytes();
        let long = (u32::try_from(ENTRY_BYTES_MAX).unwrap() + 1).to_be_bytes();
        let cases: [(usize, &[u8], &str); 13] = [
            (1, &[2], "flags"),
            (2, &zero, "to"),
            (10, &zero, "from"),
            (18, &large, "term"),
            (26, &large, "log term"),
            (34, &large, "index"),
            (42, &large, "commit"),
            (50, &large, "commit term"),
            (58, &large, "reject hint"),
            (66, &large, "request snapshot"),
            (80, &[3], "kind of an entry"),
            (81, &large, "term of an entry"),
            (97, &long, "length of an entry"),
        ];
        for (at, field_bytes, field) in cases {
            let mut bytes = good.clone();
            bytes[at..at + field_bytes.len()].copy_from_slice(field_bytes);
            assert_eq!(read(&bytes.into()), Err(CodecError::Field { field }));
        }
        let mut bytes = good.clone();
        bytes[76..80].copy_from_slice(&u32::MAX.to_be_bytes());
        let refused = read(&bytes.into());
        assert!(matches!(refused, Err(CodecError::Truncated { field: "entries", .. })), "{refused:?}");
        let mut bytes = good;
        bytes[74..76].copy_from_slice(&257_u16.to_be_bytes());
        assert_eq!(read(&bytes.into()), Err(CodecError::Field { field: "context" }));
    }

    #[test]
    fn an_entrys_bytes_are_those_of_the_frame() {
        let mut message = Message::default();
        (message.to, message.from) = (1, 2);
        message.set_msg_type(MessageType::MsgAppend);
        let mut entry = Entry::default();
        entry.data = vec![1; 1000].into();
        message.mut_entries().push(entry);
        let bytes = Bytes::from(bytes_of(&message));
        let read = read(&bytes).unwrap();
        assert!(bytes.as_ptr_range().contains(&read.entries[0].data.as_ptr()));
    }
}
