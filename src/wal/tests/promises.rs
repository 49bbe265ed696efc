//! What the log promises while nothing is broken.

use std::sync::Arc;

use crate::disk::SlotId;
use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::LOG_READ_BYTES_MAX;
use crate::limits::LOG_SLOTS_SPARE;
use crate::testing::disk::Fault;
use crate::testing::log::BEGINNING;
use crate::testing::log::LogRig;
use crate::testing::log::append;
use crate::testing::log::entries;
use crate::testing::log::settle;
use crate::testing::log::trim;
use crate::testing::log::write;
use crate::testing::seed::Seeded;
use crate::wal::Append;
use crate::wal::HardState;
use crate::wal::LogLoop;
use crate::wal::WalError;
use crate::wal::create;
use crate::wal::testkit;

fn made(rig: &LogRig) -> LogLoop {
    rig.create().unwrap();
    rig.open().unwrap().0
}

#[test]
fn a_new_log_begins_behind_the_first_index() {
    let rig = LogRig::new(1);
    rig.create().unwrap();
    let (_, recovered) = rig.open().unwrap();
    assert_eq!(recovered.compacted, BEGINNING);
    assert_eq!(recovered.entries, vec![]);
    assert_eq!(recovered.hard_state, HardState::default());
    assert_eq!(recovered.cutover, None);
}

#[test]
fn a_joiners_log_begins_behind_nothing() {
    let rig = LogRig::new(21);
    let disk = Box::new(rig.platters.open(None));
    let entropy = Arc::new(Seeded::new(21));
    create(&rig.config, disk, rig.clock.clone(), entropy, Position::default(), &mut |_, _| ()).unwrap();
    let (mut log, recovered) = rig.open().unwrap();
    assert_eq!((recovered.compacted, recovered.entries.len()), (Position::default(), 0));
    let reset = Some(Position { term: Term(3), index: Index(9) });
    write(&mut log, Append { ticket: 1, reset, ..append(1, entries(3, 10, 2, 5)) }).unwrap();
    assert_eq!(rig.open().unwrap().1.entries, entries(3, 10, 2, 5), "reset and entries in one frame");
}

#[test]
fn what_was_acknowledged_is_there_after_reopening_again_and_again() {
    for rig in [LogRig::new(2), LogRig::clear(2)] {
        let mut log = made(&rig);
        let mut all = Vec::new();
        for round in 0..12 {
            let more = entries(1, 2 + round * 3, 3, 100);
            all.extend(more.clone());
            assert_eq!(write(&mut log, append(round, more)).unwrap(), Some(round));
            drop(log);
            let (reopened, recovered) = rig.open().unwrap();
            assert_eq!(recovered.entries, all, "round {round}");
            assert_eq!(recovered.torn, None);
            log = reopened;
            // Every open takes a slot; trims keep the pool from filling.
            if round % 2 == 1 {
                let index = 1 + round * 3;
                write(&mut log, trim(100 + round, 1, index)).unwrap();
                all.retain(|entry| entry.index.0 > index);
            }
            rig.idle(&mut log).unwrap();
        }
    }
}

#[test]
fn opening_alone_changes_nothing_on_disk() {
    let rig = LogRig::new(3);
    let mut log = made(&rig);
    write(&mut log, append(1, entries(1, 2, 3, 10))).unwrap();
    drop(log);
    let before: Vec<Vec<u8>> = (0..4).map(|slot| rig.platters.bytes(SlotId(slot))).collect();
    let writes = rig.platters.requests();
    let (mut log, _) = rig.open().unwrap();
    rig.idle(&mut log).unwrap();
    assert_eq!(rig.platters.requests(), writes);
    log.sync_recovered().unwrap();
    let after: Vec<Vec<u8>> = (0..4).map(|slot| rig.platters.bytes(SlotId(slot))).collect();
    assert!(before == after);
}

#[test]
fn what_was_recovered_is_synced_before_the_first_acknowledgement() {
    let rig = LogRig::new(4);
    let mut log = made(&rig);
    write(&mut log, append(1, entries(1, 2, 3, 10))).unwrap();
    drop(log);
    // A newer commit needs no frame, and is acknowledged only after the sync.
    let (mut log, _) = rig.open().unwrap();
    rig.platters.arm(Fault::SyncError(0, libc::EIO));
    let hard_state = Some(HardState { commit: Index(3), ..HardState::default() });
    let answer = write(&mut log, Append { ticket: 2, hard_state, ..Append::default() });
    assert!(matches!(answer, Err(WalError::Disk { .. })), "{answer:?}");
}

