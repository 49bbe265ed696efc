//! The log as a step function over a disk, a clock and randomness: appends in, durable tickets out.
//!
//! One frame is in flight. Whatever waits meanwhile becomes the next one. `FRAMES_IN_FLIGHT` is the only place that
//! says so: the pipeline orders, syncs and acknowledges any number, and a roll waits until all are durable.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::Disk;
use crate::disk::Engine;
use crate::disk::SlotId;
use crate::disk::padded;
use crate::ids::Index;
use crate::ids::Position;
use crate::limits::LOG_QUEUE_MAX;
use crate::wal::Append;
use crate::wal::HardState;
use crate::wal::LogEntry;
use crate::wal::error::WalError;
use crate::wal::frame;
use crate::wal::frame::FrameHead;
use crate::wal::frame::Records;
use crate::wal::frame::Tag;
use crate::wal::group::Group;
use crate::wal::group::Waiting;
use crate::wal::index::FrameEntries;
use crate::wal::index::FrameIndex;
use crate::wal::options::Options;
use crate::wal::options::Sizes;
use crate::wal::pipeline::Event;
use crate::wal::pipeline::Pipeline;
use crate::wal::pipeline::Pulse;
use crate::wal::recovery;
use crate::wal::recovery::Found;
use crate::wal::recovery::TornEnd;
use crate::wal::roll::Current;
use crate::wal::roll::Placement;
use crate::wal::room::LogRoom;
use crate::wal::seal::LogKey;
use crate::wal::segments::Segments;
use crate::wal::state::LogState;
use crate::wal::window::Window;
use crate::world::Clock;
use crate::world::Entropy;
use crate::world::random_array;

/// What a log holds when it is opened.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Raft's hard state as last written; its commit may be behind.
    pub hard_state: HardState,
    /// What state must cover.
    pub compacted: Position,
    /// Every entry above `compacted`, without gaps.
    pub entries: Vec<LogEntry>,
    /// `None` if this log knows no cutover.
    pub cutover: Option<Index>,
    /// Number and tag of the newest frame: what a rollback would lower.
    pub newest_frame: (u64, Tag),
    /// Where an unfinished end was dropped; it was never acknowledged.
    pub torn: Option<TornEnd>,
    /// Frames read.
    pub frames: u64,
}

/// The queue is full: the append comes back.
#[derive(Debug)]
pub struct Full(pub Append);

/// What a step did, and what to expect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
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
}

/// The log. Every error of [`LogLoop::step`] is final: nothing more is written or acknowledged (SYNC-FATAL).
pub struct LogLoop {
    pub(super) pipeline: Pipeline,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) key: LogKey,
    pub(super) sizes: Sizes,
    pub(super) slots_max: u32,
    entry_bytes_max: usize,
    idle: Duration,
    hung: Duration,
    /// As of the newest frame built.
    pub(super) state: LogState,
    pub(super) segments: Segments,
    pub(super) current: Option<Current>,
    pub(super) index: FrameIndex,
    pub(super) queue: VecDeque<Waiting>,
    /// Built, and waiting for a slot.
    stalled: Option<Group>,
    newest_hard_state: HardState,
    /// Frame that makes it durable, ticket.
    tickets: VecDeque<(u64, u64)>,
    /// What may be given up once a frame is durable.
    releases: VecDeque<Release>,
    pub(super) durable: u64,
    /// The compacted index that is durable.
    trimmed: Index,
    newest_is_idle: bool,
    last_durable_at: Duration,
    pub(super) recovered_synced: bool,
    pub(super) grow_again_at: Duration,
    pub(super) growing: bool,
    room: Arc<LogRoom>,
    pub(super) window: Window,
    poisoned: bool,
}

#[derive(Clone, Copy, Debug)]
struct Release {
    frame: u64,
    compacted: Index,
    /// Segment of a reset.
    reset_in: Option<u64>,
}

