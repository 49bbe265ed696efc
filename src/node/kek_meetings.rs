//! What the members have shown each other when they connected: which KEKs they have, and the port for their clients.
//!
//! ```text
//! facts  what a node shows of its KEKs, as drawn in `keys::kek_facts`, then the port for its clients (2), then its book,
//!        as drawn in `book.rs`
//! ```
//!
//! A node that has no KEK in common with most voters ends: it could read nothing of what they seal. New keys wait until most
//! voters have shown the KEK that wraps them, and no member its lack.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;

use crate::codec::Reader;
use crate::ids::NodeId;
use crate::keys::kek_facts::KekFacts;
use crate::keys::kek_facts::NoKekInCommon;
use crate::node::book::Book;
use crate::node::book::Refused;
use crate::node::end::Ends;
use crate::node::end::NodeFailure;
use crate::node::members_watch::MembersWatch;
use crate::propose::KekWitness;
use crate::propose::MemberLack;

/// See the head of this file.
pub(crate) struct KekMeetings {
    node: NodeId,
    ours: KekFacts,
    client_port: u16,
    members: Arc<MembersWatch>,
    ends: Ends,
    shown: Mutex<BTreeMap<NodeId, Result<(), NoKekInCommon>>>,
    client_ports: Mutex<BTreeMap<NodeId, u16>>,
    /// What this node remembers of the others; none on a node that is alone.
    book: OnceLock<Arc<Book>>,
}

impl KekMeetings {
    /// Nobody has been met.
    pub(crate) fn new(
        node: NodeId,
        ours: KekFacts,
        client_port: u16,
        members: Arc<MembersWatch>,
        ends: Ends,
    ) -> KekMeetings {
        KekMeetings {
            node,
            ours,
            client_port,
            members,
            ends,
            shown: Mutex::default(),
            client_ports: Mutex::default(),
            book: OnceLock::new(),
        }
    }

    /// Takes the book of a node of several. Once.
    pub(crate) fn keep(&self, book: Arc<Book>) {
        let is_first = self.book.set(book).is_ok();
        assert!(is_first, "a node has one book");
    }

    /// What this node remembers of the others.
    pub(crate) fn book(&self) -> Option<&Arc<Book>> {
        self.book.get()
    }

    /// The ports for clients of the nodes that were met.
    pub(crate) fn client_ports(&self) -> BTreeMap<NodeId, u16> {
        self.client_ports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What this node shows.
    pub(crate) fn facts(&self) -> Vec<u8> {
        let mut facts = self.ours.encode();
        facts.extend_from_slice(&self.client_port.to_be_bytes());
        self.book.get().iter().for_each(|book| facts.extend(book.facts()));
        facts
    }

    /// What another node shows.
    ///
    /// # Errors
    /// Words for the operators of both.
    pub(crate) fn meet(&self, node: NodeId, facts: &[u8]) -> Result<(), String> {
        if self.was_taken_out(node) {
            return Err(format!("node {node} was taken out of this cluster: a new node needs a number of its own"));
        }
        let mut reader = Reader::new(facts);
        let theirs =
            KekFacts::take(&mut reader).and_then(|theirs| reader.u16("port for clients").map(|port| (theirs, port)));
        let (theirs, port) = theirs.map_err(|error| format!("what it shows of itself {error}"))?;
        let common = self.ours.check(&theirs);
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        // Of others nothing is kept, however many numbers they have.
        if self.is_member(node) {
            self.client_ports.lock().unwrap_or_else(PoisonError::into_inner).insert(node, port);
            shown.insert(node, common);
        }
        let voters = self.members.known().members.voters;
        let lacking = shown.iter().filter(|(node, common)| common.is_err() && voters.contains(&node.value())).count();
        drop(shown);
        if let Err(source) = common
            && 2 * lacking > voters.len()
        {
            self.ends.fail(NodeFailure::NoKekInCommon { others: lacking, voters: voters.len(), source });
        }
        common.map_err(|error| error.to_string())?;
        self.compare_books(node, &mut reader)?;
        reader.end().map_err(|error| format!("what it shows of itself {error}"))
    }
}

impl KekMeetings {
    /// Whether the node is a member, as of what is applied here.
    pub(crate) fn is_member(&self, node: NodeId) -> bool {
        self.members.known().members.nodes().is_some_and(|members| members.contains(&node))
    }

