//! A leader that makes real entries and a node that applies them, built from what the library shows to everybody.

use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use sealkv::apply::flush::Flusher;
use sealkv::apply::flush::Published;
use sealkv::apply::halt::Halt;
use sealkv::apply::halt::HaltClass;
use sealkv::apply::load::LoadError;
use sealkv::apply::load::load;
use sealkv::apply::metrics::Metrics;
use sealkv::apply::open::Openings;
use sealkv::apply::ports::AppliedPort;
use sealkv::apply::ports::CutoverLog;
use sealkv::apply::ports::CutoverNotDurable;
use sealkv::apply::ports::LogGauge;
use sealkv::apply::ports::TrimPort;
use sealkv::apply::rows::RingRows;
use sealkv::apply::run::RunBounds;
use sealkv::apply::step::Loop;
use sealkv::apply::step::Parts;
use sealkv::crypto::envelope::EntryFrame;
use sealkv::crypto::keystore::Purpose;
use sealkv::crypto::seal::seal_control;
use sealkv::crypto::seal::seal_entries;
use sealkv::fsm::codec::encode_batch;
use sealkv::fsm::codec::encode_control;
use sealkv::fsm::command::Expiry;
use sealkv::fsm::command::SetIf;
use sealkv::fsm::command::SetReply;
use sealkv::fsm::command::Write;
use sealkv::fsm::memory::MemoryStore;
use sealkv::fsm::reader::Reader;
use sealkv::fsm::state::Applied;
use sealkv::fsm::state::ConfState;
use sealkv::fsm::store::StateRow;
use sealkv::fsm::store::Step;
use sealkv::fsm::store::Store;
use sealkv::ids::ClusterId;
use sealkv::ids::Index;
use sealkv::ids::NodeId;
use sealkv::ids::Position;
use sealkv::ids::ProposalId;
use sealkv::ids::Term;
use sealkv::keys::change::Change;
use sealkv::keys::kek::KekSet;
use sealkv::keys::kek::from_bytes;
use sealkv::keys::make::make_bootstrap;
use sealkv::keys::make::make_cutover;
use sealkv::keys::make::make_opener;
use sealkv::keys::make::make_rotate;
use sealkv::keys::ring::Ring;
use sealkv::keys::rules::Facts;
use sealkv::keys::rules::RuleError;
use sealkv::keys::rules::decide;
use sealkv::propose::Waiters;
use sealkv::raft::Committed;
use sealkv::testing::clock::SimClock;
use sealkv::testing::seed::Seeded;
use sealkv::wal::EntryKind;
use sealkv::wal::LogEntry;
use sealkv::world::random_array;
use zeroize::Zeroizing;

pub const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

/// The KEK of that byte.
pub fn keks(byte: u8) -> KekSet {
    KekSet::new(vec![from_bytes(&Zeroizing::new([byte; 32]))]).unwrap()
}

pub fn set(key: &str, value: &str) -> Write {
    Write::Set {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        when: SetIf::Always,
        expiry: Expiry::Clear,
        reply: SetReply::Ok,
    }
}

pub fn append(key: &str, value: &str) -> Write {
    Write::Append { key: Bytes::copy_from_slice(key.as_bytes()), value: Bytes::copy_from_slice(value.as_bytes()) }
}

/// The payload of a client's entry.
pub fn batch(writes: &[Write]) -> Vec<u8> {
    let mut payload = Vec::new();
    encode_batch(1_000_000, writes, &mut payload).unwrap();
    payload
}

/// The payload of a control entry.
pub fn control(change: &Change) -> Vec<u8> {
    let mut payload = Vec::new();
    encode_control(&change.encode(), &mut payload).unwrap();
    payload
}

/// Entry data in the clear.
pub fn in_clear(payload: &[u8]) -> Bytes {
    EntryFrame { proposal_id: ProposalId(77), payload }.encode()
}

/// Makes the entries that a leader makes, and remembers them as the log; index 2 is its first.
pub struct Leader {
    pub entropy: Seeded,
    pub ring: Ring,
    pub term: u64,
    pub log: Vec<Committed>,
    has_clients: bool,
}

impl Leader {
    pub fn of(cluster: ClusterId, seed: u64) -> Leader {
        let ring = Ring::new(cluster, keks(7));
        Leader { entropy: Seeded::new(seed), ring, term: 1, log: Vec::new(), has_clients: false }
    }

    /// A log that begins sealed: 2 empty, 3 bootstrap and cutover, 4 opener; clients' entries begin at 5.
    pub fn sealed(seed: u64) -> Leader {
        Leader::sealed_of(CLUSTER, seed)
    }

