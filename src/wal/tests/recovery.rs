//! Recovery of segments that are read in several chunks and opened in parallel: the same as frame by frame.

use std::collections::BTreeSet;

use crate::disk::SlotId;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Term;
use crate::testing::log::LogRig;
use crate::testing::log::append;
use crate::testing::log::entries;
use crate::testing::log::trim;
use crate::testing::log::write;
use crate::testing::seed::Seeded;
use crate::testing::seed::seed;
use crate::wal::Append;
use crate::wal::HardState;
use crate::wal::Reason;
use crate::wal::WalError;
use crate::wal::inspect;
use crate::wal::testkit;

const SLOT_BYTES: u64 = 6 << 20;

/// A log of three segments of 6 MiB, frames of 4 KiB to 700 KiB.
fn large(sealed: bool) -> (LogRig, Vec<LogEntry>) {
    let mut rig = if sealed { LogRig::new(97) } else { LogRig::clear(97) };
    (rig.config.slots, rig.config.slots_max) = (6, 6);
    (rig.config.slot_bytes, rig.config.entry_bytes_max) = (SLOT_BYTES, 1 << 20);
    rig.create().unwrap();
    let (mut log, _) = rig.open().unwrap();
    let mut all = Vec::new();
    for (at, length) in [100, 5_000, 300_000, 700_000, 0, 60_000].into_iter().cycle().take(90).enumerate() {
        let more = entries(1, 2 + at as u64, 1, length);
        all.extend(more.clone());
        write(&mut log, append(1 + at as u64, more)).unwrap();
    }
    rig.idle(&mut log).unwrap();
    (rig, all)
}

/// Every frame: its slot, its first byte and its length.
fn frames(rig: &LogRig) -> Vec<(SlotId, u64, u64)> {
    let mut disk = rig.platters.open(None);
    let mut found = Vec::new();
    for slot in (0..6).map(SlotId) {
        let Some(frames) = testkit::frames(&mut disk, slot, &rig.config).unwrap() else { continue };
        found.extend(frames.flatten().map(|frame| (slot, frame.offset, u64::from(frame.head.length))));
    }
    found
}

#[test]
fn segments_of_many_chunks_come_back_whole() {
    for sealed in [true, false] {
        let (rig, all) = large(sealed);
        let recovered = rig.open().unwrap().1;
        assert!(recovered.entries == all && recovered.torn.is_none());
        assert_eq!(recovered.frames as usize, frames(&rig).len());
        let read = inspect::read_through(&rig.config, &mut rig.platters.open(None), &mut |_| Ok(())).unwrap();
        assert_eq!((read.frames, read.segments), (recovered.frames, 3), "the operator's tools read the same");
        assert_eq!(Some(read.last), all.last().map(|entry| entry.index));
        let slots: BTreeSet<SlotId> = frames(&rig).into_iter().map(|(slot, ..)| slot).collect();
        assert_eq!(slots.len(), 3, "segments");
    }
}

#[test]
fn damage_is_named_at_its_frame_wherever_a_chunk_ends() {
    let seed = seed(20_261_128);
    let chance = Seeded::new(seed);
    let (rig, _) = large(true);
    let frames = frames(&rig);
    for _ in 0..40 {
        // Not the last real frame's witness: an idle frame at the very end is unattested itself.
        let (slot, offset, length) = frames[chance.below(frames.len() as u64 - 1) as usize];
        let at = (offset + chance.below(length)) as usize;
        let bit = 1 << chance.below(8);
        rig.platters.alter(slot, |bytes| bytes[at] ^= bit);
        let opened = rig.open();
        let expected = Reason::AcknowledgedDamaged;
        let is_named = matches!(
            &opened,
            Err(WalError::Refused { slot: found, offset: place, reason, .. })
                if (*found, *place, *reason) == (slot, offset, expected)
        );
        assert!(is_named, "SEALKV_SEED={seed} slot {slot} byte {at} bit {bit}: {opened:?}");
        rig.platters.alter(slot, |bytes| bytes[at] ^= bit);
    }
    assert!(rig.open().is_ok());
}

/// Goal: a recovery holds no more than it is told. What it does not hold is named by its term and can be read back.
#[test]
fn bounded_a_recovery_keeps_the_newest_entries_and_the_terms_of_those_before() {
    let mut rig = LogRig::new(98);
    rig.create().unwrap();
    let (mut log, _) = rig.open().unwrap();
    let mut all: Vec<LogEntry> = Vec::new();
    for (ticket, (term, first)) in [(1, 2), (1, 12), (2, 22), (4, 30), (5, 35), (5, 45)].into_iter().enumerate() {
        let more = entries(term, first, 10, 500);
        // From index 30 and 35 on, entries of an older term are replaced.
        all.truncate(first as usize - 2);
        all.extend(more.clone());
        // What came before is committed, what is replaced is not.
        let hard_state = Some(HardState { term: Term(term), vote: 0, commit: Index(first - 1) });
        write(&mut log, Append { hard_state, ..append(1 + ticket as u64, more) }).unwrap();
    }
    write(&mut log, trim(7, 1, 5)).unwrap();
    rig.idle(&mut log).unwrap();
    drop(log);
    let all = &all[4..];
    for kept in [0, 1, 499, 500, 2_000, 9_999, 12_000, 20_000, usize::MAX] {
        rig.config.kept_bytes_max = kept;
        let (mut log, recovered) = rig.open().unwrap();
        // Those above the commit are there, however little may be kept.
        let count = (kept / 500).clamp(10, all.len());
        let (older, newest) = all.split_at(all.len() - count);
        assert!(recovered.entries == newest, "{kept}");
        assert_eq!(recovered.older_terms.is_empty(), older.is_empty());
        assert!(recovered.older_terms.iter().map(|run| run.1).is_sorted_by(|one, next| one < next));
        for entry in all {
            assert_eq!(recovered.term_at(entry.index), Some(entry.term), "{kept}: {}", entry.index);
        }
        assert_eq!((recovered.term_at(Index(5)), recovered.term_at(Index(4))), (Some(Term(1)), None));
        assert_eq!(recovered.term_at(all.last().unwrap().index.next()), None);
        if let (Some(first), Some(last)) = (older.first(), older.last()) {
            assert!(log.fetch(first.index, last.index, usize::MAX).unwrap() == older, "{kept}");
        }
    }
}