#[test]
fn a_conflict_replaces_everything_from_its_index_on() {
    let rig = LogRig::new(5);
    let mut log = made(&rig);
    write(&mut log, append(1, entries(1, 2, 10, 50))).unwrap();
    write(&mut log, append(2, entries(2, 7, 2, 60))).unwrap();
    let expected = [entries(1, 2, 5, 50), entries(2, 7, 2, 60)].concat();
    assert_eq!(log.fetch(Index(2), Index(100), usize::MAX).unwrap(), expected);
    assert_eq!(rig.open().unwrap().1.entries, expected);
}

#[test]
fn a_conflict_within_one_group_is_written_once() {
    let rig = LogRig::new(6);
    let mut log = made(&rig);
    write(&mut log, append(1, entries(1, 2, 1, 50))).unwrap();
    log.offer(append(2, entries(1, 3, 5, 50))).unwrap();
    log.offer(append(3, entries(2, 5, 2, 60))).unwrap();
    log.offer(append(4, entries(3, 3, 1, 60))).unwrap();
    assert_eq!(settle(&mut log).unwrap(), Some(4));
    let expected = [entries(1, 2, 1, 50), entries(3, 3, 1, 60)].concat();
    assert_eq!(rig.open().unwrap().1.entries, expected);
}

#[test]
fn tickets_come_back_in_order_and_only_when_all_is_durable() {
    let rig = LogRig::new(7);
    let mut log = made(&rig);
    // 12 entries of 4 KiB do not fit one frame of a quarter slot.
    log.offer(append(1, entries(1, 2, 12, 4096))).unwrap();
    log.offer(append(2, entries(1, 14, 1, 10))).unwrap();
    let mut seen = Vec::new();
    loop {
        let progress = log.step(std::time::Duration::from_secs(1)).unwrap();
        seen.extend(progress.persisted_ticket);
        if !progress.busy {
            break;
        }
    }
    assert_eq!(seen.last(), Some(&2));
    assert!(seen.is_sorted());
    assert_eq!(rig.open().unwrap().1.entries.len(), 13);
}

#[test]
fn hard_state_survives_a_roll_a_trim_and_a_reopening() {
    let rig = LogRig::new(8);
    let mut log = made(&rig);
    let hard_state = HardState { term: Term(4), vote: 7, commit: Index(1) };
    write(&mut log, Append { ticket: 1, hard_state: Some(hard_state), ..Append::default() }).unwrap();
    for round in 0..20 {
        write(&mut log, append(2 + 2 * round, entries(4, 2 + round, 1, 16 << 10))).unwrap();
        write(&mut log, trim(3 + 2 * round, 4, 2 + round)).unwrap();
    }
    assert_eq!(rig.open().unwrap().1.hard_state, hard_state);
}

#[test]
fn a_newer_commit_rides_with_the_next_frame() {
    let rig = LogRig::new(9);
    let mut log = made(&rig);
    write(&mut log, append(1, entries(1, 2, 1, 10))).unwrap();
    let before = rig.platters.requests();
    let newer = HardState { term: Term(0), vote: 0, commit: Index(2) };
    assert_eq!(write(&mut log, Append { ticket: 2, hard_state: Some(newer), ..Append::default() }).unwrap(), Some(2));
    assert_eq!(rig.platters.requests(), before, "no frame for a commit alone");
    rig.idle(&mut log).unwrap();
    assert_eq!(rig.open().unwrap().1.hard_state, newer, "the idle frame took it along");
}

#[test]
fn a_trim_frees_slots_so_that_the_log_goes_on_for_ever() {
    let rig = LogRig::new(10);
    let mut log = made(&rig);
    let space = log.space();
    for round in 0..200 {
        write(&mut log, append(1 + 2 * round, entries(1, 2 + round, 1, 12 << 10))).unwrap();
        if round >= 3 {
            write(&mut log, trim(2 + 2 * round, 1, round - 1)).unwrap();
        }
        assert!(space.available_bytes() > 0, "round {round}");
    }
    let (_, recovered) = rig.open().unwrap();
    assert_eq!(recovered.compacted.index, Index(198));
    assert_eq!(recovered.entries, entries(1, 199, 3, 12 << 10));
}

