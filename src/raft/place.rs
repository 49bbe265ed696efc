//! What goes into the log here: the door, client batches at their places (N1, N3, N6), peers' appends, membership changes.

use ::raft::eraftpb::Entry;
use ::raft::eraftpb::EntryType;
use ::raft::eraftpb::Message;
use ::raft::eraftpb::MessageType;
use bytes::Bytes;

use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::LOG_GROUPS_UNPERSISTED_MAX;
use crate::limits::PROPOSE_BATCH_ENTRIES_MAX;
use crate::limits::RAFT_STEP_BATCHES_MAX;
use crate::limits::UNAPPLIED_BYTES_MAX;
use crate::raft::Batch;
use crate::raft::BatchRefusal;
use crate::raft::LeaderView;
use crate::raft::config::RaftFatal;
use crate::raft::input::ChangeDone;
use crate::raft::log::ENTRY_OVERHEAD;
use crate::raft::log::GROUP_OVERHEAD;
use crate::raft::log::cost;
use crate::raft::members_change::ChangeRefused;
use crate::raft::members_change::ChangeView;
use crate::raft::members_change::MemberChange;
use crate::raft::members_change::encode_change;
use crate::raft::members_change::guard;
use crate::raft::run::RaftLoop;
use crate::raft::transport::PeerMessage;

/// What a batch takes besides its sealed bytes, at most: taken off the space that the proposer sees.
const BATCH_OVERHEAD: u64 = PROPOSE_BATCH_ENTRIES_MAX as u64 * ENTRY_OVERHEAD + 8 * GROUP_OVERHEAD;

/// What a peer's append takes besides its entries: it has at most about one frame of them, so two groups.
const APPEND_OVERHEAD: u64 = 2 * GROUP_OVERHEAD;

impl RaftLoop {
    /// Asks the proposer until it has nothing, or enough for one step; what each batch wants done is done at once.
    pub(super) fn propose_all(&mut self) -> Result<(), RaftFatal> {
        self.has_more = false;
        for _ in 0..RAFT_STEP_BATCHES_MAX {
            if !self.is_leader() {
                let leader = self.other_leader();
                self.outside.proposer.not_leading(leader);
                return Ok(());
            }
            let view = self.leader_view();
            let Some(batch) = self.outside.proposer.next(&view) else {
                return Ok(());
            };
            self.place(batch)?;
            self.drain_ready()?;
        }
        self.has_more = true;
        Ok(())
    }

    fn leader_view(&self) -> LeaderView {
        let raft = &self.node.raft;
        let applied = raft.raft_log.applied;
        let term = raft.raft_log.term(applied).unwrap_or(0);
        LeaderView {
            term: Term(raft.term),
            last_index: self.last_index(),
            applied: Position { term: Term(term), index: Index(applied) },
            own_term_applied: term == raft.term,
            is_blocked: self.barrier.0 > applied || raft.lead_transferee.is_some(),
            space_bytes: self.space_bytes(),
        }
    }

    /// Bytes of client entries that may come in now.
    fn space_bytes(&self) -> u64 {
        let uncommitted = self.node.store().log_bytes_above(self.node.raft.raft_log.committed);
        if uncommitted >= self.outside.space.pool_bytes() / 2 {
            return 0;
        }
        self.space_left().saturating_sub(BATCH_OVERHEAD)
    }

    /// What memory and log can still take.
    fn space_left(&self) -> u64 {
        if self.groups_in_flight >= LOG_GROUPS_UNPERSISTED_MAX {
            return 0;
        }
        let memory = UNAPPLIED_BYTES_MAX.saturating_sub(self.node.store().unapplied_bytes());
        memory.min(self.outside.space.available_bytes()).saturating_sub(self.stepped_bytes)
    }

    /// N6: checks, reads the next index, has the batch sealed for it, steps, and compares.
    pub(super) fn place(&mut self, mut batch: Box<dyn Batch>) -> Result<(), RaftFatal> {
        if !self.is_leader() {
            return refuse(batch, BatchRefusal::NotLeader(self.other_leader()));
        }
        let view = self.leader_view();
        let has_space = batch.is_control() || batch.bytes_max() <= view.space_bytes;
        // N2 and N3, as far as they can be seen from here: the proposer is held to them too.
        if !view.own_term_applied || view.is_blocked || !has_space {
            return refuse(batch, BatchRefusal::NotNow);
        }
        let term = view.term;
        if self.durable.term != term {
            return Err(RaftFatal::TermNotDurable { term, durable: self.durable.term });
        }
        let first = view.last_index.next();
        let sealed = match batch.seal(term, first) {
            Ok(sealed) if sealed.len() == batch.count() && sealed.iter().all(|data| !data.is_empty()) => sealed,
            Ok(_) => return refuse(batch, BatchRefusal::SealFailed),
            Err(refusal) => return refuse(batch, refusal),
        };
        if !self.append(EntryType::EntryNormal, term, first, &sealed)? {
            return refuse(batch, BatchRefusal::NotNow);
        }
        if batch.is_control() {
            self.barrier = self.last_index();
        }
        batch.placed(Position { term, index: first });
        Ok(())
    }

