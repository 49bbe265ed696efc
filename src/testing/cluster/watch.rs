//! What must hold after every turn of every node, whatever the tests of a simulation are about.

use std::collections::BTreeMap;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

use crate::ids::Index;
use crate::ids::Position;
use crate::testing::node::SimNode;
use crate::testing::sealings::Sealings;

/// Looks at nodes and remembers what any of them showed.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// By applied index: the term there and the bytes of the state.
    states: BTreeMap<Index, (Position, u64)>,
    /// Per node, as it was seen last.
    applied: BTreeMap<u64, Position>,
    compared: u64,
    /// Nodes that hold what one applies, at least; `None` = most of all.
    quorum: Option<usize>,
    sealings: Sealings,
}

impl Watch {
    /// Of a cluster whose nodes seal what is noted there.
    pub(super) fn new(sealings: Sealings) -> Watch {
        Watch { sealings, ..Watch::default() }
    }

    /// Its members change: this is the smallest majority that it ever has.
    pub(super) fn set_quorum(&mut self, quorum: usize) {
        self.quorum = Some(quorum);
    }

    /// Looks at the node that has just had a turn.
    ///
    /// # Panics
    /// ACK-DURABLE: it applied what no majority holds durably (answers follow on applying). SAME-BYTES: its state at an index
    /// differs from that of another node, or from its own before a crash. NONCE-UNIQUE: two rows have one key and nonce.
    pub(super) fn look(&mut self, nodes: &[SimNode], at: usize) {
        let node = &nodes[at];
        let applied = node.applied();
        if self.applied.insert(node.id(), applied) == Some(applied) {
            return;
        }
        let holders = nodes.iter().filter(|node| node.has_durably(applied)).count();
        let quorum = self.quorum.unwrap_or(nodes.len() / 2 + 1);
        assert!(holders >= quorum, "ACK-DURABLE: node {} applied {applied:?}, {holders} hold it", node.id());
        let Some(picture) = node.picture() else { return };
        picture.rows.iter().for_each(|(name, row)| self.sealings.row(name, row));
        let mut hasher = DefaultHasher::new();
        picture.hash(&mut hasher);
        let state = (applied, hasher.finish());
        if let Some(first) = self.states.insert(applied.index, state) {
            self.compared += 1;
            assert_eq!(first, state, "SAME-BYTES: node {} at {}", node.id(), applied.index);
        }
    }

    /// How many states were compared with an earlier one of the same index.
    pub(super) fn compared(&self) -> u64 {
        self.compared
    }
}
