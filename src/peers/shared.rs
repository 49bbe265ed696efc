//! What every connection of this node shares.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::task::AbortHandle;

use crate::ids::ClusterId;
use crate::ids::NodeId;
use crate::limits::PEER_FACTS_BYTES_MAX;
use crate::limits::PEER_REFUSAL_EVERY;
use crate::peers::config::Security;
use crate::peers::handler::PeerHandler;
use crate::peers::hello::Hello;
use crate::peers::hello::Lane;
use crate::peers::peer::Peer;

/// See the head of this file.
pub(super) struct Shared {
    pub(super) node: NodeId,
    pub(super) cluster: ClusterId,
    pub(super) security: Security,
    pub(super) handler: Arc<dyn PeerHandler>,
    pub(super) peers: ArcSwap<BTreeMap<NodeId, Arc<Peer>>>,
    pub(super) guests: Guests,
    pub(super) refusals: Refusals,
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
pub(super) struct Guests(Mutex<HashMap<(NodeId, Lane), AbortHandle>>);

impl Guests {
    pub(super) fn enter(&self, node: NodeId, lane: Lane, task: AbortHandle) {
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((node, lane), task);
        if let Some(before) = before {
            before.abort();
        }
    }
}

/// When each refusal was last logged: a wrong peer comes back every second, and strangers as often as they like.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<String, Instant>>);

impl Refusals {
    /// Whether these words are due again. The table is bounded: what strangers vary makes it start anew.
    pub(super) fn is_due(&self, words: &str) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|_, at| at.elapsed() < PEER_REFUSAL_EVERY);
        if said.contains_key(words) || said.len() >= REFUSALS_MAX {
            return false;
        }
        said.insert(words.to_owned(), Instant::now());
        true
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
        assert!(refusals.is_due("wrong cluster"));
        assert!(!refusals.is_due("wrong cluster"));
        let logged = (0..1000).filter(|number| refusals.is_due(&number.to_string())).count();
        assert_eq!(logged, REFUSALS_MAX - 1);
    }
}
