//! SYNC-FATAL and its neighbours: what the device does wrong, and that nothing is acknowledged afterwards.

use std::time::Duration;

use crate::disk::SlotId;
use crate::exit::Blame;
use crate::ids::Index;
use crate::testing::disk::Fault;
use crate::testing::log::LogRig;
use crate::testing::log::append;
use crate::testing::log::entries;
use crate::testing::log::settle;
use crate::testing::log::trim;
use crate::testing::log::write;
use crate::testing::seed::Seeded;
use crate::wal::During;
use crate::wal::LogConfigError;
use crate::wal::LogLoop;
use crate::wal::WalError;
use crate::wal::pipeline::Event;
use crate::wal::pipeline::Pipeline;

fn running(rig: &LogRig) -> LogLoop {
    rig.create().unwrap();
    let (mut log, _) = rig.open().unwrap();
    write(&mut log, append(1, entries(1, 2, 1, 100))).unwrap();
    log
}

#[test]
fn after_a_failed_write_or_sync_nothing_is_written_or_acknowledged_again() {
    for fault in [Fault::WriteError(0, libc::EIO), Fault::SyncError(0, libc::EIO), Fault::WriteError(0, libc::ENOSPC)] {
        let rig = LogRig::new(60);
        let mut log = running(&rig);
        rig.platters.arm(fault);
        let error = write(&mut log, append(2, entries(1, 3, 1, 100))).unwrap_err();
        assert!(matches!(error, WalError::Disk { slot: SlotId(1), .. }), "{error}");
        assert_eq!(error.blame(), Blame::Damage);
        let requests = rig.platters.requests();
        for ticket in 3..6 {
            let answer = write(&mut log, append(ticket, entries(1, 4, 1, 100)));
            assert!(matches!(answer, Err(WalError::Poisoned)), "{answer:?}");
        }
        assert_eq!(rig.platters.requests(), requests);
    }
}

#[test]
fn what_a_failed_sync_covered_may_be_lost_and_was_not_acknowledged() {
    let rig = LogRig::new(61);
    let mut log = running(&rig);
    rig.platters.arm(Fault::SyncError(0, libc::EIO));
    write(&mut log, append(2, entries(1, 3, 1, 100))).unwrap_err();
    rig.platters.cut_power(&Seeded::new(1));
    assert_eq!(rig.open().unwrap().1.entries, entries(1, 2, 1, 100));
}

#[test]
fn a_short_write_is_finished_once() {
    for stops_at in [0, 100, 4096, 5000, 8192] {
        let rig = LogRig::new(62);
        let mut log = running(&rig);
        rig.platters.arm(Fault::ShortWrite(0, stops_at));
        assert_eq!(write(&mut log, append(2, entries(1, 3, 1, 9000))).unwrap(), Some(2));
        assert_eq!(rig.open().unwrap().1.entries.len(), 2);
        rig.platters.arm(Fault::ShortWrite(0, 4096));
        rig.platters.arm(Fault::ShortWrite(0, 4096));
        assert!(write(&mut log, append(3, entries(1, 4, 1, 9000))).is_err());
        assert!(matches!(log.step(Duration::ZERO), Err(WalError::Poisoned)));
    }
}

#[test]
fn an_interrupted_write_is_submitted_again_but_not_for_ever() {
    let rig = LogRig::new(63);
    let mut log = running(&rig);
    for _ in 0..20 {
        rig.platters.arm(Fault::WriteError(0, libc::EINTR));
    }
    assert_eq!(write(&mut log, append(2, entries(1, 3, 1, 100))).unwrap(), Some(2));
    for _ in 0..200 {
        rig.platters.arm(Fault::WriteError(0, libc::EAGAIN));
    }
    assert!(write(&mut log, append(3, entries(1, 4, 1, 100))).is_err());
}

/// How many there were before the one that failed, in which nothing was persisted.
fn steps_of_a_second_until_it_fails(log: &mut LogLoop) -> (u32, WalError) {
    let mut steps = 0;
    loop {
        match log.step(Duration::from_secs(1)) {
            Ok(progress) => assert_eq!(progress.persisted_ticket, None),
            Err(error) => return (steps, error),
        }
        steps += 1;
        assert!(steps < 20, "what hangs is seen");
    }
}

#[test]
fn a_hung_sync_is_final_after_its_time() {
    let rig = LogRig::new(64);
    let mut log = running(&rig);
    rig.platters.arm(Fault::SyncHangs(0));
    log.offer(append(2, entries(1, 3, 1, 100))).unwrap();
    let (_, error) = steps_of_a_second_until_it_fails(&mut log);
    assert!(matches!(error, WalError::Hung { during: During::Sync, .. }), "{error}");
    assert!(matches!(settle(&mut log), Err(WalError::Poisoned)));
}

