//! A log disk in memory that forgets and fails as real ones do.
//!
//! A write that was not synced is visible to reads, survives the death of the process, and is lost at a power cut
//! but for a subset, chosen by a seed in sectors of 512 bytes. A failed sync marks its writes as clean, as Linux
//! does: a later sync succeeds and yet the bytes are gone, at the next open (direct reads, and the plain
//! engine's dropped page cache, show the medium) or power cut.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use crate::disk::AlignedBuffer;
use crate::disk::BLOCK_BYTES_MIN;
use crate::disk::Completion;
use crate::disk::Disk;
use crate::disk::Done;
use crate::disk::Engine;
use crate::disk::OpId;
use crate::disk::SlotId;
use crate::disk::WriteRequest;
use crate::testing::clock::SimClock;
use crate::testing::seed::Seeded;

/// A fault, armed for one request of its kind, counted from the moment it is set (0 = the next).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The nth write fails with this errno; nothing of it reaches the slot.
    WriteError(u64, i32),
    /// The nth write stops after so many bytes.
    ShortWrite(u64, usize),
    /// The nth sync fails with this errno, and the writes that it covered are never synced.
    SyncError(u64, i32),
    /// The nth sync never completes.
    SyncHangs(u64),
    /// Making a slot fails with this errno, until cleared.
    NoCreate(i32),
    /// Every read fails with this errno, until cleared.
    ReadError(i32),
}

/// The platters: they outlive every [`SimDisk`] opened on them.
#[derive(Clone, Debug, Default)]
pub struct Platters {
    surface: Arc<Mutex<Surface>>,
}

#[derive(Debug, Default)]
struct Surface {
    slots: Vec<Option<SimSlot>>,
    faults: Vec<Fault>,
    writes: u64,
    syncs: u64,
    requests: u64,
}

