//! The format, byte by byte. Golden bytes change only in a commit that says "format".

use std::sync::Arc;

use bytes::Bytes;
use sha2::Digest;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::testing::seed::Seeded;
use crate::wal::HardState;
use crate::wal::Reason;
use crate::wal::builder::FrameBuilder;
use crate::wal::config::Sizes;
use crate::wal::frame;
use crate::wal::frame::FrameHead;
use crate::wal::frame::PeerMark;
use crate::wal::frame::Records;
use crate::wal::header::HEADER_LEN;
use crate::wal::header::HeaderCopy;
use crate::wal::header::SegmentHeader;
use crate::wal::seal::SegmentKeys;

fn key(sealed: bool) -> SegmentKeys {
    let bytes = sealed.then(|| Zeroizing::new([0x42; 32]));
    SegmentKeys::new(bytes, NodeId::new(7).unwrap(), ClusterId([9; 16]))
}

fn header() -> SegmentHeader {
    SegmentHeader {
        block_bytes: 4096,
        segment: 3,
        segment_bytes: 64 << 20,
        salt: [0xa5; 32],
        chain_in: [0xc1; 16],
        first_frame: 11,
        next_index: Index(21),
        compacted: Position { index: Index(4), term: Term(2) },
        hard_state: HardState { term: Term(5), vote: 6, commit: Index(7) },
        cutover: Index(2),
        node_id: NodeId::new(7).unwrap().to_bytes(),
        cluster_id: ClusterId([9; 16]),
        slots: 8,
    }
}

fn head() -> FrameHead {
    FrameHead { length: 0, kind: 0, random: [1, 2, 3, 4], number: 11, watermark: 10, segment: 3, previous: [0xc1; 16] }
}

fn two_entries() -> Vec<LogEntry> {
    let entry = |index: u64, kind, data: &'static [u8]| LogEntry {
        term: Term(5),
        index: Index(index),
        kind,
        data: Bytes::from_static(data),
    };
    vec![entry(21, EntryKind::Normal, b"abc"), entry(22, EntryKind::ConfChangeV2, b"")]
}

fn drawn(records: &Records, entries: &[LogEntry], sealed: bool) -> Vec<u8> {
    let seal = key(sealed).segment(3, &[0xa5; 32]);
    let mut out = vec![0xee; 4096];
    frame::encode(&head(), records, entries, &seal, &mut out);
    out
}

#[test]
fn the_header_is_drawn_as_the_design_says() {
    let clear = header().encode(&key(false).segment(3, &[0xa5; 32]));
    let expected = concat!(
        "534b5657414c3031",
        "00000001",
        "00001000",
        "0000000000000003",
        "0000000004000000",
        "a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5",
        "c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1",
        "000000000000000b",
        "0000000000000015",
        "0000000000000004",
        "0000000000000002",
        "0000000000000005",
        "0000000000000006",
        "0000000000000007",
        "0000000000000002",
        "00000000000000000000000000000007",
        "09090909090909090909090909090909",
        "00000008",
    );
    assert_eq!(hex::encode(&clear[..180]), expected);
    assert!(clear[180..4092].iter().all(|byte| *byte == 0));
    assert_eq!(clear[4092..], crc32c::crc32c(&clear[..4092]).to_be_bytes());
    let sealed = header().encode(&key(true).segment(3, &[0xa5; 32]));
    assert_eq!(sealed[..4064], clear[..4064]);
    assert_eq!(hex::encode(&sealed[4064..]), GOLDEN_HEADER_END);
    let HeaderCopy::Good(copy) = HeaderCopy::of(&sealed) else { panic!() };
    assert_eq!(SegmentHeader::parse(&copy), header());
    assert!(SegmentHeader::authentic(&copy, &key(true).segment(3, &[0xa5; 32])));
    assert!(!SegmentHeader::authentic(&copy, &key(true).segment(4, &[0xa5; 32])));
}

#[test]
fn a_frame_in_the_clear_is_drawn_as_the_design_says() {
    let hard_state = Some(HardState { term: Term(5), vote: 6, commit: Index(7) });
    let trim = Some(Position { index: Index(4), term: Term(2) });
    let records = Records { hard_state, trim, cutover: Some(Index(2)), ..Records::default() };
    let out = drawn(&records, &two_entries(), false);
    let expected = concat!(
        "000000af",
        "0000001b",
        "01020304",
        "000000000000000b",
        "0000000000000000",
        "000000000000000a",
        "0000000000000003",
        "c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1",
        "0000000000000005",
        "0000000000000006",
        "0000000000000007",
        "0000000000000004",
        "0000000000000002",
        "0000000000000002",
        "0000000000000015",
        "00000002",
        "0000000000000005",
        "00000003",
        "00000000",
        "0000000000000005",
        "00000000",
        "00000002",
        "616263",
    );
    assert_eq!(hex::encode(&out[4..159]), expected);
    let seed = 0xa5a5_a5a5;
    assert_eq!(out[159..171], [0; 12]);
    assert_eq!(out[171..175], crc32c::crc32c_append(seed, &out[4..159]).to_be_bytes());
    assert_eq!(out[..4], crc32c::crc32c_append(seed, &out[4..175]).to_be_bytes());
    assert!(out[175..].iter().all(|byte| *byte == 0), "padding is zero");
}

