//! The way to the peers: a trait, and a network in memory for nodes of one process.
//!
//! Whatever carries messages may lose, repeat and reorder them; raft sends again. Proposals never travel: an entry that
//! another node appends stands at another place than the one it was sealed for, so both ends drop them (design 6).

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use ::raft::eraftpb::Message;
use ::raft::eraftpb::MessageType;

use crate::limits::PEER_QUEUE_MAX;

/// A message between members. Only this room looks inside.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerMessage(Message);

impl PeerMessage {
    /// `None` for what must never travel: proposals, and what the library keeps for itself.
    pub(super) fn new(message: Message) -> Option<PeerMessage> {
        may_travel(message.get_msg_type()).then_some(PeerMessage(message))
    }

    /// `None` as for `new`: whoever made it.
    pub(super) fn into_message(self) -> Option<Message> {
        may_travel(self.0.get_msg_type()).then_some(self.0)
    }

    /// Whom it is for.
    #[must_use]
    pub fn to(&self) -> u64 {
        self.0.to
    }

    /// Who sent it.
    #[must_use]
    pub fn from(&self) -> u64 {
        self.0.from
    }

    /// Bytes of the entries in it.
    #[must_use]
    pub fn entry_bytes(&self) -> usize {
        self.0.entries.iter().map(|entry| entry.data.len()).sum()
    }

    /// The kind, as in metric labels.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.0.get_msg_type() {
            MessageType::MsgAppend => "append",
            MessageType::MsgAppendResponse => "append_answer",
            MessageType::MsgRequestVote => "vote",
            MessageType::MsgRequestVoteResponse => "vote_answer",
            MessageType::MsgRequestPreVote => "prevote",
            MessageType::MsgRequestPreVoteResponse => "prevote_answer",
            MessageType::MsgHeartbeat => "heartbeat",
            MessageType::MsgHeartbeatResponse => "heartbeat_answer",
            MessageType::MsgReadIndex => "read",
            MessageType::MsgReadIndexResp => "read_answer",
            MessageType::MsgTimeoutNow => "timeout_now",
            MessageType::MsgTransferLeader => "transfer",
            MessageType::MsgSnapshot => "snapshot",
            _ => "other",
        }
    }

    #[cfg(test)]
    pub(super) fn forged(message: Message) -> PeerMessage {
        PeerMessage(message)
    }
}

fn may_travel(kind: MessageType) -> bool {
    !matches!(
        kind,
        MessageType::MsgPropose
            | MessageType::MsgHup
            | MessageType::MsgBeat
            | MessageType::MsgUnreachable
            | MessageType::MsgSnapStatus
            | MessageType::MsgCheckQuorum
    )
}

/// Sends messages to members; never blocks.
pub trait Transport: Send {
    /// Sends `message` to the node it is for, or drops it (and counts that).
    fn send(&mut self, message: PeerMessage);
}

/// Nobody to talk to: a cluster of one.
#[derive(Debug, Default)]
pub struct Nowhere;

impl Transport for Nowhere {
    fn send(&mut self, _message: PeerMessage) {}
}

/// A bounded queue for each node of one process. What a full queue refuses is dropped and counted.
#[derive(Clone, Debug, Default)]
pub struct Network(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queues: Mutex<BTreeMap<u64, VecDeque<PeerMessage>>>,
    dropped: AtomicU64,
}

impl Network {
    /// The sending end; one for each node.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        Endpoint(self.clone())
    }

    /// Everything that waits for `node`, oldest first.
    #[must_use]
    pub fn take(&self, node: u64) -> Vec<PeerMessage> {
        self.queues().get_mut(&node).map_or_else(Vec::new, |queue| queue.drain(..).collect())
    }

    /// Messages that found a full queue.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Relaxed)
    }

    fn queues(&self) -> MutexGuard<'_, BTreeMap<u64, VecDeque<PeerMessage>>> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One node's way into a [`Network`].
#[derive(Clone, Debug)]
pub struct Endpoint(Network);

impl Transport for Endpoint {
    fn send(&mut self, message: PeerMessage) {
        let mut queues = self.0.queues();
        let queue = queues.entry(message.to()).or_default();
        if queue.len() < PEER_QUEUE_MAX {
            queue.push_back(message);
        } else {
            self.0.0.dropped.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: MessageType, to: u64) -> Message {
        let mut message = Message::default();
        message.set_msg_type(kind);
        message.to = to;
        message
    }

    #[test]
    fn proposals_are_dropped_at_both_ends() {
        assert!(PeerMessage::new(message(MessageType::MsgPropose, 2)).is_none());
        assert!(PeerMessage::forged(message(MessageType::MsgPropose, 2)).into_message().is_none());
        assert!(PeerMessage::forged(message(MessageType::MsgHup, 2)).into_message().is_none());
        assert!(PeerMessage::new(message(MessageType::MsgAppend, 2)).is_some());
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let network = Network::default();
        let mut endpoint = network.endpoint();
        for _ in 0..PEER_QUEUE_MAX + 3 {
            endpoint.send(PeerMessage::forged(message(MessageType::MsgHeartbeat, 2)));
        }
        assert_eq!(network.dropped(), 3);
        assert_eq!(network.take(2).len(), PEER_QUEUE_MAX);
        assert!(network.take(2).is_empty());
        assert!(network.take(3).is_empty());
    }
}
