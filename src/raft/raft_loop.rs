//! The loop: a step function over inputs, an injected clock, entropy, peers, proposer and ports.
//!
//! It owns the library's state machine, never waits for the disk and blocks on no queue. A step takes its inputs, lets time
//! pass, asks for read points, proposes, and hands out what is ready. Nothing here knows what an entry holds.
//!
//! ```text
//! inputs -> RawNode <- election (ticks), door (what may come in), append (proposals at their positions)
//!              |
//!            Ready -> persisting -> log       entries and hard state, then the messages that had to wait for them
//!                  -> hand_out   -> apply     committed entries, a membership change with the members after it
//!                  -> reads      -> proposer  read points
//!                  -> transport  -> peers
//! ```
//!
//! Readys are handled in the asynchronous form: `advance_append_async`, then `on_persist_ready` once the log has the
//! Ready's last group. `advance` and `advance_apply` are never called: they move the applied index by themselves.

use std::sync::Arc;
use std::time::Duration;

use ::raft::RawNode;
use ::raft::Ready;
use ::raft::eraftpb::Entry;
use ::raft::eraftpb::EntryType;
use ::raft::eraftpb::Message;
use ::raft::eraftpb::MessageType;

use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::RAFT_STEP_BATCHES_MAX;
use crate::members::Members;
use crate::raft::Batch;
use crate::raft::BatchRefusal;
use crate::raft::Committed;
use crate::raft::LeaderView;
use crate::raft::Ports;
use crate::raft::Proposer;
use crate::raft::Status;
use crate::raft::append::append;
use crate::raft::config::RaftConfig;
use crate::raft::config::RaftParts;
use crate::raft::config::StartingPoint;
use crate::raft::convert::to_log_entry;
use crate::raft::door::EntryDoor;
use crate::raft::election::ElectionClock;
use crate::raft::election::is_leader;
use crate::raft::election::is_sole_voter;
use crate::raft::fatal::RaftFatal;
use crate::raft::hand_out::HandOut;
use crate::raft::input::Input;
use crate::raft::lease::VotePromise;
use crate::raft::log::Log;
use crate::raft::members_change::ChangeRefused;
use crate::raft::members_change::MemberChange;
use crate::raft::membership::Membership;
use crate::raft::offers::Offers;
use crate::raft::persisting::Afterwards;
use crate::raft::persisting::Persisting;
use crate::raft::progress::progress;
use crate::raft::reads::Reads;
use crate::raft::start;
use crate::raft::status::status;
use crate::raft::transfer::transfer;
use crate::raft::transport::PeerMessage;
use crate::raft::transport::Transport;
use crate::wal::HardState;
use crate::world::Clock;
use crate::world::random_array;

/// One node's part in the agreement. See the head of this file.
pub struct RaftLoop {
    id: NodeId,
    node: RawNode<Log>,
    membership: Membership,
    door: EntryDoor,
    election: ElectionClock,
    persisting: Persisting,
    hand_out: HandOut,
    promise: VotePromise,
    reads: Reads,
    offers: Offers,
    proposer: Box<dyn Proposer>,
    ports: Box<dyn Ports>,
    transport: Box<dyn Transport>,
    clock: Arc<dyn Clock>,
    status: Status,
    /// The last step proposed as much as one step may.
    has_more: bool,
    is_stopped: bool,
    dead: Option<RaftFatal>,
}

debug_fields!(self: RaftLoop { status: self.status, dead: self.dead });

impl RaftLoop {
    /// Starts from what log and state hold; everything up to commit should have been applied before.
    ///
    /// # Errors
    /// [`RaftFatal`] if log and state do not fit together: damage, nothing was changed.
    pub fn new(config: RaftConfig, recovered: StartingPoint, parts: RaftParts) -> Result<RaftLoop, RaftFatal> {
        let mut started = start::start(&config, &recovered)?;
        let RaftParts { proposer, ports, transport, space, clock, entropy } = parts;
        let process = u64::from_be_bytes(random_array(&*entropy));
        let campaigns_at_once = recovered.members.voters == [config.node_id.value()];
        Ok(RaftLoop {
            id: config.node_id,
            membership: Membership::new(&config, recovered.members, &mut started.node),
            node: started.node,
            door: EntryDoor::new(space, config.unapplied_bytes_max),
            election: ElectionClock::new(&config, clock.monotonic(), entropy, campaigns_at_once),
            persisting: Persisting::new(started.hard_state),
            hand_out: HandOut::new(recovered.applied.index),
            promise: VotePromise::new(clock.monotonic()),
            reads: Reads::new(&config, process),
            offers: Offers::default(),
            proposer,
            ports,
            transport,
            clock,
            status: Status::default(),
            has_more: false,
            is_stopped: false,
            dead: None,
        })
    }

