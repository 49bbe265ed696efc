//! What the library wants done: entries to the log, messages to the peers, committed entries to apply.
//!
//! The asynchronous form: `advance_append_async`, then `on_persist_ready` when the log has the Ready's last group, then
//! the messages that had to wait for that. A Ready with nothing to write waits for the newest one that is not durable.
//! `advance` and `advance_apply` are never called: they move the applied index by themselves.

use ::raft::Ready;
use ::raft::eraftpb::Entry;
use ::raft::eraftpb::Message;
use ::raft::eraftpb::MessageType;

use crate::entry::EntryKind;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::APPLY_QUEUE_MAX;
use crate::limits::FRAME_BYTES_MAX;
use crate::limits::LOG_CACHE_BYTES_MAX;
use crate::raft::Committed;
use crate::raft::config::RaftFatal;
use crate::raft::input::to_log_entry;
use crate::raft::input::to_raft_entry;
use crate::raft::log::GROUP_OVERHEAD;
use crate::raft::log::cost;
use crate::raft::members_change::decode_change;
use crate::raft::run::RaftLoop;
use crate::raft::transport::PeerMessage;
use crate::wal::Append;
use crate::wal::HardState;

/// A Ready on its way to the disk.
#[derive(Debug)]
pub(super) struct Unpersisted {
    /// Of its last group.
    ticket: u64,
    /// The library's number of the newest Ready in it.
    number: u64,
    groups: usize,
    hard_state: HardState,
    messages: Vec<Message>,
}

impl RaftLoop {
    pub(super) fn drain_ready(&mut self) -> Result<(), RaftFatal> {
        while self.node.has_ready() {
            let ready = self.node.ready();
            self.handle_ready(ready)?;
        }
        self.fetch_wanted();
        Ok(())
    }

    fn handle_ready(&mut self, mut ready: Ready) -> Result<(), RaftFatal> {
        if !ready.snapshot().is_empty() {
            return Err(RaftFatal::Library("a snapshot, though none was stepped".to_owned()));
        }
        let raft = &self.node.raft;
        let hard_state = HardState { term: Term(raft.term), vote: raft.vote, commit: Index(raft.raft_log.committed) };
        // A leader's messages may leave before its disk is done, but never before its own term is durable.
        let mut waiting = ready.take_persisted_messages();
        let messages = ready.take_messages();
        if self.durable.term >= hard_state.term {
            self.send(messages);
        } else {
            waiting.extend(messages);
        }
        let states = ready.take_read_states();
        let committed = ready.take_committed_entries();
        let entries = ready.take_entries();
        let number = ready.number();
        self.stepped_bytes = 0;
        self.node.mut_store().append(&entries);
        self.node.advance_append_async(ready);
        self.write(number, &entries, hard_state, waiting);
        self.confirm_reads(states);
        self.hand_out(committed);
        Ok(())
    }

    /// Hands a Ready to the log in as many groups as it needs; the hard state is in the first.
    fn write(&mut self, number: u64, entries: &[Entry], hard_state: HardState, messages: Vec<Message>) {
        let is_vote_new = (hard_state.term, hard_state.vote) != (self.logged.term, self.logged.vote);
        if entries.is_empty() && !is_vote_new {
            // A commit that moved alone is written with the next group: it can always be learned again.
            return self.wait_or_send(number, messages);
        }
        let mut unpersisted = Unpersisted { ticket: 0, number, groups: 0, hard_state, messages };
        let mut rest = entries;
        let mut first_hard_state = (hard_state != self.logged).then_some(hard_state);
        while unpersisted.groups == 0 || !rest.is_empty() {
            let group = first_group(rest);
            rest = &rest[group.len()..];
            unpersisted.ticket = self.next_ticket;
            unpersisted.groups += 1;
            self.next_ticket += 1;
            let entries = group.iter().map(to_log_entry).collect();
            let hard_state = first_hard_state.take();
            self.outside.ports.log(Append { ticket: unpersisted.ticket, hard_state, entries, ..Append::default() });
        }
        self.logged = hard_state;
        self.groups_in_flight += unpersisted.groups;
        self.unpersisted.push_back(unpersisted);
    }

