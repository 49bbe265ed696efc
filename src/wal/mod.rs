//! Durable order of opaque records: this room never looks into an entry.
//!
//! [`create`] makes a log, [`LogLoop::open`] recovers one and then is a step function that turns [`Append`]s into
//! frames, [`thread::spawn`] drives it on a thread. The bytes are drawn in `header.rs` and `frame.rs`; the
//! rules of recovery are in `recovery.rs`.

mod acks;
mod bell;
mod builder;
mod config;
mod contents;
mod create;
mod error;
mod fetch;
mod frame;
mod group;
mod header;
mod index;
pub mod inspect;
mod intake;
mod kept;
mod log_loop;
mod open;
mod pipeline;
mod pool;
mod pulse;
mod reader;
mod recovery;
mod scan;
mod seal;
mod segments;
mod space;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testkit;
pub mod thread;
mod tickets;
mod window;

#[cfg(test)]
mod tests;

pub use config::LogConfig;
pub use create::create;
pub use error::During;
pub use error::LogConfigError;
pub use error::Reason;
pub use error::WalError;
pub use intake::Full;
pub use log_loop::LogCounts;
pub use log_loop::LogLoop;
pub use log_loop::LogProgress;
pub use open::Recovered;
pub use open::open;
pub use open::open_watched;
pub use recovery::TornEnd;
pub use space::LogSpace;

use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Position;
use crate::ids::Term;

/// Raft's hard state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// Newest term this node has seen.
    pub term: Term,
    /// The node that got its vote in that term; 0 = none.
    pub vote: u64,
    /// Highest index known committed.
    pub commit: Index,
}

/// One thing to make durable: a Ready of raft, a trim, or the cutover. Its ticket comes back when all of it is; a
/// crash before that may keep any prefix of the entries (the hard state goes with the first of them), or nothing.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// Handed back when this and everything before it is durable; increasing.
    pub ticket: u64,
    /// Raft's hard state, where it changed.
    pub hard_state: Option<HardState>,
    /// Consecutive entries; from the first one's index on they replace older ones.
    pub entries: Vec<LogEntry>,
    /// Entries up to and including this position are no longer needed.
    pub trim: Option<Position>,
    /// A snapshot was installed: the log begins anew behind this position.
    pub reset: Option<Position>,
    /// The cutover, durable here before the step of the store that makes it true.
    pub cutover: Option<Index>,
}
