//! Somebody who can write to the log's disk, knows the format and has no key. Every checksum is made right again. No edit is
//! accepted but two that no log can see: a clean cut of the newest frames, and the whole log put back to an earlier one.

use std::collections::BTreeMap;

use sealkv::disk::SlotId;
use sealkv::ids::ClusterId;
use sealkv::testing::log::LogRig;
use sealkv::testing::seed::Seeded;
use sealkv::testing::seed::runs;
use sealkv::testing::seed::seed;

use crate::log_model::Contents;
use crate::sealed_log::BLOCK;
use crate::sealed_log::Frame;
use crate::sealed_log::SECTOR;
use crate::sealed_log::SealedLog;
use crate::sealed_log::is_header;
use crate::sealed_log::mend_frame;
use crate::sealed_log::mend_header;

type Slots = Vec<Vec<u8>>;

/// The log under attack, and what an attacker may have collected before.
struct Attack {
    log: SealedLog,
    frames: Vec<Frame>,
    slots: Slots,
    /// Slots of other logs: an earlier state of this one, another life of it, other nodes and clusters, one without a key.
    loot: Vec<(&'static str, Slots)>,
    accepted_cuts: u64,
    harmless: u64,
    tried: BTreeMap<&'static str, u64>,
    failed: u64,
}

impl Attack {
    fn new(seed: u64) -> Attack {
        let log = SealedLog::new(seed, 24 << 10);
        let (frames, slots) = (log.frames(), slots_of(&log.rig));
        let mut foreign = LogRig::new(seed + 1);
        foreign.config.cluster_id = ClusterId([8; 16]);
        let mut clear = LogRig::clear(seed + 2);
        for rig in [&mut foreign, &mut clear] {
            (rig.config.slots, rig.config.slots_max) = (6, 6);
            rig.create().unwrap();
            let (mut log, _) = rig.open().unwrap();
            let append = sealkv::testing::log::append(1, sealkv::testing::log::entries(1, 2, 5, 600));
            sealkv::testing::log::write(&mut log, append).unwrap();
        }
        // Another log with this node's name and key: what a restored copy of the directory would have gone on to write.
        let twin = SealedLog::new(seed + 3, 24 << 10);
        let loot = vec![
            ("another cluster's", slots_of(&foreign)),
            ("a log without a key", slots_of(&clear)),
            (TWIN, slots_of(&twin.rig)),
        ];
        Attack { log, frames, slots, loot, accepted_cuts: 0, harmless: 0, tried: BTreeMap::new(), failed: 0 }
    }

    /// Opens the log with an edit. `cuts`: the edit destroys everything from some frame to the end and nothing before it.
    fn edit(&mut self, name: &'static str, cuts: bool, edit: impl FnOnce(&mut Slots)) {
        let mut slots = self.slots.clone();
        edit(&mut slots);
        if slots == self.slots {
            return;
        }
        *self.tried.entry(name).or_default() += 1;
        let rig = self.log.rig.image();
        for (slot, bytes) in self.log.slots().zip(&slots) {
            rig.platters.alter(slot, |old| old.copy_from_slice(bytes));
        }
        match rig.open() {
            Err(_) => {}
            Ok((_, recovered)) if Contents::of(&recovered) == *self.log.contents() => self.harmless += 1,
            Ok((_, recovered)) if cuts && self.log.was(&recovered) => self.accepted_cuts += 1,
            other => {
                self.failed += 1;
                eprintln!("failed: {name}: {:?}", other.map(|(_, recovered)| recovered.entries.len()));
            }
        }
    }

    fn segments(&self) -> Vec<SlotId> {
        self.log.slots().filter(|slot| is_header(&self.slots[slot.0 as usize])).collect()
    }

    /// Every byte of a frame's head and its last ones, and bytes of its body by chance, with the checksum mended.
    fn bytes_of_frames(&mut self, chance: &Seeded) {
        for frame in self.frames.clone() {
            let (slot, len) = (frame.slot.0 as usize, frame.bytes.len());
            let body = (0..24).map(|_| 4 + chance.index(len - 4));
            let places: Vec<usize> = (4..64.min(len)).chain(len - 16..len).chain(body).collect();
            for at in places {
                let change = 1 + u8::try_from(chance.below(255)).unwrap();
                self.edit("a byte of a frame", false, |slots| {
                    slots[slot][frame.offset + at] ^= change;
                    mend_frame(&mut slots[slot], frame.offset);
                });
            }
            self.edit("a frame's seal taken off", false, |slots| {
                slots[slot][frame.offset + 8] &= 0x7f;
                mend_frame(&mut slots[slot], frame.offset);
            });
        }
    }

