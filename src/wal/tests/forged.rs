//! Numbers that no log reaches, in a log without a key, where whoever writes to the disk can mend every checksum: each is
//! refused or harmless, and none overflows.

use crate::disk::SlotId;
use crate::entry::LogEntry;
use crate::exit::Blame;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::testing::log::LogRig;
use crate::testing::log::append;
use crate::testing::log::entries;
use crate::testing::log::trim;
use crate::testing::log::write;
use crate::wal::Append;
use crate::wal::HardState;
use crate::wal::Reason;
use crate::wal::WalError;
use crate::wal::frame;
use crate::wal::frame::FrameHead;
use crate::wal::frame::HEAD_LEN;
use crate::wal::frame::Records;
use crate::wal::seal::SegmentKeys;

const BLOCK: usize = 4096;
/// The segment of the first process that writes.
const SLOT: SlotId = SlotId(1);
const NUMBERS: [u64; 6] = [u64::MAX, u64::MAX - 1, u64::MAX - 2, 1 << 63, (1 << 63) - 1, u64::MAX / 2 - 1];

/// Ten frames of one entry each in a log without a key.
fn log() -> LogRig {
    let rig = LogRig::clear(90);
    rig.create().unwrap();
    let (mut log, _) = rig.open().unwrap();
    for at in 0..10 {
        write(&mut log, append(1 + at, entries(1, 2 + at, 1, 300))).unwrap();
    }
    rig
}

/// Opens, and if that works goes on as a node does: a vote, entries until segments roll, a trim, another opening.
fn live(rig: &LogRig) -> Result<(), WalError> {
    let (mut log, recovered) = rig.open()?;
    let term = recovered.entries.last().map_or(recovered.compacted.term, |last| last.term).0;
    let term = term.max(recovered.hard_state.term.0).max(1).saturating_add(1);
    let next = recovered.entries.last().map_or(recovered.compacted.index, |last| last.index).0 + 1;
    let hard_state = Some(HardState { term: Term(term), vote: 1, commit: recovered.hard_state.commit });
    write(&mut log, Append { ticket: 1, hard_state, ..Append::default() })?;
    for at in 0..8 {
        write(&mut log, append(2 + 2 * at, entries(term, next + at, 1, 12 << 10)))?;
        write(&mut log, trim(3 + 2 * at, term, next + at))?;
    }
    rig.idle(&mut log)?;
    rig.open().map(drop)
}

fn refused(result: Result<(), WalError>, expected: Reason, what: &str) {
    match result {
        Err(WalError::Refused { reason, .. }) if reason == expected => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_header_with_a_number_that_no_log_reaches_is_refused() {
    // Segment, first frame, next index, compacted index and term, term, commit.
    for (offset, number, with_frames) in headers([16, 80, 88, 96, 104, 112, 128].into_iter(), &NUMBERS) {
        let what = format!("offset {offset} number {number:#x}");
        let lived = live(&with_forged_header(offset, number, with_frames));
        if number >= 1 << 63 {
            refused(lived, Reason::MalformedHeader, &what);
        } else if let Err(error) = lived {
            assert_eq!(error.blame(), Blame::Damage, "{what}: {error}");
        }
    }
}

#[test]
fn every_field_of_a_header_may_be_anything() {
    for (offset, number, with_frames) in headers((8..180).step_by(4), &[NUMBERS.as_slice(), &[0, 1, 2]].concat()) {
        // Taken or refused, and no overflow on the way.
        drop(live(&with_forged_header(offset, number, with_frames)));
    }
}

#[test]
fn a_frame_with_a_number_that_no_log_reaches_is_refused() {
    let position = |index, term| Some(Position { index: Index(index), term: Term(term) });
    let hard_state = |term, commit| Some(HardState { term: Term(term), vote: 1, commit: Index(commit) });
    let entry = |term| LogEntry { term: Term(term), ..entries(1, 12, 1, 30)[0].clone() };
    for number in NUMBERS {
        let forged: [(Records, Vec<LogEntry>); 6] = [
            (Records { hard_state: hard_state(number, 3), ..Records::default() }, vec![]),
            (Records { hard_state: hard_state(2, number), ..Records::default() }, vec![]),
            (Records { reset: position(number, 1), ..Records::default() }, vec![]),
            (Records { reset: position(20, number), ..Records::default() }, vec![]),
            (Records { trim: position(5, number), ..Records::default() }, vec![]),
            (Records::default(), vec![entry(number)]),
        ];
        for (records, entries) in forged {
            let rig = log();
            forge_frame(&rig, &records, &entries);
            let what = format!("{records:?}, {number:#x}, {} entries", entries.len());
            let lived = live(&rig);
            if number >= 1 << 63 {
                refused(lived, Reason::Malformed, &what);
            } else if let Err(error) = lived {
                assert_eq!(error.blame(), Blame::Damage, "{what}: {error}");
            }
        }
    }
}

/// Every field with every number, the segment's frames there or gone.
fn headers(fields: impl Iterator<Item = usize>, numbers: &[u64]) -> Vec<(usize, u64, bool)> {
    let with_number = |field| numbers.iter().flat_map(move |number| [(field, *number, false), (field, *number, true)]);
    fields.flat_map(with_number).collect()
}

/// A log of one segment with `number` in both copies of its header, checksums mended.
fn with_forged_header(offset: usize, number: u64, with_frames: bool) -> LogRig {
    let rig = log();
    rig.platters.alter(SlotId(0), |bytes| bytes.fill(0));
    rig.platters.alter(SLOT, |bytes| {
        if !with_frames {
            bytes[2 * BLOCK..].fill(0);
        }
        for copy in bytes[..2 * BLOCK].chunks_mut(BLOCK) {
            copy[offset..offset + 8].copy_from_slice(&number.to_be_bytes());
            let crc = crc32c::crc32c(&copy[..4092]);
            copy[4092..].copy_from_slice(&crc.to_be_bytes());
        }
    });
    rig
}

/// Puts a frame with these contents behind the newest one, everything else about it in order.
fn forge_frame(rig: &LogRig, records: &Records, entries: &[LogEntry]) {
    let keys = SegmentKeys::new(None, rig.config.node_id, rig.config.cluster_id);
    rig.platters.alter(SLOT, |bytes| {
        let seal = keys.segment(2, bytes[32..64].try_into().unwrap());
        let last = &bytes[11 * BLOCK..12 * BLOCK];
        let before = FrameHead::parse(last.first_chunk::<HEAD_LEN>().unwrap());
        let previous = frame::tag_of(&last[..before.length as usize]);
        let head = FrameHead { number: before.number + 1, watermark: before.number, previous, ..before };
        frame::encode(&head, records, entries, &seal, &mut bytes[12 * BLOCK..13 * BLOCK]);
    });
}
