//! The entry of the Raft log: the word that every room from the log to apply shares.
//!
//! What is in an entry is not known here: `crypto` seals it, `propose` makes it, `apply` opens it.

use bytes::Bytes;

use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;

/// What raft says an entry is; the number is the one in the log's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EntryKind {
    /// A command, a control entry, or raft's own empty entry.
    Normal = 0,
    /// A membership change of one member.
    ConfChange = 1,
    /// A joint membership change.
    ConfChangeV2 = 2,
}

impl EntryKind {
    /// The kind of a number in a frame; `None` for one that this version does not know.
    #[must_use]
    pub fn from_number(number: u32) -> Option<EntryKind> {
        match number {
            0 => Some(EntryKind::Normal),
            1 => Some(EntryKind::ConfChange),
            2 => Some(EntryKind::ConfChangeV2),
            _ => None,
        }
    }
}

/// One entry of the Raft log; its bytes are never modified once made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Term in which it was appended.
    pub term: Term,
    /// Its index, one above that of the entry before it.
    pub index: Index,
    /// How apply must treat it.
    pub kind: EntryKind,
    /// An entry frame, a membership change, or nothing.
    pub data: Bytes,
}

impl LogEntry {
    /// Where it stands in the log.
    #[inline]
    #[must_use]
    pub fn position(&self) -> Position {
        Position { term: self.term, index: self.index }
    }
}
