//! What the log holds: its state, and where its entries lie. One step from frame to frame, for the writer and recovery.

use crate::entry::LogEntry;
use crate::ids::Index;
use crate::wal::error::Reason;
use crate::wal::frame::Records;
use crate::wal::frame::Tag;
use crate::wal::index::FrameEntries;
use crate::wal::index::FrameIndex;
use crate::wal::segments::Segment;
use crate::wal::state::LogState;

/// The log's contents after its newest frame.
#[derive(Clone, Debug)]
pub(crate) struct LogContents {
    state: LogState,
    index: FrameIndex,
}

/// A frame that is whole: written, or read back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WholeFrame<'a> {
    /// Bytes from the start of its segment's slot.
    pub(crate) offset: u64,
    /// Bytes without padding.
    pub(crate) length: u32,
    pub(crate) tag: Tag,
    pub(crate) records: &'a Records,
    pub(crate) entries: &'a [LogEntry],
}

impl LogContents {
    /// Contents without an entry.
    pub(crate) fn new(state: LogState) -> LogContents {
        LogContents { state, index: FrameIndex::default() }
    }

    /// As of the newest frame.
    pub(crate) fn state(&self) -> &LogState {
        &self.state
    }

    /// The frame that holds an entry.
    pub(crate) fn find(&self, index: Index) -> Option<&FrameEntries> {
        self.index.find(index)
    }

    /// Forgets where entries lie: for who reads on and never back.
    pub(crate) fn forget_places(&mut self) {
        self.index.clear();
    }

    /// Takes in the next frame, the newest one of `segment`.
    ///
    /// # Errors
    /// As [`LogState::frame_taken`]; the contents are of no use then.
    pub(crate) fn frame_taken(&mut self, segment: &mut Segment, frame: WholeFrame<'_>) -> Result<(), Reason> {
        self.state.frame_taken(frame.tag, frame.records, frame.entries)?;
        let is_reset = frame.records.reset.is_some();
        segment.frame_taken(is_reset, frame.entries.last().map(|last| last.index));
        if is_reset {
            self.index.clear();
        }
        if let (Some(first), Some(last)) = (frame.entries.first(), frame.entries.last()) {
            self.index.push(FrameEntries {
                first: first.index,
                end: last.index.next(),
                segment: segment.number(),
                slot: segment.slot(),
                offset: frame.offset,
                length: frame.length,
                frame: self.state.frame,
            });
        }
        self.index.trim(self.state.compacted.index);
        assert!(self.state.next > self.state.compacted.index, "the next entry is behind the compacted ones");
        Ok(())
    }
}
