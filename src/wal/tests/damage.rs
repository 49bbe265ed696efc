//! TORN-TAIL-ONLY: one drill for each rule of recovery, and every bit of a small log.

use crate::disk::SlotId;
use crate::entry::LogEntry;
use crate::exit::Blame;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::testing::log::LogRig;
use crate::testing::log::append;
use crate::testing::log::entries;
use crate::testing::log::trim;
use crate::testing::log::write;
use crate::wal::Reason;
use crate::wal::TornEnd;
use crate::wal::WalError;
use crate::wal::testkit;

const BLOCK: usize = 4096;
/// The segment of the first process that writes lies here; slot 0 holds what `create` wrote.
const SLOT: SlotId = SlotId(1);

/// Ten frames of one entry each, at blocks 2 to 11 of slot 1.
fn ten_frames(rig: &LogRig) -> Vec<LogEntry> {
    rig.create().unwrap();
    let (mut log, _) = rig.open().unwrap();
    for at in 0..10 {
        write(&mut log, append(1 + at, entries(1, 2 + at, 1, 300))).unwrap();
    }
    entries(1, 2, 10, 300)
}

fn with_idle(rig: &LogRig) -> Vec<LogEntry> {
    rig.create().unwrap();
    let (mut log, _) = rig.open().unwrap();
    for at in 0..10 {
        write(&mut log, append(1 + at, entries(1, 2 + at, 1, 300))).unwrap();
    }
    rig.idle(&mut log).unwrap();
    entries(1, 2, 10, 300)
}

fn refusal(rig: &LogRig) -> (Reason, u64) {
    match rig.open() {
        Err(WalError::Refused { segment: 2, slot: SLOT, offset, reason }) => (reason, offset),
        other => panic!("{:?}", other.map(|(_, recovered)| recovered)),
    }
}

fn frame_at(number: usize) -> std::ops::Range<usize> {
    (2 + number) * BLOCK..(3 + number) * BLOCK
}

#[test]
fn a_last_frame_that_is_half_lost_is_dropped_as_unfinished() {
    let rig = LogRig::new(30);
    let all = ten_frames(&rig);
    rig.platters.alter(SLOT, |bytes| bytes[frame_at(9)][200..].fill(0));
    let recovered = rig.open().unwrap().1;
    assert_eq!(recovered.entries, all[..9]);
    assert_eq!(recovered.torn, Some(TornEnd { segment: 2, slot: SLOT, offset: 11 * BLOCK as u64 }));
}

#[test]
fn a_last_frame_that_an_idle_frame_attests_is_refused_when_it_is_half_lost() {
    let rig = LogRig::new(31);
    with_idle(&rig);
    rig.platters.alter(SLOT, |bytes| bytes[frame_at(9)][200..].fill(0));
    assert_eq!(refusal(&rig), (Reason::AcknowledgedDamaged, 11 * BLOCK as u64));
}

#[test]
fn a_flipped_byte_in_the_middle_is_refused() {
    let rig = LogRig::new(32);
    ten_frames(&rig);
    rig.platters.alter(SLOT, |bytes| bytes[frame_at(4)][100] ^= 1);
    assert_eq!(refusal(&rig), (Reason::AcknowledgedDamaged, 6 * BLOCK as u64));
}

#[test]
fn a_frame_copied_over_another_is_refused() {
    let rig = LogRig::new(33);
    ten_frames(&rig);
    rig.platters.alter(SLOT, |bytes| bytes.copy_within(frame_at(4), frame_at(9).start));
    assert_eq!(refusal(&rig), (Reason::OutOfOrder, 11 * BLOCK as u64));
}