#[derive(Debug, Default)]
struct SimSlot {
    durable: Vec<u8>,
    visible: Vec<u8>,
    /// Written, not yet durable, in order: offset and bytes.
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl Platters {
    /// Opens them with one block alignment of 4096 bytes. `clock` moves when a wait finds nothing.
    #[must_use]
    pub fn open(&self, clock: Option<Arc<SimClock>>) -> SimDisk {
        for slot in self.lock().slots.iter_mut().flatten() {
            slot.visible.clone_from(&slot.durable);
            for (offset, bytes) in &slot.unsynced {
                slot.visible[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
        }
        SimDisk { platters: self.clone(), submitted: VecDeque::new(), spare: Vec::new(), clock, growing: None }
    }

    /// Arms a fault.
    pub fn arm(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Disarms all faults.
    pub fn disarm(&self) {
        self.lock().faults.clear();
    }

    /// Writes and syncs taken so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.lock().requests
    }

    /// The power goes: of writes that were not synced, some sectors stay and some do not.
    pub fn cut_power(&self, chance: &Seeded) {
        for slot in self.lock().slots.iter_mut().flatten() {
            // Sometimes all or nothing is kept: torn frames are not the only end of the world.
            let keep_odds = chance.below(4);
            for (offset, bytes) in std::mem::take(&mut slot.unsynced) {
                for (at, sector) in bytes.chunks(SECTOR_BYTES).enumerate() {
                    let kept = match keep_odds {
                        0 => false,
                        1 => true,
                        _ => chance.one_in(2),
                    };
                    if kept {
                        let from = offset + at * SECTOR_BYTES;
                        slot.durable[from..from + sector.len()].copy_from_slice(sector);
                    }
                }
            }
            slot.visible.clone_from(&slot.durable);
        }
    }

    /// A copy that shares nothing with this one, everything in it durable.
    #[must_use]
    pub fn image(&self) -> Platters {
        let surface = self.lock();
        let slots = surface.slots.iter().map(|slot| {
            let slot = slot.as_ref()?;
            Some(SimSlot { durable: slot.visible.clone(), visible: slot.visible.clone(), unsynced: Vec::new() })
        });
        Platters { surface: Arc::new(Mutex::new(Surface { slots: slots.collect(), ..Surface::default() })) }
    }

    /// The bytes of a slot as a reader sees them.
    ///
    /// # Panics
    /// If there is no such slot.
    #[must_use]
    pub fn bytes(&self, slot: SlotId) -> Vec<u8> {
        self.lock().slots[slot.0 as usize].as_ref().expect("a slot that exists").visible.clone()
    }

    /// A checksum of every slot that exists, as a reader sees them.
    #[must_use]
    pub fn checksums(&self) -> Vec<u32> {
        self.lock().slots.iter().flatten().map(|slot| crc32c::crc32c(&slot.visible)).collect()
    }

    /// Changes bytes of a slot, durably, as damage or an attacker would.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn alter(&self, slot: SlotId, change: impl FnOnce(&mut [u8])) {
        let mut surface = self.lock();
        let slot = surface.slots[slot.0 as usize].as_mut().expect("a slot that exists");
        change(&mut slot.visible);
        slot.durable.clone_from(&slot.visible);
    }

    /// Removes a slot's file.
    pub fn remove(&self, slot: SlotId) {
        self.lock().slots[slot.0 as usize] = None;
    }

    fn lock(&self) -> MutexGuard<'_, Surface> {
        self.surface.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Surface {
    /// Takes the first armed fault that `is_due` accepts, counting the others down.
    fn due(&mut self, mut is_due: impl FnMut(&mut Fault) -> bool) -> Option<Fault> {
        let at = self.faults.iter_mut().position(&mut is_due)?;
        Some(self.faults.remove(at))
    }

    fn make_slot(&mut self, bytes: u64) -> io::Result<SlotId> {
        if let Some(Fault::NoCreate(errno)) = self.faults.iter().find(|fault| matches!(fault, Fault::NoCreate(_))) {
            return Err(io::Error::from_raw_os_error(*errno));
        }
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.slots.push(Some(SimSlot { durable: vec![0; bytes], visible: vec![0; bytes], unsynced: Vec::new() }));
        Ok(SlotId(u32::try_from(self.slots.len() - 1).map_err(|_| io::ErrorKind::InvalidInput)?))
    }

    fn write(&mut self, write: &WriteRequest) -> io::Result<Done> {
        (self.writes, self.requests) = (self.writes + 1, self.requests + 1);
        let mut bytes = &write.buffer[write.from..write.to];
        assert!(bytes.len().is_multiple_of(BLOCK_BYTES_MIN) && write.from.is_multiple_of(BLOCK_BYTES_MIN), "aligned");
        assert!(write.offset.is_multiple_of(BLOCK_BYTES_MIN as u64), "aligned");
        let fault = self.due(|fault| match fault {
            Fault::WriteError(left, _) | Fault::ShortWrite(left, _) if *left > 0 => {
                *left -= 1;
                false
            }
            Fault::WriteError(..) | Fault::ShortWrite(..) => true,
            _ => false,
        });
        match fault {
            Some(Fault::WriteError(_, errno)) => return Err(io::Error::from_raw_os_error(errno)),
            Some(Fault::ShortWrite(_, length)) => bytes = &bytes[..length.min(bytes.len())],
            _ => {}
        }
        let slot = self.slots.get_mut(write.slot.0 as usize).and_then(Option::as_mut);
        let slot = slot.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let offset = usize::try_from(write.offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let place = slot.visible.get_mut(offset..offset + bytes.len());
        place.ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?.copy_from_slice(bytes);
        slot.unsynced.push((offset, bytes.to_vec()));
        Ok(Done::Written { bytes: bytes.len(), durable: false })
    }

    /// `None`: it hangs.
    fn sync(&mut self, slot: SlotId, covered: usize) -> Option<io::Result<Done>> {
        (self.syncs, self.requests) = (self.syncs + 1, self.requests + 1);
        let fault = self.due(|fault| match fault {
            Fault::SyncError(left, _) | Fault::SyncHangs(left) if *left > 0 => {
                *left -= 1;
                false
            }
            Fault::SyncError(..) | Fault::SyncHangs(..) => true,
            _ => false,
        });
        let Some(slot) = self.slots.get_mut(slot.0 as usize).and_then(Option::as_mut) else {
            return Some(Err(io::ErrorKind::NotFound.into()));
        };
        if matches!(fault, Some(Fault::SyncHangs(_))) {
            return None;
        }
        let covered = slot.unsynced.drain(..covered.min(slot.unsynced.len()));
        match fault {
            Some(Fault::SyncError(_, errno)) => {
                drop(covered);
                Some(Err(io::Error::from_raw_os_error(errno)))
            }
            Some(_) => unreachable!("only faults of syncs are due here"),
            None => {
                for (offset, bytes) in covered {
                    slot.durable[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
                Some(Ok(Done::Synced))
            }
        }
    }
}

/// One process's view of [`Platters`].
#[derive(Debug)]
pub struct SimDisk {
    platters: Platters,
    submitted: VecDeque<SimRequest>,
    spare: Vec<AlignedBuffer>,
    clock: Option<Arc<SimClock>>,
    growing: Option<u64>,
}

#[derive(Debug)]
enum SimRequest {
    Write(WriteRequest),
    /// With the number of writes whose completion was handed out before: no more than those are covered.
    Sync(OpId, SlotId, usize),
}

impl Disk for SimDisk {
    fn engine(&self) -> Engine {
        Engine::Simulated
    }

    fn block_bytes(&self) -> usize {
        BLOCK_BYTES_MIN
    }

    fn slot_count(&self) -> u32 {
        u32::try_from(self.platters.lock().slots.len()).expect("few slots")
    }

    fn slot_bytes(&self, slot: SlotId) -> Option<u64> {
        let surface = self.platters.lock();
        surface.slots.get(slot.0 as usize)?.as_ref().map(|slot| slot.visible.len() as u64)
    }

    fn create_slot(&mut self, bytes: u64, progress: &mut dyn FnMut(u64)) -> io::Result<SlotId> {
        let slot = self.platters.lock().make_slot(bytes)?;
        progress(bytes);
        Ok(slot)
    }

    fn start_growing(&mut self, bytes: u64) {
        self.growing = Some(bytes);
    }

    fn take_grown(&mut self) -> Option<io::Result<SlotId>> {
        let bytes = self.growing.take()?;
        Some(self.platters.lock().make_slot(bytes))
    }

    fn take_buffer(&mut self, bytes: usize) -> AlignedBuffer {
        match self.spare.iter().position(|buffer| buffer.len() >= bytes) {
            Some(at) => self.spare.swap_remove(at),
            None => AlignedBuffer::new(bytes, BLOCK_BYTES_MIN),
        }
    }

    fn return_buffer(&mut self, buffer: AlignedBuffer) {
        self.spare.push(buffer);
    }

    fn read(&mut self, slot: SlotId, offset: u64, buffer: &mut AlignedBuffer, bytes: usize) -> io::Result<()> {
        let surface = self.platters.lock();
        if let Some(Fault::ReadError(errno)) = surface.faults.iter().find(|fault| matches!(fault, Fault::ReadError(_)))
        {
            return Err(io::Error::from_raw_os_error(*errno));
        }
        let slot = surface.slots.get(slot.0 as usize).and_then(Option::as_ref);
        let slot = slot.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let found = slot.visible.get(offset..offset + bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer[..bytes].copy_from_slice(found);
        Ok(())
    }

    fn submit_write(&mut self, write: WriteRequest) -> io::Result<()> {
        self.submitted.push_back(SimRequest::Write(write));
        Ok(())
    }

    fn submit_sync(&mut self, op: OpId, slot: SlotId) -> io::Result<()> {
        let surface = self.platters.lock();
        let covered = surface.slots.get(slot.0 as usize).and_then(Option::as_ref).map_or(0, |slot| slot.unsynced.len());
        drop(surface);
        self.submitted.push_back(SimRequest::Sync(op, slot, covered));
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<Option<Completion>> {
        match self.submitted.pop_front() {
            Some(SimRequest::Write(write)) => {
                let result = self.platters.lock().write(&write);
                return Ok(Some(Completion { op: write.op, result, buffer: Some(write.buffer) }));
            }
            Some(SimRequest::Sync(op, slot, covered)) => {
                let synced = self.platters.lock().sync(slot, covered);
                if let Some(result) = synced {
                    return Ok(Some(Completion { op, result, buffer: None }));
                }
            }
            None => {}
        }
        if let Some(clock) = &self.clock {
            clock.advance(timeout);
        }
        Ok(None)
    }
}

/// The unit that a drive writes whole or not at all.
const SECTOR_BYTES: usize = 512;
