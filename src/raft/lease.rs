//! The leader's lease: for some time after a majority has answered a round, nobody else can lead, and reads need no round.
//!
//! ```text
//! this node   round sent ------- answered by a majority ------------ lease ends
//!                | LEASE, shortened by what the clocks may differ, from the sending on
//! a voter        ----- heard ---------------------------------------------- may vote
//!                         | LEASE by its own clock, from the hearing on, and from its start on
//! ```
//!
//! The library's own leases are not used. They count the ticks of this node from the answer on, so a pause between the sending
//! and the answer makes them too long, and a machine that sleeps does not tick. And its voters forget a leader when they start
//! again, or at a late answer to a pre-vote: [`VotePromise`] does not.
//!
//! Time is that since boot, suspends included, on the side of the leader; a voter's clock may stand still in a suspend, since it
//! then votes later. A lease is of one term. It ends when the leadership moves, for good when this node has told another one to
//! campaign (that message may be late), and while a change of the members is under way; then only a round that began after the
//! change counts.

use std::collections::VecDeque;
use std::time::Duration;

use ::raft::Raft;
use ::raft::RawNode;
use ::raft::ReadState;
use ::raft::StateRole;
use ::raft::eraftpb::Message;
use ::raft::eraftpb::MessageType;

use crate::ids::NodeId;
use crate::limits::LEASE;
use crate::limits::LEASE_ROUNDS_MAX;
use crate::raft::log::Log;
use crate::world::Clock;

/// How far two clocks may drift apart, each from true time: parts in a million. In a time that one clock measures as a million,
/// another one measures at most a million and twice that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockDrift(u32);

impl ClockDrift {
    /// `None` for 0, which no clock keeps, and beyond [`ClockDrift::PPM_MAX`].
    #[must_use]
    pub fn new(ppm: u32) -> Option<ClockDrift> {
        (1..=ClockDrift::PPM_MAX).contains(&ppm).then_some(ClockDrift(ppm))
    }

    /// A tenth: clocks that differ more are broken.
    pub const PPM_MAX: u32 = 100_000;

    /// A time that, on a clock that runs slow, is over when `promised` is over on one that runs fast.
    fn shorten(self, promised: Duration) -> Duration {
        promised * (MILLION - self.0) / (MILLION + self.0)
    }
}

/// See the head of this file. Without a length it never holds and asks for nothing.
#[derive(Debug)]
pub(super) struct Lease {
    node: NodeId,
    process: u64,
    length: Option<Duration>,
    renew_after: Duration,
    /// What follows is of this term.
    term: u64,
    /// Rounds without an answer, oldest first: number, and the time just before they were sent.
    rounds: VecDeque<(u64, Duration)>,
    last_number: u64,
    last_sent: Option<Duration>,
    /// The newest round that a majority has answered was sent then.
    since: Option<Duration>,
    /// Another node was told to campaign.
    is_given_up: bool,
}

impl Lease {
    /// `process` is random. A round is sent every `renew_after`.
    pub(super) fn new(node: NodeId, process: u64, drift: Option<ClockDrift>, renew_after: Duration) -> Lease {
        let length = drift.map(|drift| drift.shorten(LEASE));
        let (rounds, last_number, last_sent) = (VecDeque::new(), 0, None);
        let (term, since, is_given_up) = (0, None, false);
        Lease { node, process, length, renew_after, term, rounds, last_number, last_sent, since, is_given_up }
    }

    /// Whether it can ever hold.
    pub(super) fn is_used(&self) -> bool {
        self.length.is_some()
    }

    /// Whether nobody else leads at `now`, the time since boot, read after the reads came that are to be answered.
    pub(super) fn holds(&self, raft: &Raft<Log>, now: Duration) -> bool {
        let (Some(length), Some(since)) = (self.length, self.since) else { return false };
        let is_of_now = leads(raft) && raft.term == self.term && now < since + length;
        let is_applied = raft.raft_log.term(raft.raft_log.applied).is_ok_and(|term| term == raft.term);
        is_of_now && is_applied && !self.is_given_up && raft.lead_transferee.is_none() && !is_changing(raft)
    }