    pub fn sealed_of(cluster: ClusterId, seed: u64) -> Leader {
        let mut leader = Leader::of(cluster, seed);
        leader.push(Bytes::new());
        leader.bootstrap(true);
        leader.opener();
        leader
    }

    pub fn next_position(&self) -> Position {
        Position { term: Term(self.term), index: Index(self.log.len() as u64 + 2) }
    }

    pub fn data(&self, index: u64) -> Bytes {
        self.log[index as usize - 2].entry.data.clone()
    }

    pub fn put(&mut self, index: u64, data: Bytes) {
        self.log[index as usize - 2].entry.data = data;
    }

    pub fn push(&mut self, data: Bytes) -> Position {
        let position = self.next_position();
        let entry = LogEntry { term: position.term, index: position.index, kind: EntryKind::Normal, data };
        self.log.push(Committed { entry, conf_state: None });
        position
    }

    pub fn bootstrap(&mut self, is_cutover: bool) -> Position {
        let change = make_bootstrap(self.ring.keks(), self.ring.cluster(), is_cutover, &self.entropy).unwrap();
        self.change(&change)
    }

    pub fn cutover(&mut self) -> Position {
        let change = make_cutover(self.ring.view().keyring().unwrap());
        self.change(&change)
    }

    pub fn opener(&mut self) -> Position {
        let change = make_opener(Term(self.term), &self.entropy);
        self.change(&change)
    }

    pub fn rotation(&self, purpose: Purpose) -> Change {
        make_rotate(self.ring.keks(), self.ring.view().keyring().unwrap(), purpose, &self.entropy).unwrap()
    }

    pub fn rotate(&mut self, purpose: Purpose) -> Position {
        let change = self.rotation(purpose);
        self.change(&change)
    }

    /// The next term: its empty entry and its opener.
    pub fn elect(&mut self) {
        self.term += 1;
        self.push(Bytes::new());
        self.opener();
    }

    /// A control entry, in the clear or sealed as its place asks for; the leader's keys follow if it applies.
    pub fn change(&mut self, change: &Change) -> Position {
        let data = self.control_data(&control(change));
        let position = self.push(data);
        let facts = Facts { cluster: self.ring.cluster(), client_command_applied: self.has_clients };
        let view = self.ring.view();
        if let Ok(keyring) = decide(view.keyring(), change, position, facts) {
            self.ring.install(keyring, position.index).unwrap();
        }
        position
    }

    pub fn control_data(&self, payload: &[u8]) -> Bytes {
        let position = self.next_position();
        if position.index <= self.ring.cutover() {
            return in_clear(payload);
        }
        let key = self.ring.view().control_key().unwrap();
        seal_control(&key, position, ProposalId(5), random_array(&self.entropy), payload).unwrap()
    }

    pub fn clients(&mut self, writes: &[Write]) -> Position {
        let data = self.client_data(&batch(writes));
        self.has_clients = true;
        self.push(data)
    }

    pub fn client_data(&self, payload: &[u8]) -> Bytes {
        let index = self.next_position().index;
        if index <= self.ring.cutover() {
            return in_clear(payload);
        }
        let key = self.ring.view().leadership_key().unwrap();
        let proposal_id = ProposalId(u64::from_be_bytes(random_array(&self.entropy)));
        seal_entries(&key, random_array(&self.entropy), index, &[(proposal_id, payload)]).unwrap().remove(0)
    }
}

/// What a node tells the rooms around it.
#[derive(Debug, Default)]
pub struct Notes {
    pub refused: Mutex<Vec<(u64, RuleError)>>,
    pub cutovers: Mutex<Vec<u64>>,
}

struct Port(Arc<Notes>);

impl AppliedPort for Port {
    fn applied(&mut self, _record: &Applied) {}

    fn control(&mut self, position: Position, outcome: Result<(), RuleError>) {
        if let Err(refused) = outcome {
            self.0.refused.lock().unwrap().push((position.index.0, refused));
        }
    }
}

struct Log(Arc<Notes>);

impl CutoverLog for Log {
    fn make_durable(&self, cutover: Index) -> Result<(), CutoverNotDurable> {
        self.0.cutovers.lock().unwrap().push(cutover.0);
        Ok(())
    }
}

impl TrimPort for Log {
    fn trim(&self, _flushed: Position) {}
}

impl LogGauge for Log {
    fn bytes_used(&self) -> u64 {
        0
    }

