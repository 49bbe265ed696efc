//! Proposals at their positions (N6): one `MsgPropose` is stepped, then every entry is compared with the wanted one.

use ::raft::RawNode;
use ::raft::eraftpb::Entry;
use ::raft::eraftpb::EntryType;
use ::raft::eraftpb::Message;
use ::raft::eraftpb::MessageType;
use bytes::Bytes;

use crate::ids::Index;
use crate::ids::Term;
use crate::raft::fatal::RaftFatal;
use crate::raft::log::Log;

/// Appends `data` at `first` and the positions behind it; false if the library dropped it whole.
///
/// # Errors
/// [`RaftFatal::Misplaced`]: an entry stands elsewhere, or as something else. Nothing of it has left this node.
pub(super) fn append(
    node: &mut RawNode<Log>,
    kind: EntryType,
    term: Term,
    first: Index,
    data: &[Bytes],
) -> Result<bool, RaftFatal> {
    assert!(!data.is_empty(), "a batch has at least one entry");
    let mut message = Message::default();
    message.set_msg_type(MessageType::MsgPropose);
    message.from = node.raft.id;
    message.set_entries(data.iter().map(|data| new_entry(kind, data)).collect());
    let stepped = node.step(message);
    let last = node.raft.raft_log.last_index();
    let misplaced = |offset| RaftFatal::Misplaced { term, first, offset };
    if stepped.is_err() {
        return if last + 1 == first.0 { Ok(false) } else { Err(misplaced(0)) };
    }
    if last + 1 != first.0 + data.len() as u64 {
        return Err(misplaced(data.len()));
    }
    let appended = node.raft.raft_log.unstable_entries();
    let Some(start) = appended.len().checked_sub(data.len()) else {
        return Err(misplaced(0));
    };
    for (offset, (entry, data)) in appended[start..].iter().zip(data).enumerate() {
        let stands = entry.term == term.0
            && entry.index == first.0 + offset as u64
            && entry.get_entry_type() == kind
            && is_same_buffer(&entry.data, data);
        if !stands {
            return Err(misplaced(offset));
        }
    }
    Ok(true)
}

fn new_entry(kind: EntryType, data: &Bytes) -> Entry {
    let mut entry = Entry::default();
    entry.set_entry_type(kind);
    entry.data = data.clone();
    entry
}

fn is_same_buffer(left: &Bytes, right: &Bytes) -> bool {
    left.as_ptr() == right.as_ptr() && left.len() == right.len()
}
