//! The seam to the node: what its connections bring, and what they say of it.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;

use crate::ids::NodeId;
use crate::raft::PeerMessage;

/// What becomes of a request of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallAnswer {
    /// It ran, and this is for its sender.
    Done(Bytes),
    /// It certainly did not run and never will: its sender may send it again.
    NotRun,
    /// It may have run, or may still run.
    Unknown,
}

/// An answer that is not there yet.
pub type CallFuture = Pin<Box<dyn Future<Output = CallAnswer> + Send>>;

/// What is behind the connections. Called on the threads that move bytes, so no call may wait.
pub trait PeerHandler: Send + Sync {
    /// A message came in. Its sender is who it says. It may be dropped: raft sends again.
    fn message(&self, message: PeerMessage);

    /// A message comes from `node`, which is not dialled: an answer to it has no way. Called before [`PeerHandler::message`].
    fn undialled(&self, node: NodeId);

    /// Messages to `node` were lost: raft should try it with less. Also called on the thread that sends.
    fn unreachable(&self, node: NodeId);

    /// What this node says of itself at the beginning of a connection, up to
    /// [`PEER_FACTS_BYTES_MAX`](crate::limits::PEER_FACTS_BYTES_MAX) bytes.
    fn facts(&self) -> Vec<u8>;

    /// What `node` says of itself, each time that a connection to it or from it begins.
    ///
    /// # Errors
    /// Words that tell the operators of both nodes why they must not be connected.
    fn meet(&self, node: NodeId, facts: &[u8]) -> Result<(), String>;

    /// A request came in. Requests of one connection come in the order in which they were sent; their answers may come in
    /// any.
    fn call(&self, from: NodeId, request: Bytes) -> CallFuture;
}
