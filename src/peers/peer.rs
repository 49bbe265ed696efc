//! One peer: its address, its queues, its calls. What the threads of this node share about it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::watch;

use crate::ids::NodeId;
use crate::limits::PEER_PING_EVERY;
use crate::limits::PEER_REQUEST_BYTES_MAX;
use crate::peers::calls::CallDone;
use crate::peers::calls::CallFailed;
use crate::peers::calls::Calls;
use crate::peers::calls::WhyNotSent;
use crate::peers::config::PeerAddress;
use crate::peers::counters::PeerCounters;
use crate::peers::counters::PeerStatus;
use crate::peers::counters::Standing;
use crate::peers::hello::Lane;
use crate::peers::outgoing::NotQueued;
use crate::peers::outgoing::Outgoing;
use crate::peers::outgoing::PeerQueue;
use crate::peers::outgoing::QueueOut;
use crate::peers::outgoing::queue;
use crate::raft::PeerMessage;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) address: watch::Sender<PeerAddress>,
    pub(super) calls: Calls,
    pub(super) counters: PeerCounters,
    pub(super) standing: Standing,
    /// It has just dialled this node, so it can be reached again.
    pub(super) is_back: Notify,
    fast: PeerQueue,
    bulk: PeerQueue,
    /// Something was dropped, and raft knows.
    dropping: AtomicBool,
}

impl Peer {
    /// A peer, and what its connections take from: queues for so many bytes each.
    pub(super) fn new(node: NodeId, address: PeerAddress, queue_bytes_max: usize) -> (Peer, [(Lane, QueueOut); 2]) {
        let (fast, fast_out) = queue(queue_bytes_max);
        let (bulk, bulk_out) = queue(queue_bytes_max);
        let peer = Peer {
            node,
            address: watch::Sender::new(address),
            calls: Calls::default(),
            counters: PeerCounters::default(),
            standing: Standing::default(),
            is_back: Notify::new(),
            fast,
            bulk,
            dropping: AtomicBool::new(false),
        };
        (peer, [(Lane::Fast, fast_out), (Lane::Bulk, bulk_out)])
    }

    /// Queues a message, or drops and counts it. `false`: the first that is dropped since the peer took any; raft must know.
    pub(super) fn send(&self, message: PeerMessage) -> bool {
        let queue = if message.is_bulk() { &self.bulk } else { &self.fast };
        match queue.push(Outgoing::Message(message)) {
            Ok(()) => {
                // Looked at first: the line of memory is shared with the threads of all peers.
                if self.dropping.load(Relaxed) {
                    self.dropping.store(false, Relaxed);
                }
                true
            }
            Err(_) => {
                PeerCounters::add(&self.counters.dropped, 1);
                self.dropping.swap(true, Relaxed)
            }
        }
    }

    /// Queues a request; `done` is called once, perhaps before this returns.
    pub(super) fn call(&self, request: Bytes, patience: Duration, done: CallDone) {
        if request.len() > PEER_REQUEST_BYTES_MAX {
            return done(Err(CallFailed::NotSent(WhyNotSent::TooLong { bytes: request.len() })));
        }
        let Some(number) = self.calls.add(patience, done) else { return };
        match self.fast.push(Outgoing::Request(number, request)) {
            Ok(()) => {}
            Err(NotQueued::Closed) => self.calls.not_sent(number, WhyNotSent::NotConnected),
            Err(NotQueued::Full) => self.calls.not_sent(number, WhyNotSent::Full),
        }
    }

    /// Asks for nothing, and notes how long the answer takes, what waits before it included.
    pub(super) fn ping(self: &Arc<Peer>) {
        let (peer, began) = (Arc::clone(self), Instant::now());
        let done = move |answer: Result<Bytes, CallFailed>| {
            peer.counters.set_round_trip(answer.is_ok().then(|| began.elapsed()));
        };
        self.call(Bytes::new(), PEER_PING_EVERY, Box::new(done));
    }

    /// It dialled this node: no pause is needed any more.
    pub(super) fn is_back(&self) {
        self.is_back.notify_waiters();
    }

    pub(super) fn status(&self) -> PeerStatus {
        let (is_connected, since, last_error) = self.standing.look();
        PeerStatus {
            node: self.node,
            address: self.address.borrow().clone(),
            is_connected,
            since,
            last_error,
            queued: self.fast.len() + self.bulk.len(),
            calls: self.calls.len(),
            dropped_total: self.counters.dropped.load(Relaxed),
            connects_total: self.counters.connects.load(Relaxed),
            sent_bytes_total: self.counters.sent.bytes.load(Relaxed),
            sent_messages_total: self.counters.sent.items.load(Relaxed),
            received_bytes_total: self.counters.received.bytes.load(Relaxed),
            received_messages_total: self.counters.received.items.load(Relaxed),
            round_trip: self.counters.round_trip(),
        }
    }
}
