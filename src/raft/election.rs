//! When time makes raft do something: ticks, the election timeout, and whether this node may campaign at all.

use std::sync::Arc;
use std::time::Duration;

use ::raft::Raft;
use ::raft::RawNode;
use ::raft::StateRole;

use crate::raft::config::RaftConfig;
use crate::raft::log::Log;
use crate::world::Entropy;
use crate::world::random_array;

/// See the head of this file.
pub(super) struct ElectionClock {
    tick: Duration,
    election_ticks: usize,
    entropy: Arc<dyn Entropy>,
    next_tick: Duration,
    timeout: ElectionTimeout,
    campaigns_at_once: bool,
    /// It has the keys that a leader needs.
    has_keys: bool,
    /// Its directory has not lost anything.
    takes_part: bool,
}

/// The election timeout in force, drawn from the injected entropy; the library's own draw never decides anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ElectionTimeout {
    drawn_for: (u64, StateRole, u64),
    ticks: usize,
}

impl ElectionClock {
    /// `campaigns_at_once`: a cluster of one need not wait for anybody.
    pub(super) fn new(
        config: &RaftConfig,
        now: Duration,
        entropy: Arc<dyn Entropy>,
        campaigns_at_once: bool,
    ) -> ElectionClock {
        let timeout = ElectionTimeout { drawn_for: (0, StateRole::Follower, 0), ticks: config.election_ticks };
        ElectionClock {
            tick: config.tick,
            election_ticks: config.election_ticks,
            entropy,
            next_tick: now + config.tick,
            timeout,
            campaigns_at_once,
            has_keys: true,
            takes_part: true,
        }
    }

    pub(super) fn set_has_keys(&mut self, has_keys: bool) {
        self.has_keys = has_keys;
    }

    pub(super) fn set_takes_part(&mut self, takes_part: bool) {
        self.takes_part = takes_part;
    }

    /// Both are needed, and whoever says one of them says nothing of the other.
    pub(super) fn may_campaign(&self) -> bool {
        self.has_keys && self.takes_part
    }

    /// Until the next tick.
    pub(super) fn idle_for(&self, now: Duration) -> Duration {
        self.next_tick.saturating_sub(now)
    }

    /// Lets time pass: at most one tick, so that after a pause the peers that waited in the queue are heard before time
    /// goes on. `is_all_durable`: nothing that was handed to the log is unpersisted.
    pub(super) fn pass_time(&mut self, node: &mut RawNode<Log>, now: Duration, is_all_durable: bool) {
        if std::mem::take(&mut self.campaigns_at_once) && self.may_campaign() {
            // Refused while a membership change is unapplied; then the clock decides.
            let _ = node.campaign();
        }
        if now < self.next_tick {
            return;
        }
        self.next_tick = (self.next_tick + self.tick).max(now);
        assert!(self.next_tick >= now, "one tick a turn");
        // A sole voter becomes leader inside the library's tick, which demands that all of its log is persisted.
        let holds = !is_leader(&node.raft) && is_sole_voter(&node.raft) && !(is_all_durable && self.may_campaign());
        if holds {
            return;
        }
        self.draw_timeout(&mut node.raft, false);
        let has_campaigned = node.tick() && !is_leader(&node.raft);
        self.draw_timeout(&mut node.raft, has_campaigned);
    }

    fn draw_timeout(&mut self, raft: &mut Raft<Log>, again: bool) {
        let now = (raft.term, raft.state, raft.leader_id);
        if again || now != self.timeout.drawn_for {
            let draw = u64::from_be_bytes(random_array(&*self.entropy));
            let spread = self.election_ticks as u64;
            let extra = usize::try_from(draw % spread).expect("less than election_ticks");
            self.timeout = ElectionTimeout { drawn_for: now, ticks: self.election_ticks + extra };
        }
        assert!(self.timeout.ticks >= self.election_ticks, "the library demands at least that");
        raft.set_randomized_election_timeout(self.timeout.ticks);
    }
}

pub(super) fn is_leader(raft: &Raft<Log>) -> bool {
    raft.state == StateRole::Leader
}

pub(super) fn is_sole_voter(raft: &Raft<Log>) -> bool {
    raft.prs().is_singleton() && raft.promotable()
}
