//! The power goes after every write and every sync of many workloads, and every state that the disk may be left in is
//! recovered by the real code: it opens, holds everything acknowledged and nothing else, gives no vote back, and goes on.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use sealkv::testing::crash::CrashPoint;
use sealkv::testing::crash::CrashState;
use sealkv::testing::disk::Platters;
use sealkv::testing::log::LogRig;
use sealkv::testing::seed::Seeded;
use sealkv::testing::seed::runs;
use sealkv::testing::seed::seed;

use crate::log_life::Life;
use crate::log_life::recovers;
use crate::log_model::LogModel;
use crate::workloads::WORKLOADS;
use crate::workloads::Workload;

/// What all workers have done.
#[derive(Default)]
struct Tally {
    states: AtomicU64,
    points: AtomicU64,
    /// A process died there, and the power went later.
    kills: AtomicU64,
    /// Most writes that were pending at one point.
    pending_max: AtomicU64,
    failed: AtomicU64,
}

/// One workload with one seed.
struct Round<'a> {
    workload: &'a Workload,
    seed: u64,
    /// One state in so many is recovered.
    odds: u64,
    tally: &'a Tally,
}

impl Round<'_> {
    fn run(&self) {
        let rig = self.workload.rig(self.seed);
        let (chance, watching) = (Seeded::new(self.seed), Seeded::new(!self.seed));
        let mut watcher = |rig: &LogRig, model: &LogModel| {
            for point in rig.platters.take_crash_points() {
                self.power_goes(rig, model, &point, &watching);
                if self.odds == 1 || watching.one_in(self.odds.min(40)) {
                    self.process_dies(rig, model, &point, &watching);
                }
            }
        };
        let mut life = Life::new(rig, chance, &mut watcher);
        let worked = (self.workload.work)(&mut life);
        worked.unwrap_or_else(|error| panic!("{}, seed {}: {error}", self.workload.name, self.seed));
        assert!(life.model().is_settled(), "{}: it stands still", self.workload.name);
    }

    fn power_goes(&self, rig: &LogRig, model: &LogModel, point: &CrashPoint, chance: &Seeded) {
        self.tally.points.fetch_add(1, Relaxed);
        self.tally.pending_max.fetch_max(point.pending() as u64, Relaxed);
        for state in point.states(chance) {
            if self.odds > 1 && !chance.one_in(self.odds) {
                continue;
            }
            self.tally.states.fetch_add(1, Relaxed);
            if let Err(why) = recovers(rig, model, Platters::after(point, &state)) {
                self.fails(&why, point, Some(&state));
            }
        }
    }

    /// Only the process dies: the page cache lives. The next process goes on, and the power goes while it does.
    fn process_dies(&self, rig: &LogRig, model: &LogModel, point: &CrashPoint, chance: &Seeded) {
        self.tally.kills.fetch_add(1, Relaxed);
        let rig = rig.on(Platters::killed(point), chance.bits());
        rig.platters.watch_crash_points();
        let mut watcher = |rig: &LogRig, model: &LogModel| {
            for point in rig.platters.take_crash_points() {
                self.power_goes(rig, model, &point, chance);
            }
        };
        let gone_on = Life::on(rig, model.clone(), chance.clone(), &mut watcher).and_then(|mut life| {
            life.sync_recovered().map_err(|error| error.to_string())?;
            life.make_space();
            life.offer(life.appended(1, 300));
            let vote = life.voted();
            life.offer(vote);
            life.idle().map_err(|error| error.to_string())
        });
        if let Err(why) = gone_on {
            self.fails(&why, point, None);
        }
    }

    fn fails(&self, why: &str, point: &CrashPoint, state: Option<&CrashState>) {
        if self.tally.failed.fetch_add(1, Relaxed) < SHOWN_MAX {
            let Round { workload, seed, .. } = self;
            let name = workload.name;
            eprintln!("failed: {name}, SEALKV_SEED={seed}, {} writes pending, {state:?}: {why}", point.pending());
        }
    }
}

/// Every state that a power cut may leave, at every place of every workload, also after a kill; `SEALKV_RUNS` states.
#[test]
fn every_state_that_a_power_cut_may_leave_recovers_to_what_was_acknowledged() {
    let (size, first, tally) = (runs(CI_STATES), seed(1), Tally::default());
    let odds = (STATES_OF_A_ROUND / size).max(1);
    let jobs = AtomicU64::new(0);
    let work = || {
        while tally.states.load(Relaxed) < size || jobs.load(Relaxed) < WORKLOADS.len() as u64 {
            let job = jobs.fetch_add(1, Relaxed);
            let (round, at) = (job / WORKLOADS.len() as u64, job as usize % WORKLOADS.len());
            let round = Round { workload: &WORKLOADS[at], seed: first + round, odds, tally: &tally };
            round.run();
        }
    };
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        (0..workers).for_each(|_| drop(scope.spawn(work)));
    });
    let Tally { states, points, kills, pending_max, failed } = &tally;
    let (states, failed) = (states.load(Relaxed), failed.load(Relaxed));
    let (points, kills) = (points.load(Relaxed), kills.load(Relaxed));
    eprintln!(
        "{} workloads, {} rounds, {points} places, {kills} kills, at most {} writes pending",
        WORKLOADS.len(),
        jobs.load(Relaxed) / WORKLOADS.len() as u64,
        pending_max.load(Relaxed)
    );
    println!("{states} tried, {failed} failed");
    assert_eq!(failed, 0);
    assert!(states >= size && kills >= 20 && points >= 500, "vacuous: {states} states, {kills} kills, {points} places");
}

/// `scripts/slow crash-states` tries many more.
const CI_STATES: u64 = 6_000;
/// About as many states as one round of all workloads has.
const STATES_OF_A_ROUND: u64 = 400_000;
const SHOWN_MAX: u64 = 5;
