//! Reads of this node: by the leader's lease where it holds, by a round of the library otherwise.

use std::time::Duration;

use ::raft::Raft;
use ::raft::RawNode;
use ::raft::ReadState;
use ::raft::eraftpb::Message;

use crate::ids::Index;
use crate::limits::LEASE;
use crate::raft::Ports;
use crate::raft::Proposer;
use crate::raft::config::RaftConfig;
use crate::raft::lease::Lease;
use crate::raft::log::Log;
use crate::raft::read_index::ReadIndex;
use crate::world::Clock;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Reads {
    rounds: ReadIndex,
    lease: Lease,
}

impl Reads {
    /// `process` is random: an earlier life of this node may have left its contexts with the leader.
    pub(super) fn new(config: &RaftConfig, process: u64) -> Reads {
        // Two ticks may come at once, and the first right behind what a node has heard.
        let quiet = config.tick * u32::try_from(config.election_ticks.saturating_sub(2)).unwrap_or(u32::MAX);
        assert!(config.lease.is_none() || LEASE < quiet, "no node campaigns within a lease");
        let resend_after = config.tick * config.read_resend_ticks;
        let rounds = ReadIndex::new(config.node_id, process, config.read_deadline, resend_after);
        Reads { rounds, lease: Lease::new(config.node_id, process, config.lease, config.tick) }
    }

    /// Asks the proposer for reads. They get their read point from the lease, or raft is asked for it.
    pub(super) fn ask(
        &mut self,
        node: &mut RawNode<Log>,
        proposer: &mut dyn Proposer,
        ports: &mut dyn Ports,
        clock: &dyn Clock,
        now: Duration,
    ) {
        self.rounds.gather(proposer, now);
        if self.lease.is_used() {
            self.answer_by_lease(node, ports, clock);
        }
        self.rounds.send(node, now);
    }

    fn answer_by_lease(&mut self, node: &mut RawNode<Log>, ports: &mut dyn Ports, clock: &dyn Clock) {
        // Behind the reads: at this moment nobody else leads, and what was acknowledged until now is committed here.
        let since_boot = clock.boottime();
        if self.lease.holds(&node.raft, since_boot) {
            let committed = Index(node.raft.raft_log.committed);
            self.rounds.take_unsent().into_iter().for_each(|context| ports.read_ready(context, committed));
        }
        self.lease.renew(node, since_boot);
    }

    /// Raft confirmed read points.
    pub(super) fn confirm(&mut self, states: &[ReadState], raft: &Raft<Log>, ports: &mut dyn Ports) {
        self.rounds.confirm(states, ports);
        self.lease.confirm(states, raft);
    }

    /// The members are others from now on.
    pub(super) fn members_changed(&mut self) {
        self.lease.members_changed();
    }

    /// To be told of every message before it leaves.
    pub(super) fn leaving(&mut self, message: &Message) {
        self.lease.leaving(message);
    }

    /// Gives up the rounds whose deadline has passed.
    pub(super) fn expire(&mut self, now: Duration, ports: &mut dyn Ports) {
        self.rounds.expire(now, ports);
    }

    /// Gives up all that was sent, when the leadership moved.
    pub(super) fn lose_sent(&mut self, ports: &mut dyn Ports) {
        self.rounds.lose_sent(ports);
    }

    /// Gives up everything, at the end.
    pub(super) fn lose_all(&mut self, ports: &mut dyn Ports) {
        self.rounds.lose_all(ports);
    }
}