#[test]
fn an_altered_frame_with_a_mended_checksum_is_refused() {
    for (rig, at) in [(LogRig::new(34), 100), (LogRig::new(34), 33), (LogRig::clear(34), 100)] {
        ten_frames(&rig);
        rig.platters.alter(SLOT, |bytes| {
            let salt = u32::from_be_bytes(bytes[32..36].try_into().unwrap());
            let frame = &mut bytes[frame_at(4)];
            frame[at] ^= 1;
            let length = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
            let crc = crc32c::crc32c_append(salt, &frame[4..length]);
            frame[..4].copy_from_slice(&crc.to_be_bytes());
        });
        let (reason, offset) = refusal(&rig);
        assert_eq!(offset, 6 * BLOCK as u64);
        assert!(matches!(reason, Reason::Forged | Reason::OutOfOrder), "{reason}");
    }
}

#[test]
fn a_segment_put_back_over_the_newest_is_a_rollback_that_opens() {
    let rig = LogRig::new(35);
    let all = ten_frames(&rig);
    let older = rig.image();
    let (mut log, _) = rig.open().unwrap();
    write(&mut log, append(1, entries(1, 12, 1, 300))).unwrap();
    let newest = super::newest_slot(&rig);
    rig.platters.alter(newest, |bytes| bytes.copy_from_slice(&older.platters.bytes(newest)));
    // Nothing local can see this; the design says so and leaves it to peers.
    assert_eq!(rig.open().unwrap().1.entries, all);
}

#[test]
fn a_segment_put_back_in_the_middle_is_refused() {
    let rig = LogRig::new(36);
    ten_frames(&rig);
    let older = rig.image();
    let (mut log, _) = rig.open().unwrap();
    write(&mut log, append(1, entries(1, 12, 1, 300))).unwrap();
    let middle = super::newest_slot(&rig);
    let (mut log, _) = rig.open().unwrap();
    write(&mut log, append(1, entries(1, 13, 1, 300))).unwrap();
    // The middle segment in another life: the same number, another salt.
    let (mut log, _) = older.open().unwrap();
    write(&mut log, append(1, entries(1, 12, 1, 300))).unwrap();
    assert_eq!(super::newest_slot(&older), middle);
    rig.platters.alter(middle, |bytes| bytes.copy_from_slice(&older.platters.bytes(middle)));
    let opened = rig.open();
    let newest = super::newest_slot(&rig);
    assert!(
        matches!(opened, Err(WalError::Refused { slot, reason: Reason::GapBeforeSegment, .. }) if slot == newest),
        "{opened:?}"
    );
}

#[test]
fn a_lost_segment_in_the_middle_is_refused_with_its_number() {
    let rig = LogRig::new(37);
    ten_frames(&rig);
    let (mut log, _) = rig.open().unwrap();
    write(&mut log, append(1, entries(1, 12, 1, 300))).unwrap();
    rig.platters.alter(SLOT, |bytes| bytes.fill(0));
    let opened = rig.open();
    assert!(matches!(opened, Err(WalError::Refused { segment: 2, reason: Reason::EntriesMissing, .. })), "{opened:?}");
}

#[test]
fn the_end_of_a_segment_before_another_is_never_torn() {
    let rig = LogRig::new(38);
    ten_frames(&rig);
    let (mut log, _) = rig.open().unwrap();
    write(&mut log, append(1, entries(1, 12, 1, 300))).unwrap();
    rig.platters.alter(SLOT, |bytes| bytes[frame_at(9)][200..].fill(0));
    assert_eq!(refusal(&rig), (Reason::AcknowledgedDamaged, 11 * BLOCK as u64));
}

#[test]
fn what_an_earlier_recovery_dropped_stays_dropped() {
    let rig = LogRig::new(39);
    let mut all = ten_frames(&rig);
    let torn = rig.image();
    // Frame 9 is damaged, frame 10 whole: both unacknowledged as far as anybody can tell, if nothing attests 9.
    torn.platters.alter(SLOT, |bytes| bytes[frame_at(9)][200..].fill(0));
    let (mut log, recovered) = torn.open().unwrap();
    assert_eq!(recovered.entries, all[..9]);
    write(&mut log, append(1, entries(2, 11, 2, 300))).unwrap();
    // The dropped frame comes back whole, as a drive with a cache may do: it is dead all the same.
    let whole = rig.platters.bytes(SLOT)[frame_at(9)].to_vec();
    torn.platters.alter(SLOT, |bytes| bytes[frame_at(9)].copy_from_slice(&whole));
    all.truncate(9);
    all.extend(entries(2, 11, 2, 300));
    assert_eq!(torn.open().unwrap().1.entries, all);
}

