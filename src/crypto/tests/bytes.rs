//! Frames, headers and AADs to the byte, and everything that is refused before a key is asked for.

use super::key_id;
use super::unhex;
use crate::crypto::elastickv::envelope::unplaced_aad;
use crate::crypto::envelope::ENVELOPE_OVERHEAD;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::envelope::Envelope;
use crate::crypto::envelope::OpenError;
use crate::crypto::envelope::Version;
use crate::crypto::envelope::control_aad;
use crate::crypto::envelope::entry_aad;
use crate::crypto::envelope::envelope_header;
use crate::crypto::envelope::frame_header;
use crate::crypto::envelope::push_value_aad;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::ProposalId;
use crate::ids::Term;

const POSITION: Position = Position { term: Term(0x0102_0304_0506_0708), index: Index(0x1112_1314_1516_1718) };
const PROPOSAL: ProposalId = ProposalId(0x2122_2324_2526_2728);

#[test]
fn entry_frame_has_its_golden_bytes() {
    let frame = EntryFrame { proposal_id: PROPOSAL, payload: b"\x02command" };
    let data = frame.encode();
    assert_eq!(hex::encode(&data), "01212223242526272802636f6d6d616e64");
    assert_eq!(data[..9], frame_header(PROPOSAL));
    assert_eq!(EntryFrame::decode(&data), Ok(frame));
}

/// The nil path borrows: the decoded payload lies in the entry.
#[test]
fn decoding_a_frame_copies_nothing() {
    let data = EntryFrame { proposal_id: PROPOSAL, payload: b"abc" }.encode();
    let decoded = EntryFrame::decode(&data).unwrap();
    assert_eq!(decoded.payload.as_ptr(), data[9..].as_ptr());
}

#[test]
fn what_is_no_entry_frame_is_refused() {
    for len in 0..9 {
        assert_eq!(EntryFrame::decode(&[1; 9][..len]), Err(OpenError::EntryFrame { bytes: len }));
    }
    for first in (0..=255).filter(|first| *first != 1) {
        assert_eq!(EntryFrame::decode(&[first; 50]), Err(OpenError::EntryFrame { bytes: 50 }));
    }
    assert_eq!(EntryFrame::decode(&[1; 9]).unwrap().payload, b"");
}

#[test]
fn envelope_header_and_aads_have_their_golden_bytes() {
    let key_id = key_id(0xCAFE_BABE);
    let nonce = unhex("a0a1a2a3a4a5a6a7a8a9aaab").try_into().unwrap();
    let header = envelope_header(Version::Entry, key_id, &nonce);
    assert_eq!(hex::encode(header), "0200cafebabea0a1a2a3a4a5a6a7a8a9aaab");
    assert_eq!(hex::encode(unplaced_aad(key_id)), "5201cafebabe");
    let entry = entry_aad(key_id, POSITION, PROPOSAL);
    assert_eq!(hex::encode(entry), "520200cafebabe010203040506070811121314151617182122232425262728");
    let control = control_aad(key_id, POSITION, PROPOSAL);
    assert_eq!(hex::encode(control), "430300cafebabe010203040506070811121314151617182122232425262728");
    let mut value = Vec::new();
    push_value_aad(&mut value, key_id, &[2, 0, 0, 0, 0, 0, 0, 0, 0], &unhex("757365723a31ffffffffffffff9b"));
    assert_eq!(hex::encode(value), "0100cafebabe020000000000000000757365723a31ffffffffffffff9b");
}

#[test]
fn envelopes_are_taken_apart_where_they_were_put_together() {
    for version in [Version::One, Version::Entry, Version::Control] {
        let nonce = [9; 12];
        let bytes = [&envelope_header(version, key_id(5), &nonce)[..], b"text", &[3; 16]].concat();
        let envelope = Envelope::parse(&bytes).unwrap();
        assert_eq!(envelope, Envelope { version, key_id: key_id(5), nonce, sealed: &bytes[18..] });
        assert!(envelope.sealed.ends_with(&[3; 16]));
        assert_eq!(Version::peek(&bytes), Some(version));
        let data = EntryFrame { proposal_id: PROPOSAL, payload: &bytes }.encode();
        assert_eq!(Envelope::parse(EntryFrame::decode(&data).unwrap().payload).unwrap(), envelope);
    }
}

#[test]
fn malformed_envelopes_are_refused_by_name() {
    let good = [&envelope_header(Version::Entry, key_id(5), &[0; 12])[..], &[0; 16]].concat();
    assert_eq!(good.len(), ENVELOPE_OVERHEAD);
    assert!(Envelope::parse(&good).is_ok());
    for len in 0..ENVELOPE_OVERHEAD {
        assert_eq!(Envelope::parse(&good[..len]), Err(OpenError::EnvelopeShort { bytes: len }));
    }
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        bad
    };
    for version in (0..=255).filter(|version| !(1..=3).contains(version)) {
        assert_eq!(Envelope::parse(&with(0, version)), Err(OpenError::EnvelopeVersion { version }));
        assert_eq!(Version::peek(&[version]), None);
    }
    for flag in 1..=255 {
        assert_eq!(Envelope::parse(&with(1, flag)), Err(OpenError::EnvelopeFlag { flag }));
    }
    assert_eq!(Envelope::parse(&with(5, 0)), Err(OpenError::ReservedKey));
    let other = Envelope::parse_version(&good, Version::One);
    assert_eq!(other, Err(OpenError::EnvelopeVersion { version: 2 }));
}
