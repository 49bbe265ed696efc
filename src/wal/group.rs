//! Group commit: appends that wait together become one frame, as many of them as fit one.

use crate::entry::LogEntry;
use crate::wal::Append;
use crate::wal::HardState;
use crate::wal::frame::ENTRY_HEAD_LEN;
use crate::wal::frame::Records;
use crate::wal::frame::frame_len;

/// Contents of one frame.
#[derive(Debug, Default)]
pub(super) struct FrameGroup {
    pub(super) records: Records,
    pub(super) entries: Vec<LogEntry>,
    /// Of the newest append that is wholly in this group or before it.
    pub(super) ticket: Option<u64>,
    /// Of the appends that end in this group, against the log's space.
    pub(super) cost: u64,
    /// How many end in it.
    pub(super) appends: u64,
}

impl FrameGroup {
    /// False if it holds at most a hard state.
    pub(super) fn has_more_than_commit(&self) -> bool {
        let records = &self.records;
        let moved = records.trim.is_some() || records.reset.is_some() || records.cutover.is_some();
        !self.entries.is_empty() || moved || records.idle
    }

    /// Bytes of the frame, without padding.
    pub(super) fn frame_len(&self) -> usize {
        frame_len(&self.records, &self.entries)
    }

    /// Whether one frame can hold this group and then `next`.
    pub(super) fn can_follow(&self, next: &Append) -> bool {
        let begins_anew = next.reset.is_some() && *self != FrameGroup::default();
        let trims_after_reset = next.trim.is_some() && self.records.reset.is_some();
        let reaches_before = match (self.entries.first(), next.entries.first()) {
            (Some(ours), Some(theirs)) => theirs.index < ours.index,
            _ => false,
        };
        !begins_anew && !trims_after_reset && !reaches_before
    }

    /// Moves everything but the entries out of `append`; its hard state becomes the newest.
    pub(super) fn take_records(&mut self, append: &mut Append, newest: &mut HardState) {
        if let Some(hard_state) = append.hard_state.take() {
            *newest = hard_state;
        }
        if let Some(trim) = append.trim.take() {
            let further = self.records.trim.is_none_or(|ours| ours.index < trim.index);
            self.records.trim = if further { Some(trim) } else { self.records.trim };
        }
        self.records.reset = append.reset.take().or(self.records.reset);
        self.records.cutover = append.cutover.take().or(self.records.cutover);
        assert!(self.records.trim.is_none() || self.records.reset.is_none(), "no frame has a trim and a reset");
    }

    /// Moves entries from the front of `entries` while the frame has at most `gather_max` bytes, of which `bytes` are
    /// taken; at least one entry goes into an empty group. True if that was all.
    pub(super) fn take_entries(&mut self, entries: &mut Vec<LogEntry>, bytes: &mut usize, gather_max: usize) -> bool {
        let mut count = 0;
        for entry in entries.iter() {
            let more = ENTRY_HEAD_LEN + entry.data.len();
            let is_alone = count == 0 && self.entries.is_empty();
            if *bytes + more > gather_max && !is_alone {
                break;
            }
            *bytes += more;
            count += 1;
        }
        let rest = entries.split_off(count);
        self.append_entries(std::mem::replace(entries, rest), bytes);
        entries.is_empty()
    }

    /// The whole append with this ticket is in this group or before it.
    pub(super) fn finish(&mut self, ticket: u64, cost: u64) {
        assert!(self.ticket.is_none_or(|last| last < ticket), "tickets increase");
        self.ticket = Some(ticket);
        self.cost += cost;
        self.appends += 1;
    }

    fn append_entries(&mut self, entries: Vec<LogEntry>, bytes: &mut usize) {
        let Some(first) = entries.first() else { return };
        // A conflict within the group: replaced entries need never be written.
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