    /// Frames put over others and exchanged, as they are and with number, watermark, segment and chain of the place.
    fn frames_moved(&mut self, chance: &Seeded) {
        let frames = self.frames.clone();
        for _ in 0..3_000 {
            let (from, to) = (&frames[chance.index(frames.len())], &frames[chance.index(frames.len())]);
            let adapted = chance.one_in(2);
            let exchanged = chance.one_in(2);
            self.edit("a frame in the place of another", false, |slots| {
                put(slots, to, &from.bytes, adapted);
                if exchanged {
                    put(slots, from, &to.bytes, adapted);
                }
            });
        }
        // Taken out, and what follows moved up.
        for (at, frame) in frames.iter().enumerate() {
            let is_newest = at + 1 == frames.len();
            self.edit("a frame taken out", is_newest, |slots| {
                let slot = &mut slots[frame.slot.0 as usize];
                let end = frame.offset + frame.bytes.len().next_multiple_of(BLOCK);
                slot.copy_within(end.., frame.offset);
            });
        }
    }

    /// Sectors and blocks zeroed, exchanged, copied.
    fn sectors(&mut self, chance: &Seeded) {
        let last = self.frames.last().unwrap().clone();
        for frame in self.frames.clone() {
            let cuts = frame.number == last.number;
            for from in (0..frame.bytes.len()).step_by(SECTOR) {
                let place = frame.offset + from..frame.offset + from + SECTOR;
                self.edit("a sector zeroed", cuts, |slots| slots[frame.slot.0 as usize][place].fill(0));
            }
        }
        let live = self.segments();
        for _ in 0..3_000 {
            let unit = chance.pick(&[SECTOR, BLOCK]);
            let (one, two) = (chance.pick(&live).0 as usize, chance.pick(&live).0 as usize);
            let places = self.slots[one].len() / unit;
            let (from, to) = (chance.index(places) * unit, chance.index(places) * unit);
            // What only touches the newest frame takes it away.
            let cuts = two == last.slot.0 as usize && to >= last.offset;
            self.edit("a sector or block over another", cuts, |slots| {
                let bytes = slots[one][from..from + unit].to_vec();
                slots[two][to..to + unit].copy_from_slice(&bytes);
            });
        }
    }

    /// Every byte of every header's fields: in both copies or one, its seal kept or taken off.
    fn headers(&mut self, chance: &Seeded) {
        for slot in self.segments() {
            for at in (0..184).chain([4064, 4079, 4080, 4091]) {
                for (copies, unsealed) in [(2, false), (2, true), (1, false), (1, true)] {
                    let change = 1 + u8::try_from(chance.below(255)).unwrap();
                    self.edit("a byte of a header", false, |slots| {
                        let headers = &mut slots[slot.0 as usize][..copies * BLOCK];
                        for copy in headers.chunks_mut(BLOCK) {
                            copy[at] ^= change;
                            if unsealed {
                                copy[4064..4080].fill(0);
                            }
                            mend_header(copy);
                        }
                    });
                }
            }
        }
    }

    /// Slots exchanged with each other and with loot; segments renamed to the number of another.
    fn segments_moved(&mut self) {
        let count = self.slots.len();
        for (one, two) in (0..count).flat_map(|one| (0..count).map(move |two| (one, two))) {
            self.edit("slots exchanged", false, |slots| slots.swap(one, two));
            let newest = self.frames.last().unwrap().slot.0 as usize;
            let empties_newest = two == newest && !is_header(&self.slots[one]);
            self.edit("a slot over another", empties_newest, |slots| slots[two] = slots[one].clone());
            self.edit("headers over others", empties_newest, |slots| {
                let headers = slots[one][..2 * BLOCK].to_vec();
                slots[two][..2 * BLOCK].copy_from_slice(&headers);
            });
        }
        for (name, loot) in self.loot.clone() {
            for (from, to) in (0..loot.len()).flat_map(|from| (0..count).map(move |to| (from, to))) {
                let newest = self.frames.last().unwrap().slot.0 as usize;
                let cuts = to == newest && !is_header(&loot[from]);
                self.edit(name, cuts, |slots| slots[to] = loot[from].clone());
                // It claims the number, the chain and the place of the segment that was there.
                let old = self.slots[to][..BLOCK].to_vec();
                self.edit(name, cuts, |slots| {
                    slots[to] = loot[from].clone();
                    for copy in slots[to][..2 * BLOCK].chunks_mut(BLOCK) {
                        copy[16..24].copy_from_slice(&old[16..24]);
                        copy[64..176].copy_from_slice(&old[64..176]);
                        mend_header(copy);
                    }
                });
            }
            // All of a twin's is the whole log put back: no log can see that.
            if name != TWIN {
                self.edit(name, false, |slots| *slots = loot.clone());
            }
        }
    }

