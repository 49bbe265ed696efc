//! The disk fails at the nth request, for every n of a long run: with an error, a short write, or not at all any more. From
//! then on nothing is acknowledged and no request is made, and the next process on a healthy disk has what was acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use sealkv::testing::crash::CrashPoint;
use sealkv::testing::disk::Fault;
use sealkv::testing::disk::Platters;
use sealkv::testing::disk::SimRequestKind;
use sealkv::testing::log::LogRig;
use sealkv::testing::seed::Seeded;
use sealkv::testing::seed::runs;
use sealkv::wal::WalError;

use crate::log_life::Life;
use crate::log_life::recovers;
use crate::log_model::LogModel;
use crate::workloads::Workload;
use crate::workloads::steady;

/// What the disk does at one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    Error(i32),
    /// It stops after so many bytes; the rest can be written.
    Short(usize),
    /// It stops twice: the second time is final.
    ShortTwice,
    Hangs,
    /// Not an error: it takes longer than it should.
    Slow,
}

/// A process of the long run: the disk that it found, and its requests.
struct Chapter {
    rig: LogRig,
    found: CrashPoint,
    model: LogModel,
    chance: Seeded,
    kinds: Vec<SimRequestKind>,
}

impl Chapter {
    /// The same process once more, on a disk that does this at the request with this number.
    fn fails(&self, at: usize, failure: Failure) -> Result<(), String> {
        let kind = self.kinds[at];
        let earlier = self.kinds[..at].iter().filter(|earlier| is_sync(**earlier) == is_sync(kind)).count() as u64;
        let rig = self.rig.on(Platters::killed(&self.found), 3);
        self.arm(&rig, earlier, kind, failure);
        let mut watcher = |_: &LogRig, _: &LogModel| ();
        let mut life = Life::on(rig, self.model.clone(), self.chance.clone(), &mut watcher)?;
        let worked = life.sync_recovered().and_then(|()| steady(&mut life));
        let is_final = match failure {
            Failure::Error(_) | Failure::ShortTwice | Failure::Hangs => true,
            Failure::Short(_) | Failure::Slow => false,
        };
        match (&worked, is_final) {
            (Ok(()), false) => {}
            (Err(WalError::Disk { .. }), true) if failure != Failure::Hangs => is_final_for(&mut life)?,
            (Err(WalError::Hung { waited, .. }), true) if failure == Failure::Hangs => {
                let hung = life.rig.config.hung;
                if *waited < hung || *waited > hung + Duration::from_secs(1) {
                    return Err(format!("a hang is final after {waited:?}"));
                }
                is_final_for(&mut life)?;
            }
            (found, _) => return Err(format!("ended with {found:?}")),
        }
        let (rig, model) = (&life.rig, life.model());
        rig.platters.disarm();
        let point = rig.platters.crash_point();
        recovers(rig, model, Platters::killed(&point)).map_err(|why| format!("after the process: {why}"))?;
        let chance = Seeded::new(at as u64);
        let states = point.states(&chance);
        for state in [0, chance.index(states.len()), states.len() - 1].map(|at| &states[at]) {
            recovers(rig, model, Platters::after(&point, state)).map_err(|why| format!("after a power cut: {why}"))?;
        }
        Ok(())
    }

    fn arm(&self, rig: &LogRig, nth: u64, kind: SimRequestKind, failure: Failure) {
        let fault = match (failure, is_sync(kind)) {
            (Failure::Error(errno), true) => Fault::SyncError(nth, errno),
            (Failure::Error(errno), false) => Fault::WriteError(nth, errno),
            (Failure::Hangs, true) => Fault::SyncHangs(nth),
            (Failure::Hangs, false) => Fault::WriteHangs(nth),
            (Failure::Slow, _) => Fault::SyncTakes(nth, SLOW),
            (Failure::Short(bytes), _) => Fault::ShortWrite(nth, bytes),
            (Failure::ShortTwice, _) => Fault::ShortWrite(nth, 0),
        };
        rig.platters.arm(fault);
        if failure == Failure::ShortTwice {
            // The rest of the first is the next write, or one of the next.
            (0..3).for_each(|_| rig.platters.arm(Fault::ShortWrite(nth, 0)));
        }
    }
}

fn is_sync(kind: SimRequestKind) -> bool {
    kind == SimRequestKind::Sync
}

/// No second try: neither a request nor an acknowledgement, whatever is asked of it.
fn is_final_for(life: &mut Life<'_>) -> Result<(), String> {
    let requests = life.rig.platters.requests();
    let vote = life.voted();
    life.offer(vote);
    life.offer(life.appended(1, 100));
    for _ in 0..5 {
        match life.step() {
            Err(WalError::Poisoned) => {}
            other => return Err(format!("goes on after a failure: {other:?}")),
        }
    }
    let more = life.rig.platters.requests() - requests;
    if more == 0 { Ok(()) } else { Err(format!("{more} requests after a failure")) }
}

/// One process after another on one log, until there are enough requests.
fn chapters() -> Vec<Chapter> {
    let rig = STEADY.rig(5);
    rig.create().unwrap();
    let (mut chapters, mut found, mut model) = (Vec::new(), rig.platters.crash_point(), LogModel::new());
    let mut requests = 0;
    while requests < REQUESTS_MIN {
        let chance = Seeded::new(chapters.len() as u64);
        let mut watcher = |_: &LogRig, _: &LogModel| ();
        let before = rig.on(Platters::killed(&found), 3);
        let mut life = Life::on(before, model.clone(), chance.clone(), &mut watcher).unwrap();
        life.sync_recovered().and_then(|()| steady(&mut life)).unwrap();
        let kinds = life.rig.platters.request_kinds();
        requests += kinds.len();
        let (after, left) = (life.rig.platters.crash_point(), life.model().clone());
        let chapter_rig = rig.on(Platters::default(), 0);
        chapters.push(Chapter { rig: chapter_rig, found, model, chance, kinds });
        (found, model) = (after, left);
    }
    chapters
}