#[test]
fn without_space_entries_wait_and_a_trim_lets_them_go_on() {
    let rig = LogRig::new(11);
    let mut log = made(&rig);
    let space = log.space();
    let (mut next, mut ticket) = (2, 0);
    while space.available_bytes() > 0 {
        ticket += 1;
        write(&mut log, append(ticket, entries(1, next, 1, 12 << 10))).unwrap();
        next += 1;
    }
    // Beyond the door: what raft appended without asking.
    let mut stalled = false;
    for _ in 0..4 {
        ticket += 1;
        log.offer(append(ticket, entries(1, next, 1, 12 << 10))).unwrap();
        next += 1;
    }
    for _ in 0..40 {
        stalled |= log.step(std::time::Duration::ZERO).unwrap().stalled;
    }
    assert!(stalled);
    assert_eq!(write(&mut log, trim(ticket + 1, 1, next - 6)).unwrap(), Some(ticket + 1));
    assert_eq!(rig.open().unwrap().1.entries, entries(1, next - 5, 5, 12 << 10));
}

#[test]
fn the_pool_grows_up_to_its_bound_when_trims_stay_away() {
    let mut rig = LogRig::new(12);
    rig.config.slots_max = 6;
    let mut log = made(&rig);
    // Two fit a slot; the last slot is kept for trims.
    for round in 0..10 {
        write(&mut log, append(1 + round, entries(1, 2 + round, 1, 16 << 10))).unwrap();
        settle(&mut log).unwrap();
    }
    drop(log);
    let (mut log, recovered) = rig.open().unwrap();
    assert_eq!(recovered.entries.len(), 10);
    assert_eq!(log.space().pool_bytes(), 6 * (64 << 10));
    write(&mut log, trim(99, 1, 11)).unwrap();
}

// Trims that free nothing take the last slot; what entries leave of it must hold one more, or the log would stand for ever.
#[test]
fn entries_leave_trims_their_part_of_the_last_slot() {
    let rig = LogRig::new(15);
    let mut log = made(&rig);
    let (mut ticket, mut next, mut trimmed) = (0, 2, 1);
    let mut fill = |log: &mut LogLoop, ticket: &mut u64| {
        while !log.step(std::time::Duration::ZERO).unwrap().stalled {
            *ticket += 1;
            log.offer(append(*ticket, entries(1, next, 1, 700))).unwrap();
            next += 1;
            settle(log).unwrap();
        }
    };
    fill(&mut log, &mut ticket);
    while log.space().free_slots() > 0 {
        (ticket, trimmed) = (ticket + 1, trimmed + 1);
        log.offer(trim(ticket, 1, trimmed)).unwrap();
        settle(&mut log).unwrap();
    }
    fill(&mut log, &mut ticket);
    (ticket, trimmed) = (ticket + 1, trimmed + 1);
    log.offer(trim(ticket, 1, trimmed)).unwrap();
    settle(&mut log).unwrap();
    assert_eq!(rig.open().unwrap().1.compacted.index, Index(trimmed));
}

// Freed slots are zeroed one after another, in any order: what is left of older segments is not of the log any more.
#[test]
fn a_freed_segment_before_a_gap_is_passed_over() {
    let mut rig = LogRig::new(23);
    (rig.config.slots, rig.config.slots_max) = (8, 8);
    let mut log = made(&rig);
    for round in 0..8 {
        write(&mut log, append(1 + round, entries(1, 2 + round, 1, 16 << 10))).unwrap();
    }
    let slots = || (0..8).map(|slot| rig.platters.bytes(SlotId(slot))).collect::<Vec<_>>();
    let has_header = |bytes: &Vec<u8>| bytes[..2 * 4096].iter().any(|byte| *byte != 0);
    let before = slots();
    write(&mut log, trim(20, 1, 8)).unwrap();
    settle(&mut log).unwrap();
    drop(log);
    let pairs = before.iter().zip(slots()).enumerate();
    let freed: Vec<usize> =
        pairs.filter(|(_, (before, after))| has_header(before) && !has_header(after)).map(|(slot, _)| slot).collect();
    assert!(freed.len() >= 2, "the oldest and another one behind it: {freed:?}");
    let expected = rig.open().unwrap().1;
    rig.platters.alter(SlotId(freed[0] as u32), |bytes| bytes.copy_from_slice(&before[freed[0]]));
    let (mut log, recovered) = rig.open().unwrap();
    assert_eq!((recovered.compacted, &recovered.entries), (expected.compacted, &expected.entries));
    write(&mut log, append(21, entries(1, 10, 1, 10))).unwrap();
    assert_eq!(rig.open().unwrap().1.entries.last(), entries(1, 10, 1, 10).last());
}

