//! Where entries lie on disk: one line per frame, so that old ones can be read back.

use std::collections::VecDeque;

use crate::disk::SlotId;
use crate::ids::Index;

/// The entries of one frame that still count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameEntries {
    /// First entry of the frame.
    pub(crate) first: Index,
    /// One past the last that was not replaced by a later frame.
    pub(crate) end: Index,
    pub(crate) segment: u64,
    pub(crate) slot: SlotId,
    pub(crate) offset: u64,
    /// Of the frame, without padding.
    pub(crate) length: u32,
    pub(crate) frame: u64,
}

/// Frames in order of their entries, without overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrameIndex {
    frames: VecDeque<FrameEntries>,
}

impl FrameIndex {
    /// Takes in the newest frame; frames that it replaces are forgotten.
    pub(crate) fn push(&mut self, frame: FrameEntries) {
        assert!(frame.first < frame.end, "a frame in the index holds an entry");
        while self.frames.back().is_some_and(|last| last.first >= frame.first) {
            self.frames.pop_back();
        }
        if let Some(last) = self.frames.back_mut() {
            last.end = last.end.min(frame.first);
        }
        self.frames.push_back(frame);
    }

    /// Forgets frames without entries above `compacted`.
    pub(crate) fn trim(&mut self, compacted: Index) {
        while self.frames.front().is_some_and(|frame| frame.end.0 <= compacted.0.saturating_add(1)) {
            self.frames.pop_front();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.frames.clear();
    }

    /// The frame that holds an entry.
    pub(crate) fn find(&self, index: Index) -> Option<&FrameEntries> {
        let at = self.frames.partition_point(|frame| frame.end <= index);
        self.frames.get(at).filter(|frame| frame.first <= index)
    }
}
