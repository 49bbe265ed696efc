//! What all connections of a server share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::Semaphore;

use crate::propose::Gateway;
use crate::resp::bounds::ClientBounds;
use crate::resp::delivery::Deliveries;
use crate::resp::facts::NodeFacts;
use crate::resp::memory::ClientMemory;
use crate::resp::operator::Operator;
use crate::resp::reads::ClientReads;
use crate::resp::registry::Registry;
use crate::resp::stats::Stats;

/// What the server stands on.
pub struct ServerParts {
    /// Where requests go.
    pub gateway: Arc<dyn Gateway>,
    /// The applied state.
    pub reads: Arc<dyn ClientReads>,
    /// What the SEALKV commands ask.
    pub operator: Arc<dyn Operator>,
    /// The node's numbers for INFO.
    pub facts: Arc<dyn NodeFacts>,
    /// Bounds and deadlines.
    pub bounds: ClientBounds,
    /// Counters, shared with the metrics.
    pub stats: Arc<Stats>,
}

debug_fields!(self: ServerParts { bounds: self.bounds });

/// What every connection shares.
pub(crate) struct ServerShared {
    pub(crate) gateway: Arc<dyn Gateway>,
    pub(crate) reads: Arc<dyn ClientReads>,
    pub(crate) operator: Arc<dyn Operator>,
    pub(crate) facts: Arc<dyn NodeFacts>,
    pub(crate) bounds: ClientBounds,
    pub(crate) stats: Arc<Stats>,
    pub(crate) registry: Registry,
    /// What all clients may hold.
    pub(crate) memory: Arc<ClientMemory>,
    /// Answers from below.
    pub(crate) deliveries: Arc<Deliveries>,
    pub(crate) address: SocketAddr,
    /// Where clients with TLS come in.
    pub(crate) tls_address: Option<SocketAddr>,
    pub(crate) since: Instant,
    /// Turns for reads that walk many rows.
    pub(crate) long_reads: Semaphore,
    /// Turns for what takes long for an operator: each is given back when the work ends, whoever waits for it.
    pub(crate) operator_turns: Arc<Semaphore>,
    /// CONFIG SET maxclients.
    pub(crate) clients_max: AtomicUsize,
    /// CONFIG SET timeout, in ms.
    pub(crate) idle_timeout_ms: AtomicU64,
}

impl ServerShared {
    pub(crate) fn new(address: SocketAddr, tls_address: Option<SocketAddr>, parts: ServerParts) -> ServerShared {
        let ServerParts { gateway, reads, operator, facts, bounds, stats } = parts;
        ServerShared {
            gateway,
            reads,
            operator,
            facts,
            memory: ClientMemory::new(Arc::clone(&stats), bounds.memory_bytes_max),
            registry: Registry::new(Arc::clone(&stats)),
            stats,
            deliveries: Arc::default(),
            address,
            tls_address,
            since: Instant::now(),
            long_reads: Semaphore::new(LONG_READS_MAX),
            operator_turns: Arc::new(Semaphore::new(OPERATOR_TURNS_MAX)),
            clients_max: AtomicUsize::new(bounds.clients_max),
            idle_timeout_ms: AtomicU64::new(u64::try_from(bounds.idle_timeout.as_millis()).unwrap_or(u64::MAX)),
            bounds,
        }
    }

    /// After how much silence a client is closed; zero: never.
    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms.load(Ordering::Relaxed))
    }
}

/// DBSIZE at once: each walks every row.
const LONG_READS_MAX: usize = 2;
/// SEALKV DIGEST, SEALKV ENCRYPTION SCAN and SAVE at once: clients' reads never wait for them.
const OPERATOR_TURNS_MAX: usize = 2;