#[test]
fn a_sync_that_was_under_way_while_the_process_stood_still_has_its_time_behind_it() {
    let rig = LogRig::new(73);
    let mut log = running(&rig);
    rig.platters.arm(Fault::SyncHangs(0));
    log.offer(append(2, entries(1, 3, 1, 100))).unwrap();
    let second = Duration::from_secs(1);
    for _ in 0..3 {
        assert_eq!(log.step(second).unwrap().persisted_ticket, None);
    }
    rig.clock.advance(60 * second);
    let (steps, error) = steps_of_a_second_until_it_fails(&mut log);
    assert!(steps >= 9, "only {steps} s behind a standstill");
    assert!(matches!(error, WalError::Hung { during: During::Sync, waited, .. } if waited < 12 * second), "{error}");
}

#[test]
fn a_zeroing_that_fails_is_final_too() {
    let rig = LogRig::new(65);
    let mut log = running(&rig);
    for at in 0..5 {
        write(&mut log, append(2 + at, entries(1, 3 + at, 1, 16 << 10))).unwrap();
    }
    log.offer(trim(20, 1, 6)).unwrap();
    // The trim's own frame and sync come first.
    rig.platters.arm(Fault::SyncError(1, libc::EIO));
    let error = settle(&mut log).unwrap_err();
    assert!(matches!(error, WalError::Disk { during: During::Zero, .. }), "{error}");
}

#[test]
fn a_pool_that_cannot_grow_is_a_warning() {
    let mut rig = LogRig::new(66);
    rig.config.slots_max = 8;
    let mut log = running(&rig);
    rig.platters.arm(Fault::NoCreate(libc::ENOSPC));
    for at in 0..8 {
        write(&mut log, append(2 + at, entries(1, 3 + at, 1, 16 << 10))).unwrap();
    }
    assert_eq!(log.space().pool_bytes(), 4 * (64 << 10));
    rig.platters.disarm();
    rig.clock.advance(Duration::from_secs(11));
    settle(&mut log).unwrap();
    settle(&mut log).unwrap();
    assert!(log.space().pool_bytes() > 4 * (64 << 10));
}

#[test]
fn a_full_disk_refuses_the_creation_and_impossible_settings_too() {
    let rig = LogRig::new(67);
    rig.platters.arm(Fault::NoCreate(libc::ENOSPC));
    assert!(matches!(rig.create(), Err(WalError::Disk { during: During::Create, .. })));
    let mut rig = LogRig::new(67);
    rig.config.slots = 2;
    assert!(matches!(rig.create(), Err(WalError::Config(LogConfigError::SlotsMin { least: 3 }))));
    let mut rig = LogRig::new(67);
    rig.config.slot_bytes -= 4096;
    assert!(matches!(rig.create(), Err(WalError::Config(LogConfigError::SlotBytesMin { .. }))));
    let mut rig = LogRig::new(67);
    rig.config.slot_bytes += 512;
    assert!(matches!(rig.create(), Err(WalError::Config(LogConfigError::SlotBytesAlignment { .. }))));
    let rig = LogRig::new(67);
    rig.create().unwrap();
    assert!(matches!(rig.create(), Err(WalError::Config(LogConfigError::SlotsExist))));
}

#[test]
fn an_unreadable_slot_is_an_error_not_an_empty_log() {
    let rig = LogRig::new(68);
    let mut log = running(&rig);
    rig.platters.arm(Fault::ReadError(libc::EIO));
    assert!(matches!(rig.open(), Err(WalError::Disk { during: During::Read, .. })));
    assert!(matches!(log.fetch(Index(2), Index(2), 9), Err(WalError::Disk { during: During::Read, .. })));
}

#[test]
fn a_frame_that_does_not_read_back_is_damage_not_a_shorter_log() {
    let rig = LogRig::new(69);
    let mut log = running(&rig);
    rig.platters.alter(SlotId(1), |bytes| bytes[2 * 4096 + 90] ^= 1);
    let answer = log.fetch(Index(2), Index(2), 9);
    assert!(matches!(answer, Err(WalError::Refused { segment: 2, slot: SlotId(1), offset: 8192, .. })), "{answer:?}");
}

#[test]
fn a_sync_acknowledges_only_frames_whose_writes_were_seen_before_it() {
    let rig = LogRig::new(72);
    rig.create().unwrap();
    let disk = Box::new(rig.platters.open(None));
    let second = Duration::from_secs(1);
    let mut pipeline = Pipeline::new(disk, rig.clock.clone(), second, 10 * second);
    for frame in 1..=3 {
        let buffer = pipeline.disk().take_buffer(4096);
        pipeline.write_frame(frame, SlotId(2), frame * 4096, buffer, 4096).unwrap();
    }
    // Three writes are in flight; the first completes, and a sync is submitted behind the other two.
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mut events = Vec::new();
        pipeline.poll(second, &mut events).unwrap();
        assert_eq!(events, vec![]);
    }
    while !pipeline.is_empty() {
        pipeline.poll(second, &mut seen).unwrap();
    }
    assert_eq!(seen, vec![Event::Durable(1), Event::Durable(3)], "one sync for two");
}
