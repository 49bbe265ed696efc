//! A node that applies what a leader made, built from what the library shows to everybody.

use std::sync::Arc;
use std::sync::Mutex;

use sealkv::apply::apply_loop::ApplyLoop;
use sealkv::apply::apply_loop::ApplyParts;
use sealkv::apply::commit::State;
use sealkv::apply::flush::Flusher;
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
use sealkv::fsm::base::RowBase;
use sealkv::fsm::base::StateRows;
use sealkv::fsm::name::Database;
use sealkv::fsm::name::NAME_LEN;
use sealkv::fsm::name::RowKey;
use sealkv::fsm::name::RowName;
use sealkv::fsm::opening::ReadError;
use sealkv::fsm::reader::Base;
use sealkv::fsm::reader::RowReader;
use sealkv::fsm::state::Applied;
use sealkv::fsm::value::Value;
use sealkv::ids::Index;
use sealkv::ids::NodeId;
use sealkv::ids::Position;
use sealkv::keys::kek::KekSet;
use sealkv::keys::node_keys::NodeKeys;
use sealkv::keys::rules::RuleError;
use sealkv::limits::TABLE_BYTES;
use sealkv::members::Members;
use sealkv::propose::Waiters;
use sealkv::raft::Committed;
use sealkv::testing::base::MemoryBase;
use sealkv::testing::clock::SimClock;
use sealkv::testing::leader::CLEAR_NAMES;
pub use sealkv::testing::leader::CLUSTER;
pub use sealkv::testing::leader::Leader;
pub use sealkv::testing::leader::append;
pub use sealkv::testing::leader::control_payload;
pub use sealkv::testing::leader::in_clear;
pub use sealkv::testing::leader::keks;
pub use sealkv::testing::leader::set;
use sealkv::testing::picture::Picture;

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
pub fn founded() -> Arc<MemoryBase> {
    let founding = Applied::founding(CLUSTER, CLEAR_NAMES, Members::founders(&[NodeId::new(1).unwrap()]), Vec::new());
    Arc::new(MemoryBase::new(StateRows { applied: founding.encode(None), keyring: None }))
}

/// A state of its own with the same bytes.
pub fn stored(picture: &Picture) -> Arc<MemoryBase> {
    Arc::new(picture.to_base())
}

/// A node that applies.
#[derive(Debug)]
pub struct Node {
    pub base: Arc<MemoryBase>,
    pub node_keys: Arc<NodeKeys>,
    pub reader: RowReader,
    pub notes: Arc<Notes>,
    pub apply: ApplyLoop,
}

impl Node {
    pub fn new() -> Node {
        Node::start(founded(), keks(7)).unwrap()
    }

    /// Starts on what is in `base`.
    pub fn start(base: Arc<MemoryBase>, keks: KekSet) -> Result<Node, LoadError> {
        let node_keys = Arc::new(NodeKeys::new(CLUSTER, keks));
        let record = load(&*base, &node_keys)?;
        let (notes, metrics) = (Arc::<Notes>::default(), Arc::<Metrics>::default());
        let log: Arc<dyn ApplyLog> = Arc::new(Log(Arc::clone(&notes)));
        let flusher = Arc::new(Flusher::new(Arc::clone(&metrics), Arc::clone(&log)));
        let below: Arc<dyn RowBase> = Arc::clone(&base) as Arc<dyn RowBase>;
        let state = State::new(below, record, Arc::clone(&flusher), Arc::clone(&log), TABLE_BYTES);
        let cipher = Arc::new(SealedRows::new(Arc::clone(&node_keys)));
        let reader = RowReader::new(Arc::clone(state.views()), cipher);
        let parts = ApplyParts {
            state,
            reader: reader.clone(),
            node_keys: Arc::clone(&node_keys),
            waiters: Arc::new(Waiters::new()),
            openings: Openings::eager(None),
            log,
            port: Box::new(Port(Arc::clone(&notes))),
            flusher,
            metrics,
            clock: Arc::new(SimClock::default()),
            bounds: RunBounds::default(),
        };
        Ok(Node { base, node_keys, reader, notes, apply: ApplyLoop::new(parts) })
    }

    /// Everything that is applied, byte for byte: what a snapshot of it holds.
    pub fn picture(&self) -> Picture {
        Picture::of(self.apply.state())
    }

    /// A state of its own with the same bytes.
    pub fn copied(&self) -> Arc<MemoryBase> {
        stored(&self.picture())
    }

    /// By what the row of a key is found.
    pub fn name_of(&self, key: &[u8]) -> RowName {
        let mut names = [[0; NAME_LEN]];
        self.reader.name_key().unwrap().names(&[key], &mut names);
        RowName::new(Database::FIRST, names[0])
    }

    /// The row of a key as the base has it, or would have it.
    pub fn row_of(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.picture().rows.remove(&self.name_of(key))
    }

    /// What a reader is told of a key.
    pub fn value(&self, key: &[u8]) -> Result<Option<Value>, ReadError> {
        self.reader.value(RowKey::new(self.name_of(key), key))
    }

    /// The same node, flushed and started again with another row on its disk.
    pub fn with_row(self, key: &[u8], row: Vec<u8>) -> Node {
        let mut picture = self.picture();
        picture.rows.insert(self.name_of(key), row);
        Node::start(stored(&picture), keks(7)).unwrap()
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
        assert!(node.picture() == prefix.picture(), "the state is that of the entries before the halt");
        let again = Node::start(node.copied(), keks(7)).unwrap().run(log).expect_err("it halts again");
        assert_eq!((again.position, again.class()), (halt.position, halt.class()));
        (index, halt.class())
    }
}
