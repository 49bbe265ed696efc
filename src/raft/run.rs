//! The loop: a step function over inputs, an injected clock, chance, peers, proposer and ports.
//!
//! It owns the library's state machine, never waits for the disk and blocks on no queue. A step takes what came, lets
//! time pass, asks for reads, proposes and hands out what is ready. Nothing here knows what an entry holds.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::raft::RawNode;
use ::raft::StateRole;

use crate::ids::Index;
use crate::ids::Term;
use crate::members::Members;
use crate::raft::Committed;
use crate::raft::Ports;
use crate::raft::Proposer;
use crate::raft::Status;
use crate::raft::config::RaftConfig;
use crate::raft::config::RaftFatal;
use crate::raft::config::StartingPoint;
use crate::raft::input::Input;
use crate::raft::log::Log;
use crate::raft::log::Wanted;
use crate::raft::read::Reads;
use crate::raft::ready::Unpersisted;
use crate::raft::start;
use crate::raft::transport::Transport;
use crate::wal::HardState;
use crate::wal::LogSpace;
use crate::world::Clock;
use crate::world::Entropy;
use crate::world::random_array;

/// Everything injected into a [`RaftLoop`].
pub struct RaftParts {
    /// Where client batches come from.
    pub proposer: Box<dyn Proposer>,
    /// Where effects go.
    pub ports: Box<dyn Ports>,
    /// The way to the peers.
    pub transport: Box<dyn Transport>,
    /// The log's free space.
    pub space: Arc<LogSpace>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for RaftParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftParts").finish_non_exhaustive()
    }
}

/// One node's part in the agreement. See the head of this file.
pub struct RaftLoop {
    pub(super) node: RawNode<Log>,
    pub(super) config: RaftConfig,
    pub(super) outside: RaftParts,
    pub(super) members: Members,
    /// Readys whose last group is not durable yet, oldest first.
    pub(super) unpersisted: VecDeque<Unpersisted>,
    pub(super) next_ticket: u64,
    pub(super) groups_in_flight: usize,
    /// As the log has it durably, and as it was told.
    pub(super) durable: HardState,
    pub(super) logged: HardState,
    /// Bytes of peers' entries stepped since the last Ready.
    pub(super) stepped_bytes: u64,
    /// The newest index handed to apply, and the last index of each handful that it has not finished.
    pub(super) handed: Index,
    pub(super) handouts: VecDeque<Index>,
    pub(super) backlog: Vec<Committed>,
    /// N3: the newest control entry or membership change proposed here.
    pub(super) barrier: Index,
    pub(super) fetching: Option<Wanted>,
    pub(super) has_more: bool,
    reads: Reads,
    next_tick: Duration,
    timeout: Timeout,
    campaigns_at_once: bool,
    may_campaign: bool,
    status: Status,
    is_stopped: bool,
    dead: Option<RaftFatal>,
}

/// The election timeout in force, drawn from the injected chance; the library's own draw never decides anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timeout {
    drawn_for: (u64, StateRole, u64),
    ticks: usize,
}

impl fmt::Debug for RaftLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftLoop").field("status", &self.status).field("dead", &self.dead).finish_non_exhaustive()
    }
}

impl RaftLoop {
    /// Starts from what log and state hold; everything up to commit should have been applied before (design 6).
    ///
    /// # Errors
    /// [`RaftFatal`] if log and state do not fit together: damage, nothing was changed.
    pub fn new(config: RaftConfig, recovered: StartingPoint, outside: RaftParts) -> Result<RaftLoop, RaftFatal> {
        let started = start::start(&config, &recovered)?;
        let mut node = started.node;
        node.mut_store().set_can_fetch(config.can_fetch);
        let process = u64::from_be_bytes(random_array(&*outside.entropy));
        let resend_after = config.tick * config.read_resend_ticks;
        let reads = Reads::new(config.node_id, process, config.read_deadline, resend_after);
        let next_tick = outside.clock.monotonic() + config.tick;
        let campaigns_at_once = recovered.members.voters == [config.node_id.value()];
        let mut raft = RaftLoop {
            node,
            members: recovered.members,
            unpersisted: VecDeque::new(),
            next_ticket: 1,
            groups_in_flight: 0,
            durable: started.hard_state,
            logged: started.hard_state,
            stepped_bytes: 0,
            handed: recovered.applied.index,
            handouts: VecDeque::new(),
            backlog: Vec::new(),
            barrier: Index(0),
            fetching: None,
            has_more: false,
            reads,
            next_tick,
            timeout: Timeout { drawn_for: (0, StateRole::Follower, 0), ticks: config.election_ticks },
            campaigns_at_once,
            may_campaign: true,
            status: Status::default(),
            is_stopped: false,
            dead: None,
            config,
            outside,
        };
        raft.keep_for_followers();
        Ok(raft)
    }

    /// Takes `inputs`, lets time pass and does all that follows from it.
    ///
    /// # Errors
    /// [`RaftFatal`]: nothing that follows from the cause has left this node, and nothing will; every later call says the same.
    pub fn step(&mut self, inputs: impl Iterator<Item = Input>) -> Result<(), RaftFatal> {
        if let Some(fatal) = &self.dead {
            return Err(fatal.clone());
        }
        let result = self.try_step(inputs);
        if let Err(fatal) = &result {
            self.dead = Some(fatal.clone());
        }
        result
    }

    /// How long nothing needs to be done if no input comes; zero if a step has left work.
    #[must_use]
    pub fn idle_for(&self) -> Duration {
        if self.has_more { Duration::ZERO } else { self.next_tick.saturating_sub(self.outside.clock.monotonic()) }
    }

    /// Whether it was told to stop: no step does anything any more.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// As last reported through the ports.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Who belongs to the cluster, as of the newest membership change handed to apply.
    #[must_use]
    pub fn members(&self) -> &Members {
        &self.members
    }

