//! The state of every slot: segments in use, slots that are free, slots that must be zeroed before they are.

use std::collections::BTreeSet;
use std::collections::VecDeque;

use crate::disk::SlotId;
use crate::ids::Index;
use crate::wal::seal::SegmentSeal;

/// A segment that is needed.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    number: u64,
    slot: SlotId,
    seal: SegmentSeal,
    /// Highest entry ever written in it: once that is trimmed the segment is not needed.
    last_entry: Index,
    has_frames: bool,
}

/// Every slot of the pool is in exactly one of the three.
#[derive(Clone, Debug, Default)]
pub(crate) struct Segments {
    /// Oldest first, numbers without gaps.
    live: VecDeque<Segment>,
    /// Both header blocks zero and synced.
    free: BTreeSet<SlotId>,
    /// Not needed, headers not zero. Oldest first: zeroing in that order leaves no gap in the run of numbers.
    dirty: VecDeque<SlotId>,
}

impl Segment {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn slot(&self) -> SlotId {
        self.slot
    }

    pub(crate) fn seal(&self) -> &SegmentSeal {
        &self.seal
    }

    /// A frame was written to it, or read back from it.
    pub(crate) fn frame_taken(&mut self, is_reset: bool, last_entry: Option<Index>) {
        self.has_frames = true;
        if is_reset {
            self.last_entry = Index(0);
        }
        self.last_entry = self.last_entry.max(last_entry.unwrap_or_default());
    }
}

impl Segments {
    /// A pool in which no segment was begun.
    pub(crate) fn all_free(slots: u32) -> Segments {
        Segments { free: (0..slots).map(SlotId).collect(), ..Segments::default() }
    }

    /// The newest segment, if there is one.
    pub(crate) fn newest(&mut self) -> Option<&mut Segment> {
        self.live.back_mut()
    }

    /// The segment of this number, if it is live.
    pub(crate) fn segment(&self, number: u64) -> Option<&Segment> {
        let oldest = self.live.front()?.number;
        self.live.get(usize::try_from(number.checked_sub(oldest)?).ok()?)
    }

    /// The slots whose bytes are relied upon as they are: those in use, oldest segment first, and the free ones.
    pub(crate) fn relied_on(&self) -> impl Iterator<Item = SlotId> {
        self.live.iter().map(|segment| segment.slot).chain(self.free.iter().copied())
    }

    /// Begins the segment that follows the newest, in a slot that was taken out of this.
    pub(crate) fn begin(&mut self, number: u64, slot: SlotId, seal: SegmentSeal) {
        assert!(self.live.back().is_none_or(|newest| newest.number + 1 == number), "numbers have no gaps");
        self.live.push_back(Segment { number, slot, seal, last_entry: Index(0), has_frames: false });
    }

    /// Takes the newest segment out if it has no frame; its slot and number, which are used again.
    pub(crate) fn take_empty_newest(&mut self) -> Option<(SlotId, u64)> {
        let empty = self.live.pop_back_if(|newest| !newest.has_frames)?;
        Some((empty.slot, empty.number))
    }

    /// Takes the lowest free slot, with the number of the segment that can be begun there.
    pub(crate) fn take_free(&mut self) -> Option<(SlotId, u64)> {
        let number = self.live.back().map_or(1, |newest| newest.number + 1);
        Some((self.free.pop_first()?, number))
    }

    /// The slot's headers are zero, durably.
    pub(crate) fn add_free(&mut self, slot: SlotId) {
        assert!(self.live.iter().all(|segment| segment.slot != slot), "a free slot holds no segment");
        self.free.insert(slot);
    }

    /// Slots without a segment whose headers are not zero, oldest first.
    pub(crate) fn add_dirty(&mut self, slots: impl IntoIterator<Item = SlotId>) {
        self.dirty.extend(slots);
    }

    /// Takes the next slot that must be zeroed.
    pub(crate) fn take_dirty(&mut self) -> Option<SlotId> {
        self.dirty.pop_front()
    }

    /// Slots that can be used at once.
    pub(crate) fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Slots without a segment, zeroed or not.
    pub(crate) fn idle_count(&self) -> usize {
        self.free.len() + self.dirty.len()
    }

    /// Slots in all.
    pub(crate) fn count(&self) -> usize {
        self.live.len() + self.idle_count()
    }

    /// Gives up every segment whose entries are all at or below `compacted`, from the oldest on, never the newest.
    pub(crate) fn release(&mut self, compacted: Index) {
        let needless = self.needless_count(compacted);
        self.dirty.extend(self.live.drain(..needless).map(|segment| segment.slot));
    }

    /// How many segments [`Segments::release`] would give up.
    pub(crate) fn needless_count(&self, compacted: Index) -> usize {
        let older = self.live.iter().take(self.live.len().saturating_sub(1));
        older.take_while(|segment| segment.last_entry <= compacted).count()
    }

    /// A reset in segment `newest` made every entry of the segments before it needless.
    pub(crate) fn forget_entries_before(&mut self, newest: u64) {
        for segment in self.live.iter_mut().filter(|segment| segment.number < newest) {
            segment.last_entry = Index(0);
        }
    }
}
