//! From what waits to a frame on its way: group commit, records and entries, the idle frame.
//!
//! One frame is in flight. Whatever waits meanwhile becomes the next one. `FRAMES_IN_FLIGHT` is the only place that
//! says so: the pipeline orders, syncs and acknowledges any number, and a roll waits until all are durable.

use std::time::Duration;

use crate::disk::SlotId;
use crate::disk::padded;
use crate::ids::Index;
use crate::wal::error::WalError;
use crate::wal::frame;
use crate::wal::frame::FrameHead;
use crate::wal::frame::Records;
use crate::wal::group::FrameGroup;
use crate::wal::index::FrameEntries;
use crate::wal::log_loop::LogLoop;
use crate::wal::log_loop::Release;
use crate::wal::roll::Placement;
use crate::world::random_array;

impl LogLoop {
    pub(super) fn submit_frames(&mut self) -> Result<(), WalError> {
        while self.pipeline.frames_in_flight() < FRAMES_IN_FLIGHT {
            let group = match self.stalled.take() {
                Some(group) => group,
                None => {
                    let (state, newest) = (&self.state, &mut self.newest_hard_state);
                    FrameGroup::take(&mut self.queue, state, newest, self.sizes.gather_max)
                }
            };
            if group.needs_frame(&self.state, &self.newest_hard_state) {
                if !self.place(group)? {
                    return Ok(());
                }
            } else {
                // A newer commit alone is written with the next frame; its ticket goes with what is before it.
                self.note_ticket(&group);
                if self.queue.is_empty() {
                    return self.submit_idle();
                }
            }
        }
        Ok(())
    }

    /// Writes a group's frame. False if it has to wait: for a slot, or for what is in flight before a roll.
    fn place(&mut self, group: FrameGroup) -> Result<bool, WalError> {
        let bytes = padded(group.frame_len(), self.sizes.block);
        match self.placement(bytes, group.entries.is_empty())? {
            Placement::Here => self.write(group, bytes)?,
            Placement::Wait => self.stalled = Some(group),
            Placement::NoSlot => {
                // Only a trim or a reset can free space, and it may be waiting behind an entry that has none.
                let overtaking = match FrameGroup::take_reset(&mut self.queue, &mut self.newest_hard_state, &group) {
                    Some(reset) => Some(reset),
                    None => {
                        self.stalled = Some(group);
                        FrameGroup::take_trims(&mut self.queue, &self.state)
                    }
                };
                let Some(overtaking) = overtaking else { return Ok(false) };
                let bytes = padded(overtaking.frame_len(), self.sizes.block);
                if matches!(self.placement(bytes, true)?, Placement::Here) {
                    self.write(overtaking, bytes)?;
                } else {
                    return Err(WalError::NoSlot { source: None });
                }
            }
        }
        Ok(self.stalled.is_none())
    }

    fn write(&mut self, group: FrameGroup, bytes: usize) -> Result<(), WalError> {
        let current = self.current.as_mut().expect("placement made sure of a segment");
        let headers = current.unwritten_header.take();
        let base = if headers.is_some() { 2 * self.sizes.block } else { 0 };
        let mut buffer = self.pipeline.disk.take_buffer(base + bytes);
        if let Some(header) = headers {
            buffer[..base].fill(0);
            for copy in buffer[..base].chunks_exact_mut(self.sizes.block) {
                copy[..header.len()].copy_from_slice(header.as_slice());
            }
        }
        let segment = self.segments.live.back_mut().expect("the current segment is the newest");
        let number = self.state.frame + 1;
        let head = FrameHead {
            length: 0,
            kind: 0,
            random: random_array(self.entropy.as_ref()),
            number,
            watermark: self.durable,
            segment: segment.number,
            previous: self.state.chain,
        };
        let out = &mut buffer[base..base + bytes];
        let tag = frame::encode(&head, &group.records, &group.entries, &segment.seal, out);
        let (first, next) = (group.entries.first().map(|entry| entry.index), self.state.next);
        let applied = self.state.apply(&group.records, &group.entries);
        applied.map_err(|_| WalError::Contradiction { first, next })?;
        let place = (segment.number, segment.slot, current.offset + base as u64);
        (self.state.frame, self.state.chain) = (number, tag);
        let start = current.offset;
        current.offset += (base + bytes) as u64;
        segment.has_frames = true;
        let slot = segment.slot;
        self.note(&group, place, frame_len_u32(&group));
        self.pipeline.write_frame(number, slot, start, buffer, base + bytes)
    }

    /// Everything that follows from a frame having been built.
    fn note(&mut self, group: &FrameGroup, place: (u64, SlotId, u64), length: u32) {
        let (segment, slot, offset) = place;
        let newest = self.segments.live.back_mut().expect("the current segment is the newest");
        if group.records.reset.is_some() {
            newest.last_entry = Index(0);
            self.index.clear();
        }
        if let (Some(first), Some(last)) = (group.entries.first(), group.entries.last()) {
            newest.last_entry = newest.last_entry.max(last.index);
            let (first, end, frame) = (first.index, last.index.next(), self.state.frame);
            self.index.push(FrameEntries { first, end, segment, slot, offset, length, frame });
        }
        let compacted = self.state.compacted.index;
        if group.records.reset.is_some() || group.records.trim.is_some() {
            self.index.trim(compacted);
            let reset_in = group.records.reset.map(|_| segment);
            self.releases.push_back(Release { frame: self.state.frame, compacted, reset_in });
        }
        self.newest_is_idle = group.records.idle;
        self.note_ticket(group);
    }

    fn note_ticket(&mut self, group: &FrameGroup) {
        self.space.framed(group.cost);
        if let Some(ticket) = group.ticket {
            assert!(self.tickets.back().is_none_or(|(_, last)| *last < ticket), "tickets increase");
            self.tickets.push_back((self.state.frame, ticket));
        }
    }

    /// With nothing to write and the watermark behind: one frame that says the last real one is durable.
    fn submit_idle(&mut self) -> Result<(), WalError> {
        if self.idle_due_in() != Some(Duration::ZERO) {
            return Ok(());
        }
        let hard_state = Some(self.newest_hard_state).filter(|newest| *newest != self.state.hard_state);
        let records = Records { idle: true, hard_state, ..Records::default() };
        let group = FrameGroup { records, ..FrameGroup::default() };
        let bytes = padded(group.frame_len(), self.sizes.block);
        // It must not take the space that is kept for trims; then the last frame goes without a witness.
        match self.placement(bytes, false)? {
            Placement::Here => self.write(group, bytes),
            Placement::Wait | Placement::NoSlot => Ok(()),
        }
    }

    /// `None` if no idle frame is wanted: nothing was written, or the newest frame is one.
    pub(super) fn idle_due_in(&self) -> Option<Duration> {
        let wanted = self.current.is_some()
            && !self.newest_is_idle
            && self.stalled.is_none()
            && self.queue.is_empty()
            && self.durable == self.state.frame;
        let since = self.clock.monotonic().saturating_sub(self.last_durable_at);
        wanted.then(|| self.idle.saturating_sub(since))
    }
}

fn frame_len_u32(group: &FrameGroup) -> u32 {
    u32::try_from(group.frame_len()).expect("a frame is far below 4 GiB")
}

/// More than one needs a way to wake the thread while a frame is in flight, and waits for that.
const FRAMES_IN_FLIGHT: usize = 1;
