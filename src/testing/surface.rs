//! The slots of the simulated disk: what is visible, what is durable, what is neither, and the faults that requests meet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::BLOCK_BYTES_MIN;
use crate::disk::Done;
use crate::disk::OpId;
use crate::disk::SlotId;
use crate::disk::WriteRequest;
use crate::testing::crash::CrashPoint;
use crate::testing::crash::CrashSlot;
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
    /// The nth write never completes; its bytes may be on the medium.
    WriteHangs(u64),
    /// The nth sync never completes.
    SyncHangs(u64),
    /// The nth sync takes so long by the clock.
    SyncTakes(u64, Duration),
    /// Making a slot fails with this errno, until cleared.
    NoCreate(i32),
    /// Every read fails with this errno, until cleared.
    ReadError(i32),
}

/// Everything below the requests of a process.
#[derive(Debug, Default)]
pub(super) struct Surface {
    pub(super) slots: Vec<Option<SimSlot>>,
    pub(super) faults: Vec<Fault>,
    pub(super) requests: Vec<SimRequestKind>,
    pub(super) reads: u64,
    /// Writes are durable when they complete, as with RWF_DSYNC.
    pub(super) syncs_by_flag: bool,
    /// Requests complete in an order of chance.
    pub(super) disorder: Option<Seeded>,
    /// `None`: nobody wants to know.
    pub(super) crash_points: Option<Vec<CrashPoint>>,
}

/// A request that the disk has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimRequestKind {
    /// A write behind the headers of a slot.
    Frame,
    /// A write that begins at the start of a slot: headers and the first frame, or zeros over both.
    Header,
    /// A sync.
    Sync,
}

/// One slot.
#[derive(Debug, Default)]
pub(super) struct SimSlot {
    pub(super) durable: Arc<Vec<u8>>,
    pub(super) visible: Vec<u8>,
    /// Not yet durable, in order of submission.
    pub(super) unsynced: Vec<Unsynced>,
}

/// A write that is visible and not durable.
#[derive(Clone, Debug)]
pub(super) struct Unsynced {
    op: OpId,
    pub(super) offset: usize,
    pub(super) bytes: Arc<[u8]>,
    /// Its completion was handed out: a sync that is submitted from now on covers it.
    pub(super) seen: bool,
}

impl Surface {
    /// Takes the first armed fault that `is_due` accepts, counting the others down.
    fn due(&mut self, mut is_due: impl FnMut(&mut Fault) -> bool) -> Option<Fault> {
        let at = self.faults.iter_mut().position(&mut is_due)?;
        Some(self.faults.remove(at))
    }

    pub(super) fn crash_point(&self) -> CrashPoint {
        let slot = |slot: &SimSlot| CrashSlot {
            durable: Arc::clone(&slot.durable),
            pending: slot.unsynced.iter().map(|write| (write.offset, Arc::clone(&write.bytes))).collect(),
        };
        CrashPoint::new(self.slots.iter().map(|it| it.as_ref().map(slot)).collect())
    }

    fn note_crash_point(&mut self) {
        let point = self.crash_points.is_some().then(|| self.crash_point());
        if let Some(points) = &mut self.crash_points {
            points.extend(point);
        }
    }

