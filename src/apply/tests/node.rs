//! A node that applies, over a store that can be told to fail, with everything it says noted down.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use rayon::ThreadPool;
use rayon::ThreadPoolBuilder;

use crate::apply::apply_loop::ApplyLoop;
use crate::apply::apply_loop::ApplyParts;
use crate::apply::flush::Flusher;
use crate::apply::flush::Published;
use crate::apply::halt::Halt;
use crate::apply::load::load;
use crate::apply::metrics::Metrics;
use crate::apply::open::Openings;
use crate::apply::ports::AppliedPort;
use crate::apply::ports::ApplyLog;
use crate::apply::ports::CutoverNotDurable;
use crate::apply::rows::SealedRows;
use crate::apply::run::RunBounds;
use crate::apply::tests::kit::CLUSTER;
use crate::apply::tests::kit::keks;
use crate::apply::tests::kit::row_name;
use crate::apply::tests::kit::word;
use crate::fsm::command::Reply;
use crate::fsm::name::RowName;
use crate::fsm::reader::RowCipher;
use crate::fsm::reader::RowReader;
use crate::fsm::state::Applied;
use crate::fsm::store::Commit;
use crate::fsm::store::StateRow;
use crate::fsm::store::Store;
use crate::fsm::store::StoreError;
use crate::fsm::value::BodyState;
use crate::fsm::value::Header;
use crate::fsm::value::Value;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::keys::kek::KekSet;
use crate::keys::node_keys::NodeKeys;
use crate::keys::rules::RuleError;
use crate::members::Members;
use crate::propose::RequestSlot;
use crate::propose::Waiter;
use crate::propose::Waiters;
use crate::raft::Committed;
use crate::testing::store::MemoryStore;
use crate::world::Clock;

/// What waiters were told, by index.
pub(super) type Told = Arc<Mutex<Vec<(u64, Result<Vec<Reply>, &'static str>)>>>;

/// What a node tells the rooms around it, as it happens.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) applied: Mutex<Vec<u64>>,
    pub(super) controls: Mutex<Vec<(u64, Result<(), RuleError>)>>,
    pub(super) cutovers: Mutex<Vec<(u64, u64)>>,
    pub(super) trims: Mutex<Vec<u64>>,
    pub(super) log_bytes: AtomicU64,
    pub(super) refuse_cutover: AtomicBool,
}

struct Port(Arc<Notes>);

impl AppliedPort for Port {
    fn applied(&mut self, record: &Applied) {
        self.0.applied.lock().unwrap().push(record.position.index.0);
    }

    fn control(&mut self, position: Position, outcome: Result<(), RuleError>) {
        self.0.controls.lock().unwrap().push((position.index.0, outcome));
    }
}

/// Notes what the log is told, and where the state was when the cutover record was made durable.
struct NotedLog {
    notes: Arc<Notes>,
    store: Arc<TestStore>,
    pool_bytes: u64,
}

impl ApplyLog for NotedLog {
    fn make_durable(&self, cutover: Index) -> Result<(), CutoverNotDurable> {
        if self.notes.refuse_cutover.load(SeqCst) {
            return Err(CutoverNotDurable);
        }
        let row = self.store.state(StateRow::Applied).unwrap().unwrap();
        let applied = Applied::decode(&row).unwrap().position.index.0;
        self.notes.cutovers.lock().unwrap().push((cutover.0, applied));
        Ok(())
    }

    fn trim(&self, flushed: Position) {
        self.notes.trims.lock().unwrap().push(flushed.index.0);
    }

    fn bytes_used(&self) -> u64 {
        self.notes.log_bytes.load(SeqCst)
    }

    fn pool_bytes(&self) -> u64 {
        self.pool_bytes
    }
}

struct Still;

impl Clock for Still {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn wall_ms(&self) -> u64 {
        panic!("apply never asks for the time of day")
    }
}

/// The twin of RocksDB, which can be told to fail, and counts its steps.
#[derive(Debug, Default)]
pub(super) struct TestStore {
    pub(super) memory: MemoryStore,
    pub(super) fail_get_of: Mutex<Option<RowName>>,
    /// How many reads of that key go well before.
    pub(super) good_gets: AtomicU64,
    pub(super) fail_write: AtomicBool,
    pub(super) steps: AtomicU64,
}

