//! What the loop is started with, and how it ends: settings, what recovery found, the fatal errors.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::RAFT_TICK;
use crate::limits::READ_INDEX_DEADLINE;
use crate::members::Members;
use crate::raft::Ports;
use crate::raft::Proposer;
use crate::raft::transport::Transport;
use crate::wal::HardState;
use crate::wal::LogSpace;
use crate::world::Clock;
use crate::world::Entropy;

/// Settings of one node's part in the agreement.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// This node; a member of what was recovered, or waiting to become one.
    pub node_id: NodeId,
    /// Length of a tick.
    pub tick: Duration,
    /// Ticks without a leader before this node asks for votes (up to twice as many, by lot).
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// How long a ReadIndex may be unanswered before it is given up.
    pub read_deadline: Duration,
    /// Ticks after which an unanswered ReadIndex is sent again: raft drops it silently in several cases.
    pub read_resend_ticks: u32,
    /// Whether `Ports::fetch` can read entries back that are not in memory any more.
    pub can_fetch: bool,
}

impl RaftConfig {
    /// The defaults: 100 ms ticks, elections after 1 to 2 s, as etcd and TiKV (findings/raft-and-clients.md 1.7).
    #[must_use]
    pub fn new(node_id: NodeId) -> RaftConfig {
        RaftConfig {
            node_id,
            tick: RAFT_TICK,
            election_ticks: 10,
            heartbeat_ticks: 1,
            read_deadline: READ_INDEX_DEADLINE,
            read_resend_ticks: 4,
            can_fetch: false,
        }
    }
}

/// What the log and the state hold at the start. `compacted.index <= applied.index <= last`, entries without gaps.
#[derive(Clone, Debug)]
pub struct StartingPoint {
    /// As logged; its commit is raised to `applied` here (design 3.6).
    pub hard_state: HardState,
    /// Entries up to this position are gone from the log.
    pub compacted: Position,
    /// Entries of the log above `compacted`, consecutive.
    pub entries: Vec<LogEntry>,
    /// Members as of `applied`.
    pub members: Members,
    /// What the state holds.
    pub applied: Position,
}

/// Everything injected into a [`RaftLoop`](crate::raft::RaftLoop).
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
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for RaftParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RaftParts").finish_non_exhaustive()
    }
}

/// Why the loop cannot go on. No message and no byte left this node after it arose.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RaftFatal {
    /// Damage: what recovery found does not fit together (design 3.6).
    #[error("log and state do not fit: compacted {compacted}, applied {applied}, last {last}")]
    Unfit {
        /// Newest index gone from the log.
        compacted: Index,
        /// Newest index in the state.
        applied: Index,
        /// Newest index in the log.
        last: Index,
    },
    /// Damage: the recovered entries have a gap.
    #[error("log has {found} where {expected} belongs")]
    Gap {
        /// The index that belongs there.
        expected: Index,
        /// The index that was found.
        found: Index,
    },
    /// N6: a batch does not stand where it was sealed.
    #[error("sealed for term {term} index {first}, but raft put entry {offset} of the batch elsewhere")]
    Misplaced {
        /// Term it was sealed for.
        term: Term,
        /// Index the first was sealed for.
        first: Index,
        /// Which one of the batch.
        offset: usize,
    },
    /// N1: something was about to be sealed in a term that is not durable here.
    #[error("about to seal in term {term}, but only term {durable} is durable")]
    TermNotDurable {
        /// Current term.
        term: Term,
        /// Durable term.
        durable: Term,
    },
    /// Operator: this node lost its log and came back under its old id; it must come back under a new one.
    #[error(
        "the leader counts on index {matched} in this log, which ends at {last}: a node that lost its log must join under a new id"
    )]
    LogLost {
        /// What the leader was promised.
        matched: Index,
        /// What is there.
        last: Index,
    },
    /// Bug: apply says it applied what raft did not hand out.
    #[error("applied {applied} is above what was handed out, {handed}")]
    AppliedAhead {
        /// As apply said.
        applied: Index,
        /// Newest index handed out.
        handed: Index,
    },
    /// Bug, or a peer that broke the rules: the library panicked; its words are on stderr.
    #[error("the raft thread panicked")]
    Panicked,
    /// Bug: the library refused its own configuration or storage.
    #[error("raft: {0}")]
    Library(String),
}