    /// Takes `inputs`, lets time pass and does everything that follows.
    ///
    /// # Errors
    /// [`RaftFatal`]: nothing that follows from the cause has left this node, and nothing will; every later call returns the same.
    pub fn step(&mut self, inputs: impl Iterator<Item = Input>) -> Result<(), RaftFatal> {
        if let Some(fatal) = &self.dead {
            return Err(fatal.clone());
        }
        let result = self.try_step(inputs);
        self.dead = result.clone().err();
        result
    }

    /// How long nothing needs to be done if no input comes; zero if a step has left work.
    #[must_use]
    pub fn idle_for(&self) -> Duration {
        if self.has_more { Duration::ZERO } else { self.election.idle_for(self.clock.monotonic()) }
    }

    /// Whether an input has stopped it: no step does anything any more.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// As last reported through the ports.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// The members of the cluster, as of the newest membership change handed to apply.
    #[must_use]
    pub fn members(&self) -> &Members {
        self.membership.members()
    }

    fn try_step(&mut self, inputs: impl Iterator<Item = Input>) -> Result<(), RaftFatal> {
        self.node.mut_store().trimmed_to(self.door.compacted().0);
        for input in inputs {
            if self.is_stopped {
                return Ok(());
            }
            self.take(input)?;
        }
        if self.is_stopped {
            return Ok(());
        }
        let now = self.clock.monotonic();
        self.reads.expire(now, &mut *self.ports);
        self.election.pass_time(&mut self.node, now, self.persisting.is_done());
        self.offers.pass_time(&mut self.node, now);
        // Before read points are asked for: a change of leadership loses those under way, and not the new ones.
        self.report();
        self.reads.ask(&mut self.node, &mut *self.proposer, &mut *self.ports, &*self.clock, now);
        self.drain_ready()?;
        self.propose_all()?;
        assert!(!self.node.has_ready(), "a step leaves nothing in the library");
        self.report();
        Ok(())
    }

    fn take(&mut self, input: Input) -> Result<(), RaftFatal> {
        match input {
            Input::Wake => {}
            Input::Message(message) => self.take_message(message)?,
            Input::Unreachable(node) => self.node.report_unreachable(node),
            Input::Persisted(ticket) => {
                while let Some(afterwards) = self.persisting.pop(ticket) {
                    self.persisted(afterwards);
                }
            }
            Input::Applied(position) => self.applied(position.index)?,
            Input::Fetched(entries) => {
                if let Some(context) = self.node.mut_store().set_fetched(&entries) {
                    self.node.on_entries_fetched(context);
                    self.node.mut_store().forget_fetched();
                }
            }
            Input::Snapshot(point) => self.node.mut_store().set_snapshot(point),
            Input::Change { change, done } => done(self.propose_change(&change)?),
            Input::Transfer { to, done } => done(transfer(&mut self.node, self.membership.members(), to)),
            Input::Progress(done) => done(progress(&self.node.raft)),
            Input::HasKeys(has) => self.election.set_has_keys(has),
            Input::TakesPart(takes) => self.election.set_takes_part(takes),
            Input::Stop => self.stop(),
        }
        Ok(())
    }

    fn stop(&mut self) {
        assert!(!self.is_stopped, "a stopped loop takes no input");
        self.is_stopped = true;
        self.proposer.stop();
        self.reads.lose_all(&mut *self.ports);
        tracing::debug!(status = ?self.status, "raft stops");
    }

    /// Reports what changed; a new term, role or leader has lost the reads that were under way.
    fn report(&mut self) {
        let status = status(&self.node.raft, self.membership.members().is_alone(self.id));
        assert!(self.status.term <= status.term, "terms never decrease");
        assert!(self.status.committed <= status.committed, "commit never decreases");
        let leadership = |status: &Status| (status.term, status.is_leader, status.leader);
        if leadership(&status) != leadership(&self.status) {
            let Status { term, leader, is_leader, .. } = status;
            tracing::info!(term = term.0, leader, is_leader, "raft role");
            self.reads.lose_sent(&mut *self.ports);
        }
        if status != self.status {
            self.status = status;
            self.ports.status(status);
        }
    }

