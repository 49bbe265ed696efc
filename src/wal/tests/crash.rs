//! Random work, power cuts and kills on the simulated disk: never less than was acknowledged, never anything else.

use crate::disk::SlotId;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::LOG_FRAMES_IN_FLIGHT_MAX;
use crate::testing::disk::Fault;
use crate::testing::log::LogRig;
use crate::testing::log::append;
use crate::testing::log::entries;
use crate::testing::log::trim;
use crate::testing::log::write;
use crate::testing::seed::Seeded;
use crate::testing::seed::runs;
use crate::testing::seed::seed;
use crate::wal::Append;
use crate::wal::HardState;
use crate::wal::LogLoop;
use crate::wal::Recovered;
use crate::wal::WalError;
use crate::wal::testkit::frames;

/// What a log must hold: everything acknowledged, and perhaps what was offered since.
#[derive(Clone, Debug, Default)]
struct Model {
    acknowledged: Vec<LogEntry>,
    compacted: u64,
    hard_state: HardState,
    /// Offered and not acknowledged, in order.
    pending: Vec<(u64, Append)>,
}

impl Model {
    fn last(&self) -> u64 {
        let pending = self.pending.iter().rev().find_map(|(_, append)| append.entries.last());
        let last = pending.or(self.acknowledged.last());
        last.map_or(self.compacted, |entry| entry.index.0).max(self.compacted)
    }

    /// The compacted index once everything pending is taken: raft appends only above it.
    fn low(&self) -> u64 {
        let trims = self.pending.iter().filter_map(|(_, append)| append.trim);
        trims.map(|trim| trim.index.0).max().unwrap_or(0).max(self.compacted)
    }

    fn acknowledge(&mut self, ticket: u64) {
        while self.pending.first().is_some_and(|(pending, _)| *pending <= ticket) {
            let (_, append) = self.pending.remove(0);
            self.take(append);
        }
    }

    fn take(&mut self, append: Append) {
        if let Some(first) = append.entries.first() {
            self.acknowledged.retain(|entry| entry.index < first.index);
            self.acknowledged.extend(append.entries);
        }
        if let Some(trim) = append.trim {
            self.compacted = self.compacted.max(trim.index.0);
            self.acknowledged.retain(|entry| entry.index > trim.index);
        }
        self.hard_state = append.hard_state.unwrap_or(self.hard_state);
    }

    /// The recovered log is the model after some prefix of what was pending; entries of the next append may be cut.
    fn check(&mut self, recovered: &Recovered) {
        let mut pending = std::mem::take(&mut self.pending).into_iter();
        loop {
            // A commit alone need not have been written.
            let vote = |hard_state: HardState| (hard_state.term, hard_state.vote);
            let same_rest =
                self.compacted == recovered.compacted.index.0 && vote(self.hard_state) == vote(recovered.hard_state);
            if same_rest && self.acknowledged == recovered.entries {
                break;
            }
            let Some((_, append)) = pending.next() else {
                let places =
                    |entries: &[LogEntry]| entries.iter().map(|it| (it.term.0, it.index.0)).collect::<Vec<_>>();
                let (found, model) = (places(&recovered.entries), places(&self.acknowledged));
                let states = (recovered.hard_state, self.hard_state, recovered.compacted, self.compacted);
                panic!("not a prefix: found {found:?}, model {model:?}, {states:?}");
            };
            if let Some(part) = part_of(self, &append, recovered) {
                *self = part;
                break;
            }
            self.take(append);
        }
        self.acknowledged.clone_from(&recovered.entries);
        self.hard_state = recovered.hard_state;
    }
}

/// The model after a part of one append, if that is what was recovered.
fn part_of(model: &Model, append: &Append, recovered: &Recovered) -> Option<Model> {
    // The hard state may go with a frame before that of the first entry.
    (0..append.entries.len()).find_map(|count| {
        let mut part = model.clone();
        part.take(Append { entries: append.entries[..count].to_vec(), trim: None, ..append.clone() });
        let same = part.acknowledged == recovered.entries && part.compacted == recovered.compacted.index.0;
        same.then_some(part)
    })
}

fn random_append(model: &Model, term: u64, ticket: u64, chance: &Seeded) -> Append {
    let (last, low) = (model.last(), model.low());
    if chance.one_in(4) && last > low + 1 {
        // No more than is acknowledged: raft trims only what is applied.
        let held = model.acknowledged.last().map_or(low, |entry| entry.index.0);
        let settled = model.pending.is_empty() && held > low;
        if settled {
            return trim(ticket, term, low + 1 + chance.below(held - low));
        }
    }
    let back = if chance.one_in(6) { chance.below(3).min(last - low) } else { 0 };
    let count = 1 + chance.below(4);
    let length = [10, 500, 5000, 12_000][chance.below(4) as usize];
    let mut append = append(ticket, entries(term, last + 1 - back, count, length));
    if chance.one_in(5) {
        append.hard_state = Some(HardState { term: Term(term), vote: chance.below(3), commit: Index(low) });
    }
    append
}