    /// Cut from every sector of the newest segment to its end: with zeros, and with noise.
    fn cuts(&mut self, chance: &Seeded) {
        let newest = self.frames.last().unwrap().slot.0 as usize;
        let end = self.slots[newest].len();
        for from in (2 * BLOCK..end).step_by(64) {
            self.edit("the end cut off", true, |slots| slots[newest][from..].fill(0));
            let noise = chance.bytes(end - from);
            self.edit("noise over the end", true, |slots| slots[newest][from..].copy_from_slice(&noise));
        }
        self.edit("the newest segment cut off", true, |slots| slots[newest].fill(0));
        // Cut further back, where a newer segment stands: never.
        for slot in self.segments().into_iter().filter(|slot| slot.0 as usize != newest) {
            for from in (0..end).step_by(SECTOR) {
                self.edit("an older segment cut", false, |slots| slots[slot.0 as usize][from..].fill(0));
            }
        }
    }
}

fn slots_of(rig: &LogRig) -> Slots {
    (0..rig.config.slots).map(|slot| rig.platters.bytes(SlotId(slot))).collect()
}

/// Puts a frame where another lies, its checksum right for the slot.
fn put(slots: &mut Slots, place: &Frame, bytes: &[u8], adapted: bool) {
    let slot = &mut slots[place.slot.0 as usize];
    let space = slot.len() - place.offset;
    let bytes = &bytes[..bytes.len().min(space)];
    slot[place.offset..place.offset + bytes.len()].copy_from_slice(bytes);
    if adapted {
        // Number, watermark, segment and the tag of the frame before, as the place wants them.
        slot[place.offset + 16..place.offset + 64].copy_from_slice(&place.bytes[16..64]);
    }
    mend_frame(slot, place.offset);
}

/// Every edit of the table, on logs of as many seeds as `SEALKV_RUNS` edits need.
#[test]
fn no_edit_of_a_sealed_log_is_accepted_but_a_clean_cut_of_the_newest_frames() {
    let (size, first) = (runs(CI_EDITS), seed(1));
    let (mut tried, mut failed, mut kinds) = (0, 0, BTreeMap::<&str, u64>::new());
    let (mut cuts, mut harmless, mut logs) = (0, 0, 0);
    while tried < size {
        let chance = Seeded::new(first + logs);
        let mut attack = Attack::new(100 + first + 10 * logs);
        attack.headers(&chance);
        attack.segments_moved();
        attack.cuts(&chance);
        attack.bytes_of_frames(&chance);
        attack.frames_moved(&chance);
        attack.sectors(&chance);
        tried += attack.tried.values().sum::<u64>();
        attack.tried.iter().for_each(|(kind, count)| *kinds.entry(kind).or_default() += count);
        (cuts, harmless, failed, logs) =
            (cuts + attack.accepted_cuts, harmless + attack.harmless, failed + attack.failed, logs + 1);
    }
    eprintln!("{logs} logs, {cuts} clean cuts accepted, {harmless} edits changed nothing that is read: {kinds:?}");
    println!("{tried} tried, {failed} failed");
    assert_eq!(failed, 0);
    assert!(cuts > 0 && harmless < tried / 2 && kinds.len() >= 14, "vacuous");
}

/// The whole log put back to an earlier one opens, as it was then: only peers and the state can tell.
#[test]
fn the_whole_log_put_back_opens_as_it_was_then() {
    let log = SealedLog::new(50, 8 << 10);
    let earlier = log.rig.image();
    let (mut writer, recovered) = log.rig.open().unwrap();
    let next = Contents::of(&recovered).last() + 1;
    let term = Contents::of(&recovered).term().0;
    let append = sealkv::testing::log::append(1, sealkv::testing::log::entries(term, next, 1, 100));
    sealkv::testing::log::write(&mut writer, append).unwrap();
    assert_eq!(log.rig.open().unwrap().1.entries.len(), recovered.entries.len() + 1);
    assert_eq!(Contents::of(&earlier.open().unwrap().1), *log.contents());
}

const TWIN: &str = "another life of this log";
/// One log has about so many edits: `scripts/slow attacker` goes on with further logs.
const CI_EDITS: u64 = 1;
