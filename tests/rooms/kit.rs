//! A node that applies what a leader made, built from what the library shows to everybody.

use std::sync::Arc;
use std::sync::Mutex;

use sealkv::apply::apply_loop::ApplyLoop;
use sealkv::apply::apply_loop::ApplyParts;
use sealkv::apply::flush::Flusher;
use sealkv::apply::flush::Published;
use sealkv::apply::halt::Halt;
use sealkv::apply::halt::HaltClass;
use sealkv::apply::load::LoadError;
use sealkv::apply::load::load;
use sealkv::apply::metrics::Metrics;
use sealkv::apply::open::Openings;
use sealkv::apply::ports::AppliedPort;
use sealkv::apply::ports::ApplyLog;
use sealkv::apply::ports::CutoverNotDurable;
use sealkv::apply::rows::SealedRows;
use sealkv::apply::run::RunBounds;
use sealkv::fsm::name::Database;
use sealkv::fsm::name::RowKey;
use sealkv::fsm::name::RowName;
use sealkv::fsm::naming::name_of;
use sealkv::fsm::reader::Base;
use sealkv::fsm::reader::ReadError;
use sealkv::fsm::reader::RowReader;
use sealkv::fsm::state::Applied;
use sealkv::fsm::store::Commit;
use sealkv::fsm::store::StateRow;
use sealkv::fsm::store::Store;
use sealkv::fsm::value::Value;
use sealkv::ids::Index;
use sealkv::ids::NodeId;
use sealkv::ids::Position;
use sealkv::keys::kek::KekSet;
use sealkv::keys::node_keys::NodeKeys;
use sealkv::keys::rules::RuleError;
use sealkv::members::Members;
use sealkv::propose::Waiters;
use sealkv::raft::Committed;
use sealkv::testing::clock::SimClock;
pub use sealkv::testing::leader::CLUSTER;
pub use sealkv::testing::leader::Leader;
pub use sealkv::testing::leader::append;
pub use sealkv::testing::leader::control_payload;
pub use sealkv::testing::leader::in_clear;
pub use sealkv::testing::leader::keks;
pub use sealkv::testing::leader::set;
use sealkv::testing::store::MemoryStore;

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

impl ApplyLog for Log {
    fn make_durable(&self, cutover: Index) -> Result<(), CutoverNotDurable> {
        self.0.cutovers.lock().unwrap().push(cutover.0);
        Ok(())
    }

    fn trim(&self, _flushed: Position) {}

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
    let founding = Applied::founding(CLUSTER, Members::founders(&[NodeId::new(1).unwrap()]), Vec::new());
    store.write(Commit { state: vec![(StateRow::Applied, founding.encode(None))], ..Commit::default() }).unwrap();
    store.flush().unwrap();
    Arc::new(store)
}

pub fn rows(store: &MemoryStore) -> Vec<(RowName, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut visit = |name: &RowName, row: &[u8]| {
        rows.push((*name, row.to_vec()));
        true
    };
    store.scan(&mut visit).unwrap();
    rows
}

/// Everything in a state, byte for byte: what a snapshot of it holds.
pub fn picture(store: &MemoryStore) -> Commit {
    let row = |row| store.state(row).unwrap().map(|bytes| (row, bytes));
    let state = [StateRow::Applied, StateRow::Keyring].into_iter().filter_map(row).collect();
    Commit { puts: rows(store), state, ..Commit::default() }
}

/// A state of its own with the same bytes.
pub fn copied(store: &MemoryStore) -> Arc<MemoryStore> {
    stored(picture(store))
}

pub fn stored(step: Commit) -> Arc<MemoryStore> {
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
    pub node_keys: Arc<NodeKeys>,
    pub reader: RowReader,
    pub notes: Arc<Notes>,
    pub apply: ApplyLoop,
}

impl Node {
    pub fn new() -> Node {
        Node::start(founded(), keks(7)).unwrap()
    }

    /// Starts on what is in `store`.
    pub fn start(store: Arc<MemoryStore>, keks: KekSet) -> Result<Node, LoadError> {
        let node_keys = Arc::new(NodeKeys::new(CLUSTER, keks));
        let applied = load(&*store, &node_keys)?;
        let (notes, metrics) = (Arc::<Notes>::default(), Arc::<Metrics>::default());
        let published = Arc::new(Published::new(applied.position));
        let state: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let reader = RowReader::new(Arc::clone(&state), Arc::new(SealedRows::new(Arc::clone(&node_keys))));
        let log: Arc<dyn ApplyLog> = Arc::new(Log(Arc::clone(&notes)));
        let flusher = Flusher::new(Arc::clone(&state), Arc::clone(&published), Arc::clone(&metrics), Arc::clone(&log));
        let parts = ApplyParts {
            store: state,
            reader: reader.clone(),
            node_keys: Arc::clone(&node_keys),
            waiters: Arc::new(Waiters::new()),
            openings: Openings::eager(None),
            log,
            port: Box::new(Port(Arc::clone(&notes))),
            published,
            flusher: Arc::new(flusher),
            flush_wake: None,
            metrics,
            clock: Arc::new(SimClock::default()),
            bounds: RunBounds::default(),
        };
        Ok(Node { store, node_keys, reader, notes, apply: ApplyLoop::new(parts, applied) })
    }

    /// Where the row of a key is.
    pub fn name(&self, key: &[u8]) -> RowName {
        name_of(Database::FIRST, key, self.node_keys.current().name_key().unwrap())
    }

    /// What a client would read.
    pub fn value(&self, key: &[u8]) -> Result<Option<Value>, ReadError> {
        self.reader.value(RowKey::new(self.name(key), key))
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
