//! What a node says of itself in INFO, ROLE and HELLO; the numbers come from the rooms that own them.

/// What this node is to its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes writes: Redis' `master`.
    Leader,
    /// Redis' `slave`.
    Follower,
}

impl Role {
    /// Redis' word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Role::Leader => "master",
            Role::Follower => "slave",
        }
    }
}

/// The sections of INFO that a node adds lines to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactSection {
    /// `# Server`: binary, process, directories that may be told.
    Server,
    /// `# Memory`.
    Memory,
    /// `# Persistence`.
    Persistence,
    /// `# Stats`: what the node counts beside its clients.
    Stats,
    /// `# CPU`.
    Cpu,
    /// `# Replication`: terms, indexes, members.
    Replication,
    /// `# Sealkv`: log, keys, AEAD tier, watermarks.
    Sealkv,
}

/// What a database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseKeys {
    /// Which.
    pub number: u8,
    /// Its keys.
    pub keys: u64,
    /// Those of them that have an expiry.
    pub expires: u64,
    /// How long these live on the average, in ms.
    pub ttl_ms: u64,
}

/// The node's numbers. Each call must be cheap and must not block: it runs on a network thread.
pub trait NodeFacts: Send + Sync {
    /// Lines `name:value` for a section, in order. No key, path, nonce or client's bytes may be in them.
    fn lines(&self, section: FactSection) -> Vec<(&'static str, String)>;

    /// Leader or follower.
    fn role(&self) -> Role;

    /// Members with a vote: a sole voter that is not the leader is only starting.
    fn voters(&self) -> usize;

    /// The applied index, which ROLE and `master_repl_offset` show.
    fn applied_index(&self) -> u64;

    /// What each database holds that holds anything, as of the last walk over all rows.
    fn keyspace(&self) -> Vec<DatabaseKeys>;

    /// True until the log is replayed; clients wait for `loading:0`.
    fn is_loading(&self) -> bool {
        false
    }
}