#[test]
fn a_sealed_frame_is_golden() {
    let out = drawn(&Records::default(), &two_entries(), true);
    assert_eq!(out[8], 0x80);
    assert_eq!(hex::encode(Sha256::digest(&out)), GOLDEN_FRAME_SHA256);
}

#[test]
fn every_record_comes_back_as_it_was() {
    let position = Some(Position { index: Index(20), term: Term(2) });
    let marks = vec![PeerMark { node: 1, frame: 2, tag: [3; 16] }, PeerMark { node: 4, frame: 5, tag: [6; 16] }];
    let records = [
        Records { idle: true, ..Records::default() },
        Records { trim: position, peer_marks: marks, ..Records::default() },
        Records { reset: position, cutover: Some(Index(1)), ..Records::default() },
    ];
    for sealed in [true, false] {
        let seal = key(sealed).segment(3, &[0xa5; 32]);
        for (records, entries) in records.iter().zip([vec![], two_entries(), two_entries()]) {
            let out = drawn(records, &entries, sealed);
            let length = frame::frame_len(records, &entries);
            assert!(frame::crc_is_right(&out[..length], &seal));
            let body = frame::open(&out[..length], &seal).unwrap();
            assert_eq!((&body.records, &body.entries), (records, &entries));
        }
    }
}

#[test]
fn a_body_that_no_writer_makes_is_malformed() {
    let seal = key(false).segment(3, &[0xa5; 32]);
    let with_body = |kind: u32, body: &[u8]| {
        let mut out = drawn(&Records::default(), &[], false)[..64].to_vec();
        out[4..8].copy_from_slice(&(80 + body.len() as u32).to_be_bytes());
        out[8..12].copy_from_slice(&kind.to_be_bytes());
        let mut text = [body, &[0; 16]].concat();
        seal.seal([0; 12], &out[4..64], &mut text);
        out.extend(text);
        frame::open(&out, &seal).map(|_| ())
    };
    let entry_head = |count: u32, length: u32, kind: u32| {
        let first: &[u8] = &21_u64.to_be_bytes();
        [first, &count.to_be_bytes(), &5_u64.to_be_bytes(), &length.to_be_bytes(), &kind.to_be_bytes()].concat()
    };
    assert_eq!(with_body(1, &entry_head(1, 0, 0)), Ok(()));
    let bad: [(u32, Vec<u8>); 10] = [
        (1, vec![]),
        (1, entry_head(0, 0, 0)),
        (1, entry_head(2, 0, 0)),
        (1, entry_head(u32::MAX, 0, 0)),
        (1, entry_head(1, 1, 0)),
        (1, entry_head(1, u32::MAX, 0)),
        (1, entry_head(1, 0, 3)),
        (1 << 7, vec![]),
        (0b110, vec![0; 32]),
        (1 << 5, u32::MAX.to_be_bytes().to_vec()),
    ];
    for (kind, body) in bad {
        assert_eq!(with_body(kind, &body), Err(Reason::Malformed), "kind {kind:#x} body {body:?}");
    }
    assert_eq!(with_body(0, &[1]), Err(Reason::Malformed), "nothing behind the last record");
}

const GOLDEN_HEADER_END: &str = "dd4127e966ce999de03ab75df3c43d00000000000000000000000000a48db3f4";
const GOLDEN_FRAME_SHA256: &str = "c9658bc2d4fdd235c552474b56a0e944817c0f4757fbc67507c11a8bd736e497";

// Buffers are used again: what they held before must not reach the disk.
#[test]
fn a_buffer_that_held_something_leaves_nothing_behind_a_header() {
    let block = 2 * HEADER_LEN;
    let sizes = Sizes::new(128 << 10, 1024, block).unwrap();
    let builder = FrameBuilder::new(key(true), Arc::new(Seeded::new(1)), sizes);
    let mut out = vec![0xff; 2 * block];
    builder.headers(&[7; HEADER_LEN], &mut out);
    for copy in out.chunks_exact(block) {
        assert!(copy[..HEADER_LEN].iter().all(|byte| *byte == 7));
        assert!(copy[HEADER_LEN..].iter().all(|byte| *byte == 0));
    }
}
