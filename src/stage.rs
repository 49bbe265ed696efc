//! The life of one entry as an enum: the words of metrics, traces, benches and docs.

/// Where an entry is between a client and its answer (design 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Read from a client, waiting for the raft thread.
    Queued,
    /// Sealed at the position that raft gave it.
    Sealed,
    /// Durable in this node's log.
    Persisted,
    /// Durable in the logs of a quorum.
    Committed,
    /// Decrypted and verified.
    Opened,
    /// Its effects are in the store, in one step with the applied index.
    Applied,
    /// The client has its answer.
    Answered,
}

impl Stage {
    /// The word, as in metric labels.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Stage::Queued => "queued",
            Stage::Sealed => "sealed",
            Stage::Persisted => "persisted",
            Stage::Committed => "committed",
            Stage::Opened => "opened",
            Stage::Applied => "applied",
            Stage::Answered => "answered",
        }
    }
}
