//! Slots over time: rolling into a free slot, giving segments up, growth of the pool.

use std::time::Duration;

use crate::disk::Disk;
use crate::disk::SlotId;
use crate::disk::padded;
use crate::ids::Index;
use crate::limits::LOG_SLOTS_SPARE;
use crate::wal::acks::Release;
use crate::wal::config::Sizes;
use crate::wal::error::During;
use crate::wal::error::WalError;
use crate::wal::header::HEADER_LEN;
use crate::wal::header::headers_len;
use crate::wal::seal::SegmentSeal;
use crate::wal::segments::Segment;
use crate::wal::segments::Segments;
use crate::wal::space::LogSpace;

/// Where frames go.
#[derive(Debug)]
pub(super) struct Pool {
    sizes: Sizes,
    slots_max: u32,
    segments: Segments,
    /// The segment that is being written; `None` before the first write of this process.
    current: Option<Current>,
    /// The compacted index that is durable.
    trimmed: Index,
    is_growing: bool,
    grow_again_at: Duration,
}

#[derive(Debug)]
struct Current {
    /// Where the next frame (or the headers before it) goes.
    offset: u64,
    /// Until the segment's first frame takes it along, in one write.
    unwritten_header: Option<Box<[u8; HEADER_LEN]>>,
}

/// Whether a frame can be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// In the current segment.
    Here,
    /// In the next segment, which must be begun.
    Roll,
    /// Once everything in flight is durable.
    Wait,
    /// Once a slot is free.
    NoSlot,
}

/// A part of the current segment.
#[derive(Debug)]
pub(super) struct Extent {
    /// Bytes from the start of the slot.
    pub(super) offset: u64,
    /// Goes before the frame, twice.
    pub(super) header: Option<Box<[u8; HEADER_LEN]>>,
    /// Bytes of both copies; 0 without a header.
    pub(super) headers: usize,
}

impl Pool {
    /// A pool of which nothing was written yet by this process; entries up to `trimmed` are durably compacted.
    pub(super) fn new(sizes: Sizes, slots_max: u32, segments: Segments, trimmed: Index, now: Duration) -> Pool {
        Pool { sizes, slots_max, segments, current: None, trimmed, is_growing: false, grow_again_at: now }
    }

    pub(super) fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    pub(super) fn segments(&self) -> &Segments {
        &self.segments
    }

    /// The slots, to take one out or to put one back.
    pub(super) fn segments_mut(&mut self) -> &mut Segments {
        &mut self.segments
    }

    /// Whether this process has begun a segment: before that a log changes nothing on disk.
    pub(super) fn is_begun(&self) -> bool {
        self.current.is_some()
    }

    /// The segment that is being written.
    pub(super) fn newest(&mut self) -> &mut Segment {
        assert!(self.current.is_some(), "a segment was begun");
        self.segments.newest().expect("the current segment is the newest")
    }

    /// Where a frame of `bytes` can go. Frames that use the reserve are those without entries: votes are given and trims
    /// are written when entries have no space left.
    pub(super) fn placement(&self, bytes: usize, uses_reserve: bool, all_durable: bool) -> Placement {
        let current = self.current.as_ref().expect("the first segment was begun");
        let headers = if current.unwritten_header.is_some() { self.sizes.headers() } else { 0 };
        let left_here = (self.sizes.slot - current.offset).checked_sub(headers + bytes as u64);
        let reserve = if uses_reserve { 0 } else { self.reserve() };
        let free = self.segments.free_count();
        if left_here.is_some_and(|left| free > 0 || left >= reserve) {
            return Placement::Here;
        }
        // The last free slot is kept for trims and votes, and for the first segment of the next process.
        let kept = usize::from(!uses_reserve);
        let may_roll = left_here.is_none() && free > kept;
        match (may_roll, all_durable) {
            (false, _) => Placement::NoSlot,
            (true, false) => Placement::Wait,
            (true, true) => Placement::Roll,
        }
    }

    /// Takes the next `bytes` of the current segment for a frame, and for the header before it if there is one.
    pub(super) fn take(&mut self, bytes: usize) -> Extent {
        let current = self.current.as_mut().expect("the first segment was begun");
        let header = current.unwritten_header.take();
        let headers = if header.is_some() { headers_len(self.sizes.block) } else { 0 };
        let extent = Extent { offset: current.offset, header, headers };
        current.offset += (headers + bytes) as u64;
        assert!(current.offset <= self.sizes.slot, "placement found space for it");
        extent
    }

    /// Begins a segment; `header` is written with its first frame.
    pub(super) fn begin(&mut self, slot: SlotId, number: u64, seal: SegmentSeal, header: Box<[u8; HEADER_LEN]>) {
        self.segments.begin(number, slot, seal);
        self.current = Some(Current { offset: 0, unwritten_header: Some(header) });
    }

