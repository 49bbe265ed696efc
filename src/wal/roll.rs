//! Slots over time: the first write of a process, rolling into a free slot, zeroing freed ones, growing the pool.

use std::time::Duration;

use crate::disk::SlotId;
use crate::disk::padded;
use crate::ids::Index;
use crate::limits::LOG_SLOTS_SPARE;
use crate::wal::error::During;
use crate::wal::error::WalError;
use crate::wal::header::HEADER_LEN;
use crate::wal::header::SegmentHeader;
use crate::wal::log_loop::LogLoop;
use crate::wal::segments::Segment;
use crate::world::random_array;

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Current {
    /// Where the next frame (or the headers before it) goes.
    pub(super) offset: u64,
    /// Until the segment's first frame takes it along, in one write.
    pub(super) unwritten_header: Option<Box<[u8; HEADER_LEN]>>,
}

/// Whether a frame can be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// In the current segment.
    Here,
    /// Once what is in flight is durable.
    Wait,
    /// Once a slot is free.
    NoSlot,
}

impl LogLoop {
    /// Makes durable what was recovered: a process that died may have left it only in the page cache. Changes no byte.
    /// To be called before anything is acknowledged or voted on the strength of what was recovered; a step calls it.
    ///
    /// # Errors
    /// The device's. The log must not be used after that.
    pub fn sync_recovered(&mut self) -> Result<(), WalError> {
        if !self.recovered_synced {
            for slot in self.segments.live.iter().map(|segment| segment.slot).collect::<Vec<SlotId>>() {
                self.pipeline.sync_now(slot)?;
            }
            self.recovered_synced = true;
        }
        Ok(())
    }

    /// Finds space for a frame of `bytes`, rolling into another slot if need be. What may use the reserve: frames
    /// without entries, so that votes are given and trims are written when entries have no space left.
    pub(super) fn placement(&mut self, bytes: usize, uses_reserve: bool) -> Result<Placement, WalError> {
        if self.current.is_none() {
            self.first_segment()?;
        }
        let current = self.current.as_ref().expect("made right above if there was none");
        let headers = if current.unwritten_header.is_some() { self.sizes.headers() } else { 0 };
        let rest = self.sizes.slot - current.offset;
        let bytes = bytes as u64;
        let left_here = rest.checked_sub(headers + bytes);
        let reserve = if uses_reserve { 0 } else { self.reserve() };
        let free = self.segments.free.len();
        if left_here.is_some_and(|left| free > 0 || left >= reserve) {
            return Ok(Placement::Here);
        }
        // The last free slot is kept for trims and votes, and for the first segment of the next process.
        let kept = usize::from(!uses_reserve);
        let may_roll = left_here.is_none() && free > kept;
        if !may_roll {
            return Ok(Placement::NoSlot);
        }
        if self.pipeline.frames_in_flight() > 0 || self.durable != self.state.frame {
            return Ok(Placement::Wait);
        }
        let slot = self.segments.free.pop_first().expect("counted right above");
        let number = self.segments.live.back().map_or(1, |newest| newest.number + 1);
        self.begin_segment(slot, number);
        Ok(Placement::Here)
    }

    /// Bytes of the last slot that only frames without entries may use.
    pub(super) fn reserve(&self) -> u64 {
        padded(usize::try_from(self.sizes.slot / 8).unwrap_or(usize::MAX), self.sizes.block) as u64
    }

    /// Every open begins a new segment: no key outlives a process. An empty newest one is written over.
    fn first_segment(&mut self) -> Result<(), WalError> {
        self.sync_recovered()?;
        if let Some(empty) = self.segments.live.pop_back_if(|newest| !newest.has_frames) {
            self.begin_segment(empty.slot, empty.number);
            return Ok(());
        }
        // The trims that were recovered are durable now.
        self.segments.release(self.state.compacted.index);
        while let Some(slot) = self.segments.dirty.pop_front() {
            let mut events = Vec::new();
            self.pipeline.zero(slot, self.header_bytes())?;
            self.pipeline.finish(&mut events)?;
            self.take_events(&events);
        }
        if self.segments.free.is_empty() {
            self.grow_now()?;
        }
        let slot = self.segments.free.pop_first().ok_or(WalError::NoSlot { source: None })?;
        let number = self.segments.live.back().map_or(1, |newest| newest.number + 1);
        self.begin_segment(slot, number);
        Ok(())
    }