    fn wait_or_send(&mut self, number: u64, messages: Vec<Message>) {
        if let Some(newest) = self.unpersisted.back_mut() {
            newest.number = number;
            newest.messages.extend(messages);
        } else {
            self.node.on_persist_ready(number);
            self.send(messages);
        }
    }

    /// Everything up to `ticket` is durable.
    pub(super) fn persisted(&mut self, ticket: u64) {
        while self.unpersisted.front().is_some_and(|front| front.ticket <= ticket) {
            let done = self.unpersisted.pop_front().expect("there is a front");
            self.groups_in_flight -= done.groups;
            self.durable = done.hard_state;
            self.node.on_persist_ready(done.number);
            // Only now: a vote's answer that overtook `on_persist_ready` would find a leader with an unpersisted log.
            self.send(done.messages);
        }
    }

    pub(super) fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let asks_for_votes =
                matches!(message.get_msg_type(), MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
            if asks_for_votes && !self.may_campaign() {
                continue;
            }
            if let Some(message) = PeerMessage::new(message) {
                self.outside.transport.send(message);
            }
        }
    }

    /// Committed entries go to apply; a membership change is applied to raft first, and brings the members after it.
    fn hand_out(&mut self, entries: Vec<Entry>) {
        for entry in &entries {
            let entry = to_log_entry(entry);
            let members = (entry.kind != EntryKind::Normal).then(|| {
                let change = decode_change(entry.kind, &entry.data).ok();
                if let Some(members) = change.and_then(|change| change.apply(&mut self.node)) {
                    self.members = members;
                    self.keep_for_followers();
                }
                self.members.clone()
            });
            self.handed = entry.index;
            self.backlog.push(Committed { entry, members });
        }
        self.flush_backlog();
    }

    /// Gives apply what waits, unless it has so many handfuls already that its queue could be full.
    fn flush_backlog(&mut self) {
        let Some(last) = self.backlog.last() else { return };
        if self.handouts.len() < APPLY_QUEUE_MAX / 2 {
            self.handouts.push_back(last.entry.index);
            self.outside.ports.apply(std::mem::take(&mut self.backlog));
        }
    }

    /// The state holds everything up to `position`.
    pub(super) fn applied(&mut self, position: Position) -> Result<(), RaftFatal> {
        if position.index > self.handed {
            return Err(RaftFatal::AppliedAhead { applied: position.index, handed: self.handed });
        }
        if position.index.0 <= self.node.raft.raft_log.applied {
            return Ok(());
        }
        self.node.advance_apply_to(position.index.0);
        self.node.mut_store().applied_to(position.index.0);
        while self.handouts.front().is_some_and(|last| *last <= position.index) {
            self.handouts.pop_front();
        }
        self.flush_backlog();
        Ok(())
    }

    /// Applied entries stay in memory only where somebody may still ask for them.
    pub(super) fn keep_for_followers(&mut self) {
        let bytes = if self.members.is_alone(self.config.node_id) { 0 } else { LOG_CACHE_BYTES_MAX };
        self.node.mut_store().keep_applied(bytes);
    }

    #[cfg(test)]
    pub(super) fn forget_applied(&mut self) {
        self.node.mut_store().keep_applied(0);
    }

    /// One read of old entries at a time; raft asks again for what is left out here.
    fn fetch_wanted(&mut self) {
        for wanted in self.node.mut_store().take_wanted() {
            if self.fetching.is_none() {
                self.outside.ports.fetch(Index(wanted.first), Index(wanted.last));
                self.fetching = Some(wanted);
            }
        }
    }

    pub(super) fn fetched(&mut self, entries: Vec<LogEntry>) {
        let Some(wanted) = self.fetching.take() else { return };
        if entries.is_empty() {
            return;
        }
        self.node.mut_store().set_fetched(entries.iter().map(to_raft_entry).collect());
        self.node.on_entries_fetched(wanted.context);
        self.node.mut_store().set_fetched(Vec::new());
    }
}

/// The entries of the next group, which fit one frame (or are one entry).
fn first_group(entries: &[Entry]) -> &[Entry] {
    let mut bytes = 0;
    let mut count = 0;
    for entry in entries {
        let more = bytes + cost(entry);
        if count > 0 && more + GROUP_OVERHEAD > FRAME_BYTES_MAX as u64 {
            break;
        }
        bytes = more;
        count += 1;
    }
    &entries[..count]
}
