//! Tests of the log: bytes, promises, drills of damage, errors, crashes.

mod bytes;
mod crash;
mod damage;
mod errors;
mod promises;
mod threads;

/// The slot of the newest segment.
fn newest_slot(rig: &crate::testing::log::LogRig) -> crate::disk::SlotId {
    let mut disk = rig.platters.open(None);
    let slots = (0..crate::disk::Disk::slot_count(&disk)).map(crate::disk::SlotId);
    let newest = slots.filter_map(|slot| {
        let frames = crate::wal::reader::frames(&mut disk, slot, &rig.options).unwrap()?;
        Some((frames.header().segment, slot))
    });
    newest.max().unwrap().1
}