/// Every request of a run of more than 2000 fails in each way in turn; `SEALKV_RUNS` of the requests.
#[test]
fn whichever_request_fails_nothing_is_acknowledged_after_it_and_nothing_acknowledged_is_lost() {
    let chapters = chapters();
    let places = chapters.iter().flat_map(|chapter| (0..chapter.kinds.len()).map(move |at| (chapter, at)));
    let places: Vec<(&Chapter, usize)> = places.collect();
    let size = usize::try_from(runs(CI_PLACES)).unwrap().min(places.len());
    // Evenly over all, so that a slice meets every kind of request.
    let chosen = (0..size).map(|at| places[at * places.len() / size]);
    let mut tried: BTreeMap<(String, Failure), u64> = BTreeMap::new();
    let mut failed = 0;
    for (chapter, at) in chosen {
        let kind = chapter.kinds[at];
        for failure in if is_sync(kind) { &OF_SYNCS } else { &OF_WRITES[..] } {
            *tried.entry((format!("{kind:?}"), *failure)).or_default() += 1;
            if let Err(why) = chapter.fails(at, *failure) {
                failed += 1;
                eprintln!("failed: {failure:?} at request {at}, a {kind:?}, of {}: {why}", chapter.kinds.len());
            }
        }
    }
    let all: u64 = tried.values().sum();
    eprintln!("{size} of {} requests: {tried:?}", places.len());
    println!("{all} tried, {failed} failed");
    assert_eq!(failed, 0);
    assert_eq!(tried.len(), OF_SYNCS.len() + 2 * OF_WRITES.len(), "vacuous: {tried:?}");
    assert!(places.len() >= REQUESTS_MIN && all >= 5 * size as u64);
}

/// A pool that cannot grow is a warning: what there is goes on, and once it is full the log waits for a trim.
#[test]
fn a_pool_that_cannot_grow_closes_the_door_and_a_trim_opens_it() {
    for errno in ERRORS {
        let rig = STEADY.rig(9);
        let mut watcher = |_: &LogRig, _: &LogModel| ();
        let mut life = Life::new(rig, Seeded::new(9), &mut watcher);
        let space = life.space();
        life.rig.platters.arm(Fault::NoCreate(errno));
        let mut offered = 0;
        while !life.is_stalled() {
            life.offer(life.appended(1, 3000));
            life.settle().unwrap();
            offered += 1;
            assert!(offered < 100, "the pool grew");
        }
        assert_eq!(space.pool_bytes(), 4 * (32 << 10));
        assert!(space.available_bytes() < 8192, "the door is closed: {}", space.available_bytes());
        let trim = life.trimmed(0).unwrap();
        life.offer(trim);
        life.settle().unwrap();
        assert!(life.model().is_settled() && space.available_bytes() > 8192);
        let point = life.rig.platters.crash_point();
        recovers(&life.rig, life.model(), Platters::killed(&point)).unwrap();
        // With space on the disk it grows by itself.
        life.rig.platters.disarm();
        for _ in 0..12 {
            life.rig.clock.advance(Duration::from_secs(11));
            life.offer(life.appended(1, 3000));
            life.settle().unwrap();
            life.settle().unwrap();
        }
        assert!(space.pool_bytes() > 4 * (32 << 10));
    }
}

#[test]
fn a_sync_that_takes_longer_than_a_tenth_of_a_second_is_reported() {
    let rig = STEADY.rig(11);
    let mut watcher = |_: &LogRig, _: &LogModel| ();
    let mut life = Life::new(rig, Seeded::new(11), &mut watcher);
    life.offer(life.appended(1, 100));
    life.settle().unwrap();
    assert!(life.slowest_sync < Duration::from_millis(100));
    life.rig.platters.arm(Fault::SyncTakes(0, SLOW));
    life.offer(life.appended(1, 100));
    life.settle().unwrap();
    assert!(life.slowest_sync >= SLOW && life.model().is_settled());
}

const STEADY: &Workload = &crate::workloads::STEADY;
const ERRORS: [i32; 3] = [errno::EIO, errno::ENOSPC, errno::EROFS];
const OF_WRITES: [Failure; 8] = [
    Failure::Error(errno::EIO),
    Failure::Error(errno::ENOSPC),
    Failure::Error(errno::EROFS),
    Failure::Short(0),
    Failure::Short(512),
    Failure::Short(4096),
    Failure::ShortTwice,
    Failure::Hangs,
];
const OF_SYNCS: [Failure; 5] = [
    Failure::Error(errno::EIO),
    Failure::Error(errno::ENOSPC),
    Failure::Error(errno::EROFS),
    Failure::Hangs,
    Failure::Slow,
];
const SLOW: Duration = Duration::from_millis(250);
const REQUESTS_MIN: usize = 2_000;
/// `scripts/slow disk-errors` fails every request.
const CI_PLACES: u64 = 60;

/// Linux's numbers.
mod errno {
    pub const EIO: i32 = 5;
    pub const ENOSPC: i32 = 28;
    pub const EROFS: i32 = 30;
}
