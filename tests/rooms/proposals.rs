//! What a leader hands to raft, by the queue alone: when it may, and that above the cutover all of it is sealed.

use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use sealkv::crypto::envelope::EntryFrame;
use sealkv::crypto::envelope::Version;
use sealkv::crypto::open::OpenJob;
use sealkv::crypto::open::open_entry;
use sealkv::fsm::codec::Payload;
use sealkv::fsm::command::WriteCommand;
use sealkv::fsm::name::Database;
use sealkv::fsm::name::RowName;
use sealkv::ids::Index;
use sealkv::ids::Position;
use sealkv::ids::Term;
use sealkv::keys::change::Change;
use sealkv::keys::node_keys::NodeKeys;
use sealkv::keys::rules::Facts;
use sealkv::keys::rules::decide;
use sealkv::propose::AppliedFacts;
use sealkv::propose::ClientRequest;
use sealkv::propose::Gateway;
use sealkv::propose::Mode;
use sealkv::propose::Outcome;
use sealkv::propose::ProposeConfig;
use sealkv::propose::ProposeHandle;
use sealkv::propose::ProposeParts;
use sealkv::propose::Queue;
use sealkv::propose::RequestSlot;
use sealkv::propose::SoleVoter;
use sealkv::propose::queue;
use sealkv::raft::LeaderView;
use sealkv::raft::Proposer;
use sealkv::testing::clock::SimClock;
use sealkv::testing::seed::Seeded;

use crate::kit::CLUSTER;
use crate::kit::Leader;
use crate::kit::keks;
use crate::kit::set;

/// The queue of a node, with the keys of what it has applied.
struct Desk {
    queue: Queue,
    handle: ProposeHandle,
    node_keys: Arc<NodeKeys>,
    ends: Arc<Mutex<Vec<String>>>,
}

impl Desk {
    fn new(node_keys: Arc<NodeKeys>, seed: u64) -> Desk {
        let parts = ProposeParts {
            witness: Box::new(SoleVoter),
            node_keys: Arc::clone(&node_keys),
            facts: Arc::new(AppliedFacts::new(Arc::new(SimClock::default()), 0, true)),
            waiters: Arc::default(),
            reads: Arc::default(),
            clock: Arc::new(SimClock::default()),
            entropy: Arc::new(Seeded::new(seed)),
            wake: Box::new(|| {}),
        };
        let (queue, handle) = queue(ProposeConfig::new(Mode::On), parts);
        Desk { queue, handle, node_keys, ends: Arc::default() }
    }

    fn ask(&self) {
        let ends = Arc::clone(&self.ends);
        let done = Box::new(move |outcome: Outcome| ends.lock().unwrap().push(format!("{outcome:?}")));
        let slots = vec![RequestSlot::Write(Database::FIRST, set("canary-key", "canary-value"))];
        self.handle.propose(ClientRequest { conditions: Vec::new(), slots, done }).unwrap();
    }

    /// What it gives to a leader of `term` whose log ends at `last` and who has applied `applied`.
    fn next(&mut self, view: &LeaderView) -> Option<Vec<Bytes>> {
        let mut batch = self.queue.next(view)?;
        let first = view.last_index.next();
        let data = batch.seal(view.term, first).unwrap();
        batch.placed(Position { term: view.term, index: first });
        Some(data)
    }

    /// Applies a control entry to the keys, as the apply thread does.
    fn apply(&self, position: Position, data: &[u8]) -> &'static str {
        let payload = if position.index > self.node_keys.cutover() {
            open_entry(&self.node_keys.current().entry_keys().unwrap(), OpenJob { position, data }).unwrap()
        } else {
            EntryFrame::decode(data).unwrap().payload.to_vec()
        };
        let Payload::Control(bytes) = Payload::decode(&payload).unwrap() else { panic!("no control entry") };
        let change = Change::decode(bytes).unwrap();
        let facts = Facts { cluster: CLUSTER, client_command_applied: true };
        let keyring = decide(self.node_keys.current().keyring(), &change, position, facts).unwrap();
        self.node_keys.install(keyring).unwrap();
        change.word()
    }
}

