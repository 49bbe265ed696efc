//! The log as a step function over a disk, a clock and randomness: appends in, durable tickets out.
//!
//! ```text
//! Intake (appends) -> FrameGroup -> Pool (where) -> FrameBuilder (bytes) -> Pipeline (disk) -> Acks (tickets) -> Pool
//! ```
//!
//! While fewer frames than allowed are in flight, whatever waits becomes the next one: an entry that comes alone goes at
//! once, and under load the groups grow by themselves. A roll waits until every frame is durable.

use std::sync::Arc;
use std::time::Duration;

use crate::disk::Disk;
use crate::disk::Engine;
use crate::disk::SlotId;
use crate::disk::Waker;
use crate::disk::padded;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::limits::LOG_READ_BYTES_MAX;
use crate::wal::Append;
use crate::wal::acks::Acks;
use crate::wal::builder::FrameBuilder;
use crate::wal::config::LogConfig;
use crate::wal::contents::LogContents;
use crate::wal::contents::WholeFrame;
use crate::wal::error::WalError;
use crate::wal::fetch;
use crate::wal::frame::Records;
use crate::wal::group::FrameGroup;
use crate::wal::header::headers_len;
use crate::wal::intake::Full;
use crate::wal::intake::Intake;
use crate::wal::pipeline::Event;
use crate::wal::pipeline::Pipeline;
use crate::wal::pool::Placement;
use crate::wal::pool::Pool;
use crate::wal::pulse::Pulse;
use crate::wal::recovery::Replayed;
use crate::wal::seal::SegmentKeys;
use crate::wal::space::LogSpace;
use crate::wal::window::Window;
use crate::world::Clock;
use crate::world::Entropy;

/// The result of a step, and when the next is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogProgress {
    /// Newest ticket that is durable together with everything before it, if one was not reported before.
    pub persisted_ticket: Option<u64>,
    /// Requests are in flight: the next step waits for them.
    pub busy: bool,
    /// Nothing is in flight and something is due after this time: an idle frame, another attempt to grow.
    pub wake_in: Option<Duration>,
    /// Entries wait for a slot: only a trim, or growth, lets them go on.
    pub stalled: bool,
    /// Longest sync that ended in this step.
    pub slowest_sync: Option<Duration>,
    /// Since the log was opened.
    pub counts: LogCounts,
}

/// How much work the log did. With one frame in flight there are as many syncs as frames, with more fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Appends that are in frames.
    pub appends: u64,
    /// Frames handed to the disk, idle ones too.
    pub frames: u64,
    /// Syncs that made frames durable, and writes that are syncs themselves.
    pub syncs: u64,
}

/// The log. Every error of [`LogLoop::step`] is final: nothing more is written or acknowledged (SYNC-FATAL).
pub struct LogLoop {
    intake: Intake,
    /// As of the newest frame that was submitted.
    contents: LogContents,
    pool: Pool,
    builder: FrameBuilder,
    pipeline: Pipeline,
    acks: Acks,
    space: Arc<LogSpace>,
    window: Window,
    clock: Arc<dyn Clock>,
    idle: Duration,
    frames_in_flight: usize,
    counts: LogCounts,
    is_recovered_synced: bool,
    poisoned: bool,
}

impl LogLoop {
    pub(super) fn begin(
        config: &LogConfig,
        disk: Box<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        replayed: Replayed,
    ) -> LogLoop {
        let Replayed { sizes, contents, segments, .. } = replayed;
        let (window, now) = (Window::new(disk.block_bytes()), clock.monotonic());
        let keys = SegmentKeys::new(config.log_key.clone(), config.node_id, config.cluster_id);
        let state = contents.state();
        let log = LogLoop {
            intake: Intake::new(state.hard_state, config.entry_bytes_max),
            pool: Pool::new(sizes, config.slots_max, segments, state.compacted.index, now),
            builder: FrameBuilder::new(keys, entropy, sizes),
            pipeline: Pipeline::new(disk, clock.clone(), config.slow_sync, config.hung),
            acks: Acks::new(state.frame, now),
            contents,
            space: Arc::new(LogSpace::new(sizes.gather_max)),
            window,
            clock,
            idle: config.idle,
            frames_in_flight: config.frames_in_flight,
            counts: LogCounts::default(),
            is_recovered_synced: false,
            poisoned: false,
        };
        log.show();
        log
    }