    fn slot(&mut self, slot: SlotId) -> io::Result<&mut SimSlot> {
        let slot = self.slots.get_mut(slot.0 as usize).and_then(Option::as_mut);
        slot.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    pub(super) fn make_slot(&mut self, bytes: u64) -> io::Result<SlotId> {
        if let Some(Fault::NoCreate(errno)) = self.faults.iter().find(|fault| matches!(fault, Fault::NoCreate(_))) {
            return Err(io::Error::from_raw_os_error(*errno));
        }
        let bytes = usize::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.slots.push(Some(SimSlot::of(CrashSlot { durable: Arc::new(vec![0; bytes]), pending: Vec::new() })));
        Ok(SlotId(u32::try_from(self.slots.len() - 1).map_err(|_| io::ErrorKind::InvalidInput)?))
    }

    /// Takes a write; the number of bytes that it will have written when it completes, `None` if it hangs.
    pub(super) fn write(&mut self, write: &WriteRequest) -> Option<io::Result<usize>> {
        self.requests.push(if write.offset == 0 { SimRequestKind::Header } else { SimRequestKind::Frame });
        let mut bytes = &write.buffer[write.from..write.to];
        assert!(bytes.len().is_multiple_of(BLOCK_BYTES_MIN) && write.from.is_multiple_of(BLOCK_BYTES_MIN), "aligned");
        assert!(write.offset.is_multiple_of(BLOCK_BYTES_MIN as u64), "aligned");
        let fault = self.due(|fault| match fault {
            Fault::WriteError(left, _) | Fault::ShortWrite(left, _) | Fault::WriteHangs(left) if *left > 0 => {
                *left -= 1;
                false
            }
            Fault::WriteError(..) | Fault::ShortWrite(..) | Fault::WriteHangs(_) => true,
            _ => false,
        });
        match fault {
            Some(Fault::WriteError(_, errno)) => return Some(Err(io::Error::from_raw_os_error(errno))),
            Some(Fault::ShortWrite(_, length)) => bytes = &bytes[..length.min(bytes.len())],
            _ => {}
        }
        let taken = self.slot(write.slot).and_then(|slot| slot.take(write.op, write.offset, bytes));
        self.note_crash_point();
        match fault {
            Some(Fault::WriteHangs(_)) => None,
            _ => Some(taken.map(|()| bytes.len())),
        }
    }

    /// The completion of that write is handed out.
    pub(super) fn write_is_seen(&mut self, op: OpId, slot: SlotId, written: io::Result<usize>) -> io::Result<Done> {
        let (bytes, durable) = (written?, self.syncs_by_flag);
        let slot = self.slot(slot)?;
        if durable {
            slot.make_durable(&[op]);
            self.note_crash_point();
        } else {
            slot.unsynced.iter_mut().filter(|write| write.op == op).for_each(|write| write.seen = true);
        }
        Ok(Done::Written { bytes, durable })
    }

    /// Takes a sync: the writes that it covers, and the fault that it will meet.
    pub(super) fn begin_sync(&mut self, slot: SlotId) -> (Vec<OpId>, Option<Fault>) {
        self.requests.push(SimRequestKind::Sync);
        let fault = self.due(|fault| match fault {
            Fault::SyncError(left, _) | Fault::SyncHangs(left) | Fault::SyncTakes(left, _) if *left > 0 => {
                *left -= 1;
                false
            }
            Fault::SyncError(..) | Fault::SyncHangs(..) | Fault::SyncTakes(..) => true,
            _ => false,
        });
        let unsynced = self.slot(slot).map(|slot| slot.unsynced.as_slice()).unwrap_or_default();
        (unsynced.iter().filter(|write| write.seen).map(|write| write.op).collect(), fault)
    }

    pub(super) fn sync(&mut self, slot: SlotId, covered: &[OpId], fault: Option<Fault>) -> io::Result<Done> {
        let slot = self.slot(slot)?;
        if let Some(Fault::SyncError(_, errno)) = fault {
            slot.unsynced.retain(|write| !covered.contains(&write.op));
            return Err(io::Error::from_raw_os_error(errno));
        }
        slot.make_durable(covered);
        self.note_crash_point();
        Ok(Done::Synced)
    }
}

impl SimSlot {
    pub(super) fn of(slot: CrashSlot) -> SimSlot {
        let visible = slot.durable.as_ref().clone();
        let unsynced = slot.pending.into_iter().zip(1..);
        let unsynced =
            unsynced.map(|((offset, bytes), op)| Unsynced { op: OpId(u64::MAX - op), offset, bytes, seen: false });
        SimSlot { durable: slot.durable, visible, unsynced: unsynced.collect() }
    }

    fn take(&mut self, op: OpId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let place = self.visible.get_mut(offset..offset + bytes.len());
        place.ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?.copy_from_slice(bytes);
        self.unsynced.push(Unsynced { op, offset, bytes: bytes.into(), seen: false });
        Ok(())
    }

    fn make_durable(&mut self, covered: &[OpId]) {
        let durable = Arc::make_mut(&mut self.durable);
        self.unsynced.retain(|write| {
            let is_covered = covered.contains(&write.op);
            if is_covered {
                durable[write.offset..write.offset + write.bytes.len()].copy_from_slice(&write.bytes);
            }
            !is_covered
        });
    }
}
