//! An entry in the forms of the library and of the log.

use ::raft::eraftpb::Entry;
use ::raft::eraftpb::EntryType;

use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Term;

/// The library's entry as the log writes it.
pub(super) fn to_log_entry(entry: &Entry) -> LogEntry {
    let kind = kind_of(entry.get_entry_type());
    LogEntry { term: Term(entry.term), index: Index(entry.index), kind, data: entry.data.clone() }
}

/// The log's entry as the library has it.
pub(super) fn to_raft_entry(entry: &LogEntry) -> Entry {
    let mut out = Entry::default();
    out.set_entry_type(type_of(entry.kind));
    out.term = entry.term.0;
    out.index = entry.index.0;
    out.data = entry.data.clone();
    out
}

/// The kind, in the words of the log.
pub(super) fn kind_of(entry_type: EntryType) -> EntryKind {
    match entry_type {
        EntryType::EntryNormal => EntryKind::Normal,
        EntryType::EntryConfChange => EntryKind::ConfChange,
        EntryType::EntryConfChangeV2 => EntryKind::ConfChangeV2,
    }
}

/// The kind, in the words of the library.
pub(super) fn type_of(kind: EntryKind) -> EntryType {
    match kind {
        EntryKind::Normal => EntryType::EntryNormal,
        EntryKind::ConfChange => EntryType::EntryConfChange,
        EntryKind::ConfChangeV2 => EntryType::EntryConfChangeV2,
    }
}
