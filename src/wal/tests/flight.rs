//! Several frames in flight: written while others are synced, acknowledged in order, all of them subject to one error.

use std::time::Duration;

use crate::ids::Index;
use crate::limits::LOG_FRAMES_IN_FLIGHT_MAX;
use crate::testing::disk::Fault;
use crate::testing::disk::SimRequestKind;
use crate::testing::log::LogRig;
use crate::testing::log::append;
use crate::testing::log::entries;
use crate::testing::log::settle;
use crate::testing::log::trim;
use crate::testing::log::write;
use crate::testing::seed::Seeded;
use crate::wal::LogConfigError;
use crate::wal::LogCounts;
use crate::wal::LogLoop;
use crate::wal::WalError;

/// Two of these do not fit one frame.
const ENTRY_LEN: usize = 10 << 10;

fn rig(frames_in_flight: usize) -> LogRig {
    let mut rig = LogRig::new(95);
    rig.config.frames_in_flight = frames_in_flight;
    (rig.config.slots, rig.config.slots_max) = (8, 8);
    rig
}

fn running(rig: &LogRig) -> LogLoop {
    rig.create().unwrap();
    rig.open().unwrap().0
}

fn offer(log: &mut LogLoop, count: u64) {
    for at in 0..count {
        log.offer(append(1 + at, entries(1, 2 + at, 1, ENTRY_LEN))).unwrap();
    }
}

/// Steps until nothing is in flight; the tickets in the order of their reports, and the counts.
fn tickets(log: &mut LogLoop) -> (Vec<u64>, LogCounts) {
    let mut tickets = Vec::new();
    loop {
        let progress = log.step(Duration::from_secs(1)).unwrap();
        tickets.extend(progress.persisted_ticket);
        if !progress.busy {
            return (tickets, progress.counts);
        }
    }
}

#[test]
fn frames_in_flight_share_syncs_and_are_acknowledged_in_order() {
    for frames_in_flight in 1..=LOG_FRAMES_IN_FLIGHT_MAX {
        let rig = rig(frames_in_flight);
        let mut log = running(&rig);
        offer(&mut log, 20);
        let (tickets, counts) = tickets(&mut log);
        assert_eq!(tickets.last(), Some(&20));
        assert!(tickets.windows(2).all(|pair| pair[0] < pair[1]), "{tickets:?}");
        assert_eq!((counts.appends, counts.frames), (20, 20));
        match frames_in_flight {
            1 => assert_eq!(counts.syncs, 20),
            2 => assert!(counts.syncs <= 20),
            _ => assert!(counts.syncs < 20, "{frames_in_flight} in flight, {} syncs", counts.syncs),
        }
        assert_eq!(rig.open().unwrap().1.entries, entries(1, 2, 20, ENTRY_LEN));
    }
}

#[test]
fn no_more_frames_are_in_flight_than_the_setting_allows() {
    for frames_in_flight in 1..=LOG_FRAMES_IN_FLIGHT_MAX {
        let rig = rig(frames_in_flight);
        let mut log = running(&rig);
        offer(&mut log, 12);
        log.sync_recovered().unwrap();
        let before = rig.platters.request_kinds().len();
        // The first step submits the writes of its frames. Some complete, so a sync of theirs may be submitted too.
        let counts = log.step(Duration::ZERO).unwrap().counts;
        assert_eq!((counts.frames as usize, counts.syncs), (frames_in_flight, 0));
        let requests = rig.platters.request_kinds().split_off(before);
        let writes = requests.iter().filter(|kind| **kind != SimRequestKind::Sync).count();
        assert_eq!(writes, frames_in_flight, "{requests:?}");
    }
    for wrong in [0, LOG_FRAMES_IN_FLIGHT_MAX + 1] {
        let rig = rig(wrong);
        let refused = |error: WalError| matches!(error, WalError::Config(LogConfigError::FramesInFlight { most: 4 }));
        assert!(refused(rig.create().unwrap_err()));
        assert!(refused(rig.open().unwrap_err()), "an old log too");
    }
}

