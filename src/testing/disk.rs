//! A log disk in memory that forgets and fails as real ones do.
//!
//! A write that was not synced is visible to reads, survives the death of the process, and is lost at a power cut
//! but for a subset, chosen by a seed in sectors of 512 bytes, or every subset in turn ([`Platters::take_crash_points`]).
//! That holds from the moment it is submitted: a write that has not come back may be on the medium already. A failed
//! sync marks its writes as clean, as Linux does: a later sync succeeds and yet the bytes are gone, at the next open
//! (direct reads, and the plain engine's dropped page cache, show the medium) or power cut.

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
use crate::disk::Engine;
use crate::disk::OpId;
use crate::disk::SlotId;
use crate::disk::WriteRequest;
use crate::testing::clock::SimClock;
use crate::testing::crash::CrashPoint;
use crate::testing::crash::CrashSlot;
use crate::testing::crash::CrashState;
use crate::testing::crash::SECTOR_BYTES;
use crate::testing::seed::Seeded;
pub use crate::testing::surface::Fault;
pub use crate::testing::surface::SimRequestKind;
use crate::testing::surface::SimSlot;
use crate::testing::surface::Surface;

/// The platters: they outlive every [`SimDisk`] opened on them.
#[derive(Clone, Debug, Default)]
pub struct Platters {
    surface: Arc<Mutex<Surface>>,
}

impl Platters {
    /// Opens them with one block alignment of 4096 bytes. `clock` moves when a wait finds nothing.
    #[must_use]
    pub fn open(&self, clock: Option<Arc<SimClock>>) -> SimDisk {
        for slot in self.lock().slots.iter_mut().flatten() {
            slot.visible.clone_from(&slot.durable);
            for write in &mut slot.unsynced {
                slot.visible[write.offset..write.offset + write.bytes.len()].copy_from_slice(&write.bytes);
                // Another process's requests: its syncs cover what the page cache holds.
                write.seen = true;
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
        self.lock().requests.len() as u64
    }

    /// Reads so far.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.lock().reads
    }

    /// The kinds of all requests so far, in order of submission.
    #[must_use]
    pub fn request_kinds(&self) -> Vec<SimRequestKind> {
        self.lock().requests.clone()
    }

    /// From now on a write is durable when it completes, as the plain engine's with RWF_DSYNC.
    pub fn sync_by_flag(&self) {
        self.lock().syncs_by_flag = true;
    }

    /// From now on requests in flight complete in an order of chance, as they may with io_uring.
    pub fn disorder(&self, chance: Seeded) {
        self.lock().disorder = Some(chance);
    }

    /// From now on notes where the power may go: after each write that is submitted, and each sync that is done.
    pub fn watch_crash_points(&self) {
        self.lock().crash_points = Some(Vec::new());
    }

    /// The places noted since the last call.
    #[must_use]
    pub fn take_crash_points(&self) -> Vec<CrashPoint> {
        self.lock().crash_points.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The place where the power may go now.
    #[must_use]
    pub fn crash_point(&self) -> CrashPoint {
        self.lock().crash_point()
    }

    /// The disk of a state, when the power is back.
    #[must_use]
    pub fn after(point: &CrashPoint, state: &CrashState) -> Platters {
        Platters::of(point.slots_after(state))
    }

    /// The process died there and the page cache lives: everything can be read, and nothing more is durable.
    #[must_use]
    pub fn killed(point: &CrashPoint) -> Platters {
        Platters::of(point.slots().to_vec())
    }

    fn of(slots: Vec<Option<CrashSlot>>) -> Platters {
        let slots = slots.into_iter().map(|slot| slot.map(SimSlot::of)).collect();
        Platters { surface: Arc::new(Mutex::new(Surface { slots, ..Surface::default() })) }
    }

    /// The power goes: of writes that were not synced, some sectors stay and some do not.
    pub fn cut_power(&self, chance: &Seeded) {
        for slot in self.lock().slots.iter_mut().flatten() {
            // Sometimes all or nothing is kept: torn frames are not the only end of the world.
            let keep_odds = chance.below(4);
            let durable = Arc::make_mut(&mut slot.durable);
            for write in std::mem::take(&mut slot.unsynced) {
                for (at, sector) in write.bytes.chunks(SECTOR_BYTES).enumerate() {
                    let kept = match keep_odds {
                        0 => false,
                        1 => true,
                        _ => chance.one_in(2),
                    };
                    if kept {
                        let from = write.offset + at * SECTOR_BYTES;
                        durable[from..from + sector.len()].copy_from_slice(sector);
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
            Some(SimSlot {
                durable: Arc::new(slot.visible.clone()),
                visible: slot.visible.clone(),
                unsynced: Vec::new(),
            })
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
        Arc::make_mut(&mut slot.durable).clone_from(&slot.visible);
    }

    /// Removes a slot's file.
    pub fn remove(&self, slot: SlotId) {
        self.lock().slots[slot.0 as usize] = None;
    }

    fn lock(&self) -> MutexGuard<'_, Surface> {
        self.surface.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// With its result.
    Write(WriteRequest, io::Result<usize>),
    /// With the writes whose completion was handed out before: no more than those are covered.
    Sync(OpId, SlotId, Vec<OpId>, Option<Fault>),
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
        let mut surface = self.platters.lock();
        surface.reads += 1;
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
        if let Some(result) = self.platters.lock().write(&write) {
            self.submitted.push_back(SimRequest::Write(write, result));
        }
        Ok(())
    }

    fn submit_sync(&mut self, op: OpId, slot: SlotId) -> io::Result<()> {
        let (covered, fault) = self.platters.lock().begin_sync(slot);
        if !matches!(fault, Some(Fault::SyncHangs(_))) {
            self.submitted.push_back(SimRequest::Sync(op, slot, covered, fault));
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<Option<Completion>> {
        match self.next_done() {
            Some(SimRequest::Write(write, written)) => {
                let result = self.platters.lock().write_is_seen(write.op, write.slot, written);
                return Ok(Some(Completion { op: write.op, result, buffer: Some(write.buffer) }));
            }
            Some(SimRequest::Sync(op, slot, covered, fault)) => {
                if let (Some(Fault::SyncTakes(_, time)), Some(clock)) = (fault, &self.clock) {
                    clock.advance(time);
                }
                let result = self.platters.lock().sync(slot, &covered, fault);
                return Ok(Some(Completion { op, result, buffer: None }));
            }
            None => {}
        }
        if let Some(clock) = &self.clock {
            clock.advance(timeout);
        }
        Ok(None)
    }
}

impl SimDisk {
    fn next_done(&mut self) -> Option<SimRequest> {
        let len = self.submitted.len();
        let at = match &self.platters.lock().disorder {
            Some(chance) if len > 1 => chance.index(len),
            _ => 0,
        };
        self.submitted.remove(at)
    }
}
