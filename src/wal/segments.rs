//! Which slot is what: segments in use, slots that are free, slots that must be zeroed before they are.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use crate::disk::SlotId;
use crate::ids::Index;
use crate::wal::seal::SegmentSeal;

/// A segment that is needed.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) slot: SlotId,
    pub(crate) seal: SegmentSeal,
    /// Highest entry ever written in it: once that is trimmed the segment is not needed.
    pub(crate) last_entry: Index,
    pub(crate) has_frames: bool,
}

/// Every slot of the pool is in exactly one place here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segments {
    /// Oldest first, numbers without gaps.
    pub(crate) live: VecDeque<Segment>,
    /// Both header blocks zero and synced.
    pub(crate) free: BTreeSet<SlotId>,
    /// Not needed, headers not zero. Oldest first: zeroing in that order leaves no gap in the run of numbers.
    pub(crate) dirty: VecDeque<SlotId>,
}

impl Segments {
    /// The segment of this number, if it is live.
    pub(crate) fn segment(&self, number: u64) -> Option<&Segment> {
        let oldest = self.live.front()?.number;
        self.live.get(usize::try_from(number.checked_sub(oldest)?).ok()?)
    }

    /// Gives up every segment whose entries are all at or below `compacted`, from the oldest on, never the newest.
    pub(crate) fn release(&mut self, compacted: Index) {
        while self.live.len() > 1 && self.live.front().is_some_and(|oldest| oldest.last_entry <= compacted) {
            if let Some(segment) = self.live.pop_front() {
                self.dirty.push_back(segment.slot);
            }
        }
    }

    /// A reset in segment `newest` made every entry of the segments before it needless.
    pub(crate) fn forget_entries_before(&mut self, newest: u64) {
        for segment in self.live.iter_mut().filter(|segment| segment.number < newest) {
            segment.last_entry = Index(0);
        }
    }

    /// Slots in all.
    pub(crate) fn count(&self) -> usize {
        self.live.len() + self.free.len() + self.dirty.len()
    }
}