// One of two equal logs is told what is handed to it, as the threads tell it: what is in frames must not count twice.
#[test]
fn what_is_in_frames_no_longer_waits_before_the_log() {
    let (told, untold) = (LogRig::new(14), LogRig::new(14));
    let (mut log, mut other) = (made(&told), made(&untold));
    for round in 0..8 {
        let batch = append(1 + round, entries(1, 2 + 2 * round, 2, 700));
        let space = log.space();
        space.handed(space.cost_bytes(batch.entries.iter().map(|entry| entry.data.len())));
        assert!(space.available_bytes() < other.space().available_bytes(), "it waits");
        write(&mut log, batch.clone()).unwrap();
        write(&mut other, batch).unwrap();
        assert_eq!(space.available_bytes(), other.space().available_bytes(), "after {round} appends");
    }
}

#[test]
fn a_reset_begins_the_log_anew_and_frees_all_older_slots() {
    let rig = LogRig::new(13);
    let mut log = made(&rig);
    for round in 0..7 {
        write(&mut log, append(1 + round, entries(1, 2 + round, 1, 16 << 10))).unwrap();
    }
    let reset = Position { term: Term(5), index: Index(5) };
    let hard_state = Some(HardState { term: Term(6), vote: 0, commit: Index(5) });
    let cutover = Some(Index(3));
    let append_reset = Append { ticket: 50, reset: Some(reset), hard_state, cutover, ..Append::default() };
    assert_eq!(write(&mut log, append_reset).unwrap(), Some(50));
    assert!(log.space().free_slots() >= 3);
    write(&mut log, append(51, entries(6, 6, 2, 100))).unwrap();
    let (_, recovered) = rig.open().unwrap();
    assert_eq!(recovered.compacted, reset);
    assert_eq!(recovered.cutover, cutover);
    assert_eq!(recovered.entries, entries(6, 6, 2, 100));
}

#[test]
fn the_cutover_survives_its_segment() {
    let rig = LogRig::new(14);
    let mut log = made(&rig);
    write(&mut log, Append { ticket: 1, cutover: Some(Index(2)), ..Append::default() }).unwrap();
    for round in 0..20 {
        write(&mut log, append(2 + 2 * round, entries(1, 2 + round, 1, 16 << 10))).unwrap();
        write(&mut log, trim(3 + 2 * round, 1, 2 + round)).unwrap();
    }
    assert_eq!(rig.open().unwrap().1.cutover, Some(Index(2)));
}

/// So many frames of three entries, and these.
fn log_of_threes(frames: u64) -> (LogRig, LogLoop, Vec<LogEntry>) {
    let rig = LogRig::new(15);
    let mut log = made(&rig);
    for frame in 0..frames {
        write(&mut log, append(1 + frame, entries(1, 2 + 3 * frame, 3, 1000))).unwrap();
    }
    (rig, log, entries(1, 2, 3 * frames, 1000))
}

#[test]
fn old_entries_are_read_back_within_bounds() {
    let (rig, mut log, all) = log_of_threes(10);
    assert_eq!(log.fetch(Index(2), Index(31), usize::MAX).unwrap(), all);
    assert_eq!(log.fetch(Index(6), Index(9), usize::MAX).unwrap(), all[4..8]);
    assert_eq!(log.fetch(Index(6), Index(31), 3500).unwrap(), all[4..7]);
    assert_eq!(log.fetch(Index(6), Index(31), 0).unwrap(), all[4..5], "at least one");
    assert!(matches!(log.fetch(Index(32), Index(40), 9).unwrap_err(), WalError::NoEntry { index: Index(32) }));
    assert_eq!(log.space().compacted(), Index(1), "as it was founded");
    write(&mut log, trim(99, 1, 5)).unwrap();
    assert!(matches!(log.fetch(Index(5), Index(9), 9).unwrap_err(), WalError::NoEntry { index: Index(5) }));
    assert_eq!(log.space().compacted(), Index(5), "whoever asks can know it");
    drop(log);
    let (mut log, _) = rig.open().unwrap();
    assert_eq!(log.space().compacted(), Index(5), "also behind a start");
    assert_eq!(log.fetch(Index(6), Index(31), usize::MAX).unwrap(), all[4..], "also what an earlier process wrote");
}

