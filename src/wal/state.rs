//! The log's contents but for the entries: the same step from frame to frame for the writer and for recovery.

use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::LOG_NUMBER_MAX;
use crate::wal::HardState;
use crate::wal::error::Reason;
use crate::wal::frame::Records;
use crate::wal::frame::Tag;
use crate::wal::header::SegmentHeader;

/// The log's contents but for the entries, after some frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogState {
    pub(crate) hard_state: HardState,
    pub(crate) compacted: Position,
    /// Index that the next entry would have.
    pub(crate) next: Index,
    /// Lowest index from which on every entry below `next` is held.
    pub(crate) low: Index,
    /// `Index::NEVER` if none.
    pub(crate) cutover: Index,
    /// Number of the newest frame.
    pub(crate) frame: u64,
    /// Its tag.
    pub(crate) chain: Tag,
}

impl LogState {
    /// Before the first frame of a log that does not exist yet.
    pub(crate) fn before_everything() -> LogState {
        LogState {
            hard_state: HardState::default(),
            compacted: Position::default(),
            next: Index(1),
            low: Index(1),
            cutover: Index::NEVER,
            frame: 0,
            chain: Tag::default(),
        }
    }

    /// Before the first frame of a segment; entries before it may not be held.
    pub(crate) fn before_segment(header: &SegmentHeader) -> LogState {
        assert!(header.is_possible(), "checked where headers are read");
        LogState {
            hard_state: header.hard_state,
            compacted: header.compacted,
            next: header.next_index,
            low: header.next_index,
            cutover: header.cutover,
            frame: header.first_frame - 1,
            chain: header.chain_in,
        }
    }

    /// Takes in the next frame.
    ///
    /// # Errors
    /// [`Reason::Malformed`] for contents that no writer makes: a gap, a trim beyond the end, another cutover.
    pub(crate) fn frame_taken(&mut self, tag: Tag, records: &Records, entries: &[LogEntry]) -> Result<(), Reason> {
        if let Some(hard_state) = records.hard_state {
            if hard_state.term < self.hard_state.term {
                return Err(Reason::Malformed);
            }
            self.hard_state = hard_state;
        }
        if let Some(reset) = records.reset {
            if reset.index < self.compacted.index || reset.index.0 > LOG_NUMBER_MAX {
                return Err(Reason::Malformed);
            }
            self.compacted = reset;
            self.next = reset.index.next();
            self.low = self.next;
        }
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            if first.index > self.next || first.index <= self.compacted.index || first.term < self.term_floor() {
                return Err(Reason::Malformed);
            }
            self.low = self.low.min(first.index);
            self.next = last.index.next();
        }
        if let Some(trim) = records.trim {
            if trim.index >= self.next {
                return Err(Reason::Malformed);
            }
            if trim.index > self.compacted.index {
                self.compacted = trim;
            }
        }
        if let Some(cutover) = records.cutover {
            if self.cutover != Index::NEVER && self.cutover != cutover {
                return Err(Reason::Malformed);
            }
            self.cutover = cutover;
        }
        (self.frame, self.chain) = (self.frame + 1, tag);
        assert!(self.low <= self.next, "entries from low to next are held");
        Ok(())
    }

    /// No entry behind the compacted position has a lower term than it.
    fn term_floor(&self) -> Term {
        self.compacted.term
    }
}
