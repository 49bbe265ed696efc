//! Agreement. One thread owns the state machine of the `raft` crate; the bytes of an entry are opaque here.
//!
//! `raft_loop` is the place to begin: it owns the other parts and calls them in order. [`Batch`] and [`Proposer`] are the seam
//! to the proposer, [`Ports`] the seam to log and apply, [`Transport`] the seam to the peers.

mod append;
mod batch;
mod config;
mod convert;
mod door;
mod election;
mod fatal;
mod hand_out;
mod input;
mod lease;
mod log;
mod logger;
mod members_change;
mod membership;
mod offers;
mod persisting;
mod ports;
mod progress;
mod raft_loop;
mod read_index;
mod reads;
mod snapshot_point;
mod start;
mod status;
pub mod thread;
mod transfer;
mod transport;
mod wire;

#[cfg(test)]
mod tests;

pub use batch::Batch;
pub use batch::BatchRefusal;
pub use batch::LeaderView;
pub use batch::Proposer;
pub use config::RaftConfig;
pub use config::RaftParts;
pub use config::StartingPoint;
pub use fatal::RaftFatal;
pub use input::ChangeDone;
pub use input::Input;
pub use input::ProgressDone;
pub use input::TransferDone;
pub use lease::ClockDrift;
pub use members_change::ChangeRefused;
pub use members_change::MemberChange;
pub use members_change::NotAChange;
pub use members_change::address_in;
pub use members_change::members_after;
pub use offers::SnapshotOffer;
pub use ports::Committed;
pub use ports::Ports;
pub use ports::Status;
pub use progress::MemberProgress;
pub use raft_loop::RaftLoop;
pub use snapshot_point::SnapshotPoint;
pub use transfer::TransferRefused;
pub use transport::Nowhere;
pub use transport::PeerMessage;
pub use transport::Transport;
