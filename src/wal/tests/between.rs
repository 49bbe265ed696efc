//! Between segments, and between processes: what joins them is held in a log without a key too, where whoever writes to the
//! disk can make every checksum right.

use crate::testing::disk::Fault;
use crate::testing::log::LogRig;
use crate::testing::log::append;
use crate::testing::log::entries;
use crate::testing::log::write;
use crate::wal::Append;
use crate::wal::Reason;
use crate::wal::WalError;

const BLOCK: usize = 4096;

/// A log of which the two newest segments have three frames each.
fn two_segments() -> LogRig {
    let rig = LogRig::clear(95);
    rig.create().unwrap();
    for process in 0..2 {
        let (mut log, _) = rig.open().unwrap();
        for at in 0..3 {
            write(&mut log, append(1 + at, entries(1, 2 + 3 * process + at, 1, 300))).unwrap();
        }
    }
    rig
}

/// Changes the number at `offset` of both copies of the newest header.
fn with_header(offset: usize, change: impl Fn(u64) -> u64) -> LogRig {
    let rig = two_segments();
    rig.platters.alter(super::newest_slot(&rig), |bytes| {
        for copy in bytes[..2 * BLOCK].chunks_mut(BLOCK) {
            let number = u64::from_be_bytes(copy[offset..offset + 8].try_into().unwrap());
            copy[offset..offset + 8].copy_from_slice(&change(number).to_be_bytes());
            let crc = crc32c::crc32c(&copy[..4092]);
            copy[4092..].copy_from_slice(&crc.to_be_bytes());
        }
    });
    rig
}

fn reason(rig: &LogRig) -> Reason {
    match rig.open() {
        Err(WalError::Refused { reason, .. }) => reason,
        other => panic!("{:?}", other.map(|(_, recovered)| recovered)),
    }
}

#[test]
fn a_segment_whose_next_index_is_not_the_logs_is_refused() {
    for by in [1, u64::MAX] {
        let found = reason(&with_header(88, |next| next.wrapping_add(by)));
        assert_eq!(found, Reason::MalformedHeader, "by {by}");
    }
}

#[test]
fn a_segment_that_does_not_continue_the_one_before_is_refused() {
    assert_eq!(reason(&with_header(64, |chain| chain ^ 1)), Reason::GapBeforeSegment);
    // The first frame's number: a gap before it, or frames before it that are not its own.
    assert_eq!(reason(&with_header(80, |first| first + 1)), Reason::AcknowledgedDamaged);
    assert_eq!(reason(&with_header(80, |first| first - 1)), Reason::GapBeforeSegment);
}

#[test]
fn a_frame_that_names_another_segment_is_refused() {
    let rig = two_segments();
    rig.platters.alter(super::newest_slot(&rig), |bytes| {
        let salt = u32::from_be_bytes(bytes[32..36].try_into().unwrap());
        let frame = &mut bytes[4 * BLOCK..5 * BLOCK];
        let length = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
        let segment = u64::from_be_bytes(frame[40..48].try_into().unwrap());
        frame[40..48].copy_from_slice(&(segment - 1).to_be_bytes());
        let tag = crc32c::crc32c_append(salt, &frame[4..length - 16]);
        frame[length - 4..length].copy_from_slice(&tag.to_be_bytes());
        let crc = crc32c::crc32c_append(salt, &frame[4..length]);
        frame[..4].copy_from_slice(&crc.to_be_bytes());
    });
    assert_eq!(reason(&rig), Reason::OtherSegment);
}

#[test]
fn a_failed_sync_of_what_was_found_is_not_tried_again() {
    let rig = two_segments();
    let (mut log, _) = rig.open().unwrap();
    rig.platters.arm(Fault::SyncError(0, libc::EIO));
    assert!(log.sync_recovered().is_err());
    let requests = rig.platters.requests();
    assert!(matches!(log.sync_recovered(), Err(WalError::Poisoned)));
    assert!(matches!(write(&mut log, Append { ticket: 1, ..Append::default() }), Err(WalError::Poisoned)));
    assert_eq!(rig.platters.requests(), requests);
}
