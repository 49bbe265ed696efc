//! A sealed log on a simulated disk for whoever damages it: several segments, a recycled slot, two processes, every kind of
//! record, and an idle frame at the end. And what anybody without the key can read of it.

use sealkv::disk::SlotId;
use sealkv::ids::Index;
use sealkv::testing::log::LogRig;
use sealkv::testing::seed::Seeded;
use sealkv::wal::Append;
use sealkv::wal::Recovered;

use crate::log_life::Life;
use crate::log_model::Contents;
use crate::log_model::LogModel;

pub const BLOCK: usize = 4096;
pub const SECTOR: usize = 512;

/// The log and what it holds.
pub struct SealedLog {
    pub rig: LogRig,
    contents: Contents,
    /// What its second process found, and all that it then wrote, as if nothing of that had been acknowledged.
    second: LogModel,
}

/// A frame as anybody sees it.
#[derive(Clone, Debug)]
pub struct Frame {
    pub slot: SlotId,
    pub offset: usize,
    pub number: u64,
    pub bytes: Vec<u8>,
}

impl SealedLog {
    /// At least `live_bytes` of entries that are not trimmed.
    pub fn new(seed: u64, live_bytes: usize) -> SealedLog {
        let mut rig = LogRig::new(seed);
        (rig.config.slots, rig.config.slots_max) = (6, 6);
        let mut watcher = |_: &LogRig, _: &LogModel| ();
        let mut life = Life::new(rig, Seeded::new(seed), &mut watcher);
        // Once around the pool, so that the newest segments lie over frames of earlier ones.
        for _ in 0..30 {
            life.offer(life.appended(1, 12_000));
            life.settle().expect("a healthy disk");
            life.trimmed(1).into_iter().for_each(|trim| life.offer(trim));
            life.settle().expect("a healthy disk");
        }
        let cutover = Some(Index(life.model().acknowledged().last()));
        life.offer(Append { cutover, ..Append::default() });
        life.settle().expect("a healthy disk");
        life.reopen();
        let mut second = life.model().clone();
        let mut live = 0;
        while live < live_bytes {
            let len = life.chance.pick(&[40, 300, 2000, 9000]);
            let append = match life.chance.below(6) {
                0 => life.rewritten(1, 1, len),
                1 => life.voted(),
                _ => life.appended(1 + life.chance.below(2), len),
            };
            second.offer(&append);
            life.offer(append);
            life.settle().expect("a healthy disk");
            assert!(life.model().is_settled(), "the pool is large enough");
            live = life.model().acknowledged().entries.iter().map(|entry| entry.data.len()).sum();
        }
        life.idle().expect("a healthy disk");
        SealedLog { rig: life.rig.image(), contents: life.model().acknowledged().clone(), second }
    }

    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Whether it could be like this with its newest frames cut off, since its second process began.
    pub fn was(&self, recovered: &Recovered) -> bool {
        self.second.accepts(recovered).is_ok()
    }

    pub fn slots(&self) -> impl Iterator<Item = SlotId> {
        (0..self.rig.config.slots).map(SlotId)
    }

    /// Every frame of the live segments, oldest first.
    pub fn frames(&self) -> Vec<Frame> {
        let mut frames: Vec<Frame> =
            self.slots().flat_map(|slot| frames_of(slot, &self.rig.platters.bytes(slot))).collect();
        frames.sort_by_key(|frame| frame.number);
        frames
    }
}

fn frames_of(slot: SlotId, bytes: &[u8]) -> Vec<Frame> {
    let (mut frames, mut offset) = (Vec::new(), 2 * BLOCK);
    while offset + BLOCK <= bytes.len() && is_header(bytes) {
        let length = u32_at(bytes, offset + 4) as usize;
        if length < 80 || offset + length > bytes.len() {
            break;
        }
        let frame = bytes[offset..offset + length].to_vec();
        if u32_at(&frame, 0) != crc32c::crc32c_append(seed_of(bytes), &frame[4..]) {
            break;
        }
        frames.push(Frame { slot, offset, number: u64_at(&frame, 16), bytes: frame });
        offset += length.next_multiple_of(BLOCK);
    }
    frames
}

/// Whether the slot holds a segment.
pub fn is_header(slot: &[u8]) -> bool {
    slot[..8] == *b"SKVWAL01"
}

/// What the checksums of a slot's frames begin with: the first bytes of the salt.
pub fn seed_of(slot: &[u8]) -> u32 {
    u32_at(slot, 32)
}

/// Makes the checksum of a frame right.
pub fn mend_frame(slot: &mut [u8], offset: usize) {
    let length = (u32_at(slot, offset + 4) as usize).clamp(8, slot.len() - offset);
    let crc = crc32c::crc32c_append(seed_of(slot), &slot[offset + 4..offset + length]);
    slot[offset..offset + 4].copy_from_slice(&crc.to_be_bytes());
}

/// Makes the checksum of a copy of the header right.
pub fn mend_header(copy: &mut [u8]) {
    let crc = crc32c::crc32c(&copy[..4092]);
    copy[4092..4096].copy_from_slice(&crc.to_be_bytes());
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}
