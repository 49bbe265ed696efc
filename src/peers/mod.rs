//! The way to the other members: connections, frames, who is who.
//!
//! ```text
//!                    this node dials: what it sends            the peer accepts: what it gets
//! raft -- Transport --> fast: votes, heartbeats, answers, reads --> PeerHandler::message
//!         Peers::call -> (fast too) request, and back its answer -> PeerHandler::call
//! raft -- Transport --> bulk: entries, snapshots' messages ------> PeerHandler::message
//! ```
//!
//! A node dials every member twice, so that a long append does not delay a heartbeat, and is dialled twice by each. A
//! connection begins with a hello and its welcome (`hello.rs`): both sides know the wire version, the cluster and the node of
//! the other, before anything else is read. Queues are bounded and drop what they cannot take: raft sends again. A request
//! is different: its sender learns whether it certainly did not run ([`CallFailed`]). An empty one is answered here: the way
//! there and back takes so long.
//!
//! What is in a message, a request or the facts of a hello is not known here.

mod calls;
mod config;
mod counters;
mod dial;
mod frame;
mod handler;
mod hello;
mod inbound;
mod listen;
mod outgoing;
mod peer;
mod pump;
mod secure;
mod shared;
mod start;
mod stream;

#[cfg(test)]
mod tests;

pub use calls::CallDone;
pub use calls::CallFailed;
pub use calls::WhyNotSent;
pub use config::NotAnAddress;
pub use config::PeerAddress;
pub use config::PeersConfig;
pub use config::PeersRefused;
pub use config::Security;
pub use counters::PeerStatus;
pub use handler::CallAnswer;
pub use handler::CallFuture;
pub use handler::PeerHandler;
pub use shared::RefusedPeers;
pub use start::Peers;
pub use start::PeersTransport;
pub use start::start;