#[test]
fn frames_behind_each_other_come_with_one_read() {
    let (rig, mut log, all) = log_of_threes(22);
    let reads_of = |log: &mut LogLoop, first, last, bytes_max| {
        let before = rig.platters.reads();
        let found = log.fetch(Index(first), Index(last), bytes_max).unwrap();
        assert!(all[first as usize - 2..].starts_with(&found));
        (found.len(), rig.platters.reads() - before)
    };
    assert_eq!(reads_of(&mut log, 3, 30, usize::MAX), (28, 1), "from the middle of a frame");
    assert_eq!(reads_of(&mut log, 2, 67, usize::MAX), (66, 2), "a segment holds fourteen of them");
    assert_eq!(reads_of(&mut log, 2, 67, 7000), (7, 3), "no more than is asked for");
    assert_eq!(reads_of(&mut log, 44, 44, 0), (1, 1));
}

#[test]
fn a_reader_that_lags_gets_a_bounded_piece_at_a_time() {
    let mut rig = LogRig::new(22);
    (rig.config.slot_bytes, rig.config.entry_bytes_max) = (8 << 20, 2 << 20);
    let mut log = made(&rig);
    let all = [entries(1, 2, 30, 100 << 10), entries(1, 32, 1, 2 << 20)].concat();
    write(&mut log, append(1, all.clone())).unwrap();
    let mut read = Vec::new();
    while read.len() < all.len() {
        let first = Index(2 + read.len() as u64);
        let piece = log.fetch(first, Index(99), usize::MAX).unwrap();
        let bytes: usize = piece.iter().map(|entry| entry.data.len()).sum();
        assert!(bytes <= LOG_READ_BYTES_MAX || piece.len() == 1, "{bytes}");
        read.extend(piece);
    }
    assert!(read == all);
}

#[test]
fn the_idle_frame_attests_the_last_real_one_and_asks_for_none_itself() {
    let rig = LogRig::new(16);
    let mut log = made(&rig);
    write(&mut log, append(1, entries(1, 2, 1, 10))).unwrap();
    rig.idle(&mut log).unwrap();
    let after_one = rig.platters.requests();
    for _ in 0..5 {
        rig.idle(&mut log).unwrap();
    }
    assert_eq!(rig.platters.requests(), after_one);
    let mut disk = rig.platters.open(None);
    let frames: Vec<_> = testkit::frames(&mut disk, SlotId(1), &rig.config).unwrap().unwrap().flatten().collect();
    let idle = frames.last().unwrap();
    assert!(idle.body.as_ref().unwrap().records.idle);
    assert_eq!(idle.head.watermark, idle.head.number - 1);
}

#[test]
fn every_open_begins_a_segment_and_an_empty_one_is_written_over() {
    let rig = LogRig::new(17);
    let mut log = made(&rig);
    write(&mut log, append(1, entries(1, 2, 1, 10))).unwrap();
    // Four slots, and many more openings that each wrote a header and a frame that was torn.
    for round in 0..20 {
        let (mut log, recovered) = rig.open().unwrap();
        assert_eq!(recovered.entries, entries(1, 2, 1, 10));
        write(&mut log, append(2, entries(1, 3, 1, 10))).unwrap();
        let slot = super::newest_slot(&rig);
        rig.platters.alter(slot, |bytes| bytes[2 * 4096 + 70] ^= 1 + round);
    }
}