    /// Steps one MsgPropose; false if the library dropped it whole.
    fn append(&mut self, kind: EntryType, term: Term, first: Index, data: &[Bytes]) -> Result<bool, RaftFatal> {
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.config.node_id.value();
        message.set_entries(data.iter().map(|data| new_entry(kind, data)).collect());
        let stepped = self.node.step(message);
        let last = self.last_index();
        let misplaced = |offset| RaftFatal::Misplaced { term, first, offset };
        if stepped.is_err() {
            return if last.next() == first { Ok(false) } else { Err(misplaced(0)) };
        }
        if last.0 + 1 != first.0 + data.len() as u64 {
            return Err(misplaced(data.len()));
        }
        let appended = self.node.raft.raft_log.unstable_entries();
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

    #[cfg(test)]
    pub(super) fn append_at(&mut self, term: Term, first: Index, data: &[Bytes]) -> Result<bool, RaftFatal> {
        self.append(EntryType::EntryNormal, term, first, data)
    }

    /// Proposes a membership change, unless the guard says no. It is a barrier like a control entry.
    pub(super) fn propose_change(&mut self, change: MemberChange, done: ChangeDone) -> Result<(), RaftFatal> {
        if !self.is_leader() {
            done(Err(ChangeRefused::NotLeader(self.other_leader())));
            return Ok(());
        }
        let view = self.leader_view();
        let seen = ChangeView {
            node: self.config.node_id,
            members: &self.members,
            is_gate_open: view.own_term_applied && !view.is_blocked,
            has_pending: self.node.raft.has_pending_conf(),
        };
        if let Err(refused) = guard(change, seen) {
            done(Err(refused));
            return Ok(());
        }
        let first = view.last_index.next();
        // The kind is compared as well: raft makes a change that it refuses an empty entry and says Ok.
        if self.append(EntryType::EntryConfChangeV2, view.term, first, &[encode_change(change)])? {
            self.barrier = first;
            done(Ok(Position { term: view.term, index: first }));
        } else {
            done(Err(ChangeRefused::NotNow));
        }
        Ok(())
    }

    /// Steps a peer's message, if it is one that a peer may send. A bad one is dropped: raft sends again.
    pub(super) fn take_message(&mut self, message: PeerMessage) -> Result<(), RaftFatal> {
        let Some(mut message) = message.into_message() else {
            return Ok(());
        };
        let raft = &self.node.raft;
        if message.to != raft.id || message.from == raft.id || message.from == ::raft::INVALID_ID {
            return Ok(());
        }
        match message.get_msg_type() {
            // Owed with the cluster: the snapshot's bytes go another way and must be complete first.
            MessageType::MsgSnapshot => return Ok(()),
            MessageType::MsgTimeoutNow if self.is_sole_voter() || !self.may_campaign() => return Ok(()),
            MessageType::MsgReadIndex | MessageType::MsgReadIndexResp if message.entries.len() != 1 => return Ok(()),
            MessageType::MsgHeartbeat if message.term >= raft.term && message.commit > self.last_index().0 => {
                return Err(RaftFatal::LogLost { matched: Index(message.commit), last: self.last_index() });
            }
            MessageType::MsgAppend if !is_well_formed(&message) => return Ok(()),
            MessageType::MsgAppend => self.cut(&mut message),
            _ => {}
        }
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%error, "a message was not for now");
        }
        Ok(())
    }

    /// The door for peers: entries without space are cut from the end, all if need be. What is here already needs none;
    /// what is overwritten frees memory.
    fn cut(&mut self, message: &mut Message) {
        let log = &self.node.raft.raft_log;
        let known = message.entries.iter().take_while(|entry| log.match_term(entry.index, entry.term)).count();
        let Some(conflict) = message.entries.get(known).map(|entry| entry.index) else {
            return;
        };
        let freed = self.node.store().bytes_from(conflict);
        let memory = UNAPPLIED_BYTES_MAX.saturating_sub(self.node.store().unapplied_bytes()) + freed;
        let free = self.outside.space.available_bytes();
        let space = if self.groups_in_flight >= LOG_GROUPS_UNPERSISTED_MAX { 0 } else { memory.min(free) };
        let mut left = space.saturating_sub(self.stepped_bytes).saturating_sub(APPEND_OVERHEAD);
        let mut fits = known;
        for entry in message.entries.iter().skip(known) {
            let Some(rest) = left.checked_sub(cost(entry)) else {
                break;
            };
            self.stepped_bytes += cost(entry);
            left = rest;
            fits += 1;
        }
        if fits > known {
            self.stepped_bytes += APPEND_OVERHEAD;
        }
        if fits < message.entries.len() {
            tracing::debug!(cut = message.entries.len() - fits, "no space for a peer's entries");
            message.mut_entries().truncate(fits);
        }
    }
}

fn refuse(batch: Box<dyn Batch>, refusal: BatchRefusal) -> Result<(), RaftFatal> {
    batch.refused(refusal);
    Ok(())
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

/// Consecutive behind the matched position, terms ascending up to the sender's: the library trusts that blindly.
fn is_well_formed(message: &Message) -> bool {
    let mut index = message.index;
    let mut term = message.log_term;
    message.entries.iter().all(|entry| {
        let follows = index.checked_add(1) == Some(entry.index) && entry.term >= term && entry.term <= message.term;
        (index, term) = (entry.index, entry.term);
        follows
    })
}
