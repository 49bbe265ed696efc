//! Apply: opening a run by threads, applying it in order with the real state machine, the halt at a bad entry, the flush.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use sealkv::apply::open::Openings;
use sealkv::apply::replay::replay_in_memory;
use sealkv::crypto::open::OpenJob;
use sealkv::entry::LogEntry;
use sealkv::raft::Committed;
use sealkv::testing::workload::Scale;
use sealkv::testing::workload::Workload;

use crate::applier::Applier;
use crate::applier::log_of_groups;
use crate::applier::log_of_sets;
use crate::bench::Bench;
use crate::bench::Way;
use crate::propose::SIZES;

/// Below half of a table, so that nothing is flushed.
const REPLAY_BYTES: usize = 32 << 20;

const RUNS: [usize; 7] = [1, 4, 16, 64, 256, 1024, 4096];

pub fn all(scale: Scale) -> Vec<Bench> {
    let mut benches = Vec::new();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for size in scale.of(&SIZES) {
        for count in scale.of(&RUNS).into_iter().filter(|count| fits(*count, size)) {
            for threads in 1..=threads {
                benches.push(opening(threads, count, size));
            }
        }
        for count in scale.of(&RUNS).into_iter().filter(|count| fits(*count, size)) {
            for cipher in ["nil", "sealed"] {
                benches.push(running(cipher, count, size));
            }
        }
        for cipher in ["nil", "sealed"] {
            benches.push(flushing(cipher, 256, size));
        }
    }
    benches.extend(scale.of(&RUNS).into_iter().filter(|count| *count > 1).map(halting));
    for (sets, size) in [(1, 256), (16, 256), (1, 4096)] {
        for cipher in ["nil", "sealed"] {
            for threads in [1, 2] {
                benches.push(replaying(scale, (threads, cipher), sets, size));
            }
        }
    }
    benches
}

fn fits(count: usize, size: usize) -> bool {
    count * size <= 16 << 20
}

fn opening(threads: usize, count: usize, size: usize) -> Bench {
    let name = format!("apply::open/threads={threads} size={size} count={count}");
    Bench::new(name, (count, count * size), count as u64, move || {
        let twins = Workload::new(1).twins(count, size);
        let keys = twins.keys.entry_keys();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.max(2) - 1).build().expect("threads");
        let mut openings = Openings::new((threads > 1).then(|| Arc::new(pool)));
        Way::again(move || {
            let job = |entry: &'_ LogEntry| entry.position();
            let jobs: Vec<OpenJob<'_>> =
                twins.sealed.iter().map(|entry| OpenJob { position: job(entry), data: &entry.data }).collect();
            openings.open(&keys, black_box(&jobs));
            openings.results().filter(Result::is_ok).count() as u64
        })
    })
}

/// From the committed entry to the published view: cut into runs, opened, decoded, named, executed, merged. Behind one entry
/// that is not measured: the key of a term is derived at its first sealed entry, which is no part of a run.
pub fn running(cipher: &'static str, count: usize, size: usize) -> Bench {
    let name = format!("apply::run/cipher={cipher} size={size} count={count}");
    let before = if cipher == "sealed" { 3 } else { 1 };
    Bench::new(name, (count, count * size), (before + 1 + count) as u64 + 1, move || {
        let (log, before) = log_of_sets(cipher, 1 + count, size);
        with_applier(move |applier| {
            let (first, rest) = log.split_at(before + 1);
            applier.run(first);
            let rest: Vec<Committed> = rest.to_vec();
            move |applier: &mut Applier| applier.run(&rest)
        })
    })
}

/// What a start does with the entries that it has read, but for the flush: as many as raft hands out at once are opened, named,
/// executed and merged, in the entries of a busy node (several SETs) or of a quiet one. With two threads a run is opened while
/// the one before it is executed. Throughput is that of SETs.
fn replaying(scale: Scale, (threads, cipher): (usize, &'static str), sets: usize, size: usize) -> Bench {
    let entries = if scale == Scale::Large { REPLAY_BYTES / (sets * size) } else { 100 };
    let name = format!("apply::replay/threads={threads} cipher={cipher} size={size} sets={sets} entries={entries}");
    let before = if cipher == "sealed" { 3 } else { 1 };
    Bench::new(name, (entries * sets, 0), (before + entries) as u64 + 1, move || {
        let log: Rc<Vec<LogEntry>> =
            Rc::new(log_of_groups(cipher, (entries, sets), size).0.into_iter().map(|it| it.entry).collect());
        let pool =
            (threads > 1).then(|| Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("one")));
        let make = move || Applier::founded_with(Openings::new(pool.clone()));
        with_applier_of(make, move |_| {
            let log = Rc::clone(&log);
            move |applier: &mut Applier| {
                let end = replay_in_memory(&mut applier.apply, log.iter().cloned(), |_| (), |_| false);
                if end.is_ok() { applier.apply.applied().position.index.0 } else { 0 }
            }
        })
    })
}

/// The newest rows of all names sealed if their entries were, and one file written: the base is in memory.
pub fn flushing(cipher: &'static str, count: usize, size: usize) -> Bench {
    let name = format!("apply::flush/cipher={cipher} size={size} count={count}");
    Bench::new(name, (count, count * size), count as u64, move || {
        let (log, _) = log_of_sets(cipher, count, size);
        with_applier(move |applier| {
            applier.run(&log);
            |applier: &mut Applier| {
                let is_flushed = applier.apply.flush().is_ok();
                if is_flushed { applier.base.len() as u64 } else { 0 }
            }
        })
    })
}

/// The last entry of a run does not open: what is before it is applied again without it, then the loop halts.
fn halting(count: usize) -> Bench {
    let name = format!("apply::halt/size=256 count={count}");
    Bench::new(name, (count, 0), count as u64 + 3, move || {
        let (mut log, before) = log_of_sets("sealed", count, 256);
        let last = log.last_mut().expect("a run has an entry");
        let mut data = last.entry.data.to_vec();
        *data.last_mut().expect("a sealed entry has a tag") ^= 1;
        last.entry.data = Bytes::from(data);
        with_applier(move |applier| {
            applier.run(&log[..before]);
            let rest: Vec<Committed> = log[before..].to_vec();
            // The entries before the bad one.
            move |applier: &mut Applier| applier.run_to_halt(&rest)
        })
    })
}

/// Work on a fresh applier each time, whose making and end are not measured.
fn with_applier<W>(prepare: impl FnMut(&mut Applier) -> W + 'static) -> Way
where
    W: FnOnce(&mut Applier) -> u64 + 'static,
{
    with_applier_of(Applier::founded, prepare)
}

fn with_applier_of<W>(make: impl Fn() -> Applier + 'static, mut prepare: impl FnMut(&mut Applier) -> W + 'static) -> Way
where
    W: FnOnce(&mut Applier) -> u64 + 'static,
{
    let kept: Rc<RefCell<Option<Applier>>> = Rc::default();
    Way::once(move || {
        let mut applier = make();
        let work = prepare(&mut applier);
        *kept.borrow_mut() = Some(applier);
        let kept = Rc::clone(&kept);
        move || kept.borrow_mut().as_mut().map_or(0, work)
    })
}
