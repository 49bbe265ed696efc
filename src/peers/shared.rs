//! What every connection of this node shares.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::task::AbortHandle;

use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::limits::PEER_FACTS_BYTES_MAX;
use crate::limits::PEER_REFUSAL_EVERY;
use crate::peers::handler::PeerHandler;
use crate::peers::hello::Hello;
use crate::peers::hello::Lane;
use crate::peers::peer::Peer;
use crate::peers::secure::Secure;

/// See the head of this file.
pub(super) struct Shared {
    pub(super) node: NodeId,
    pub(super) cluster: ClusterId,
    pub(super) secure: Secure,
    pub(super) handler: Arc<dyn PeerHandler>,
    pub(super) peers: ArcSwap<BTreeMap<NodeId, Arc<Peer>>>,
    pub(super) guests: Guests,
    pub(super) refusals: Refusals,
    /// What may wait for one connection.
    pub(super) queue_bytes_max: usize,
}

debug_fields!(self: Shared { node: self.node, cluster: self.cluster });

impl Shared {
    pub(super) fn peer(&self, node: NodeId) -> Option<Arc<Peer>> {
        self.peers.load().get(&node).cloned()
    }

    /// What this node says of itself to `to`.
    pub(super) fn hello(&self, lane: Lane, to: NodeId) -> Hello {
        let mut facts = self.handler.facts();
        assert!(facts.len() <= PEER_FACTS_BYTES_MAX, "BOUNDED: {} bytes of facts", facts.len());
        facts.shrink_to_fit();
        Hello { lane, cluster: self.cluster, from: self.node, to, facts: Bytes::from(facts) }
    }
}

/// The connections that peers made, one for each of their lanes: a newer one takes the place of the one before, which is
/// most likely dead.
#[derive(Debug, Default)]
pub(super) struct Guests(Mutex<GuestsInner>);

#[derive(Debug, Default)]
struct GuestsInner {
    seated: HashMap<(NodeId, Lane), AbortHandle>,
    /// Not heard any more. One of these may have been let in just before.
    out: Vec<NodeId>,
}

impl Guests {
    pub(super) fn enter(&self, node: NodeId, lane: Lane, task: AbortHandle) {
        let mut inner = self.lock();
        if inner.out.contains(&node) {
            return task.abort();
        }
        if let Some(before) = inner.seated.insert((node, lane), task) {
            before.abort();
        }
    }

    /// From now on these are not heard, and nobody else is kept out.
    pub(super) fn turn_out(&self, nodes: &[NodeId]) {
        let mut inner = self.lock();
        inner.out = nodes.to_vec();
        for (_, task) in inner.seated.extract_if(|(node, _), _| nodes.contains(node)) {
            task.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, GuestsInner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who did not come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusedPeers {
    /// How many connections.
    pub count: u64,
    /// Why the newest did not.
    pub newest: Option<String>,
}

/// Counts refusals, and says when each was last logged: a wrong peer comes back every second, and strangers as often as they
/// like.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<RefusalsInner>);

#[derive(Debug, Default)]
struct RefusalsInner {
    seen: RefusedPeers,
    said: HashMap<String, Instant>,
}

impl Refusals {
    /// Counts one. Returns whether these words of this address are due again. The table is bounded: what strangers vary is not
    /// logged for a while.
    pub(super) fn add(&self, address: IpAddr, words: &str) -> bool {
        let mut inner = self.lock();
        inner.seen.count += 1;
        inner.seen.newest = Some(words.to_owned());
        inner.said.retain(|_, at| at.elapsed() < PEER_REFUSAL_EVERY);
        let line = format!("{address} {words}");
        if inner.said.contains_key(&line) || inner.said.len() >= REFUSALS_MAX {
            return false;
        }
        inner.said.insert(line, Instant::now());
        true
    }

    pub(super) fn seen(&self) -> RefusedPeers {
        self.lock().seen.clone()
    }

    fn lock(&self) -> MutexGuard<'_, RefusalsInner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Different refusals within [`PEER_REFUSAL_EVERY`] that are logged.
const REFUSALS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_refusal_is_logged_once_in_a_while_and_many_are_bounded() {
        let refusals = Refusals::default();
        let address = IpAddr::from([127, 0, 0, 1]);
        assert!(refusals.add(address, "wrong cluster"));
        assert!(!refusals.add(address, "wrong cluster"));
        let logged = (0..1000).filter(|number| refusals.add(address, &number.to_string())).count();
        assert_eq!(logged, REFUSALS_MAX - 1);
        assert_eq!(refusals.seen(), RefusedPeers { count: 1002, newest: Some("999".to_owned()) });
    }
}