    /// Sends a round if one is due. `now` is read before.
    pub(super) fn renew(&mut self, node: &mut RawNode<Log>, now: Duration) {
        let Some(length) = self.length else { return };
        // Before its first own entry is committed the library drops the request.
        if !leads(&node.raft) || !node.raft.commit_to_current_term() || is_changing(&node.raft) {
            return;
        }
        self.enter(node.raft.term);
        if self.last_sent.is_some_and(|sent| now < sent + self.renew_after) {
            return;
        }
        // Those that are too old to begin a lease, and the oldest if there are too many.
        let kept = self.rounds.len().min(LEASE_ROUNDS_MAX - 1);
        self.rounds.drain(..self.rounds.len() - kept);
        self.rounds.retain(|(_, sent)| now < *sent + length);
        self.last_number += 1;
        self.last_sent = Some(now);
        self.rounds.push_back((self.last_number, now));
        assert!(self.rounds.len() <= LEASE_ROUNDS_MAX, "BOUNDED");
        node.read_index(self.key(self.last_number).to_vec());
    }

    /// A majority has answered these rounds of this leadership. Those of others are passed over.
    pub(super) fn confirm(&mut self, states: &[ReadState], raft: &Raft<Log>) {
        if !leads(raft) || raft.term != self.term {
            return;
        }
        for state in states {
            let answered = self.rounds.iter().position(|(number, _)| self.key(*number) == state.request_ctx[..]);
            if let Some((_, sent)) = answered.and_then(|at| self.rounds.drain(..=at).next_back()) {
                self.since = self.since.max(Some(sent));
            }
        }
    }

    /// The members are others from now on: what was asked before was asked of a majority of then.
    pub(super) fn members_changed(&mut self) {
        self.rounds.clear();
        (self.since, self.last_sent) = (None, None);
    }

    /// To be told of every message before it leaves.
    pub(super) fn leaving(&mut self, message: &Message) {
        if message.get_msg_type() == MessageType::MsgTimeoutNow {
            self.enter(message.term);
            self.is_given_up = true;
        }
    }

    fn enter(&mut self, term: u64) {
        if term != self.term {
            self.members_changed();
            (self.term, self.is_given_up) = (term, false);
        }
    }

    /// Not one of the keys of reads: those have the number of the process as it is.
    fn key(&self, number: u64) -> [u8; KEY_LEN] {
        let mut key = [0; KEY_LEN];
        for (part, number) in key.chunks_exact_mut(8).zip([self.node.value(), !self.process, number]) {
            part.copy_from_slice(&number.to_be_bytes());
        }
        key
    }
}

fn leads(raft: &Raft<Log>) -> bool {
    raft.state == StateRole::Leader
}

/// A change of the members is proposed and not applied, or a joint one is not done.
fn is_changing(raft: &Raft<Log>) -> bool {
    raft.has_pending_conf() || !raft.prs().conf().to_conf_state().voters_outgoing.is_empty()
}

/// What a voter owes to leases, whether one is in use or not, since only the leader knows: after it has heard a leader it votes for
/// nobody else for as long as a lease, and after a start neither, because it may have heard one just before.
#[derive(Debug)]
pub(super) struct VotePromise {
    until: Duration,
}

impl VotePromise {
    pub(super) fn new(now: Duration) -> VotePromise {
        VotePromise { until: now + LEASE }
    }

    /// Whether a message may be stepped now, by the monotonic clock: all but requests for a vote that come too early. A node that
    /// its leader told to campaign may ask at any time; that leader's lease is over.
    pub(super) fn admits(&mut self, message: &Message, raft: &Raft<Log>, clock: &dyn Clock) -> bool {
        match message.get_msg_type() {
            MessageType::MsgHeartbeat | MessageType::MsgAppend | MessageType::MsgSnapshot => {
                if message.term >= raft.term {
                    self.until = self.until.max(clock.monotonic() + LEASE);
                }
                true
            }
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                let may_vote = clock.monotonic() >= self.until || message.context[..] == *::raft::CAMPAIGN_TRANSFER;
                if !may_vote {
                    tracing::debug!(
                        from = message.from,
                        "no vote: a leader was just heard, or this node has just begun"
                    );
                }
                may_vote
            }
            _ => true,
        }
    }
}

/// As of a key of reads.
const KEY_LEN: usize = 24;
const MILLION: u32 = 1_000_000;