#[test]
fn one_bad_header_copy_is_enough_and_two_beside_an_attested_frame_are_refused() {
    for copies in [vec![0], vec![1], vec![0, 1]] {
        let rig = LogRig::new(40);
        let mut all = ten_frames(&rig);
        let (mut log, _) = rig.open().unwrap();
        write(&mut log, append(1, entries(1, 12, 1, 300))).unwrap();
        rig.idle(&mut log).unwrap();
        all.extend(entries(1, 12, 1, 300));
        let newest = super::newest_slot(&rig);
        for copy in &copies {
            // Nothing readable is left of it, salt and all.
            rig.platters.alter(newest, |bytes| bytes[copy * BLOCK..][..BLOCK].fill(0xee));
        }
        match rig.open() {
            Ok((_, recovered)) if copies.len() == 1 => assert_eq!(recovered.entries, all),
            Err(WalError::Refused { slot, segment: 3, reason: Reason::AcknowledgedDamaged, .. }) => {
                assert_eq!((slot, copies.len()), (newest, 2));
            }
            other => panic!("{copies:?} {other:?}"),
        }
    }
}

#[test]
fn two_good_copies_that_differ_are_an_unfinished_first_write() {
    let rig = LogRig::new(41);
    rig.create().unwrap();
    let (mut log, _) = rig.open().unwrap();
    write(&mut log, append(1, entries(1, 2, 1, 300))).unwrap();
    let other = rig.image();
    let (mut log, _) = other.open().unwrap();
    write(&mut log, append(1, entries(1, 3, 1, 300))).unwrap();
    let (mut log, _) = rig.open().unwrap();
    write(&mut log, append(1, entries(1, 3, 1, 300))).unwrap();
    // Segment 3 has two lives; a copy of each, and the frame of one.
    let newest = super::newest_slot(&rig);
    let theirs = other.platters.bytes(newest)[..BLOCK].to_vec();
    rig.platters.alter(newest, |bytes| bytes[..BLOCK].copy_from_slice(&theirs));
    let (mut log, recovered) = rig.open().unwrap();
    assert_eq!(recovered.entries, entries(1, 2, 1, 300));
    write(&mut log, append(1, entries(2, 3, 1, 300))).unwrap();
    assert_eq!(rig.open().unwrap().1.entries, [entries(1, 2, 1, 300), entries(2, 3, 1, 300)].concat());
}

#[test]
fn two_slots_with_one_segment_are_refused() {
    let rig = LogRig::new(42);
    ten_frames(&rig);
    let copy = rig.platters.bytes(SLOT);
    rig.platters.alter(SlotId(3), |bytes| bytes.copy_from_slice(&copy));
    let opened = rig.open();
    assert!(matches!(opened, Err(WalError::Refused { segment: 2, reason: Reason::SegmentTwice, .. })), "{opened:?}");
}

#[test]
fn a_missing_slot_is_refused_used_or_not_last_or_not() {
    for slot in 0..4 {
        let rig = LogRig::new(43);
        ten_frames(&rig);
        rig.platters.remove(SlotId(slot));
        let opened = rig.open();
        assert!(matches!(opened, Err(WalError::SlotMissing { slot: SlotId(found), .. }) if found == slot));
    }
}

#[test]
fn a_log_without_any_segment_is_refused() {
    let rig = LogRig::new(44);
    ten_frames(&rig);
    for slot in 0..4 {
        rig.platters.alter(SlotId(slot), |bytes| bytes.fill(0));
    }
    assert!(matches!(rig.open(), Err(WalError::NoSegment)));
}