    /// More is durable: gives up the segments of which nothing is needed any more.
    pub(super) fn release(&mut self, due: impl Iterator<Item = Release>) {
        for release in due {
            if let Some(segment) = release.reset_in {
                self.segments.forget_entries_before(segment);
            }
            self.trimmed = self.trimmed.max(release.compacted);
        }
        // At every durable frame, since only now the segment that it began may replace an older one.
        self.segments.release(self.trimmed);
    }

    /// Whether fewer slots are free than a roll and its trims need.
    pub(super) fn is_short(&self) -> bool {
        self.segments.free_count() <= FREE_SLOTS_LOW
    }

    /// Asks for another slot in the background when free ones are short and trims do not free any.
    pub(super) fn start_growing(&mut self, disk: &mut dyn Disk, now: Duration) {
        if self.growth_due_in(disk.slot_count(), now) == Some(Duration::ZERO) && !self.is_growing {
            disk.start_growing(self.sizes.slot);
            self.is_growing = true;
        }
    }

    /// `None` if no growth is wanted of a pool of so many slots.
    pub(super) fn growth_due_in(&self, slots: u32, now: Duration) -> Option<Duration> {
        let wanted = self.segments.idle_count() < FREE_SLOTS_LOW && self.is_begun() && slots < self.slots_max;
        let wait = if self.is_growing { GROWN_POLL } else { self.grow_again_at.saturating_sub(now) };
        wanted.then_some(wait)
    }

    /// Takes the slot that was made in the background, if it is done.
    pub(super) fn take_grown(&mut self, disk: &mut dyn Disk, now: Duration) {
        let Some(grown) = self.is_growing.then(|| disk.take_grown()).flatten() else {
            return;
        };
        self.is_growing = false;
        match grown {
            Ok(slot) => {
                self.segments.add_free(slot);
                tracing::info!(slot = slot.0, "log: the pool has grown by a slot");
            }
            Err(error) => {
                self.grow_again_at = now + GROW_AGAIN;
                tracing::warn!(%error, "log: the pool cannot grow");
            }
        }
    }

    /// Makes sure of a free slot before the first frame, by growth if need be. Blocks.
    pub(super) fn make_free(&mut self, disk: &mut dyn Disk) -> Result<(), WalError> {
        if self.segments.free_count() > 0 {
            return Ok(());
        }
        let slot = SlotId(disk.slot_count());
        // Beyond the bound: without a first frame there is no trim, and without a trim never a free slot again.
        if slot.0 >= self.slots_with_spare() {
            return Err(WalError::NoSlot { source: None });
        }
        let made = disk.create_slot(self.sizes.slot, &mut |_| ());
        let slot = made.map_err(|source| match source.kind() {
            std::io::ErrorKind::StorageFull => WalError::NoSlot { source: Some(source) },
            _ => WalError::Disk { slot, during: During::Create, source },
        })?;
        self.segments.add_free(slot);
        Ok(())
    }

    /// Sets what the gauge shows of the slots.
    pub(super) fn show(&self, space: &LogSpace) {
        let rest = self.current.as_ref().map_or(0, |current| self.sizes.slot - current.offset);
        let lost_at_end = (self.sizes.frame_max - self.sizes.block) as u64;
        let slots = self.segments.free_count() as u64;
        // As placement keeps it from entries.
        let kept = if slots == 0 { self.reserve() } else { 0 };
        let here = rest.saturating_sub(lost_at_end + kept);
        let free = here + slots.saturating_sub(1) * self.sizes.usable();
        space.set(free, slots, self.segments.count() as u64 * self.sizes.slot);
        space.set_slots_left(self.slots_left());
    }

    /// See [`LogSpace::slots_left`].
    fn slots_left(&self) -> u64 {
        let usable = self.segments.idle_count() + self.segments.needless_count(self.trimmed);
        (usable + (self.slots_with_spare() as usize).saturating_sub(self.segments.count())) as u64
    }

    /// The bound of a start that finds no slot free.
    fn slots_with_spare(&self) -> u32 {
        self.slots_max + LOG_SLOTS_SPARE
    }

    /// Bytes of the last slot that only frames without entries may use.
    fn reserve(&self) -> u64 {
        padded(usize::try_from(self.sizes.slot / 8).unwrap_or(usize::MAX), self.sizes.block) as u64
    }
}

/// One slot to roll into and one more, since the last is partly kept for trims.
const FREE_SLOTS_LOW: usize = 2;
/// After growing failed: long enough not to fill the disk's log, short enough to see space that was freed.
const GROW_AGAIN: Duration = Duration::from_secs(10);
/// While a slot is being made: it takes some 30 ms and nobody wakes us.
const GROWN_POLL: Duration = Duration::from_millis(20);