    /// Whether its removal was applied here, now or before a restart.
    pub(crate) fn was_taken_out(&self, node: NodeId) -> bool {
        self.book.get().is_some_and(|book| book.has_taken_out(node)) && !self.is_member(node)
    }

    /// Whether one of the two has lost what the other one remembers.
    fn compare_books(&self, node: NodeId, reader: &mut Reader<'_>) -> Result<(), String> {
        let Some(book) = self.book.get() else { return Ok(()) };
        match book.meet(node, reader, |node| self.is_member(node)) {
            Ok(_) => Ok(()),
            Err(Refused::There(words)) => Err(words),
            Err(Refused::Here(lost)) => {
                self.ends.fail(NodeFailure::Lost(lost));
                Err(lost.to_string())
            }
        }
    }
}

impl KekWitness for Arc<KekMeetings> {
    fn check(&self) -> Result<(), MemberLack> {
        let voters = self.members.known().members.voters;
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((node, _)) = shown.iter().find(|(node, common)| common.is_err() && voters.contains(&node.value())) {
            return Err(MemberLack::Lacks { node: *node });
        }
        let have = |voter: &&u64| {
            **voter == self.node.value() || NodeId::new(**voter).is_some_and(|voter| shown.contains_key(&voter))
        };
        let count = voters.iter().filter(have).count();
        if 2 * count > voters.len() {
            Ok(())
        } else {
            Err(MemberLack::NoMajority { shown: count, voters: voters.len() })
        }
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::fsm::state::Applied;
    use crate::keys::kek::KekSet;
    use crate::keys::kek::from_bytes;
    use crate::keys::tests::kit::CLEAR_NAMES;
    use crate::keys::tests::kit::CLUSTER;
    use crate::members::Members;
    use crate::node::end::End;

    fn node(id: u64) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn facts(byte: u8) -> KekFacts {
        KekFacts::of(&KekSet::new(vec![from_bytes(&Zeroizing::new([byte; 32]))]).unwrap(), CLUSTER)
    }

    #[test]
    fn one_odd_node_of_three_ends_and_the_others_make_no_keys_until_it_is_gone() {
        let founding = Applied::founding(CLUSTER, CLEAR_NAMES, Members::founders(&[1, 2, 3].map(node)), Vec::new());
        let (ends, ended) = Ends::new();
        let of = |id: u64, byte: u8| {
            let members = Arc::new(MembersWatch::new(node(id), &founding));
            Arc::new(KekMeetings::new(node(id), facts(byte), 6379, members, ends.clone()))
        };
        let (one, odd) = (of(1, 7), of(3, 8));
        assert_eq!(one.check(), Err(MemberLack::NoMajority { shown: 1, voters: 3 }));
        assert_eq!(one.meet(node(2), &of(2, 7).facts()), Ok(()));
        assert_eq!(one.client_ports()[&node(2)], 6379);
        assert_eq!(one.check(), Ok(()));
        assert!(one.meet(node(3), &odd.facts()).unwrap_err().contains("no KEK in common"));
        assert_eq!(one.check(), Err(MemberLack::Lacks { node: node(3) }));
        assert!(odd.meet(node(1), &one.facts()).is_err());
        assert!(ended.try_recv().is_err(), "one of two others is not most");
        assert!(odd.meet(node(2), &one.facts()).is_err());
        let Ok(End::Failure(failure)) = ended.try_recv() else { panic!("it ends") };
        assert_eq!(failure.blame(), crate::exit::Blame::Config);
        assert_eq!(one.meet(node(3), &of(3, 7).facts()), Ok(()), "it was given the right one");
        assert_eq!(one.check(), Ok(()));
        assert!(one.meet(node(2), &[9]).unwrap_err().contains("version"));
    }
}