    /// Asks the proposer until it has nothing, or enough for one step; each batch is placed and its Readys handled at once.
    fn propose_all(&mut self) -> Result<(), RaftFatal> {
        self.has_more = false;
        for _ in 0..RAFT_STEP_BATCHES_MAX {
            if !is_leader(&self.node.raft) {
                let leader = self.other_leader();
                self.proposer.not_leading(leader);
                return Ok(());
            }
            assert!(!self.node.has_ready(), "a batch is placed behind entries that were handed out");
            let view = self.door.view(&self.node.raft, self.persisting.is_full());
            let Some(batch) = self.proposer.next(&view) else { return Ok(()) };
            self.place(batch, &view)?;
            self.drain_ready()?;
        }
        self.has_more = true;
        Ok(())
    }

    /// Seals a batch for the positions behind the last entry and appends it there (N6), or gives it back. `view` is as of now.
    fn place(&mut self, mut batch: Box<dyn Batch>, view: &LeaderView) -> Result<(), RaftFatal> {
        let has_space = batch.is_control() || batch.bytes_max() <= view.bytes_for(batch.gives_back());
        // N2 and N3, as far as they can be seen from here: the proposer is held to them too.
        if !view.own_term_applied || view.is_blocked || !has_space {
            return refuse(batch, BatchRefusal::NotNow);
        }
        let (term, durable) = (view.term, self.persisting.durable_term());
        if durable != term {
            return Err(RaftFatal::TermNotDurable { term, durable });
        }
        assert_eq!(view.last_index, self.last_index(), "N6: the position is read just before");
        let first = view.last_index.next();
        let sealed = match batch.seal(term, first) {
            Ok(sealed) if sealed.len() == batch.count() && sealed.iter().all(|data| !data.is_empty()) => sealed,
            Ok(_) => return refuse(batch, BatchRefusal::SealFailed),
            Err(refusal) => return refuse(batch, refusal),
        };
        if !append(&mut self.node, EntryType::EntryNormal, term, first, &sealed)? {
            return refuse(batch, BatchRefusal::NotNow);
        }
        if batch.is_control() {
            self.door.close_behind(Position { term, index: self.last_index() });
        }
        batch.placed(Position { term, index: first });
        Ok(())
    }

    /// Proposes a membership change, unless the guard refuses it. It is a barrier like a control entry.
    fn propose_change(&mut self, change: &MemberChange) -> Result<Result<Position, ChangeRefused>, RaftFatal> {
        if !is_leader(&self.node.raft) {
            return Ok(Err(ChangeRefused::NotLeader(self.other_leader())));
        }
        let view = self.door.view(&self.node.raft, self.persisting.is_full());
        assert_eq!(view.last_index, self.last_index(), "N6: the position is read just before");
        let proposed = self.membership.propose(change, &view, &mut self.node)?;
        if let Ok(position) = proposed {
            self.door.close_behind(position);
        }
        Ok(proposed)
    }

    /// Steps a peer's message, if it is one that a peer may send. A bad one is dropped: raft sends again.
    fn take_message(&mut self, message: PeerMessage) -> Result<(), RaftFatal> {
        let raft = &self.node.raft;
        message.offers(raft).into_iter().for_each(|offer| self.ports.snapshot_offered(offer));
        let may_lead = self.election.may_campaign() && !is_sole_voter(raft);
        let Some(mut message) = message.admit(raft, may_lead)? else { return Ok(()) };
        assert_ne!(message.get_msg_type(), MessageType::MsgPropose, "N6: no entry comes in as a peer's proposal");
        if !self.promise.admits(&message, raft, &*self.clock) {
            return Ok(());
        }
        if message.get_msg_type() == MessageType::MsgAppend {
            self.door.cut(&mut message, raft, self.persisting.is_full());
        }
        if let Err(error) = self.node.step(message) {
            tracing::debug!(%error, "a message was not for now");
        }
        Ok(())
    }

