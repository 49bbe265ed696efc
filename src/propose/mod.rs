//! Plaintext in: client requests become entries, sealed at the position that raft is about to give them.
//!
//! ```text
//! connections  -> request     propose(ClientRequest): encoded on the caller's thread
//!              -> requests    waits, within bounds
//! raft thread  -> queue       next(view): due decides what may go, a control entry or clients' requests
//!              -> batch       seal(term, index) once raft knows the position; placed: registers its waiters
//!              -> forward     another node leads: what waits goes there, once, and the outcomes come back
//! apply thread -> waiters     takes the waiter at (term, index) and answers it
//!              -> read_points answers reads whose index is applied
//! ```
//!
//! [`seal`] is the sealing of proposals as a library, for an embedder's own raft and clients; [`crate::raft::Batch`] has the
//! calls between the raft thread and a batch. An operator's requests go the same way: `control` has their words, `orders`
//! holds them until their turn, `due` decides, `control_entry` makes their entries.

mod batch;
mod bundle;
mod control;
mod control_entry;
mod due;
mod expiry;
mod facts;
mod forward;
mod orders;
mod queue;
mod read_points;
mod request;
mod requests;
pub mod seal;
mod shared;
mod stamp;
mod waiters;
mod wakeup;

#[cfg(test)]
mod tests;

pub use control::ControlCallback;
pub use control::ControlDone;
pub use control::ControlError;
pub use control::ControlRequest;
pub use control::ControlResult;
pub use control::KekWitness;
pub use control::MemberLack;
pub use control::Purpose;
pub use control::SoleVoter;
pub use due::Mode;
pub use due::RenewLimits;
pub use expiry::ExpiryStep;
pub use expiry::ExpiryWalk;
pub use expiry::KeyCount;
pub use expiry::KeyCounts;
pub use expiry::RowDeadlines;
pub use facts::AppliedFacts;
pub use forward::Answered;
pub use forward::Bundle;
pub use forward::Forwarder;
pub use queue::ProposeConfig;
pub use queue::ProposeHandle;
pub use queue::ProposeParts;
pub use queue::Queue;
pub use queue::queue;
pub use read_points::ReadPoints;
pub use request::ClientRequest;
pub use request::Gateway;
pub use request::Outcome;
pub use request::ReadDone;
pub use request::ReadOutcome;
pub use request::RequestDone;
pub use request::RequestSlot;
pub use stamp::StampClock;
pub use waiters::Waiter;
pub use waiters::WaiterSlots;
pub use waiters::Waiters;
pub use wakeup::Sleeper;
pub use wakeup::Wakeup;
