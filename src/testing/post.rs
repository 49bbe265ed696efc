//! Requests on their way between nodes of one process: bundles of a node that does not lead, and their answers. They take
//! their time, get lost and meet partitions as messages do ([`crate::testing::net`]), and what was sent is never sent again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::ids::NodeId;
use crate::propose::Bundle;
use crate::propose::Forwarder;
use crate::propose::ProposeHandle;
use crate::testing::net::Network;

/// What is under way.
enum Letter {
    /// To the node that leads, as its sender believes.
    Request { bundle: Bundle, bytes: Vec<u8> },
    /// And back.
    Answer { bundle: Bundle, bytes: Vec<u8> },
}

/// A letter with its ends.
struct Posted {
    from: u64,
    to: u64,
    letter: Letter,
}

/// The way of requests between nodes.
#[derive(Clone)]
pub struct Post {
    network: Network,
    letters: Arc<Mutex<Letters>>,
}

#[derive(Default)]
struct Letters {
    posted: u64,
    /// By the ms of their arrival, then in the order of sending.
    by_arrival: BTreeMap<(u64, u64), Posted>,
    delivered: u64,
}

debug_fields!(self: Post { under_way: self.letters().by_arrival.len() });

impl Post {
    /// Over that network.
    #[must_use]
    pub fn new(network: Network) -> Post {
        Post { network, letters: Arc::default() }
    }

    /// The sending end of a node.
    #[must_use]
    pub fn of(&self, from: u64) -> Arc<dyn Forwarder> {
        Arc::new(PostBox { post: self.clone(), from })
    }

    /// Delivers what has arrived. `handle` finds a node that runs; another one refuses the connection, and has heard nothing.
    pub fn deliver<'n>(&self, handle: impl Fn(u64) -> Option<&'n ProposeHandle>) {
        for Posted { from, to, letter } in self.arrived() {
            match (letter, handle(to)) {
                // Dropped: nobody knows.
                _ if !self.network.reaches(from, to) => {}
                (Letter::Request { bundle, .. }, None) => bundle.not_sent(),
                (Letter::Request { bundle, bytes }, Some(handle)) => {
                    self.letters().delivered += 1;
                    let post = self.clone();
                    let answered = move |bytes| post.send(to, from, Letter::Answer { bundle, bytes });
                    handle.forwarded(&bytes, Box::new(answered));
                }
                (Letter::Answer { .. }, None) => {}
                (Letter::Answer { bundle, bytes }, Some(_)) => bundle.answered(&bytes),
            }
        }
    }

    /// The process of a node ends, and its connections with it.
    pub fn forget(&self, node: u64) {
        let gone: Vec<Posted> = {
            let letters = &mut *self.letters();
            letters
                .by_arrival
                .extract_if(.., |_, letter| letter.from == node || letter.to == node)
                .map(|(_, it)| it)
                .collect()
        };
        // Told outside the lock: whoever waits may post again.
        drop(gone);
    }

    /// Requests that reached another node.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.letters().delivered
    }

    fn send(&self, from: u64, to: u64, letter: Letter) {
        // Dropped where it is lost: nobody knows.
        let Some(arrival) = self.network.arrival() else { return };
        let mut letters = self.letters();
        letters.posted += 1;
        let number = letters.posted;
        letters.by_arrival.insert((arrival, number), Posted { from, to, letter });
    }

    fn arrived(&self) -> Vec<Posted> {
        let letters = &mut *self.letters();
        let later = letters.by_arrival.split_off(&(self.network.now_ms() + 1, 0));
        std::mem::replace(&mut letters.by_arrival, later).into_values().collect()
    }

    fn letters(&self) -> MutexGuard<'_, Letters> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct PostBox {
    post: Post,
    from: u64,
}

impl Forwarder for PostBox {
    fn forward(&self, leader: NodeId, mut bundle: Bundle) {
        let bytes = bundle.bytes();
        self.post.send(self.from, leader.value(), Letter::Request { bundle, bytes });
    }
}