#[test]
fn the_wrong_key_is_told_from_damage_and_from_another_owner() {
    let mut rig = LogRig::new(45);
    ten_frames(&rig);
    let key = rig.config.log_key.take();
    let opened = rig.open();
    assert!(matches!(opened, Err(WalError::Refused { reason: Reason::Sealed, .. })), "{opened:?}");
    rig.config.log_key = Some(zeroize::Zeroizing::new([0x43; 32]));
    let opened = rig.open();
    assert!(opened.as_ref().is_err_and(|error| error.blame() == Blame::Config));
    assert!(matches!(opened, Err(WalError::WrongKey { .. })));
    rig.config.log_key = key;
    rig.config.cluster_id = ClusterId([8; 16]);
    assert!(matches!(rig.open(), Err(WalError::Foreign { .. })));
}

#[test]
fn unsealed_headers_and_frames_are_refused_in_a_sealed_log() {
    let mut rig = LogRig::clear(46);
    ten_frames(&rig);
    rig.config.log_key = Some(zeroize::Zeroizing::new([0x42; 32]));
    assert!(matches!(rig.open(), Err(WalError::Refused { reason: Reason::NotSealed, .. })));
    // A frame in the clear inside a sealed segment, checksums in order.
    let rig = LogRig::new(46);
    ten_frames(&rig);
    rig.platters.alter(SLOT, |bytes| {
        let salt = u32::from_be_bytes(bytes[32..36].try_into().unwrap());
        let frame = &mut bytes[frame_at(4)];
        frame[8] &= 0x7f;
        let length = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
        let crc = crc32c::crc32c_append(salt, &frame[4..length]);
        frame[..4].copy_from_slice(&crc.to_be_bytes());
    });
    assert_eq!(refusal(&rig).0, Reason::NotSealed);
}

/// Vote, commit and cutover of a sealed segment edited, its GMAC taken away as if there had never been a key, and every
/// checksum mended: neither that nor the edit under the old GMAC is taken.
#[test]
fn no_way_down_a_header_whose_gmac_was_taken_away_or_whose_cutover_was_edited_is_refused() {
    for (from, keeps_gmac) in [(128, false), (120, false), (136, false), (136, true)] {
        let rig = LogRig::new(47);
        ten_frames(&rig);
        assert!(rig.image().open().is_ok());
        rig.platters.alter(SLOT, |bytes| {
            for copy in bytes[..2 * BLOCK].chunks_mut(BLOCK) {
                copy[from + 7] ^= 1;
                if !keeps_gmac {
                    copy[4064..4080].fill(0);
                }
                let crc = crc32c::crc32c(&copy[..4092]);
                copy[4092..].copy_from_slice(&crc.to_be_bytes());
            }
        });
        match rig.open() {
            Err(WalError::Refused { reason: Reason::NotSealed, offset: 0, .. }) => assert!(!keeps_gmac),
            Err(WalError::WrongKey { .. }) => assert!(keeps_gmac),
            other => panic!("a header with byte {} edited: {other:?}", from + 7),
        }
    }
}

#[test]
fn another_format_version_is_refused_as_such() {
    let rig = LogRig::clear(47);
    ten_frames(&rig);
    rig.platters.alter(SLOT, |bytes| {
        for copy in bytes[..2 * BLOCK].chunks_mut(BLOCK) {
            copy[11] = 2;
            let crc = crc32c::crc32c(&copy[..4092]);
            copy[4092..].copy_from_slice(&crc.to_be_bytes());
        }
    });
    assert!(matches!(rig.open(), Err(WalError::Version { found: 2, known: 1 })));
}

#[test]
fn a_recycled_pool_over_stale_frames_shows_only_live_entries() {
    let rig = LogRig::new(48);
    rig.create().unwrap();
    let (mut log, _) = rig.open().unwrap();
    for round in 0..60 {
        write(&mut log, append(1 + 2 * round, entries(1, 2 + round, 1, 6000))).unwrap();
        if round > 3 {
            write(&mut log, trim(2 + 2 * round, 1, round - 1)).unwrap();
        }
        let (_, recovered) = rig.open().unwrap();
        assert_eq!(recovered.entries.last().map(|entry| entry.index), Some(Index(2 + round)));
    }
}