#[test]
fn a_reset_overtakes_entries_that_have_no_space() {
    let rig = LogRig::new(20);
    let mut log = made(&rig);
    for round in 0..12 {
        log.offer(append(1 + round, entries(1, 2 + round, 1, 16 << 10))).unwrap();
    }
    settle(&mut log).unwrap();
    assert!(log.step(std::time::Duration::ZERO).unwrap().stalled);
    let reset = Position { term: Term(1), index: Index(40) };
    let vote = HardState { term: Term(9), vote: 3, commit: Index(40) };
    let append_reset = Append { ticket: 50, reset: Some(reset), hard_state: Some(vote), ..Append::default() };
    assert_eq!(write(&mut log, append_reset).unwrap(), Some(50));
    assert_eq!(write(&mut log, append(51, entries(9, 41, 1, 16 << 10))).unwrap(), Some(51));
    let (_, recovered) = rig.open().unwrap();
    assert_eq!((recovered.compacted, recovered.hard_state), (reset, vote));
    assert_eq!(recovered.entries, entries(9, 41, 1, 16 << 10));
}

// What waits before such a reset is acknowledged with its frame: so its vote must be in there.
#[test]
fn a_vote_that_waits_before_a_reset_is_durable_when_it_is_acknowledged() {
    let mut rig = LogRig::new(22);
    // A second frame behind the reset's would have the vote before the reset is acknowledged.
    rig.config.frames_in_flight = 1;
    let mut log = made(&rig);
    for round in 0..12 {
        log.offer(append(1 + round, entries(1, 2 + round, 1, 16 << 10))).unwrap();
    }
    settle(&mut log).unwrap();
    assert!(log.step(std::time::Duration::ZERO).unwrap().stalled);
    let vote = HardState { term: Term(9), vote: 3, commit: Index(2) };
    log.offer(Append { ticket: 20, hard_state: Some(vote), ..Append::default() }).unwrap();
    let reset = Position { term: Term(1), index: Index(40) };
    log.offer(Append { ticket: 50, reset: Some(reset), ..Append::default() }).unwrap();
    let mut persisted = 0;
    while persisted < 50 {
        persisted = log.step(std::time::Duration::ZERO).unwrap().persisted_ticket.unwrap_or(persisted);
        for seed in 0..8 {
            let crashed = rig.image();
            crashed.platters.cut_power(&Seeded::new(seed));
            let (_, recovered) = crashed.open().unwrap();
            assert!(persisted < 20 || recovered.hard_state == vote, "{persisted}, seed {seed}: {recovered:?}");
            assert!(persisted < 50 || recovered.compacted == reset, "{persisted}, seed {seed}: {recovered:?}");
        }
    }
}

#[test]
fn with_no_slot_free_the_pool_grows_before_the_first_frame() {
    let mut rig = LogRig::new(18);
    let mut log = made(&rig);
    write(&mut log, append(1, entries(1, 2, 1, 16 << 10))).unwrap();
    // Every opening that writes takes a slot; at the end more than the bound allows, so that a trim can be written.
    let mut openings = 0;
    loop {
        let (mut log, recovered) = rig.open().unwrap();
        assert_eq!(
            log.space().slots_left(),
            u64::from(3 + LOG_SLOTS_SPARE) - openings as u64,
            "each opening takes one"
        );
        assert_eq!(recovered.entries.len(), 1 + openings);
        match write(&mut log, append(2, entries(1, 3 + openings as u64, 1, 10))) {
            Ok(_) => openings += 1,
            Err(error) => {
                assert!(matches!(error, WalError::NoSlot { source: None }), "{error}");
                break;
            }
        }
    }
    assert_eq!(openings, 3 + LOG_SLOTS_SPARE as usize);
    rig.config.slots_max = 5;
    let (mut log, _) = rig.open().unwrap();
    assert_eq!(log.space().slots_left(), 1);
    write(&mut log, trim(40, 1, 4)).unwrap();
    assert_eq!(rig.open().unwrap().0.space().slots_left(), 3, "what the trim made needless counts before it is freed");
    settle(&mut log).unwrap();
    assert_eq!(log.space().free_slots(), 3);
    assert_eq!(rig.open().unwrap().1.entries, entries(1, 5, openings as u64 - 2, 10));
}

#[test]
fn entries_of_every_kind_and_none_come_back_as_they_were() {
    let rig = LogRig::new(19);
    let mut log = made(&rig);
    let mut three = entries(1, 2, 3, 0);
    three[1].kind = EntryKind::ConfChange;
    three[2].kind = EntryKind::ConfChangeV2;
    write(&mut log, append(1, three.clone())).unwrap();
    write(&mut log, append(2, entries(1, 5, 1, 16 << 10))).unwrap();
    three.extend(entries(1, 5, 1, 16 << 10));
    assert_eq!(rig.open().unwrap().1.entries, three);
}
