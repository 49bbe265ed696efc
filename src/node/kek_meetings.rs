//! What the members have shown each other when they connected: which KEKs they have, and where they are.
//!
//! ```text
//! facts  what a node shows of its KEKs, as drawn in `keys::kek_facts`
//!        port for its clients(2)
//!        address for its peers: length(2), HOST:PORT; empty if it does not know it
//!        its book, as drawn in `book.rs`
//! ```
//!
//! A node that has no KEK in common with most voters ends: it could read nothing of what they seal. New keys wait until most
//! voters have shown the KEK that wraps them, and no member its lack.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;

use crate::codec::CodecError;
use crate::codec::Reader;
use crate::fsm::state::put_address;
use crate::fsm::state::take_address;
use crate::ids::NodeId;
use crate::keys::kek_facts::KekFacts;
use crate::keys::kek_facts::NoKekInCommon;
use crate::limits::ADDRESS_BYTES_MAX;
use crate::limits::BOOK_NODES_MAX;
use crate::limits::PEER_FACTS_BYTES_MAX;
use crate::node::book::Book;
use crate::node::book::Refused;
use crate::node::end::Ends;
use crate::node::end::NodeFailure;
use crate::node::members_watch::MembersWatch;
use crate::peers::PeerAddress;
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
        put_address(self.members.own_address().as_deref().unwrap_or_default(), &mut facts);
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
        let theirs = ShownFacts::take(&mut reader).map_err(|error| format!("what it shows of itself {error}"))?;
        let common = self.ours.check(&theirs.keks);
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        // Of others nothing is kept, however many numbers they have.
        if self.is_member(node) {
            self.client_ports.lock().unwrap_or_else(PoisonError::into_inner).insert(node, theirs.client_port);
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
        reader.end().map_err(|error| format!("what it shows of itself {error}"))?;
        // Nothing is locked here: whoever is told dials.
        theirs.address.iter().for_each(|address| self.members.showed(node, address.as_str()));
        Ok(())
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

/// What a node shows before its book.
struct ShownFacts {
    keks: KekFacts,
    client_port: u16,
    address: Option<PeerAddress>,
}

impl ShownFacts {
    fn take(reader: &mut Reader<'_>) -> Result<ShownFacts, CodecError> {
        let keks = KekFacts::take(reader)?;
        let client_port = reader.u16("port for clients")?;
        let field = "address for peers";
        let text = take_address(reader, "length of the address for peers", field)?;
        let address = if text.is_empty() { None } else { Some(text.parse().map_err(|_| CodecError::Field { field })?) };
        Ok(ShownFacts { keks, client_port, address })
    }
}

/// A node has a few KEKs of 16 bytes each.
const _: () = assert!(20 + BOOK_NODES_MAX * 40 + ADDRESS_BYTES_MAX + 1024 <= PEER_FACTS_BYTES_MAX);

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
    use crate::fsm::state::MemberAddress;
    use crate::ids::Index;
    use crate::ids::Term;
    use crate::keys::kek::KekSet;
    use crate::keys::kek::from_bytes;
    use crate::keys::tests::kit::CLEAR_NAMES;
    use crate::keys::tests::kit::CLUSTER;
    use crate::limits::MEMBERS_MAX;
    use crate::members::Members;
    use crate::node::end::End;
    use crate::node::members_watch::AddressSettings;
    use crate::testing::mutator::Mutator;
    use crate::testing::seed::Seeded;
    use crate::testing::seed::runs;
    use crate::world::KernelEntropy;

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

    fn of_three(id: u64, listen: &str, moved: &[(u64, &str)]) -> (KekMeetings, Arc<MembersWatch>) {
        let addresses = |list: &[(u64, &str)]| {
            let address =
                |(id, address): &(u64, &str)| MemberAddress { node: node(*id), address: (*address).to_owned() };
            list.iter().map(address).collect::<Vec<_>>()
        };
        let founders = addresses(&[(1, "one:1"), (2, "two:2"), (3, "three:3")]);
        let founding = Applied::founding(CLUSTER, CLEAR_NAMES, Members::founders(&[1, 2, 3].map(node)), founders);
        let members = Arc::new(MembersWatch::new(node(id), &founding));
        members.set_addresses(AddressSettings { moved: addresses(moved), listen: listen.parse().unwrap() });
        let meetings = KekMeetings::new(node(id), facts(7), 6379, Arc::clone(&members), Ends::new().0);
        (meetings, members)
    }

    /// Whom a node dials, in the order of ids.
    fn dialled(members: &MembersWatch) -> String {
        let known = members.known();
        let mut dialled: Vec<&MemberAddress> = known.dialled().collect();
        dialled.sort_by_key(|member| member.node);
        dialled.iter().map(|member| format!("{}={}", member.node, member.address)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_node_shows_where_it_is_by_its_settings_its_state_or_its_listener() {
        for (id, listen, moved, shown) in [
            (1, "0.0.0.0:7", &[][..], "one:1"),
            (1, "0.0.0.0:7", &[(1, "moved:1"), (2, "moved:2")], "moved:1"),
            (4, "10.0.0.4:7", &[], "10.0.0.4:7"),
            (4, "0.0.0.0:7", &[(4, "four:4")], "four:4"),
            (4, "[::]:7", &[], ""),
        ] {
            let (meetings, members) = of_three(id, listen, moved);
            assert_eq!(members.own_address().unwrap_or_default(), shown);
            let bytes = meetings.facts();
            let read = ShownFacts::take(&mut Reader::new(&bytes)).unwrap();
            assert_eq!(read.address.map(|address| address.to_string()).unwrap_or_default(), shown);
        }
    }

    #[test]
    fn an_address_of_a_hello_is_dialled_where_the_state_has_none_and_the_node_speaks() {
        let (meetings, members) = of_three(5, "10.0.0.5:7", &[]);
        let founders = "1=one:1 2=two:2 3=three:3";
        let told = Arc::new(Mutex::new(0));
        let count = Arc::clone(&told);
        members.tell(Box::new(move |_| *count.lock().unwrap() += 1));
        members.hear(node(4));
        meetings.meet(node(4), &of_three(4, "10.0.0.4:7", &[]).0.facts()).unwrap();
        meetings.meet(node(2), &of_three(2, "0.0.0.0:7", &[(2, "other:2")]).0.facts()).unwrap();
        members.hear(node(2));
        assert_eq!((dialled(&members).as_str(), *told.lock().unwrap()), (founders, 1), "a hello alone is not enough");
        members.hear(node(4));
        assert_eq!(dialled(&members), format!("{founders} 4=10.0.0.4:7"));
        meetings.meet(node(4), &of_three(4, "10.0.0.44:7", &[]).0.facts()).unwrap();
        assert_eq!((dialled(&members), *told.lock().unwrap()), (format!("{founders} 4=10.0.0.44:7"), 3));
        assert!(!meetings.is_member(node(4)), "the state says who is a member");
        // Then the entry that made it a member is applied, and later the one that takes it out.
        let known = members.known();
        let four = MemberAddress { node: node(4), address: "applied:4".to_owned() };
        let addresses = known.addresses.iter().cloned().chain([four]).collect();
        let mut record = Applied::founding(CLUSTER, CLEAR_NAMES, Members::founders(&[1, 2, 3, 4].map(node)), addresses);
        members.applied(&record);
        meetings.meet(node(4), &of_three(4, "10.0.0.4:7", &[]).0.facts()).unwrap();
        members.hear(node(4));
        assert_eq!(dialled(&members), format!("{founders} 4=applied:4"));
        (record.members, record.addresses) = (known.members, known.addresses);
        members.applied(&record);
        members.hear(node(4));
        assert_eq!(dialled(&members), founders, "what it showed before is forgotten");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let (meetings, members) = of_three(5, "10.0.0.5:7", &[]);
        let with = |address: &[u8], length: usize| {
            let mut bytes = facts(7).encode();
            bytes.extend_from_slice(&6379_u16.to_be_bytes());
            bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            bytes.extend_from_slice(address);
            bytes
        };
        for (address, length, field) in [
            (&b"four"[..], 4, "address for peers"),
            (b"four:0", 6, "address for peers"),
            (b"f\xffur:4", 6, "address for peers"),
            (b"four:4", 7, "address for peers"),
            (&[b'a'; ADDRESS_BYTES_MAX + 1], ADDRESS_BYTES_MAX + 1, "length of the address for peers"),
            (b"", usize::from(u16::MAX), "length of the address for peers"),
        ] {
            let refused = meetings.meet(node(4), &with(address, length)).unwrap_err();
            assert!(refused.contains(field), "{refused}");
        }
        members.hear(node(4));
        assert!(members.known().shown.is_empty());
        assert_eq!(meetings.meet(node(4), &with(b"four:4", 6)), Ok(()));
    }

    // Goal: whatever a hello shows, it is taken or refused by what is wrong with it, nothing is read in two ways, and what is kept
    // of it stays bounded.
    #[test]
    fn any_facts_of_a_hello_are_taken_or_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let of = |id: u64, listen: &str| {
            let (place, (meetings, members)) = (dir.path().join(id.to_string()), of_three(id, listen, &[]));
            std::fs::create_dir_all(&place).unwrap();
            let book = Book::open(&place, node(id), (Term(1), Index(1)), true, Vec::new(), &KernelEntropy).unwrap();
            meetings.keep(Arc::new(book));
            (meetings, members)
        };
        let ((ours, members), (two, _), (four, _)) = (of(1, "0.0.0.0:7"), of(2, "0.0.0.0:7"), of(4, "10.0.0.4:7"));
        two.meet(node(1), &ours.facts()).unwrap();
        two.meet(node(3), &of(3, "0.0.0.0:7").0.facts()).unwrap();
        let mut other_kek = two.facts();
        other_kek.splice(..facts(7).encode().len(), facts(8).encode());
        let good = [two.facts(), four.facts(), other_kek];
        let mut inputs = Mutator::new(Seeded::fresh(), &good, 1024);
        let mut came_to: BTreeMap<String, u64> = BTreeMap::new();
        for at in 0..runs(20_000) {
            let bytes = inputs.next_input();
            // Two members, and one who is none.
            let from = node([2, 3, 9][(at % 3) as usize]);
            let end = ours.meet(from, &bytes).map_or_else(|words| words, |()| "taken".to_owned());
            let mut reader = Reader::new(&bytes);
            if let Ok(shown) = ShownFacts::take(&mut reader) {
                let mut again = shown.keks.encode();
                again.extend_from_slice(&shown.client_port.to_be_bytes());
                put_address(shown.address.as_ref().map_or("", |address| address.as_str()), &mut again);
                assert_eq!(again, bytes[..bytes.len() - reader.remaining()]);
            }
            *came_to.entry(end).or_default() += 1;
        }
        println!("{came_to:?}");
        let fields = ["version", "KEK", "port for clients", "address for peers", "count of nodes", "drawn"];
        let others = ["taken", "no KEK in common", "encryption off", "another directory", "too many"];
        for end in fields.into_iter().chain(others) {
            assert!(came_to.keys().any(|came| came.contains(end)), "none came to {end}");
        }
        assert!(ours.client_ports().len() <= 2, "of who is no member nothing is kept");
        assert!(ours.facts().len() <= PEER_FACTS_BYTES_MAX && members.known().shown.len() <= MEMBERS_MAX);
    }
}
