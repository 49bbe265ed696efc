//! Where the power may go, and every state of the disk that it may leave.
//!
//! Of the writes since the last sync any may have arrived, in any order, each torn between sectors of 512 bytes: a
//! state is a set of their sectors. A sector that several of them write holds the newest one that arrived. Sectors
//! that would change nothing do not count, so no two states of one point are equal.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::testing::seed::Seeded;

/// The unit that a drive writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// A place in a run where the power may go.
#[derive(Clone, Debug)]
pub struct CrashPoint {
    slots: Vec<Option<CrashSlot>>,
    /// The sectors that may have arrived, in order of submission.
    sectors: Vec<Sector>,
    writes: usize,
}

#[derive(Clone, Debug)]
pub(super) struct CrashSlot {
    pub(super) durable: Arc<Vec<u8>>,
    /// Offset and bytes of each write that was not synced.
    pub(super) pending: Vec<(usize, Arc<[u8]>)>,
}

/// One sector of a pending write.
#[derive(Clone, Copy, Debug)]
struct Sector {
    slot: usize,
    /// Counted over all slots.
    write: usize,
    /// Of the slot's pending writes.
    pending: usize,
    /// Bytes from the start of the write.
    from: usize,
}

/// The sectors that arrived, by their places in [`CrashPoint`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CrashState {
    arrived: Vec<usize>,
}

impl CrashPoint {
    pub(super) fn new(slots: Vec<Option<CrashSlot>>) -> CrashPoint {
        let (mut sectors, mut writes) = (Vec::new(), 0);
        for (at, slot) in slots.iter().enumerate().filter_map(|(at, slot)| Some((at, slot.as_ref()?))) {
            for (pending, (offset, bytes)) in slot.pending.iter().enumerate() {
                let overlaps = slot.overlaps(pending);
                let changing = (0..bytes.len()).step_by(SECTOR_BYTES).filter(|from| {
                    let to = bytes.len().min(from + SECTOR_BYTES);
                    overlaps || bytes[*from..to] != slot.durable[offset + from..offset + to]
                });
                sectors.extend(changing.map(|from| Sector { slot: at, write: writes, pending, from }));
                writes += 1;
            }
        }
        CrashPoint { slots, sectors, writes }
    }

    /// Writes that were not synced.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.writes
    }

    pub(super) fn slots(&self) -> &[Option<CrashSlot>] {
        &self.slots
    }

    /// The slots with the sectors of a state, and nothing pending.
    pub(super) fn slots_after(&self, state: &CrashState) -> Vec<Option<CrashSlot>> {
        let mut slots = self.slots.clone();
        for sector in state.arrived.iter().map(|at| self.sectors[*at]) {
            let slot = slots[sector.slot].as_mut().expect("it has a pending write");
            let (offset, bytes) = &slot.pending[sector.pending];
            let to = bytes.len().min(sector.from + SECTOR_BYTES);
            let place = offset + sector.from..offset + to;
            Arc::make_mut(&mut slot.durable)[place].copy_from_slice(&bytes[sector.from..to]);
        }
        slots.iter_mut().flatten().for_each(|slot| slot.pending.clear());
        slots
    }

    /// Every state, if few sectors changed. Otherwise every set of whole writes (up to [`WRITES_MAX`] of them, above that
    /// a sample), each write torn behind and before every sector, with one sector missing and with one alone, beside each
    /// of these sets of the others, and a sample of any sets of sectors.
    #[must_use]
    pub fn states(&self, chance: &Seeded) -> Vec<CrashState> {
        let all = self.sectors.len();
        if all <= SECTORS_MAX {
            let sets = (0_u64..1 << all).map(|set| (0..all).filter(|at| set >> at & 1 == 1).collect());
            return sets.map(|arrived| CrashState { arrived }).collect();
        }
        let mut states = BTreeSet::new();
        let sets = self.sets_of_writes(chance);
        for set in &sets {
            states.insert(self.state(|sector| set >> sector.write & 1 == 1));
        }
        for write in 0..self.writes {
            let torn: Vec<usize> = (0..all).filter(|at| self.sectors[*at].write == write).collect();
            let others: BTreeSet<u64> = sets.iter().map(|set| set & !(1 << write)).collect();
            for (others, at) in
                others.iter().flat_map(|others| torn.iter().map(move |at| (*others, self.sectors[*at].from)))
            {
                let mut beside = |of_torn: &dyn Fn(usize) -> bool| {
                    let arrives = |sector: &Sector| match sector.write == write {
                        true => of_torn(sector.from),
                        false => others >> sector.write & 1 == 1,
                    };
                    states.insert(self.state(arrives));
                };
                beside(&|from| from < at);
                beside(&|from| from > at);
                beside(&|from| from != at);
                beside(&|from| from == at);
            }
        }
        states.extend((0..SAMPLES).map(|_| self.state(|_| chance.one_in(2))));
        states.into_iter().collect()
    }

    fn state(&self, arrives: impl Fn(&Sector) -> bool) -> CrashState {
        let arrived = self.sectors.iter().enumerate().filter(|(_, sector)| arrives(sector)).map(|(at, _)| at);
        CrashState { arrived: arrived.collect() }
    }

    fn sets_of_writes(&self, chance: &Seeded) -> Vec<u64> {
        match self.writes <= WRITES_MAX {
            true => (0..1 << self.writes).collect(),
            false => [0, u64::MAX].into_iter().chain((0..SAMPLES).map(|_| chance.bits())).collect(),
        }
    }
}

impl CrashSlot {
    /// Whether another pending write touches the bytes of this one.
    fn overlaps(&self, which: usize) -> bool {
        let span = |at: usize| (self.pending[at].0, self.pending[at].0 + self.pending[at].1.len());
        let (from, to) = span(which);
        (0..self.pending.len()).any(|other| other != which && span(other).0 < to && from < span(other).1)
    }
}

/// So many pending writes are dropped and kept in every combination.
pub const WRITES_MAX: usize = 8;
/// So many sectors arrive in every combination: 1,024 states.
const SECTORS_MAX: usize = 10;
/// Sets of sectors or writes by chance, for each point that has too many of them.
const SAMPLES: u64 = 64;
