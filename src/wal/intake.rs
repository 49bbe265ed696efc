//! Appends that are not in frames yet: the queue, and the group that has no slot.

use std::collections::VecDeque;

use crate::ids::Position;
use crate::limits::LOG_QUEUE_MAX;
use crate::wal::Append;
use crate::wal::HardState;
use crate::wal::frame::FRAME_OVERHEAD_MAX;
use crate::wal::frame::Records;
use crate::wal::group::FrameGroup;
use crate::wal::state::LogState;

/// The queue is full: the append comes back.
#[derive(Debug)]
pub struct Full(pub Box<Append>);

/// An append that waits, or the rest of it.
#[derive(Debug)]
struct QueuedAppend {
    append: Append,
    /// Counted against the log's space until the whole append is in frames.
    cost: u64,
}

/// The contents of the next frames.
#[derive(Debug)]
pub(super) struct Intake {
    queue: VecDeque<QueuedAppend>,
    /// Complete, and waiting for a slot.
    stalled: Option<FrameGroup>,
    /// As of the newest append that was taken out of the queue.
    newest_hard_state: HardState,
    entry_bytes_max: usize,
}

impl Intake {
    /// Nothing waits; the log holds this hard state.
    pub(super) fn new(hard_state: HardState, entry_bytes_max: usize) -> Intake {
        Intake { queue: VecDeque::new(), stalled: None, newest_hard_state: hard_state, entry_bytes_max }
    }

    /// Takes an append into the queue; `cost` counts against the log's space.
    pub(super) fn offer(&mut self, append: Append, cost: u64) -> Result<(), Full> {
        let consecutive = append.entries.windows(2).all(|pair| pair[1].index.0 == pair[0].index.0 + 1);
        assert!(consecutive, "an append's entries are consecutive");
        let fits = append.entries.iter().all(|entry| entry.data.len() <= self.entry_bytes_max);
        assert!(fits, "an entry is at most entry_bytes_max");
        if self.is_full() {
            return Err(Full(Box::new(append)));
        }
        self.queue.push_back(QueuedAppend { append, cost });
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= LOG_QUEUE_MAX
    }

    /// Whether the queue is empty; a stalled group does not count.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether a group waits for a slot.
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.is_some()
    }

    /// Whether the next step has a group to write.
    pub(super) fn has_work(&self) -> bool {
        !self.queue.is_empty() && self.stalled.is_none()
    }

    /// The stalled group, or as many appends from the front of the queue as fit one frame of `gather_max` bytes.
    pub(super) fn next_group(&mut self, state: &LogState, gather_max: usize) -> FrameGroup {
        if let Some(group) = self.stalled.take() {
            return group;
        }
        let mut group = FrameGroup::default();
        // Space for the records is kept from the start; entries fill the rest.
        let mut bytes = FRAME_OVERHEAD_MAX;
        while let Some(queued) = self.queue.front_mut() {
            if !group.can_follow(&queued.append) {
                break;
            }
            group.take_records(&mut queued.append, &mut self.newest_hard_state);
            if !group.take_entries(&mut queued.append.entries, &mut bytes, gather_max) {
                break;
            }
            group.finish(queued.append.ticket, queued.cost);
            self.queue.pop_front();
        }
        if self.newest_hard_state != state.hard_state && self.needs_frame(&group, state) {
            group.records.hard_state = Some(self.newest_hard_state);
        }
        group
    }

    /// False if the group holds nothing but a newer commit, which is written with the next frame.
    pub(super) fn needs_frame(&self, group: &FrameGroup, state: &LogState) -> bool {
        let newest = &self.newest_hard_state;
        let vote_changed = (newest.term, newest.vote) != (state.hard_state.term, state.hard_state.vote);
        group.has_more_than_commit() || vote_changed
    }

    /// The newest hard state, if the log does not hold it.
    pub(super) fn unwritten_hard_state(&self, state: &LogState) -> Option<HardState> {
        Some(self.newest_hard_state).filter(|newest| *newest != state.hard_state)
    }

    /// The group has to wait: it comes first at the next call of [`Intake::next_group`].
    pub(super) fn put_back(&mut self, group: FrameGroup) {
        assert!(self.stalled.is_none(), "one group waits at a time");
        self.stalled = Some(group);
    }

    /// A reset, or trims, to be written before a group that has no slot: only they can free one.
    pub(super) fn overtake(&mut self, stalled: FrameGroup, state: &LogState) -> Option<FrameGroup> {
        match self.take_reset(&stalled) {
            Some(reset) => Some(reset),
            None => {
                self.put_back(stalled);
                self.take_trims(state)
            }
        }
    }

    /// A group of nothing but the trims in the queue; they may overtake entries, which they never concern.
    fn take_trims(&mut self, state: &LogState) -> Option<FrameGroup> {
        let mut trim: Option<Position> = None;
        for queued in self.queue.iter_mut().take_while(|queued| queued.append.reset.is_none()) {
            if let Some(position) = queued.append.trim.take_if(|position| position.index < state.next) {
                let further = trim.is_none_or(|ours| ours.index < position.index);
                trim = if further { Some(position) } else { trim };
            }
        }
        let records = Records { trim: Some(trim?), ..Records::default() };
        Some(FrameGroup { records, ..FrameGroup::default() })
    }

    /// The first reset behind a group without space, if there is one. Appends before it are dropped: the reset would
    /// drop them anyway. Its own entries, if any, stay in the queue.
    fn take_reset(&mut self, stalled: &FrameGroup) -> Option<FrameGroup> {
        let at = self.queue.iter().position(|queued| queued.append.reset.is_some())?;
        let FrameGroup { cost, ticket, appends, .. } = *stalled;
        let mut group = FrameGroup { cost, ticket, appends, ..FrameGroup::default() };
        group.records.cutover = stalled.records.cutover;
        for mut queued in self.queue.drain(..at) {
            queued.append.trim = None;
            group.take_records(&mut queued.append, &mut self.newest_hard_state);
            group.finish(queued.append.ticket, queued.cost);
        }
        group.take_records(&mut self.queue.front_mut()?.append, &mut self.newest_hard_state);
        group.records.hard_state = Some(self.newest_hard_state);
        Some(group)
    }
}