    fn drain_ready(&mut self) -> Result<(), RaftFatal> {
        while self.node.has_ready() {
            let ready = self.node.ready();
            self.handle_ready(ready)?;
        }
        assert!(!self.node.has_ready(), "nothing that is ready stays in the library");
        if let Some((first, last)) = self.node.mut_store().next_fetch() {
            let is_asked = self.ports.fetch(first, last);
            if !is_asked {
                // As if there were none: a read that is never answered would be the last one of this leader.
                self.node.mut_store().set_fetched(&[]);
            }
        }
        if self.node.mut_store().wants_snapshot() {
            self.ports.snapshot_wanted();
        }
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
        if self.persisting.durable_term() >= hard_state.term {
            self.send(messages);
        } else {
            waiting.extend(messages);
        }
        let (states, committed, entries) =
            (ready.take_read_states(), ready.take_committed_entries(), ready.take_entries());
        let afterwards = Afterwards { number: ready.number(), messages: waiting };
        self.door.ready();
        let newest = entries.last().map_or(0, |entry| entry.term);
        assert!(newest <= hard_state.term.0, "N1: no entry goes to the log before its term");
        self.node.mut_store().append(&entries);
        assert!(hard_state.commit <= self.last_index(), "only what is in the log is committed");
        self.node.advance_append_async(ready);
        let log = |append| self.ports.log(append);
        if let Some(afterwards) = self.persisting.write(&entries, hard_state, afterwards, log) {
            self.persisted(afterwards);
        }
        self.reads.confirm(&states, &self.node.raft, &mut *self.ports);
        committed.iter().for_each(|entry| self.hand_out(entry));
        self.hand_out.fill(&mut *self.ports);
        Ok(())
    }

    /// A Ready is durable. Its messages leave only now: a vote's answer that overtook `on_persist_ready` would find a leader
    /// with an unpersisted log.
    fn persisted(&mut self, afterwards: Afterwards) {
        self.node.on_persist_ready(afterwards.number);
        assert!(self.node.raft.raft_log.persisted <= self.last_index().0, "only what is in the log is durable");
        self.send(afterwards.messages);
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            self.reads.leaving(&message);
            let may_campaign = self.election.may_campaign();
            let message = PeerMessage::new(message).filter(|message| may_campaign || !message.asks_for_votes());
            message.into_iter().flat_map(PeerMessage::split).for_each(|message| self.transport.send(message));
        }
    }

    /// A committed entry goes to apply; a membership change is applied to raft first, and brings the members after it.
    fn hand_out(&mut self, entry: &Entry) {
        let committed = self.node.raft.raft_log.committed;
        assert!(entry.index <= committed, "ACK-DURABLE: apply gets only what a quorum has");
        let entry = to_log_entry(entry);
        let members = self.membership.apply(&entry, &mut self.node);
        if members.is_some() {
            self.reads.members_changed();
            // Before a message can reach a new member: whoever reads at once must not believe that this node is alone.
            self.report();
        }
        self.hand_out.push(Committed { entry, members: members.map(Box::new) });
    }

    /// The state holds everything up to `index`.
    fn applied(&mut self, index: Index) -> Result<(), RaftFatal> {
        self.hand_out.applied(index)?;
        if index.0 > self.node.raft.raft_log.applied {
            self.node.advance_apply_to(index.0);
            self.node.mut_store().applied_to(index.0);
        }
        assert!(index.0 <= self.node.raft.raft_log.committed, "only committed entries are applied");
        self.hand_out.fill(&mut *self.ports);
        Ok(())
    }

    fn other_leader(&self) -> Option<u64> {
        let leader = self.node.raft.leader_id;
        (leader != ::raft::INVALID_ID && leader != self.id.value()).then_some(leader)
    }

    fn last_index(&self) -> Index {
        Index(self.node.raft.raft_log.last_index())
    }

    #[cfg(test)]
    pub(super) fn forget_applied(&mut self) {
        self.node.mut_store().keep_applied(0);
    }

    #[cfg(test)]
    pub(super) fn append_at(&mut self, term: Term, first: Index, data: &[bytes::Bytes]) -> Result<bool, RaftFatal> {
        append(&mut self.node, EntryType::EntryNormal, term, first, data)
    }
}

fn refuse(batch: Box<dyn Batch>, refusal: BatchRefusal) -> Result<(), RaftFatal> {
    batch.refused(refusal);
    Ok(())
}