impl LogLoop {
    /// Recovers a log. Changes nothing on disk: that begins with the first append.
    ///
    /// # Errors
    /// Damage, another key, another owner, a missing slot; see [`WalError::is_configuration`].
    pub fn open(
        options: &Options,
        mut disk: Box<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(LogLoop, Recovered), WalError> {
        let key = LogKey::new(options.log_key.clone(), options.node_id, options.cluster_id);
        let mut found = recovery::recover(disk.as_mut(), &key, options.entry_bytes_max)?;
        let recovered = Recovered {
            hard_state: found.state.hard_state,
            compacted: found.state.compacted,
            entries: std::mem::take(&mut found.entries),
            cutover: Some(found.state.cutover).filter(|cutover| *cutover != Index::NEVER),
            newest_frame: (found.state.frame, found.state.chain),
            torn: found.torn,
            frames: found.frames,
        };
        if let Some(torn) = found.torn {
            let (segment, slot, offset) = (torn.segment, torn.slot.0, torn.offset);
            tracing::warn!(
                segment,
                slot,
                offset,
                "log: an unfinished end was dropped, it was never acknowledged"
            );
        }
        Ok((LogLoop::begin(options, disk, clock, entropy, found), recovered))
    }

    pub(super) fn begin(
        options: &Options,
        disk: Box<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        found: Found,
    ) -> LogLoop {
        let window = Window::new(disk.block_bytes());
        let now = clock.monotonic();
        let log = LogLoop {
            pipeline: Pipeline::new(disk, clock.clone(), options.slow_sync, options.hung),
            clock,
            entropy,
            key: LogKey::new(options.log_key.clone(), options.node_id, options.cluster_id),
            sizes: found.sizes,
            slots_max: options.slots_max,
            entry_bytes_max: options.entry_bytes_max,
            idle: options.idle,
            hung: options.hung,
            newest_hard_state: found.state.hard_state,
            durable: found.state.frame,
            trimmed: found.state.compacted.index,
            state: found.state,
            segments: found.segments,
            current: None,
            index: found.index,
            queue: VecDeque::new(),
            stalled: None,
            tickets: VecDeque::new(),
            releases: VecDeque::new(),
            newest_is_idle: false,
            last_durable_at: now,
            recovered_synced: false,
            grow_again_at: now,
            growing: false,
            room: Arc::new(LogRoom::new(found.sizes.gather_max)),
            window,
            poisoned: false,
        };
        log.tell_room();
        log
    }

    /// The gauge that the raft thread reads at its door.
    #[must_use]
    pub fn room(&self) -> Arc<LogRoom> {
        self.room.clone()
    }

    /// Which engine writes.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.pipeline.disk.engine()
    }

    pub(super) fn pulse(&self) -> (Arc<Pulse>, Arc<dyn Clock>, Duration) {
        (self.pipeline.pulse(), self.clock.clone(), self.hung)
    }

    /// Takes an append into the queue. It is written by a later step.
    ///
    /// # Errors
    /// [`Full`] gives it back if [`LOG_QUEUE_MAX`] wait.
    ///
    /// # Panics
    /// If its entries are not consecutive, or one is larger than the largest: the caller made them.
    pub fn offer(&mut self, append: Append) -> Result<(), Full> {
        let consecutive = append
            .entries
            .windows(2)
            .all(|pair| pair[1].index.0 == pair[0].index.0 + 1);
        assert!(consecutive, "an append's entries are consecutive");
        let fits = append
            .entries
            .iter()
            .all(|entry| entry.data.len() <= self.entry_bytes_max);
        assert!(fits, "an entry is at most entry_bytes_max");
        if self.queue.len() >= LOG_QUEUE_MAX {
            return Err(Full(append));
        }
        let cost = self
            .room
            .cost_bytes(append.entries.iter().map(|entry| entry.data.len()));
        self.queue.push_back(Waiting { append, cost });
        Ok(())
    }

