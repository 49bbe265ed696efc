//! Tests of the log: bytes, promises, drills of damage, errors, crashes.

use crate::disk::Disk;
use crate::disk::SlotId;
use crate::testing::log::LogRig;
use crate::wal::testkit::frames;

mod between;
mod bytes;
mod crash;
mod damage;
mod errors;
mod flight;
mod forged;
mod promises;
mod recovery;
mod threads;

/// The slot of the newest segment.
fn newest_slot(rig: &LogRig) -> SlotId {
    let mut disk = rig.platters.open(None);
    let slots = (0..Disk::slot_count(&disk)).map(SlotId);
    let newest = slots.filter_map(|slot| {
        let frames = frames(&mut disk, slot, &rig.config).unwrap()?;
        Some((frames.header().segment, slot))
    });
    newest.max().unwrap().1
}
