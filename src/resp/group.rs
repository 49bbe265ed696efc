//! Commands of one connection that go to `propose` together, and the slots of their replies.

use crate::fsm::command::ReadCommand;
use crate::fsm::command::SetReply;
use crate::fsm::command::WriteCommand;
use crate::fsm::command::WriteCost;
use crate::fsm::name::Database;
use crate::limits::GROUP_BYTES_MAX;
use crate::limits::GROUP_LOADS_MAX;
use crate::limits::GROUP_MADE_BYTES_MAX;
use crate::limits::GROUP_OPENS_MAX;
use crate::limits::GROUP_READ_KEYS_MAX;
use crate::limits::GROUP_WRITES_MAX;
use crate::limits::REPLY_BYTES_MAX;
use crate::limits::VALUE_BYTES_MAX;
use crate::propose::RequestSlot;

/// A group that is whole, as it goes to `propose`.
#[derive(Debug)]
pub(crate) enum GroupWork {
    /// No command.
    Nothing,
    /// One entry, with the reads that ride with it.
    Entry(Vec<RequestSlot>),
    /// Reads behind one ReadIndex.
    ReadRound(Vec<(Database, ReadCommand)>),
}

/// What a group is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum GroupPurpose {
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
enum ReplyPlace {
    /// The next answer of `propose`.
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
    purpose: GroupPurpose,
    /// Of an entry.
    slots: Vec<RequestSlot>,
    /// Of a round of reads.
    reads: Vec<(Database, ReadCommand)>,
    places: Vec<ReplyPlace>,
    /// Replies that are known already and wait for those before them.
    held: Vec<u8>,
    bytes: usize,
    /// Of all its commands.
    cost: WriteCost,
    /// The part of `cost.opens` that reads open.
    read_opens: usize,
    answer_bytes: usize,
}

impl CommandGroup {
    /// Commands in it.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() + self.reads.len()
    }

    /// Bytes of values that its writes may answer with.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// True if `write` may join; otherwise the group is sent first.
    pub(crate) fn admits_write(&self, write: &WriteCommand) -> bool {
        match self.purpose {
            GroupPurpose::Empty => true,
            GroupPurpose::ReadRound => false,
            GroupPurpose::Entry => {
                let cost = write.cost();
                self.bytes + write.encoded_len() <= GROUP_BYTES_MAX
                    && self.cost.seals + cost.seals <= GROUP_WRITES_MAX
                    && self.cost.loads + cost.loads <= GROUP_LOADS_MAX
                    && self.cost.made_bytes + cost.made_bytes <= GROUP_MADE_BYTES_MAX
                    && self.cost.opens + cost.opens <= GROUP_OPENS_MAX
                    && self.answer_bytes + answer_bytes(write) <= REPLY_BYTES_MAX
            }
        }
    }

    /// True if `read` may join: with an earlier write it rides, unless it takes long.
    pub(crate) fn admits_read(&self, read: &ReadCommand) -> bool {
        match self.purpose {
            GroupPurpose::Empty => true,
            GroupPurpose::ReadRound => self.reads.len() < GROUP_WRITES_MAX,
            GroupPurpose::Entry => {
                let opens = read.opens();
                !read.is_long()
                    && self.read_opens + opens <= GROUP_READ_KEYS_MAX
                    && self.cost.opens + opens <= GROUP_OPENS_MAX
            }
        }
    }

    /// Adds a write; it may be alone and larger than a group.
    pub(crate) fn push_write(&mut self, database: Database, write: WriteCommand) {
        assert_ne!(self.purpose, GroupPurpose::ReadRound, "reads before a write go first");
        self.purpose = GroupPurpose::Entry;
        self.bytes += write.encoded_len();
        self.cost += write.cost();
        self.answer_bytes += answer_bytes(&write);
        self.slots.push(RequestSlot::Write(database, write));
        self.places.push(ReplyPlace::Slot);
    }

    /// Adds a read.
    pub(crate) fn push_read(&mut self, database: Database, read: ReadCommand) {
        assert!(self.purpose != GroupPurpose::Entry || !read.is_long(), "a read that takes long never rides");
        self.places.push(ReplyPlace::Slot);
        if self.purpose == GroupPurpose::Entry {
            self.read_opens += read.opens();
            self.cost.opens += read.opens();
            self.slots.push(RequestSlot::Read(database, read));
        } else {
            self.purpose = GroupPurpose::ReadRound;
            self.reads.push((database, read));
        }
    }

    /// True without a command: a reply that is known now can be sent at once.
    pub(crate) fn is_empty(&self) -> bool {
        self.purpose == GroupPurpose::Empty
    }

    /// Keeps the reply that `encode` appends until the replies before it are there.
    pub(crate) fn hold(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        assert!(!self.is_empty(), "without a command before it a reply is sent at once");
        encode(&mut self.held);
        self.places.push(ReplyPlace::Held { end: self.held.len() });
    }

    /// Takes the commands out, and the order of their replies; the next group begins empty.
    pub(crate) fn take(&mut self) -> (GroupWork, Weaver) {
        let CommandGroup { purpose, slots, reads, places, held, .. } = std::mem::take(self);
        let work = match purpose {
            GroupPurpose::Empty => GroupWork::Nothing,
            GroupPurpose::Entry => GroupWork::Entry(slots),
            GroupPurpose::ReadRound => GroupWork::ReadRound(reads),
        };
        (work, Weaver { places, next: 0, held, taken: 0 })
    }

    /// Gives back the lists of a group that is answered, for the next one. A large one is let go of.
    pub(crate) fn reuse(&mut self, mut reads: Vec<(Database, ReadCommand)>, weaver: Weaver) {
        assert!(self.is_empty(), "the next group has not begun");
        let Weaver { mut places, .. } = weaver;
        if reads.capacity() <= KEPT_COMMANDS && places.capacity() <= KEPT_COMMANDS {
            reads.clear();
            places.clear();
            (self.reads, self.places) = (reads, places);
        }
    }
}

/// Commands for which an idle connection keeps space: a few KiB.
const KEPT_COMMANDS: usize = 64;

/// Bytes of a value that a write may answer with: these are given whatever others hold, so they are taken before.
pub(crate) fn answer_bytes(write: &WriteCommand) -> usize {
    match write {
        WriteCommand::Set { reply: SetReply::Old, .. }
        | WriteCommand::GetDelete { .. }
        | WriteCommand::GetExpire { .. } => VALUE_BYTES_MAX,
        _ => 0,
    }
}

/// Puts the answers of `propose` and the held replies together in the order of the commands.
#[derive(Debug)]
pub(crate) struct Weaver {
    places: Vec<ReplyPlace>,
    /// The first place that is not filled.
    next: usize,
    held: Vec<u8>,
    taken: usize,
}

impl Weaver {
    /// How far it is, to go back to.
    pub(crate) fn mark(&self) -> (usize, usize) {
        (self.next, self.taken)
    }

    /// What was put together since then was taken out of the buffer again.
    pub(crate) fn go_back(&mut self, mark: (usize, usize)) {
        (self.next, self.taken) = mark;
    }

    /// Appends the held replies up to the next place of an answer; `false` if there is none.
    pub(crate) fn advance(&mut self, out: &mut Vec<u8>) -> bool {
        while let Some(place) = self.places.get(self.next).copied() {
            self.next += 1;
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