fn one_life(rig: &LogRig, log: &mut LogLoop, model: &mut Model, term: u64, chance: &Seeded) {
    let mut ticket = 0;
    if log.space().free_slots() < 3 {
        // As a node does at its start: the first frame carries the trim.
        ticket += 1;
        if let Some(last) = model.acknowledged.last() {
            let append = trim(ticket, term, last.index.0);
            model.pending.push((ticket, append.clone()));
            log.offer(append).unwrap();
        }
    }
    for _ in 0..chance.below(40) {
        let space = log.space().available_bytes();
        if !chance.one_in(3) && space > 60_000 {
            ticket += 1;
            let append = random_append(model, term, ticket, chance);
            model.pending.push((ticket, append.clone()));
            log.offer(append).unwrap();
        } else if space <= 60_000 && model.pending.is_empty() && !model.acknowledged.is_empty() {
            ticket += 1;
            let all = model.acknowledged.last().unwrap().index.0;
            let append = trim(ticket, term, all);
            model.pending.push((ticket, append.clone()));
            log.offer(append).unwrap();
        }
        if chance.one_in(5) {
            rig.clock.advance(rig.config.idle);
        }
        match log.step(std::time::Duration::from_millis(1)) {
            Ok(progress) => {
                if let Some(ticket) = progress.persisted_ticket {
                    model.acknowledge(ticket);
                }
            }
            Err(error) => {
                assert!(matches!(error, WalError::Disk { .. }), "{error}");
                return;
            }
        }
    }
}

/// Twelve processes on one log: each finds what was acknowledged, works, meets a fault, and ends by a kill or a power cut.
fn live_and_crash(seed: u64, frames_in_flight: usize) {
    let chance = Seeded::new(seed);
    let mut rig = if chance.one_in(3) { LogRig::clear(seed) } else { LogRig::new(seed) };
    rig.config.frames_in_flight = frames_in_flight;
    rig.config.slots_max = 12;
    rig.create().unwrap();
    let mut model = Model { compacted: 1, ..Model::default() };
    for life in 0..12 {
        let (mut log, recovered) = rig.open().unwrap_or_else(|error| panic!("SEALKV_SEED={seed} life {life}: {error}"));
        model.check(&recovered);
        // What was found and is then synced may be relied upon.
        log.sync_recovered().unwrap();
        match chance.below(4) {
            0 => rig.platters.arm(Fault::WriteError(chance.below(20), libc::EIO)),
            1 => rig.platters.arm(Fault::SyncError(chance.below(20), libc::EIO)),
            2 => rig.platters.arm(Fault::ShortWrite(chance.below(20), 4096)),
            _ => {}
        }
        one_life(&rig, &mut log, &mut model, 1 + life, &chance);
        rig.platters.disarm();
        drop(log);
        if !chance.one_in(3) {
            rig.platters.cut_power(&chance);
        }
    }
}

#[test]
fn random_crashes_lose_nothing_acknowledged() {
    let seed = seed(20_261_123);
    let runs = runs(60);
    for run in 0..runs {
        live_and_crash(seed.wrapping_add(run), 1 + run as usize % LOG_FRAMES_IN_FLIGHT_MAX);
    }
    eprintln!("{runs} tried, 0 failed");
}

/// The runs in which a slot was freed by a process that died before the zeroed header was durable: the next process used the
/// slot, and after a power cut the old header stood over the new frames. Such a log was refused.
#[test]
fn a_header_that_was_zeroed_but_not_synced_does_not_come_back_over_new_frames() {
    [103_446, 20_262_162].into_iter().for_each(|seed| live_and_crash(seed, 1));
}

#[test]
fn a_watermark_advances_in_every_configuration() {
    for rig in [LogRig::new(70), LogRig::clear(70)] {
        rig.create().unwrap();
        let (mut log, _) = rig.open().unwrap();
        for at in 0..3 {
            write(&mut log, append(1 + at, entries(1, 2 + at, 1, 10))).unwrap();
        }
        let mut disk = rig.platters.open(None);
        let frames = frames(&mut disk, SlotId(1), &rig.config).unwrap().unwrap();
        let heads: Vec<_> = frames.map(|frame| frame.unwrap().head).collect();
        assert_eq!(heads.len(), 3);
        assert!(heads.iter().all(|head| head.watermark == head.number - 1));
    }
}

#[test]
fn a_group_that_was_not_synced_is_not_acknowledged_by_a_power_cut() {
    let rig = LogRig::new(71);
    rig.create().unwrap();
    let (mut log, _) = rig.open().unwrap();
    write(&mut log, append(1, entries(1, 2, 1, 10))).unwrap();
    rig.platters.arm(Fault::SyncHangs(0));
    log.offer(append(2, entries(1, 3, 1, 10))).unwrap();
    let progress = log.step(std::time::Duration::ZERO).unwrap();
    assert_eq!(progress.persisted_ticket, None);
    let position = Position { term: Term(1), index: Index(1) };
    let after = rig.open().unwrap().1;
    assert_eq!((after.compacted, after.entries.len()), (position, 2), "a kill keeps the page cache");
}
