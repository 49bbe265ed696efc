//! The seam to the proposer: batches, whose bytes raft asks for once it knows their positions.
//!
//! ```text
//! raft (its thread)                         proposer                           batch
//! next(view)         -------------------->  what may be proposed now?
//!   checks N1, N2, N3, and space at the door
//!   reads the index behind the last entry
//! seal(term, index)  ------------------------------------------------------->  seals for that position, once
//!   appends, compares every entry (N6)
//! placed(position)   ------------------------------------------------------->  registers its waiters
//!   or refused(why)  ------------------------------------------------------->  answers its clients: not executed
//!   hands out what is ready, then asks for the next one
//! ```
//!
//! Raft knows the position and may not know the keys; the proposer knows the keys and cannot know the position. So a batch
//! crosses the wall as something that raft can only ask for bytes. All calls are on the raft thread, and none blocks.

use bytes::Bytes;

use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;

/// Why a batch was given back. Nothing of it was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchRefusal {
    /// This node does not lead; the leader's id, if known.
    NotLeader(Option<u64>),
    /// Leading, but a transfer or a barrier is under way, the own term is not applied yet, or there is no space.
    NotNow,
    /// The batch could not be sealed (no key for this term): a bug or a race; nothing left this node.
    SealFailed,
}

/// Entries that are not sealed yet. Raft asks for their bytes once, when it knows their positions.
pub trait Batch: Send {
    /// Entries in it, at least 1.
    fn count(&self) -> usize;
    /// Upper bound of their sealed bytes, for the door.
    fn bytes_max(&self) -> u64;
    /// Control entries may use the reserve of the door.
    fn is_control(&self) -> bool;
    /// Whether they only remove all keys, which gives space back: they may use [`LeaderView::clear_bytes`].
    fn gives_back(&self) -> bool {
        false
    }
    /// The entries' data for `(term, first_index)`, `(term, first_index + 1)`, ...; called at most once.
    ///
    /// # Errors
    /// [`BatchRefusal::SealFailed`]: nothing was made.
    fn seal(&mut self, term: Term, first_index: Index) -> Result<Vec<Bytes>, BatchRefusal>;
    /// The entries stand in the log from `first` on (N6 was checked). Apply sees none of them before this returns.
    fn placed(self: Box<Self>, first: Position);
    /// Given back: none of its entries is in the log.
    fn refused(self: Box<Self>, refusal: BatchRefusal);
}

/// What the proposer may know when it is asked for the next batch.
#[derive(Clone, Copy, Debug)]
pub struct LeaderView {
    /// Current term; this node leads it.
    pub term: Term,
    /// Index of the last entry in the log.
    pub last_index: Index,
    /// Applied by the apply loop, as raft knows it.
    pub applied: Position,
    /// Whether the empty entry of this term is applied here (N2).
    pub own_term_applied: bool,
    /// A membership change, a control entry or a transfer is under way: nothing would be taken (N3).
    pub is_blocked: bool,
    /// Bytes of client entries that the door lets through now; control entries may ignore it.
    pub space_bytes: u64,
    /// The same for entries that only remove all keys: what is kept back beside the others. It is for a few of them, so that a log
    /// that is full because the state cannot be flushed still takes what makes space for the flush.
    pub clear_bytes: u64,
    /// Memory is full: of clients' requests only those that give memory back may come in.
    pub is_held: bool,
}

impl LeaderView {
    /// Bytes for a batch, which gives space back or does not.
    pub(super) fn bytes_for(&self, gives_back: bool) -> u64 {
        if gives_back { self.clear_bytes } else { self.space_bytes }
    }
}

/// The source of batches. Called on the raft thread only.
pub trait Proposer: Send {
    /// The next batch for `view`, or nothing now. Called until it answers `None`.
    fn next(&mut self, view: &LeaderView) -> Option<Box<dyn Batch>>;
    /// This node does not lead: give back all waiting requests, at once if the leader is known. Called in every step of a
    /// node that does not lead.
    fn not_leading(&mut self, leader: Option<u64>);
    /// A context for the reads since the last call, whose ReadIndex is taken after this. They join the context `unsent`, if
    /// there is one: then there is no new one. Contexts increase. Called in every step.
    fn ask_reads(&mut self, _unsent: Option<u64>) -> Option<u64> {
        None
    }
    /// No batch will be taken any more: give everything back.
    fn stop(&mut self) {}
}