fn view(term: u64, last: u64, applied: (u64, u64)) -> LeaderView {
    let applied = Position { term: Term(applied.0), index: Index(applied.1) };
    LeaderView {
        term: Term(term),
        last_index: Index(last),
        applied,
        own_term_applied: applied.term == Term(term),
        is_blocked: false,
        space_bytes: 1 << 30,
        clear_bytes: 1 << 30,
        is_held: false,
    }
}

/// W6: there a leader elected with the marker in its log, not yet applied, appends clear entries above the cutover.
#[test]
fn w06_a_new_leader_with_an_unapplied_cutover_proposes_nothing_before_it_is_applied() {
    // In the log, committed: 2 empty, 3 bootstrap, 4 client, 5 cutover. This node has applied up to 4.
    let mut old = Leader::new(61);
    old.empty();
    old.bootstrap(false);
    old.clients(&[set("a", "clear")]);
    let node_keys = Arc::new(NodeKeys::new(CLUSTER, keks(7)));
    node_keys.install(old.node_keys.current().keyring().unwrap().clone()).unwrap();
    old.cutover();
    let mut desk = Desk::new(node_keys, 62);
    desk.ask();
    // It is elected in term 2: 6 is its empty entry. Nothing while anything of this is unapplied.
    for applied in [(1, 4), (1, 5)] {
        assert!(desk.next(&view(2, 6, applied)).is_none(), "applied {applied:?}");
        if applied.1 == 4 {
            assert_eq!(desk.node_keys.cutover(), Index::NEVER, "it does not know yet");
            desk.apply(Position { term: Term(1), index: Index(5) }, &old.entry(5).data);
        }
    }
    assert_eq!(desk.node_keys.cutover(), Index(5));
    // Its own entry is applied: the opener, and nothing behind it before that is applied too.
    let opener = desk.next(&view(2, 6, (2, 6))).unwrap().remove(0);
    assert_eq!(Version::peek(EntryFrame::decode(&opener).unwrap().payload), Some(Version::Control));
    assert!(desk.next(&view(2, 7, (2, 6))).is_none());
    assert_eq!(desk.apply(Position { term: Term(2), index: Index(7) }, &opener), "opener");
    let client = desk.next(&view(2, 7, (2, 7))).unwrap().remove(0);
    let position = Position { term: Term(2), index: Index(8) };
    assert!(open_entry(&desk.node_keys.current().entry_keys().unwrap(), OpenJob { position, data: &client }).is_ok());
    assert!(desk.ends.lock().unwrap().is_empty(), "nobody was answered on the way");
}

/// W20: there one path to the log went round the sealing. Here raft is given batches only, and each is sealed for its place.
#[test]
fn w20_nothing_is_given_to_raft_in_the_clear_above_the_cutover() {
    let mut leader = Leader::sealed(63);
    leader.elect();
    let (last, term) = (leader.next_position().index.0 - 1, leader.term);
    let mut desk = Desk::new(Arc::new(leader.node_keys), 64);
    for _ in 0..50 {
        desk.ask();
        let names = vec![RowName::new(Database::FIRST, *b"canary-expired--")];
        let slots = vec![RequestSlot::Write(Database::FIRST, WriteCommand::RemoveExpired { names })];
        desk.handle.propose(ClientRequest { conditions: Vec::new(), slots, done: Box::new(|_| {}) }).unwrap();
    }
    let mut given = Vec::new();
    while let Some(data) = desk.next(&view(term, last + given.len() as u64, (term, last))) {
        given.extend(data);
    }
    assert_eq!(given.len(), 100);
    for (index, data) in (last + 1..).zip(&given) {
        assert!(!data.windows(6).any(|at| at == b"canary"));
        let position = Position { term: Term(term), index: Index(index) };
        let keys = desk.node_keys.current().entry_keys().unwrap();
        assert!(open_entry(&keys, OpenJob { position, data }).is_ok());
    }
    // Of a term whose opener is not here, nothing can be sealed, so nothing is given.
    desk.ask();
    let mut batch = desk.queue.next(&view(term, last + 100, (term, last))).unwrap();
    assert!(batch.seal(Term(term + 1), Index(last + 101)).is_err());
}