impl TestStore {
    pub(super) fn founded() -> Arc<TestStore> {
        let store = TestStore::default();
        let founding = Applied::founding(CLUSTER, Members::founders(&[NodeId::new(1).unwrap()]), Vec::new());
        let state = vec![(StateRow::Applied, founding.encode(None))];
        store.memory.write(Commit { state, ..Commit::default() }).unwrap();
        store.memory.flush().unwrap();
        Arc::new(store)
    }

    pub(super) fn rows(&self) -> Vec<(RowName, Vec<u8>)> {
        let mut rows = Vec::new();
        self.memory
            .scan(&mut |name, row| {
                rows.push((*name, row.to_vec()));
                true
            })
            .unwrap();
        rows
    }

    /// Everything in it, byte for byte.
    pub(super) fn picture(&self) -> Picture {
        Picture {
            rows: self.rows(),
            applied: self.memory.state(StateRow::Applied).unwrap(),
            keyring: self.memory.state(StateRow::Keyring).unwrap(),
        }
    }

    pub(super) fn applied(&self) -> Applied {
        Applied::decode(&self.memory.state(StateRow::Applied).unwrap().unwrap()).unwrap()
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) rows: Vec<(RowName, Vec<u8>)>,
    pub(super) applied: Option<Vec<u8>>,
    pub(super) keyring: Option<Vec<u8>>,
}

impl Store for TestStore {
    fn get(&self, name: &RowName) -> Result<Option<Vec<u8>>, StoreError> {
        let is_told = self.fail_get_of.lock().unwrap().as_ref() == Some(name);
        let use_up = |left: u64| left.checked_sub(1);
        if is_told && self.good_gets.fetch_update(SeqCst, SeqCst, use_up).is_err() {
            return Err(StoreError::Backend("told to fail".into()));
        }
        self.memory.get(name)
    }

    fn get_each(&self, names: &[RowName], visit: &mut dyn FnMut(Option<Vec<u8>>) -> bool) -> Result<(), StoreError> {
        self.memory.get_each(names, visit)
    }

    fn state(&self, row: StateRow) -> Result<Option<Vec<u8>>, StoreError> {
        self.memory.state(row)
    }

    fn flushed_state(&self, row: StateRow) -> Result<Option<Vec<u8>>, StoreError> {
        self.memory.flushed_state(row)
    }

    fn write(&self, step: Commit) -> Result<(), StoreError> {
        if self.fail_write.load(SeqCst) {
            return Err(StoreError::Backend("told to fail".into()));
        }
        self.steps.fetch_add(1, SeqCst);
        self.memory.write(step)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.memory.flush()
    }

    fn scan(&self, visit: &mut dyn FnMut(&RowName, &[u8]) -> bool) -> Result<(), StoreError> {
        self.memory.scan(visit)
    }
}

/// How a node is run.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) threads: usize,
    pub(super) run_entries: usize,
    pub(super) run_bytes: usize,
    pub(super) pool_bytes: u64,
    pub(super) overlay_bytes: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Setup { threads: 2, run_entries: 4096, run_bytes: 1 << 20, pool_bytes: 1 << 30, overlay_bytes: 1 << 20 }
    }
}

/// A node that applies.
pub(super) struct Node {
    pub(super) store: Arc<TestStore>,
    pub(super) node_keys: Arc<NodeKeys>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) notes: Arc<Notes>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) published: Arc<Published>,
    pub(super) apply: ApplyLoop,
    pub(super) told: Told,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.apply.fmt(f)
    }
}

impl Node {
    pub(super) fn new(setup: &Setup) -> Node {
        Node::start(TestStore::founded(), keks(7), setup)
    }

    /// Starts on what is in `store`.
    pub(super) fn start(store: Arc<TestStore>, keks: KekSet, setup: &Setup) -> Node {
        let node_keys = Arc::new(NodeKeys::new(CLUSTER, keks));
        let applied = load(&*store, &node_keys).unwrap();
        let (notes, metrics) = (Arc::new(Notes::default()), Arc::new(Metrics::default()));
        let published = Arc::new(Published::new(applied.position));
        let waiters = Arc::new(Waiters::new());
        let dyn_store: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let log = noted_log(&store, &notes, setup.pool_bytes);
        let flusher = flusher(&store, &published, &metrics, Arc::clone(&log));
        let parts = ApplyParts {
            store: Arc::clone(&dyn_store),
            reader: RowReader::new(dyn_store, Arc::new(SealedRows::new(Arc::clone(&node_keys)))),
            node_keys: Arc::clone(&node_keys),
            waiters: Arc::clone(&waiters),
            openings: Openings::eager(pool(setup.threads)),
            log,
            port: Box::new(Port(Arc::clone(&notes))),
            published: Arc::clone(&published),
            flusher: Arc::new(flusher),
            flush_wake: None,
            metrics: Arc::clone(&metrics),
            clock: Arc::new(Still),
            bounds: RunBounds {
                entries_max: setup.run_entries,
                bytes_max: setup.run_bytes,
                overlay_bytes_max: setup.overlay_bytes,
            },
        };
        let apply = ApplyLoop::new(parts, applied);
        Node { store, node_keys, waiters, notes, metrics, published, apply, told: Told::default() }
    }