    fn pool_bytes(&self) -> u64 {
        1 << 30
    }
}

/// The state of a new cluster of one.
pub fn founded() -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    let founding = Applied::founding(CLUSTER, ConfState::single(NodeId::new(1).unwrap()), Vec::new());
    store.write(Step { state: vec![(StateRow::Applied, founding.encode(None))], ..Step::default() }).unwrap();
    store.flush().unwrap();
    Arc::new(store)
}

pub fn rows(store: &MemoryStore) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], row: &[u8]| {
        rows.push((key.to_vec(), row.to_vec()));
        true
    };
    store.scan(&mut visit).unwrap();
    rows
}

/// Everything in a state, byte for byte: what a snapshot of it holds.
pub fn picture(store: &MemoryStore) -> Step {
    let row = |row| store.state(row).unwrap().map(|bytes| (row, bytes));
    let state = [StateRow::Applied, StateRow::Keyring].into_iter().filter_map(row).collect();
    Step { puts: rows(store), state, ..Step::default() }
}

/// A state of its own with the same bytes.
pub fn copied(store: &MemoryStore) -> Arc<MemoryStore> {
    stored(picture(store))
}

pub fn stored(step: Step) -> Arc<MemoryStore> {
    let copy = MemoryStore::new();
    copy.write(step).unwrap();
    copy.flush().unwrap();
    Arc::new(copy)
}

pub fn same_state(left: &MemoryStore, right: &MemoryStore) -> bool {
    let (left, right) = (picture(left), picture(right));
    left.puts == right.puts && left.state == right.state
}

/// A node that applies.
#[derive(Debug)]
pub struct Node {
    pub store: Arc<MemoryStore>,
    pub ring: Arc<Ring>,
    pub reader: Reader,
    pub notes: Arc<Notes>,
    pub apply: Loop,
}

impl Node {
    pub fn new() -> Node {
        Node::start(founded(), keks(7)).unwrap()
    }

    /// Starts on what is in `store`.
    pub fn start(store: Arc<MemoryStore>, keks: KekSet) -> Result<Node, LoadError> {
        let ring = Arc::new(Ring::new(CLUSTER, keks));
        let applied = load(&*store, &ring)?;
        let (notes, metrics) = (Arc::<Notes>::default(), Arc::<Metrics>::default());
        let published = Arc::new(Published::new(applied.position));
        let state: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let reader = Reader::new(Arc::clone(&state), Arc::new(RingRows::new(Arc::clone(&ring))));
        let log = || Log(Arc::clone(&notes));
        let flusher = Flusher::new(
            Arc::clone(&state),
            Arc::clone(&published),
            Arc::clone(&metrics),
            Box::new(log()),
            Box::new(log()),
        );
        let parts = Parts {
            store: state,
            reader: reader.clone(),
            ring: Arc::clone(&ring),
            waiters: Arc::new(Waiters::new()),
            openings: Openings::eager(None),
            cutover_log: Box::new(log()),
            port: Box::new(Port(Arc::clone(&notes))),
            published,
            flusher: Arc::new(flusher),
            flush_wake: None,
            metrics,
            clock: Arc::new(SimClock::default()),
            bounds: RunBounds::default(),
        };
        Ok(Node { store, ring, reader, notes, apply: Loop::new(parts, applied) })
    }

    pub fn applied(&self) -> u64 {
        self.apply.applied().position.index.0
    }

    /// Applies what of `log` (from index 2 on) is above applied, up to a halt.
    pub fn run(&mut self, log: &[Committed]) -> Result<(), Arc<Halt>> {
        let first = self.applied() - 1;
        self.apply.offer(log[first as usize..].to_vec());
        while self.apply.queued() > 0 {
            self.apply.step()?;
        }
        Ok(())
    }

    /// Where and as what `log` halts a new node, whose state must then be that of the entries before.
    pub fn halt_of(log: &[Committed]) -> (u64, HaltClass) {
        let mut node = Node::new();
        let halt = node.run(log).expect_err("it should halt");
        let index = halt.position.index.0;
        assert_eq!(node.applied(), index - 1, "nothing is counted that was not applied");
        let mut prefix = Node::new();
        prefix.run(&log[..index as usize - 2]).unwrap();
        assert!(same_state(&node.store, &prefix.store), "the state is that of the entries before the halt");
        let again = Node::start(copied(&node.store), keks(7)).unwrap().run(log).expect_err("it halts again");
        assert_eq!((again.position, again.class()), (halt.position, halt.class()));
        (index, halt.class())
    }
}