    fn begin_segment(&mut self, slot: SlotId, number: u64) {
        let salt = random_array(self.entropy.as_ref());
        let seal = self.key.segment(number, &salt);
        let header = SegmentHeader {
            block_bytes: u32::try_from(self.sizes.block).expect("a block is far below 4 GiB"),
            segment: number,
            segment_bytes: self.sizes.slot,
            salt,
            chain_in: self.state.chain,
            first_frame: self.state.frame + 1,
            next_index: self.state.next,
            compacted: self.state.compacted,
            hard_state: self.state.hard_state,
            cutover: self.state.cutover,
            node_id: self.key.node_id().to_bytes(),
            cluster_id: self.key.cluster_id(),
            slots: self.pipeline.disk.slot_count(),
        };
        self.current = Some(Current { offset: 0, unwritten_header: Some(Box::new(header.encode(&seal))) });
        self.segments.live.push_back(Segment { number, slot, seal, last_entry: Index(0), has_frames: false });
    }

    /// Zeroes one freed slot at a time, when nothing else waits or slots are short.
    pub(super) fn submit_zeroing(&mut self) -> Result<(), WalError> {
        let has_time = self.queue.is_empty() || self.segments.free.len() <= FREE_SLOTS_LOW;
        // Before the first write a log changes nothing.
        if self.current.is_none() || self.pipeline.is_zeroing() || !has_time {
            return Ok(());
        }
        match self.segments.dirty.pop_front() {
            Some(slot) => self.pipeline.zero(slot, self.header_bytes()),
            None => Ok(()),
        }
    }

    /// Asks for another slot in the background when free ones are short and trims do not free any.
    pub(super) fn ask_for_growth(&mut self) {
        if self.growth_due_in() == Some(Duration::ZERO) && !self.growing {
            self.pipeline.disk.start_growing(self.sizes.slot);
            self.growing = true;
        }
    }

    /// `None` if no growth is wanted.
    pub(super) fn growth_due_in(&self) -> Option<Duration> {
        let short = self.segments.free.len() + self.segments.dirty.len() < FREE_SLOTS_LOW;
        let wanted = short && self.current.is_some() && self.pipeline.disk.slot_count() < self.slots_max;
        let wait = if self.growing { GROWN_POLL } else { self.grow_again_at.saturating_sub(self.clock.monotonic()) };
        wanted.then_some(wait)
    }

    pub(super) fn take_grown(&mut self) {
        if !self.growing {
            return;
        }
        match self.pipeline.disk.take_grown() {
            None => {}
            Some(Ok(slot)) => {
                self.growing = false;
                self.segments.free.insert(slot);
                tracing::info!(slot = slot.0, "log: the pool has grown by a slot");
            }
            Some(Err(error)) => {
                self.growing = false;
                self.grow_again_at = self.clock.monotonic() + GROW_AGAIN;
                tracing::warn!(%error, "log: the pool cannot grow");
            }
        }
    }

    fn grow_now(&mut self) -> Result<(), WalError> {
        let slot = SlotId(self.pipeline.disk.slot_count());
        // Beyond the bound: without a first frame there is no trim, and without a trim never a free slot again.
        if slot.0 >= self.slots_max + LOG_SLOTS_SPARE {
            return Err(WalError::NoSlot { source: None });
        }
        let made = self.pipeline.disk.create_slot(self.sizes.slot, &mut |_| ());
        let slot = made.map_err(|source| match source.kind() {
            std::io::ErrorKind::StorageFull => WalError::NoSlot { source: Some(source) },
            _ => WalError::Disk { slot, during: During::Create, source },
        })?;
        self.segments.free.insert(slot);
        Ok(())
    }

    fn header_bytes(&self) -> usize {
        2 * self.sizes.block
    }
}

/// One slot to roll into and one more, since the last is partly kept for trims.
const FREE_SLOTS_LOW: usize = 2;
/// After growing failed: long enough not to fill the disk's log, short enough to see space that was freed.
const GROW_AGAIN: Duration = Duration::from_secs(10);
/// While a slot is being made: it takes some 30 ms and nobody wakes us.
const GROWN_POLL: Duration = Duration::from_millis(20);
