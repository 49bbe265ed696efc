//! What the `SEALKV` commands ask of the node. This room knows no keys: the node answers in words and numbers.

use crate::fsm::walk::WalkError;
use crate::propose::ControlCallback;
use crate::propose::ControlRequest;
use crate::resp::membership::ClusterMembers;

/// One line of the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorFact {
    /// A word.
    Text(String),
    /// A number.
    Number(u64),
    /// There is none (yet).
    Nothing,
}

/// Rows of the state by what stands in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// In the clear.
    pub clear: u64,
    /// Sealed.
    pub sealed: u64,
}

/// What all rows come to at one applied index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateDigest {
    /// The index.
    pub applied: u64,
    /// SHA-256 over every row, opened.
    pub digest: [u8; 32],
}

/// The node's encryption, for its operator.
pub trait Operator: Send + Sync {
    /// Has a change made. Must not block.
    fn ask(&self, request: ControlRequest, done: ControlCallback);

    /// Mode, cutover, keys and their ages, in order. Must not block; nothing secret may be in it.
    fn status(&self) -> Vec<(&'static str, OperatorFact)>;

    /// The members of the node's cluster.
    fn membership(&self) -> Option<&dyn ClusterMembers> {
        None
    }

    /// The digest of all rows as of one moment: takes long, blocks. It ends early once `is_wanted` says no.
    ///
    /// # Errors
    /// What cannot be read, or that the state changes too fast, in words.
    fn digest(&self, is_wanted: &dyn Fn() -> bool) -> Result<StateDigest, String>;

    /// Which log lines are written, as the settings spell it.
    fn log_filter(&self) -> String;

    /// Whether `filter` says which log lines are to be written; if so and `is_set`, it holds from now on.
    ///
    /// # Errors
    /// What was expected, in words.
    fn log_by(&self, filter: &str, is_set: bool) -> Result<(), String>;

    /// Asks for a flush of the state as it is applied now. Must not block.
    fn ask_flush(&self);

    /// Flushes the state as it is applied now: blocks.
    ///
    /// # Errors
    /// Why that is not done, in words.
    fn flush(&self) -> Result<(), String>;

    /// Ends the node as SIGTERM does. Must not block.
    fn shut_down(&self);

    /// Walks every row of the state as of one moment: takes long, blocks. It ends early once `is_wanted` says no.
    ///
    /// # Errors
    /// [`WalkError`] if the rows cannot be read.
    fn scan(&self, is_wanted: &dyn Fn() -> bool) -> Result<RowCounts, WalkError>;
}