    /// Whether [`LogLoop::offer`] would say [`Full`].
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queue.len() >= LOG_QUEUE_MAX
    }

    /// Whether a step has something to do or to wait for.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.pipeline.is_empty() || !self.queue.is_empty() && self.stalled.is_none()
    }

    /// Builds frames from what waits, submits them, takes completions (waiting at most `wait` for one), acknowledges.
    ///
    /// # Errors
    /// Any error is final; afterwards every call says [`WalError::Poisoned`].
    pub fn step(&mut self, wait: Duration) -> Result<Progress, WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        let worked = self.work(wait);
        self.poisoned = worked.is_err();
        worked
    }

    fn work(&mut self, wait: Duration) -> Result<Progress, WalError> {
        self.take_grown();
        if !self.queue.is_empty() {
            self.sync_recovered()?;
        }
        self.submit_frames()?;
        self.submit_zeroing()?;
        self.ask_for_growth();
        let mut events = Vec::new();
        self.pipeline.poll(wait, &mut events)?;
        self.take_events(&events);
        self.tell_room();
        Ok(Progress {
            persisted_ticket: self.take_ticket(),
            // What became durable or free may let the next step do more.
            busy: self.is_busy() || !events.is_empty(),
            wake_in: self.wake_in(),
            stalled: self.stalled.is_some(),
            slowest_sync: self.pipeline.take_slowest(),
        })
    }

    pub(super) fn take_events(&mut self, events: &[Event]) {
        for event in events {
            match *event {
                Event::Durable(frame) => {
                    assert!(
                        frame > self.durable && frame <= self.state.frame,
                        "frames become durable in order"
                    );
                    self.durable = frame;
                    self.last_durable_at = self.clock.monotonic();
                    self.release();
                }
                Event::Zeroed(slot) => {
                    self.segments.free.insert(slot);
                }
            }
        }
    }

    /// Gives up segments that a durable trim or reset made needless.
    fn release(&mut self) {
        while let Some(release) = self.releases.pop_front_if(|release| release.frame <= self.durable) {
            if let Some(segment) = release.reset_in {
                self.segments.forget_entries_before(segment);
            }
            self.trimmed = self.trimmed.max(release.compacted);
        }
        // At every durable frame, since only now the segment that it began may replace an older one.
        self.segments.release(self.trimmed);
    }

    fn take_ticket(&mut self) -> Option<u64> {
        let mut newest = None;
        while let Some((_, ticket)) = self.tickets.pop_front_if(|(frame, _)| *frame <= self.durable) {
            newest = Some(ticket);
        }
        newest
    }

    fn submit_frames(&mut self) -> Result<(), WalError> {
        while self.pipeline.frames_in_flight() < FRAMES_IN_FLIGHT {
            let group = match self.stalled.take() {
                Some(group) => group,
                None => {
                    let (state, newest) = (&self.state, &mut self.newest_hard_state);
                    Group::take(&mut self.queue, state, newest, self.sizes.gather_max)
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
    fn place(&mut self, group: Group) -> Result<bool, WalError> {
        let bytes = padded(group.frame_len(), self.sizes.block);
        match self.placement(bytes, group.entries.is_empty())? {
            Placement::Here => self.write(group, bytes)?,
            Placement::Wait => self.stalled = Some(group),
            Placement::NoSlot => {
                // Only a trim or a reset can make room, and it may be waiting behind what has none.
                let overtaking = match Group::take_reset(&mut self.queue, &mut self.newest_hard_state, &group) {
                    Some(reset) => Some(reset),
                    None => {
                        self.stalled = Some(group);
                        Group::take_trims(&mut self.queue, &self.state)
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

    fn write(&mut self, group: Group, bytes: usize) -> Result<(), WalError> {
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
        let segment = self
            .segments
            .live
            .back_mut()
            .expect("the current segment is the newest");
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
    fn note(&mut self, group: &Group, place: (u64, SlotId, u64), length: u32) {
        let (segment, slot, offset) = place;
        let newest = self
            .segments
            .live
            .back_mut()
            .expect("the current segment is the newest");
        if group.records.reset.is_some() {
            newest.last_entry = Index(0);
            self.index.clear();
        }
        if let (Some(first), Some(last)) = (group.entries.first(), group.entries.last()) {
            newest.last_entry = newest.last_entry.max(last.index);
            let (first, end, frame) = (first.index, last.index.next(), self.state.frame);
            self.index.push(FrameEntries {
                first,
                end,
                segment,
                slot,
                offset,
                length,
                frame,
            });
        }
        let compacted = self.state.compacted.index;
        if group.records.reset.is_some() || group.records.trim.is_some() {
            self.index.trim(compacted);
            let reset_in = group.records.reset.map(|_| segment);
            self.releases.push_back(Release {
                frame: self.state.frame,
                compacted,
                reset_in,
            });
        }
        self.newest_is_idle = group.records.idle;
        self.note_ticket(group);
    }

    fn note_ticket(&mut self, group: &Group) {
        self.room.framed(group.cost);
        if let Some(ticket) = group.ticket {
            assert!(
                self.tickets.back().is_none_or(|(_, last)| *last < ticket),
                "tickets increase"
            );
            self.tickets.push_back((self.state.frame, ticket));
        }
    }

    /// With nothing to write and the watermark behind: one frame that says the last real one is durable.
    fn submit_idle(&mut self) -> Result<(), WalError> {
        if self.idle_due_in() != Some(Duration::ZERO) {
            return Ok(());
        }
        let hard_state = Some(self.newest_hard_state).filter(|newest| *newest != self.state.hard_state);
        let records = Records {
            idle: true,
            hard_state,
            ..Records::default()
        };
        let group = Group {
            records,
            ..Group::default()
        };
        let bytes = padded(group.frame_len(), self.sizes.block);
        // It must not take the room that is kept for trims; then the last frame goes without a witness.
        match self.placement(bytes, false)? {
            Placement::Here => self.write(group, bytes),
            Placement::Wait | Placement::NoSlot => Ok(()),
        }
    }

    /// `None` if no idle frame is wanted: nothing was written, or the newest frame is one.
    fn idle_due_in(&self) -> Option<Duration> {
        let wanted = self.current.is_some()
            && !self.newest_is_idle
            && self.stalled.is_none()
            && self.queue.is_empty()
            && self.durable == self.state.frame;
        let since = self.clock.monotonic().saturating_sub(self.last_durable_at);
        wanted.then(|| self.idle.saturating_sub(since))
    }

    fn wake_in(&self) -> Option<Duration> {
        self.idle_due_in().into_iter().chain(self.growth_due_in()).min()
    }

    fn tell_room(&self) {
        let rest = self
            .current
            .as_ref()
            .map_or(0, |current| self.sizes.slot - current.offset);
        let lost_at_end = (self.sizes.frame_max - self.sizes.block) as u64;
        let slots = self.segments.free.len() as u64;
        let free = rest.saturating_sub(lost_at_end) + slots * self.sizes.usable();
        let pool = self.segments.count() as u64 * self.sizes.slot;
        self.room.set(free.saturating_sub(self.reserve()), slots, pool);
    }
}

impl std::fmt::Debug for LogLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogLoop")
            .field("state", &self.state)
            .field("segments", &self.segments)
            .field("pipeline", &self.pipeline)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

fn frame_len_u32(group: &Group) -> u32 {
    u32::try_from(group.frame_len()).expect("a frame is far below 4 GiB")
}

/// More than one needs a way to wake the thread while a frame is in flight, and waits for that.
const FRAMES_IN_FLIGHT: usize = 1;
