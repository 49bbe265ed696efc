//! Commands of one connection that go below together, and the places of their replies.

use crate::fsm::codec::command_len;
use crate::fsm::command::Expiry;
use crate::fsm::command::ReadCommand;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::limits::GROUP_BYTES_MAX;
use crate::limits::GROUP_LOADS_MAX;
use crate::limits::GROUP_MADE_BYTES_MAX;
use crate::limits::GROUP_OPENS_MAX;
use crate::limits::GROUP_READ_KEYS_MAX;
use crate::limits::GROUP_WRITES_MAX;
use crate::limits::VALUE_BYTES_MAX;
use crate::propose::RequestSlot;

/// What a group is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GroupPurpose {
    /// Nothing in it.
    #[default]
    Empty,
    /// Becomes one entry; reads that follow its writes ride with it.
    Entry,
    /// Reads without a write before them: one ReadIndex serves them all.
    ReadRound,
}

/// Where one reply of a group comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyPlace {
    /// The next answer from below.
    Slot,
    /// Already encoded, up to this end in `held`.
    Held {
        /// End of the bytes.
        end: usize,
    },
}

/// A group being gathered.
#[derive(Debug, Default)]
pub(crate) struct CommandGroup {
    pub(crate) purpose: GroupPurpose,
    pub(crate) slots: Vec<RequestSlot>,
    pub(crate) places: Vec<ReplyPlace>,
    /// Replies that are known already and wait for those before them.
    pub(crate) held: Vec<u8>,
    bytes: usize,
    writes: usize,
    loads: usize,
    made: usize,
    opens: usize,
    read_keys: usize,
}

impl CommandGroup {
    /// True if `write` may join; otherwise the group goes below first.
    pub(crate) fn admits_write(&self, write: &WriteCommand) -> bool {
        match self.purpose {
            GroupPurpose::Empty => true,
            GroupPurpose::ReadRound => false,
            GroupPurpose::Entry => {
                self.bytes + command_len(write) <= GROUP_BYTES_MAX
                    && self.writes + write.sealed_writes_max() <= GROUP_WRITES_MAX
                    && self.loads + usize::from(loads_value(write)) <= GROUP_LOADS_MAX
                    && self.made + made_bytes(write) <= GROUP_MADE_BYTES_MAX
                    && self.opens + write_opens(write) <= GROUP_OPENS_MAX
            }
        }
    }

    /// True if `read` may join: with an earlier write it rides, if it names its keys.
    pub(crate) fn admits_read(&self, read: &ReadCommand) -> bool {
        match self.purpose {
            GroupPurpose::Empty => true,
            GroupPurpose::ReadRound => self.slots.len() < GROUP_WRITES_MAX,
            GroupPurpose::Entry => {
                let keys = read_keys(read);
                keys > 0 && self.read_keys + keys <= GROUP_READ_KEYS_MAX && self.opens + keys <= GROUP_OPENS_MAX
            }
        }
    }

    /// Adds a write; it may be alone and larger than a group.
    pub(crate) fn push_write(&mut self, write: WriteCommand) {
        self.purpose = GroupPurpose::Entry;
        self.bytes += command_len(&write);
        self.writes += write.sealed_writes_max();
        self.loads += usize::from(loads_value(&write));
        self.made += made_bytes(&write);
        self.opens += write_opens(&write);
        self.slots.push(RequestSlot::Write(write));
        self.places.push(ReplyPlace::Slot);
    }

    /// Adds a read.
    pub(crate) fn push_read(&mut self, read: ReadCommand) {
        if self.purpose == GroupPurpose::Empty {
            self.purpose = GroupPurpose::ReadRound;
        }
        self.read_keys += read_keys(&read);
        self.opens += read_keys(&read);
        self.slots.push(RequestSlot::Read(read));
        self.places.push(ReplyPlace::Slot);
    }

    /// Notes that what was appended to `held` is a reply whose place is here.
    pub(crate) fn hold(&mut self) {
        self.places.push(ReplyPlace::Held { end: self.held.len() });
    }
}

/// Keys that a read names; none for a count of them all.
pub(crate) fn read_keys(read: &ReadCommand) -> usize {
    match read {
        ReadCommand::GetMany { keys } | ReadCommand::Exists { keys } => keys.len(),
        ReadCommand::Get { .. }
        | ReadCommand::Length { .. }
        | ReadCommand::Range { .. }
        | ReadCommand::Ttl { .. }
        | ReadCommand::Type { .. } => 1,
        ReadCommand::Count => 0,
    }
}

/// Whether a write brings a stored value into memory, whatever its own length: an entry may do that only so often
/// (`ENTRY_VALUE_BYTES_MAX`), and a pipeline must not fail where its commands one by one would not.
fn loads_value(write: &WriteCommand) -> bool {
    match write {
        WriteCommand::Set { reply, .. } => *reply == SetReply::Old,
        WriteCommand::Append { .. }
        | WriteCommand::SetRange { .. }
        | WriteCommand::GetDelete { .. }
        | WriteCommand::GetExpire { .. }
        | WriteCommand::Expire { .. }
        | WriteCommand::Persist { .. } => true,
        WriteCommand::SetMany { .. }
        | WriteCommand::IncrementBy { .. }
        | WriteCommand::IncrementByFloat { .. }
        | WriteCommand::Delete { .. }
        | WriteCommand::FlushAll
        | WriteCommand::RemoveExpired { .. } => false,
    }
}

/// Bytes of a value that a write makes without having been sent them.
fn made_bytes(write: &WriteCommand) -> usize {
    match write {
        // One that would be too large is refused before anything is made.
        WriteCommand::SetRange { offset, value, .. } if !value.is_empty() => (*offset as usize).min(VALUE_BYTES_MAX),
        _ => 0,
    }
}

/// How many stored values a write opens at most, kept in memory or not: each may take apply milliseconds.
fn write_opens(write: &WriteCommand) -> usize {
    match write {
        WriteCommand::Set { when, reply, expiry, .. } => {
            usize::from(*when != SetIf::Always || *reply == SetReply::Old || *expiry == Expiry::Keep)
        }
        WriteCommand::SetMany { pairs, absent_only } => {
            if *absent_only {
                pairs.len()
            } else {
                0
            }
        }
        WriteCommand::Delete { keys } | WriteCommand::RemoveExpired { keys } => keys.len(),
        WriteCommand::FlushAll => 0,
        WriteCommand::Append { .. }
        | WriteCommand::SetRange { .. }
        | WriteCommand::IncrementBy { .. }
        | WriteCommand::IncrementByFloat { .. }
        | WriteCommand::GetDelete { .. }
        | WriteCommand::GetExpire { .. }
        | WriteCommand::Expire { .. }
        | WriteCommand::Persist { .. } => 1,
    }
}

/// Puts the answers from below and the held replies together in the order of the commands.
#[derive(Debug)]
pub(crate) struct Weaver {
    places: std::vec::IntoIter<ReplyPlace>,
    held: Vec<u8>,
    taken: usize,
}

impl Weaver {
    /// For the places of one group.
    pub(crate) fn new(places: Vec<ReplyPlace>, held: Vec<u8>) -> Weaver {
        Weaver { places: places.into_iter(), held, taken: 0 }
    }

    /// Appends the held replies up to the next place of an answer; `false` if there is none.
    pub(crate) fn advance(&mut self, out: &mut Vec<u8>) -> bool {
        for place in self.places.by_ref() {
            match place {
                ReplyPlace::Slot => return true,
                ReplyPlace::Held { end } => {
                    out.extend_from_slice(&self.held[self.taken..end]);
                    self.taken = end;
                }
            }
        }
        false
    }
}