#[test]
fn every_bit_of_a_small_log_is_either_refused_or_loses_nothing_acknowledged() {
    for rig in [LogRig::new(49), LogRig::clear(49)] {
        rig.create().unwrap();
        let (mut log, _) = rig.open().unwrap();
        write(&mut log, append(1, entries(1, 2, 2, 40))).unwrap();
        write(&mut log, append(2, entries(1, 4, 1, 40))).unwrap();
        rig.idle(&mut log).unwrap();
        let all = entries(1, 2, 3, 40);
        let (mut refused, mut kept) = (0, 0);
        let copy = rig.image();
        let original = copy.platters.bytes(SLOT);
        for at in 0..5 * BLOCK {
            // Each bit of the parts that mean something; one bit of each byte of padding and zeros.
            let bits = if original[at] != 0 || at % BLOCK < 256 { 0..8 } else { at % 8..at % 8 + 1 };
            if bits.len() == 1 && at % 16 != 0 {
                continue;
            }
            for bit in bits {
                copy.platters.alter(SLOT, |bytes| bytes[at] ^= 1 << bit);
                match copy.open() {
                    Ok((_, recovered)) => {
                        assert_eq!(recovered.entries, all, "byte {at} bit {bit}");
                        kept += 1;
                    }
                    Err(_) => refused += 1,
                }
                copy.platters.alter(SLOT, |bytes| bytes[at] ^= 1 << bit);
            }
        }
        assert!(refused > 1000 && kept > 1000, "refused {refused}, kept {kept}");
    }
}

#[test]
fn a_corrupt_length_allocates_nothing_beyond_the_largest_frame() {
    let rig = LogRig::clear(50);
    with_idle(&rig);
    for length in [0, 79, 80, 0x4000, 0xffff, 0x0100_0000, u32::MAX] {
        rig.platters.alter(SLOT, |bytes| {
            let salt = u32::from_be_bytes(bytes[32..36].try_into().unwrap());
            let frame = &mut bytes[frame_at(4).start..];
            frame[4..8].copy_from_slice(&length.to_be_bytes());
            let end = (length as usize).clamp(64, frame.len());
            let crc = crc32c::crc32c_append(salt, &frame[4..end]);
            frame[..4].copy_from_slice(&crc.to_be_bytes());
        });
        refusal(&rig);
    }
}

#[test]
fn the_reader_shows_what_lies_in_a_slot() {
    let rig = LogRig::new(51);
    let all = with_idle(&rig);
    let mut disk = rig.platters.open(None);
    let frames = testkit::frames(&mut disk, SLOT, &rig.config).unwrap().unwrap();
    assert_eq!(frames.header().segment, 2);
    let found: Vec<LogEntry> = frames.flat_map(|frame| frame.unwrap().body.unwrap().entries).collect();
    assert_eq!(found, all);
    assert!(testkit::frames(&mut disk, SlotId(3), &rig.config).unwrap().is_none());
}

#[test]
fn a_frame_that_does_not_continue_the_chain_is_refused() {
    let rig = LogRig::clear(52);
    ten_frames(&rig);
    // In a log without a key everything can be mended, checksum and tag: what is left is the order.
    rig.platters.alter(SLOT, |bytes| {
        let salt = u32::from_be_bytes(bytes[32..36].try_into().unwrap());
        let frame = &mut bytes[frame_at(9)];
        frame[60] ^= 1;
        let length = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize;
        let tag = u128::from(crc32c::crc32c_append(salt, &frame[4..length - 16]));
        frame[length - 16..length].copy_from_slice(&tag.to_be_bytes());
        let crc = crc32c::crc32c_append(salt, &frame[4..length]);
        frame[..4].copy_from_slice(&crc.to_be_bytes());
    });
    assert_eq!(refusal(&rig), (Reason::ChainBroken, 11 * BLOCK as u64));
}