    fn try_step(&mut self, inputs: impl Iterator<Item = Input>) -> Result<(), RaftFatal> {
        for input in inputs {
            if self.is_stopped {
                return Ok(());
            }
            self.take(input)?;
        }
        if self.is_stopped {
            return Ok(());
        }
        self.pass_time();
        // Before reads are asked for: those of a reign that has just ended are lost, the new ones are not.
        self.report();
        self.ask_reads();
        self.drain_ready()?;
        self.propose_all()?;
        self.report();
        Ok(())
    }

    fn take(&mut self, input: Input) -> Result<(), RaftFatal> {
        match input {
            Input::Wake => {}
            Input::Message(message) => self.take_message(message)?,
            Input::Unreachable(node) => self.node.report_unreachable(node),
            Input::Persisted(ticket) => self.persisted(ticket),
            Input::Applied(position) => self.applied(position)?,
            Input::Read { context } => self.add_read(context),
            Input::Trimmed(position) => self.node.mut_store().trimmed_to(position.index.0),
            Input::Fetched(entries) => self.fetched(entries),
            Input::Change { change, done } => self.propose_change(change, done)?,
            Input::MayCampaign(may) => self.may_campaign = may,
            Input::Stop => self.stop(),
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.is_stopped = true;
        self.outside.proposer.stop();
        let lost = self.reads.lose_all();
        self.lose_reads(lost);
        tracing::debug!(status = ?self.status, "raft stops");
    }

    /// At most one tick a step: after a pause, the peers that waited in the queue are heard before time goes on.
    fn pass_time(&mut self) {
        let now = self.outside.clock.monotonic();
        let expired = self.reads.expired(now);
        self.lose_reads(expired);
        if std::mem::take(&mut self.campaigns_at_once) && self.may_campaign {
            // A cluster of one need not wait for anybody. Refused while a membership change is unapplied; then the clock decides.
            let _ = self.node.campaign();
        }
        if now < self.next_tick {
            return;
        }
        self.next_tick = (self.next_tick + self.config.tick).max(now);
        if self.holds_election_clock() {
            return;
        }
        self.draw_timeout(false);
        let has_campaigned = self.node.tick() && !self.is_leader();
        self.draw_timeout(has_campaigned);
    }

    /// A sole voter becomes leader inside the library's tick, which demands that all of its log is persisted.
    fn holds_election_clock(&self) -> bool {
        !self.is_leader() && self.is_sole_voter() && (!self.unpersisted.is_empty() || !self.may_campaign)
    }

    fn draw_timeout(&mut self, again: bool) {
        let raft = &mut self.node.raft;
        let now = (raft.term, raft.state, raft.leader_id);
        if again || now != self.timeout.drawn_for {
            let draw = u64::from_be_bytes(random_array(&*self.outside.entropy));
            let spread = self.config.election_ticks as u64;
            let extra = usize::try_from(draw % spread).expect("less than election_ticks");
            self.timeout = Timeout { drawn_for: now, ticks: self.config.election_ticks + extra };
        }
        raft.set_randomized_election_timeout(self.timeout.ticks);
    }

    fn add_read(&mut self, context: u64) {
        let now = self.outside.clock.monotonic();
        if !self.reads.add(context, now) {
            self.lose_reads(vec![context]);
        }
    }

    fn ask_reads(&mut self) {
        if let Some(context) = self.outside.proposer.ask_reads() {
            self.add_read(context);
        }
        let raft = &self.node.raft;
        // Before that, the library drops the request without a word.
        let is_heard =
            if self.is_leader() { raft.commit_to_current_term() } else { raft.leader_id != ::raft::INVALID_ID };
        if !is_heard {
            return;
        }
        for context in self.reads.due(self.outside.clock.monotonic()) {
            self.node.read_index(context);
        }
    }

    pub(super) fn confirm_reads(&mut self, states: Vec<::raft::ReadState>) {
        for state in states {
            for context in self.reads.confirmed(&state.request_ctx) {
                self.outside.ports.read_ready(context, Index(state.index));
            }
        }
    }

    fn lose_reads(&mut self, contexts: Vec<u64>) {
        let leader = self.other_leader();
        for context in contexts {
            self.outside.ports.read_lost(context, leader);
        }
    }

    /// Tells the ports what changed; a new term, role or leader has lost the reads that were under way.
    fn report(&mut self) {
        let raft = &self.node.raft;
        let status = Status {
            term: Term(raft.term),
            is_leader: raft.state == StateRole::Leader,
            leader: raft.leader_id,
            committed: Index(raft.raft_log.committed),
            persisted: Index(raft.raft_log.persisted),
            last: Index(raft.raft_log.last_index()),
        };
        let reign = |status: &Status| (status.term, status.is_leader, status.leader);
        if reign(&status) != reign(&self.status) {
            tracing::info!(term = status.term.0, leader = status.leader, is_leader = status.is_leader, "raft role");
            let lost = self.reads.lose_sent();
            self.lose_reads(lost);
        }
        if status != self.status {
            self.status = status;
            self.outside.ports.status(status);
        }
    }

    pub(super) fn is_leader(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    pub(super) fn is_sole_voter(&self) -> bool {
        self.node.raft.prs().is_singleton() && self.node.raft.promotable()
    }

    pub(super) fn may_campaign(&self) -> bool {
        self.may_campaign
    }

    pub(super) fn other_leader(&self) -> Option<u64> {
        let leader = self.node.raft.leader_id;
        (leader != ::raft::INVALID_ID && leader != self.config.node_id.value()).then_some(leader)
    }

    pub(super) fn last_index(&self) -> Index {
        Index(self.node.raft.raft_log.last_index())
    }
}