    /// Somebody who proposed the entry at `position` with these slots, and waits.
    /// The row of a key of the first database, as it stands in its state.
    pub(super) fn row(&self, key: &str) -> Vec<u8> {
        self.store.memory.get(&row_name(&self.node_keys, key.as_bytes())).unwrap().expect("a row")
    }

    /// The users' keys in its state, read back from its rows, in their order.
    pub(super) fn keys(&self) -> Vec<String> {
        let rows = SealedRows::new(Arc::clone(&self.node_keys));
        let key_of = |(name, row): (RowName, Vec<u8>)| {
            let (header, body) = Header::split(&row).unwrap();
            let body = match header.state {
                BodyState::Clear => Bytes::copy_from_slice(body),
                BodyState::Sealed => rows.open(&name, row).unwrap(),
            };
            String::from_utf8(Value::decode_body(header, body).unwrap().0.to_vec()).unwrap()
        };
        let mut keys: Vec<String> = self.store.rows().into_iter().map(key_of).collect();
        keys.sort_unstable();
        keys
    }

    pub(super) fn wait_for(&self, position: Position, slots: Vec<RequestSlot>) {
        let told = Arc::clone(&self.told);
        let done = move |outcome| {
            let word = word(outcome);
            told.lock().unwrap().push((position.index.0, word));
        };
        self.waiters.register(position, [Waiter::new(slots, Box::new(done))], Duration::MAX);
    }

    /// Offers everything above applied, and steps until there is nothing to do or a halt.
    pub(super) fn run(&mut self, log: &[Committed]) -> Result<(), Arc<Halt>> {
        let next = self.apply.applied().position.index.next().0;
        self.apply.offer(log[usize::try_from(next - 2).unwrap()..].to_vec());
        while self.apply.queued() > 0 {
            self.apply.step()?;
        }
        Ok(())
    }

    pub(super) fn told_indexes(&self) -> Vec<u64> {
        self.told.lock().unwrap().iter().map(|(index, _)| *index).collect()
    }

    /// A process that ends without more, and another that starts on what is durable.
    pub(super) fn crash_and_restart(self, kept_steps: usize, keks: KekSet, setup: &Setup) -> Node {
        let store = Arc::clone(&self.store);
        drop(self);
        store.memory.crash(kept_steps);
        Node::start(store, keks, setup)
    }
}

/// `threads` opening threads, of which one is the caller's. Kept from test to test: random ones ask for very many.
pub(super) fn pool(threads: usize) -> Option<Arc<ThreadPool>> {
    static KEPT: Mutex<BTreeMap<usize, Arc<ThreadPool>>> = Mutex::new(BTreeMap::new());
    let helpers = threads.checked_sub(1).filter(|helpers| *helpers > 0)?;
    let mut kept = KEPT.lock().unwrap();
    let build = || Arc::new(ThreadPoolBuilder::new().num_threads(helpers).build().unwrap());
    Some(Arc::clone(kept.entry(helpers).or_insert_with(build)))
}

pub(super) fn noted_log(store: &Arc<TestStore>, notes: &Arc<Notes>, pool_bytes: u64) -> Arc<dyn ApplyLog> {
    Arc::new(NotedLog { notes: Arc::clone(notes), store: Arc::clone(store), pool_bytes })
}

pub(super) fn flusher(
    store: &Arc<TestStore>,
    published: &Arc<Published>,
    metrics: &Arc<Metrics>,
    log: Arc<dyn ApplyLog>,
) -> Flusher {
    Flusher::new(Arc::clone(store) as Arc<dyn Store>, Arc::clone(published), Arc::clone(metrics), log)
}