    /// Sets the gauge.
    fn show(&self) {
        self.pool.show(&self.space);
        self.space.set_compacted(self.contents.state().compacted.index);
    }

    /// The disk, to open the log anew.
    #[must_use]
    pub fn into_disk(self) -> Box<dyn Disk> {
        self.pipeline.into_disk()
    }

    /// The gauge that the raft thread reads at its door.
    #[must_use]
    pub fn space(&self) -> Arc<LogSpace> {
        self.space.clone()
    }

    /// Which engine writes.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.pipeline.engine()
    }

    /// Ends the sleep of a step from another thread; `None` where a step never sleeps.
    pub(super) fn waker(&mut self) -> Option<Waker> {
        self.pipeline.disk().waker()
    }

    /// For a watchdog: calls into the kernel, time, and how long a call may take.
    pub(super) fn pulse(&self) -> (Arc<Pulse>, Arc<dyn Clock>, Duration) {
        (self.pipeline.pulse(), self.clock.clone(), self.pipeline.hung())
    }

    /// Takes an append into the queue. It is written by a later step.
    ///
    /// # Errors
    /// [`Full`] gives it back if [`LOG_QUEUE_MAX`](crate::limits::LOG_QUEUE_MAX) wait.
    ///
    /// # Panics
    /// If its entries are not consecutive, or one is larger than the largest: the caller made them.
    pub fn offer(&mut self, append: Append) -> Result<(), Full> {
        let cost = self.space.cost_bytes(append.entries.iter().map(|entry| entry.data.len()));
        self.intake.offer(append, cost)
    }

    /// Whether [`LogLoop::offer`] would return [`Full`].
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.intake.is_full()
    }

    /// Whether a step has something to do or to wait for.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.pipeline.is_empty() || self.intake.has_work()
    }

    /// Builds frames from the queue, submits them, takes completions (waiting at most `wait` for one), acknowledges.
    ///
    /// # Errors
    /// Any error is final; afterwards every call returns [`WalError::Poisoned`].
    pub fn step(&mut self, wait: Duration) -> Result<LogProgress, WalError> {
        self.step_with(|_| wait)
    }

    /// As [`LogLoop::step`]; `wait` is asked just before a sleep, and told whether another append could be written meanwhile.
    pub(super) fn step_with(&mut self, wait: impl FnOnce(bool) -> Duration) -> Result<LogProgress, WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        let worked = self.work(wait);
        self.poisoned = worked.is_err();
        worked
    }

    /// Syncs what was recovered, free slots too: a process that died may have left them only in the page cache. Changes no byte.
    /// Must come before the first vote or acknowledgement that relies on recovered entries; a step calls it.
    ///
    /// # Errors
    /// The device's. It is final, like every error of [`LogLoop::step`].
    pub fn sync_recovered(&mut self) -> Result<(), WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        let synced = self.sync_what_was_found();
        self.poisoned = synced.is_err();
        synced
    }

    fn sync_what_was_found(&mut self) -> Result<(), WalError> {
        if !self.is_recovered_synced {
            // Free slots too: their zeroed headers may be in the page cache only, and a power cut after the next use would
            // bring the old header back over new frames.
            for slot in self.pool.segments().relied_on().collect::<Vec<SlotId>>() {
                self.pipeline.sync_now(slot)?;
            }
            self.is_recovered_synced = true;
        }
        Ok(())
    }

    /// Entries from `first` to `last` inclusive, at least one, then as many as `bytes_max` bytes of data allow, and
    /// [`LOG_READ_BYTES_MAX`]. Frames that lie behind each other come with one read; each is verified.
    ///
    /// # Errors
    /// [`WalError::NoEntry`] if `first` is trimmed, replaced or not durable yet; [`WalError::Refused`] if a
    /// frame does not read back. It is damaged then, not missing: never answer with a shorter log.
    pub fn fetch(&mut self, first: Index, last: Index, bytes_max: usize) -> Result<Vec<LogEntry>, WalError> {
        let (contents, segments, durable) = (&self.contents, self.pool.segments(), self.acks.durable());
        let find = |index| {
            let held = contents.find(index).filter(|held| held.frame <= durable)?;
            (index > contents.state().compacted.index).then_some((held, segments.segment(held.segment)?.seal()))
        };
        let bytes_max = bytes_max.min(LOG_READ_BYTES_MAX);
        fetch::entries(self.pipeline.disk(), &mut self.window, &find, first..=last, bytes_max)
    }

    fn work(&mut self, wait: impl FnOnce(bool) -> Duration) -> Result<LogProgress, WalError> {
        self.pool.take_grown(self.pipeline.disk(), self.clock.monotonic());
        if !self.intake.is_empty() {
            self.sync_what_was_found()?;
        }
        self.submit_frames()?;
        self.submit_zeroing()?;
        self.pool.start_growing(self.pipeline.disk(), self.clock.monotonic());
        let mut events = Vec::new();
        if !self.pipeline.is_empty() {
            let takes_more = self.pipeline.frames_in_flight() < self.frames_in_flight && !self.intake.is_stalled();
            self.pipeline.poll(wait(takes_more), &mut events)?;
        }
        self.take_events(&events);
        self.show();
        Ok(LogProgress {
            persisted_ticket: self.acks.take_ticket(),
            // A frame that became durable, or a slot that became free, may let the next step do more.
            busy: self.is_busy() || !events.is_empty(),
            wake_in: self.wake_in(),
            // A group that waits for frames in flight, before a roll, is not held up by the pool.
            stalled: self.intake.is_stalled() && self.acks.all_durable() && events.is_empty(),
            slowest_sync: self.pipeline.take_slowest(),
            counts: LogCounts { syncs: self.pipeline.syncs(), ..self.counts },
        })
    }

    fn take_events(&mut self, events: &[Event]) {
        for event in events {
            match *event {
                Event::Durable(frame) => {
                    self.acks.frames_durable(frame, self.clock.monotonic());
                    self.pool.release(self.acks.take_releases());
                }
                Event::Zeroed(slot) => self.pool.segments_mut().add_free(slot),
            }
        }
    }

    fn submit_frames(&mut self) -> Result<(), WalError> {
        while self.pipeline.frames_in_flight() < self.frames_in_flight {
            let (state, gather_max) = (self.contents.state(), self.pool.sizes().gather_max);
            let group = self.intake.next_group(state, gather_max);
            if self.intake.needs_frame(&group, state) {
                if !self.place(group)? {
                    return Ok(());
                }
            } else {
                // A newer commit alone is written with the next frame; its ticket goes with the frame before it.
                self.count(&group);
                if self.intake.is_empty() {
                    return self.submit_idle();
                }
            }
        }
        Ok(())
    }

    /// Writes a group's frame. False if it has to wait: for a slot, or for frames in flight before a roll.
    fn place(&mut self, group: FrameGroup) -> Result<bool, WalError> {
        match self.placement(&group, group.entries.is_empty())? {
            Placement::Here => self.write(&group)?,
            Placement::Wait | Placement::Roll => self.intake.put_back(group),
            // What overtakes the group may need a roll, and then nothing may be in flight.
            Placement::NoSlot if !self.acks.all_durable() => self.intake.put_back(group),
            Placement::NoSlot => {
                // Only a trim or a reset can free space, and it may be waiting behind an entry that has none.
                let Some(overtaking) = self.intake.overtake(group, self.contents.state()) else {
                    return Ok(false);
                };
                if self.placement(&overtaking, true)? != Placement::Here {
                    return Err(WalError::NoSlot { source: None });
                }
                self.write(&overtaking)?;
            }
        }
        Ok(!self.intake.is_stalled())
    }

    /// Finds space for a group's frame, beginning a segment if need be.
    fn placement(&mut self, group: &FrameGroup, uses_reserve: bool) -> Result<Placement, WalError> {
        if !self.pool.is_begun() {
            self.first_segment()?;
        }
        let bytes = padded(group.frame_len(), self.pool.sizes().block);
        match self.pool.placement(bytes, uses_reserve, self.acks.all_durable()) {
            Placement::Roll => {
                let (slot, number) = self.pool.segments_mut().take_free().expect("a roll has a free slot");
                self.begin_segment(slot, number);
                Ok(Placement::Here)
            }
            other => Ok(other),
        }
    }

    fn write(&mut self, group: &FrameGroup) -> Result<(), WalError> {
        let FrameGroup { records, entries, .. } = group;
        let length = group.frame_len();
        let bytes = padded(length, self.pool.sizes().block);
        let extent = self.pool.take(bytes);
        let mut buffer = self.pipeline.disk().take_buffer(extent.headers + bytes);
        let (headers, out) = buffer[..extent.headers + bytes].split_at_mut(extent.headers);
        if let Some(header) = &extent.header {
            self.builder.headers(header, headers);
        }
        let segment = self.pool.newest();
        let tag = self.builder.frame(segment, self.contents.state(), self.acks.durable(), group, out);
        let (first, next) = (entries.first().map(|entry| entry.index), self.contents.state().next);
        let length = u32::try_from(length).expect("a frame is far below 4 GiB");
        let frame = WholeFrame { offset: extent.offset + extent.headers as u64, length, tag, records, entries };
        self.contents.frame_taken(segment, frame).map_err(|_| WalError::Contradiction { first, next })?;
        let slot = segment.slot();
        self.acks.frame_written(records, segment.number(), self.contents.state());
        self.counts.frames += 1;
        self.count(group);
        self.pipeline.write_frame(self.contents.state().frame, slot, extent.offset, buffer, extent.headers + bytes)
    }

    /// The group's appends are in frames that were submitted.
    fn count(&mut self, group: &FrameGroup) {
        self.space.framed(group.cost);
        self.counts.appends += group.appends;
        if let Some(ticket) = group.ticket {
            self.acks.ticket(ticket);
        }
    }

    /// Every open begins a new segment: no key outlives a process. An empty newest one is written over.
    fn first_segment(&mut self) -> Result<(), WalError> {
        self.sync_what_was_found()?;
        if let Some((slot, number)) = self.pool.segments_mut().take_empty_newest() {
            self.begin_segment(slot, number);
            return Ok(());
        }
        // The trims that were recovered are durable now.
        self.pool.release(self.acks.take_releases());
        while let Some(slot) = self.pool.segments_mut().take_dirty() {
            let mut events = Vec::new();
            self.pipeline.zero(slot, headers_len(self.pool.sizes().block))?;
            self.pipeline.finish(&mut events)?;
            self.take_events(&events);
        }
        self.pool.make_free(self.pipeline.disk())?;
        let (slot, number) = self.pool.segments_mut().take_free().ok_or(WalError::NoSlot { source: None })?;
        self.begin_segment(slot, number);
        Ok(())
    }

    fn begin_segment(&mut self, slot: SlotId, number: u64) {
        assert!(self.acks.all_durable(), "a segment begins when all before it is durable");
        let slots = self.pipeline.disk().slot_count();
        let (seal, header) = self.builder.segment(number, self.contents.state(), slots);
        self.pool.begin(slot, number, seal, header);
    }

    /// Zeroes one freed slot at a time, when nothing else waits or slots are short.
    fn submit_zeroing(&mut self) -> Result<(), WalError> {
        let has_time = self.intake.is_empty() || self.pool.is_short();
        // Before the first write a log changes nothing.
        if !self.pool.is_begun() || self.pipeline.is_zeroing() || !has_time {
            return Ok(());
        }
        match self.pool.segments_mut().take_dirty() {
            Some(slot) => self.pipeline.zero(slot, headers_len(self.pool.sizes().block)),
            None => Ok(()),
        }
    }

    /// With nothing to write and the watermark behind: one frame that attests that the last real one is durable.
    fn submit_idle(&mut self) -> Result<(), WalError> {
        if self.idle_due_in() != Some(Duration::ZERO) {
            return Ok(());
        }
        let hard_state = self.intake.unwritten_hard_state(self.contents.state());
        let records = Records { idle: true, hard_state, ..Records::default() };
        let group = FrameGroup { records, ..FrameGroup::default() };
        // It must not take the space that is kept for trims; then the last frame goes without a witness.
        match self.placement(&group, false)? {
            Placement::Here => self.write(&group),
            Placement::Wait | Placement::Roll | Placement::NoSlot => Ok(()),
        }
    }

    fn wake_in(&self) -> Option<Duration> {
        let growth = self.pool.growth_due_in(self.pipeline.slot_count(), self.clock.monotonic());
        self.idle_due_in().into_iter().chain(growth).min()
    }

    /// `None` if no idle frame is wanted: nothing was written, or the newest frame is one.
    fn idle_due_in(&self) -> Option<Duration> {
        let is_quiet = self.pool.is_begun() && !self.intake.is_stalled() && self.intake.is_empty();
        let since = self.acks.unwitnessed_since().filter(|_| is_quiet)?;
        Some(self.idle.saturating_sub(self.clock.monotonic().saturating_sub(since)))
    }
}

debug_fields!(self: LogLoop {
    contents: self.contents,
    pool: self.pool,
    pipeline: self.pipeline,
    poisoned: self.poisoned,
});
