//! How the loop ends by itself.

use crate::ids::Index;
use crate::ids::Term;

/// Why the loop cannot go on. No message and no byte left this node after it arose.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RaftFatal {
    /// Damage: what recovery found does not fit together.
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
        /// Newest index that this node acknowledged.
        matched: Index,
        /// Newest index in the log.
        last: Index,
    },
    /// Bug: apply reports a position that raft did not hand out.
    #[error("applied {applied} is above what was handed out, {handed}")]
    AppliedAhead {
        /// As apply reported.
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