/// The nth write or sync fails while others are in flight before and behind it.
#[test]
fn one_failure_poisons_every_frame_in_flight() {
    let mut torn = 0;
    for (frames_in_flight, nth) in (1..=LOG_FRAMES_IN_FLIGHT_MAX).flat_map(|it| (0..12).map(move |nth| (it, nth))) {
        for fault in [
            Fault::WriteError(nth, libc::EIO),
            Fault::SyncError(nth, libc::EIO),
            Fault::ShortWrite(nth, 4096),
            Fault::SyncHangs(nth),
        ] {
            let rig = rig(frames_in_flight);
            let mut log = running(&rig);
            log.sync_recovered().unwrap();
            rig.platters.arm(fault);
            offer(&mut log, 12);
            let mut acknowledged = 0;
            let failed = loop {
                match log.step(Duration::from_secs(1)) {
                    Ok(progress) if progress.busy => acknowledged = progress.persisted_ticket.unwrap_or(acknowledged),
                    Ok(_) => break false,
                    Err(_) => break true,
                }
            };
            // A short write is finished once, and of few syncs there is no nth.
            if failed {
                let requests = rig.platters.requests();
                offer_after_the_end(&mut log);
                assert_eq!(rig.platters.requests(), requests, "{fault:?}");
            } else {
                assert!(!matches!(fault, Fault::WriteError(..)), "{fault:?}");
            }
            rig.platters.disarm();
            rig.platters.cut_power(&Seeded::new(nth));
            let found = rig.open().unwrap().1.entries;
            assert!(found.len() as u64 >= acknowledged, "{frames_in_flight} in flight, {fault:?}");
            assert_eq!(found, entries(1, 2, found.len() as u64, ENTRY_LEN), "a prefix");
            torn += usize::from(found.len() > acknowledged as usize);
        }
    }
    assert!(torn > 0, "some frames were written and not acknowledged");
}

fn offer_after_the_end(log: &mut LogLoop) {
    for ticket in 90..93 {
        log.offer(append(ticket, entries(1, 14, 1, 10))).unwrap();
        assert!(matches!(log.step(Duration::ZERO), Err(WalError::Poisoned)));
    }
}

#[test]
fn a_trim_that_overtakes_waits_for_the_frames_in_flight() {
    for frames_in_flight in 1..=LOG_FRAMES_IN_FLIGHT_MAX {
        let mut rig = rig(frames_in_flight);
        (rig.config.slots, rig.config.slots_max) = (4, 4);
        let mut log = running(&rig);
        // More than the pool holds, and the trim that makes space for it behind all of it.
        offer(&mut log, 14);
        log.offer(trim(15, 1, 7)).unwrap();
        assert_eq!(settle(&mut log).unwrap(), Some(15), "{frames_in_flight} in flight");
        assert_eq!(rig.open().unwrap().1.entries, entries(1, 8, 8, ENTRY_LEN));
    }
}

#[test]
fn an_idle_frame_is_written_once_everything_in_flight_is_durable() {
    let rig = rig(LOG_FRAMES_IN_FLIGHT_MAX);
    let mut log = running(&rig);
    offer(&mut log, 6);
    rig.clock.advance(10 * rig.config.idle);
    let (tickets, counts) = tickets(&mut log);
    assert_eq!((tickets.last(), counts.frames), (Some(&6), 6), "no idle frame between");
    rig.idle(&mut log).unwrap();
    assert_eq!(log.step(Duration::ZERO).unwrap().counts.frames, 7);
    write(&mut log, append(7, entries(1, 8, 1, 10))).unwrap();
    assert_eq!(log.fetch(Index(2), Index(7), usize::MAX).unwrap(), entries(1, 2, 6, ENTRY_LEN));
}

#[test]
fn only_durable_entries_are_read_back_while_others_are_in_flight() {
    let rig = rig(LOG_FRAMES_IN_FLIGHT_MAX);
    let mut log = running(&rig);
    offer(&mut log, 4);
    let mut acknowledged = 0;
    loop {
        let progress = log.step(Duration::ZERO).unwrap();
        acknowledged = progress.persisted_ticket.unwrap_or(acknowledged);
        match log.fetch(Index(2), Index(9), usize::MAX) {
            Ok(found) => assert_eq!(found.len() as u64, acknowledged),
            Err(error) => assert!(acknowledged == 0 && matches!(error, WalError::NoEntry { .. }), "{error}"),
        }
        if !progress.busy {
            return assert_eq!(acknowledged, 4);
        }
    }
}

#[test]
fn a_write_that_is_a_sync_itself_is_counted_once_and_not_synced_again() {
    let rig = rig(2);
    let mut log = running(&rig);
    rig.platters.sync_by_flag();
    offer(&mut log, 5);
    let (_, counts) = tickets(&mut log);
    assert_eq!((counts.frames, counts.syncs), (5, 5));
}
