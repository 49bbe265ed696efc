//! Group commit: appends that wait together become one frame, as many of them as one frame can hold.

use std::collections::VecDeque;

use crate::entry::LogEntry;
use crate::ids::Position;
use crate::wal::Append;
use crate::wal::HardState;
use crate::wal::frame::ENTRY_HEAD_LEN;
use crate::wal::frame::FRAME_OVERHEAD_MAX;
use crate::wal::frame::Records;
use crate::wal::frame::frame_len;
use crate::wal::state::LogState;

/// An append that waits, or what is left of it.
#[derive(Debug)]
pub(crate) struct QueuedAppend {
    pub(crate) append: Append,
    /// Counted against the log's space until the whole append is in frames.
    pub(crate) cost: u64,
}

/// Contents of one frame.
#[derive(Debug, Default)]
pub(crate) struct FrameGroup {
    pub(crate) records: Records,
    pub(crate) entries: Vec<LogEntry>,
    /// Of the newest append that is wholly in this group or before it.
    pub(crate) ticket: Option<u64>,
    pub(crate) cost: u64,
}

impl FrameGroup {
    /// Takes from the front of the queue what fits one frame of `gather_max` bytes. `newest` becomes the newest hard state.
    pub(crate) fn take(
        queue: &mut VecDeque<QueuedAppend>,
        state: &LogState,
        newest: &mut HardState,
        gather_max: usize,
    ) -> FrameGroup {
        let mut group = FrameGroup::default();
        // Space for the records is kept from the start; entries fill the rest.
        let mut bytes = FRAME_OVERHEAD_MAX;
        while let Some(waiting) = queue.front_mut() {
            if !group.can_follow(&waiting.append) {
                break;
            }
            group.take_records(&mut waiting.append, newest);
            let count = group.count_that_fits(&waiting.append.entries, &mut bytes, gather_max);
            let rest = waiting.append.entries.split_off(count);
            group.take_entries(std::mem::replace(&mut waiting.append.entries, rest), &mut bytes);
            if !waiting.append.entries.is_empty() {
                break;
            }
            group.ticket = Some(waiting.append.ticket);
            group.cost += waiting.cost;
            queue.pop_front();
        }
        if *newest != state.hard_state && group.needs_frame(state, newest) {
            group.records.hard_state = Some(*newest);
        }
        group
    }

    /// A group of nothing but the trims that wait; they may overtake entries, which they never concern.
    pub(crate) fn take_trims(queue: &mut VecDeque<QueuedAppend>, state: &LogState) -> Option<FrameGroup> {
        let mut trim: Option<Position> = None;
        for waiting in queue.iter_mut().take_while(|waiting| waiting.append.reset.is_none()) {
            if let Some(position) = waiting.append.trim.take_if(|position| position.index < state.next) {
                let further = trim.is_none_or(|ours| ours.index < position.index);
                trim = if further { Some(position) } else { trim };
            }
        }
        let records = Records { trim: Some(trim?), ..Records::default() };
        Some(FrameGroup { records, ..FrameGroup::default() })
    }

    /// The reset that waits behind a group without space, if one does. What was to be written before it is dropped:
    /// the reset would drop it anyway. Its own entries, if any, stay in the queue.
    pub(crate) fn take_reset(
        queue: &mut VecDeque<QueuedAppend>,
        newest: &mut HardState,
        stalled: &FrameGroup,
    ) -> Option<FrameGroup> {
        let at = queue.iter().position(|waiting| waiting.append.reset.is_some())?;
        let mut group = FrameGroup { cost: stalled.cost, ticket: stalled.ticket, ..FrameGroup::default() };
        group.records.cutover = stalled.records.cutover;
        for mut waiting in queue.drain(..at) {
            waiting.append.trim = None;
            group.take_records(&mut waiting.append, newest);
            group.cost += waiting.cost;
            group.ticket = Some(waiting.append.ticket);
        }
        let reset = &mut queue.front_mut()?.append;
        group.take_records(reset, newest);
        group.records.hard_state = Some(*newest);
        Some(group)
    }

    /// False if all this group says is a newer commit, which is written with the next frame.
    pub(crate) fn needs_frame(&self, state: &LogState, newest: &HardState) -> bool {
        let records = &self.records;
        let vote_changed = (newest.term, newest.vote) != (state.hard_state.term, state.hard_state.vote);
        let moved = records.trim.is_some() || records.reset.is_some() || records.cutover.is_some();
        !self.entries.is_empty() || moved || vote_changed || records.idle
    }

    /// Bytes of the frame, without padding.
    pub(crate) fn frame_len(&self) -> usize {
        frame_len(&self.records, &self.entries)
    }

    /// Whether one frame can say this group and then `next`.
    fn can_follow(&self, next: &Append) -> bool {
        let begins_anew = next.reset.is_some() && *self != FrameGroup::default();
        let trims_after_reset = next.trim.is_some() && self.records.reset.is_some();
        let reaches_before = match (self.entries.first(), next.entries.first()) {
            (Some(ours), Some(theirs)) => theirs.index < ours.index,
            _ => false,
        };
        !begins_anew && !trims_after_reset && !reaches_before
    }

    fn take_records(&mut self, append: &mut Append, newest: &mut HardState) {
        if let Some(hard_state) = append.hard_state.take() {
            *newest = hard_state;
        }
        if let Some(trim) = append.trim.take() {
            let further = self.records.trim.is_none_or(|ours| ours.index < trim.index);
            self.records.trim = if further { Some(trim) } else { self.records.trim };
        }
        self.records.reset = append.reset.take().or(self.records.reset);
        self.records.cutover = append.cutover.take().or(self.records.cutover);
    }

    fn count_that_fits(&self, entries: &[LogEntry], bytes: &mut usize, gather_max: usize) -> usize {
        let mut count = 0;
        for entry in entries {
            let more = ENTRY_HEAD_LEN + entry.data.len();
            let is_alone = count == 0 && self.entries.is_empty();
            if *bytes + more > gather_max && !is_alone {
                break;
            }
            *bytes += more;
            count += 1;
        }
        count
    }

    fn take_entries(&mut self, entries: Vec<LogEntry>, bytes: &mut usize) {
        let Some(first) = entries.first() else { return };
        // A conflict within the group: what is replaced need never be written.
        while let Some(replaced) = self.entries.pop_if(|entry| entry.index >= first.index) {
            *bytes -= ENTRY_HEAD_LEN + replaced.data.len();
        }
        if self.entries.is_empty() {
            self.entries = entries;
        } else {
            self.entries.extend(entries);
        }
    }
}

impl PartialEq for FrameGroup {
    fn eq(&self, other: &FrameGroup) -> bool {
        (&self.records, &self.entries, self.ticket) == (&other.records, &other.entries, other.ticket)
    }
}
