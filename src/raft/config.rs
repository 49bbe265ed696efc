//! What the loop is started with: its configuration, the state that recovery found, and the injected parts.

use std::sync::Arc;
use std::time::Duration;

use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::Term;
use crate::limits::ELECTION_TICKS;
use crate::limits::LOG_CACHE_BYTES_MAX;
use crate::limits::RAFT_TICK;
use crate::limits::READ_INDEX_DEADLINE;
use crate::limits::UNAPPLIED_BYTES_MAX;
use crate::members::Members;
use crate::raft::Ports;
use crate::raft::Proposer;
use crate::raft::lease::ClockDrift;
use crate::raft::transport::Transport;
use crate::wal::HardState;
use crate::wal::LogSpace;
use crate::world::Clock;
use crate::world::Entropy;

/// One node's part in the agreement.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// This node: one of the recovered members, or waiting to become one.
    pub node_id: NodeId,
    /// Length of a tick.
    pub tick: Duration,
    /// Ticks without a leader before this node asks for votes (up to twice as many, at random).
    pub election_ticks: usize,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_ticks: usize,
    /// How long a ReadIndex may be unanswered before it is given up.
    pub read_deadline: Duration,
    /// Ticks after which an unanswered ReadIndex is sent again: raft drops it silently in several cases.
    pub read_resend_ticks: u32,
    /// Reads by the leader's lease, if this is how far clocks may drift; `None`: by rounds only.
    pub lease: Option<ClockDrift>,
    /// Whether `Ports::fetch` can read entries back that are not in memory any more.
    pub can_fetch: bool,
    /// Bytes of entries above applied that may be in memory before no more are proposed or taken.
    pub unapplied_bytes_max: u64,
    /// Bytes of applied entries that stay in memory for followers that lag a little.
    pub entry_cache_bytes_max: u64,
}

impl RaftConfig {
    /// The defaults: 100 ms ticks, elections after 1 to 2 s, as etcd and TiKV.
    #[must_use]
    pub fn new(node_id: NodeId) -> RaftConfig {
        RaftConfig {
            node_id,
            tick: RAFT_TICK,
            election_ticks: ELECTION_TICKS as usize,
            heartbeat_ticks: 1,
            read_deadline: READ_INDEX_DEADLINE,
            read_resend_ticks: 4,
            lease: None,
            can_fetch: false,
            unapplied_bytes_max: UNAPPLIED_BYTES_MAX,
            entry_cache_bytes_max: LOG_CACHE_BYTES_MAX,
        }
    }
}

/// Log and state at the start. `compacted.index <= applied.index <= last`, entries without gaps.
#[derive(Clone, Debug)]
pub struct StartingPoint {
    /// As logged. Its commit may be old: `start` raises it to `applied`.
    pub hard_state: HardState,
    /// Entries up to this position are gone from the log.
    pub compacted: Position,
    /// Entries of the log above `compacted`, consecutive, up to the newest: all of those above `applied`.
    pub entries: Vec<LogEntry>,
    /// Of those above `compacted` that are not in `entries`: where each run of one term begins, and its term.
    pub older_terms: Vec<(Index, Term)>,
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

debug_fields!(self: RaftParts {});
