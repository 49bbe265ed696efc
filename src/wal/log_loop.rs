//! The log as a step function over a disk, a clock and randomness: appends in, durable tickets out.
//!
//! A step builds frames from what waits (`writer.rs`), finds them a place (`roll.rs`), submits them and takes what has
//! become durable (`pipeline.rs`). Tickets are acknowledged strictly in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::Disk;
use crate::disk::Engine;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Position;
use crate::limits::LOG_QUEUE_MAX;
use crate::wal::Append;
use crate::wal::HardState;
use crate::wal::config::LogConfig;
use crate::wal::config::Sizes;
use crate::wal::error::WalError;
use crate::wal::frame::Tag;
use crate::wal::group::FrameGroup;
use crate::wal::group::QueuedAppend;
use crate::wal::index::FrameIndex;
use crate::wal::pipeline::Event;
use crate::wal::pipeline::Pipeline;
use crate::wal::pipeline::Pulse;
use crate::wal::recovery;
use crate::wal::recovery::Replayed;
use crate::wal::recovery::TornEnd;
use crate::wal::roll::Current;
use crate::wal::seal::SegmentKeys;
use crate::wal::segments::Segments;
use crate::wal::space::LogSpace;
use crate::wal::state::LogState;
use crate::wal::window::Window;
use crate::world::Clock;
use crate::world::Entropy;

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
pub struct Full(pub Box<Append>);

/// What a step did, and what to expect.
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
}

/// The log. Every error of [`LogLoop::step`] is final: nothing more is written or acknowledged (SYNC-FATAL).
pub struct LogLoop {
    pub(super) pipeline: Pipeline,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) key: SegmentKeys,
    pub(super) sizes: Sizes,
    pub(super) slots_max: u32,
    entry_bytes_max: usize,
    pub(super) idle: Duration,
    hung: Duration,
    /// As of the newest frame built.
    pub(super) state: LogState,
    pub(super) segments: Segments,
    pub(super) current: Option<Current>,
    pub(super) index: FrameIndex,
    pub(super) queue: VecDeque<QueuedAppend>,
    /// Built, and waiting for a slot.
    pub(super) stalled: Option<FrameGroup>,
    pub(super) newest_hard_state: HardState,
    /// Frame that makes it durable, ticket.
    pub(super) tickets: VecDeque<(u64, u64)>,
    /// What may be given up once a frame is durable.
    pub(super) releases: VecDeque<Release>,
    pub(super) durable: u64,
    /// The compacted index that is durable.
    trimmed: Index,
    pub(super) newest_is_idle: bool,
    pub(super) last_durable_at: Duration,
    pub(super) recovered_synced: bool,
    pub(super) grow_again_at: Duration,
    pub(super) growing: bool,
    pub(super) space: Arc<LogSpace>,
    pub(super) window: Window,
    poisoned: bool,
}

/// What becomes needless once a frame is durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Release {
    pub(super) frame: u64,
    pub(super) compacted: Index,
    /// Segment of a reset.
    pub(super) reset_in: Option<u64>,
}

impl LogLoop {
    /// Recovers a log. Changes nothing on disk: that begins with the first append.
    ///
    /// # Errors
    /// Damage, another key, another owner, a missing slot; see [`WalError::is_configuration`].
    pub fn open(
        config: &LogConfig,
        mut disk: Box<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(LogLoop, Recovered), WalError> {
        let key = SegmentKeys::new(config.log_key.clone(), config.node_id, config.cluster_id);
        let mut found = recovery::recover(disk.as_mut(), &key, config.entry_bytes_max)?;
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
            tracing::warn!(segment, slot, offset, "log: an unfinished end was dropped, it was never acknowledged");
        }
        Ok((LogLoop::begin(config, disk, clock, entropy, found), recovered))
    }

    pub(super) fn begin(
        config: &LogConfig,
        disk: Box<dyn Disk>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        found: Replayed,
    ) -> LogLoop {
        let window = Window::new(disk.block_bytes());
        let now = clock.monotonic();
        let log = LogLoop {
            pipeline: Pipeline::new(disk, clock.clone(), config.slow_sync, config.hung),
            clock,
            entropy,
            key: SegmentKeys::new(config.log_key.clone(), config.node_id, config.cluster_id),
            sizes: found.sizes,
            slots_max: config.slots_max,
            entry_bytes_max: config.entry_bytes_max,
            idle: config.idle,
            hung: config.hung,
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
            space: Arc::new(LogSpace::new(found.sizes.gather_max)),
            window,
            poisoned: false,
        };
        log.show_space();
        log
    }

    /// The disk, for whoever opens the log anew.
    #[must_use]
    pub fn into_disk(self) -> Box<dyn Disk> {
        self.pipeline.disk
    }

    /// The gauge that the raft thread reads at its door.
    #[must_use]
    pub fn space(&self) -> Arc<LogSpace> {
        self.space.clone()
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
        let consecutive = append.entries.windows(2).all(|pair| pair[1].index.0 == pair[0].index.0 + 1);
        assert!(consecutive, "an append's entries are consecutive");
        let fits = append.entries.iter().all(|entry| entry.data.len() <= self.entry_bytes_max);
        assert!(fits, "an entry is at most entry_bytes_max");
        if self.queue.len() >= LOG_QUEUE_MAX {
            return Err(Full(Box::new(append)));
        }
        let cost = self.space.cost_bytes(append.entries.iter().map(|entry| entry.data.len()));
        self.queue.push_back(QueuedAppend { append, cost });
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
    pub fn step(&mut self, wait: Duration) -> Result<LogProgress, WalError> {
        if self.poisoned {
            return Err(WalError::Poisoned);
        }
        let worked = self.work(wait);
        self.poisoned = worked.is_err();
        worked
    }

    fn work(&mut self, wait: Duration) -> Result<LogProgress, WalError> {
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
        self.show_space();
        Ok(LogProgress {
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
                    assert!(frame > self.durable && frame <= self.state.frame, "frames become durable in order");
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

    fn wake_in(&self) -> Option<Duration> {
        self.idle_due_in().into_iter().chain(self.growth_due_in()).min()
    }

    fn show_space(&self) {
        let rest = self.current.as_ref().map_or(0, |current| self.sizes.slot - current.offset);
        let lost_at_end = (self.sizes.frame_max - self.sizes.block) as u64;
        let slots = self.segments.free.len() as u64;
        // What placement lets entries use.
        let kept = if slots == 0 { self.reserve() } else { 0 };
        let here = rest.saturating_sub(lost_at_end + kept);
        let free = here + slots.saturating_sub(1) * self.sizes.usable();
        let pool = self.segments.count() as u64 * self.sizes.slot;
        self.space.set(free, slots, pool);
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
