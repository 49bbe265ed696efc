//! A node that applies, over a store that can be told to fail, with everything it says noted down.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::Weak;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crossbeam_channel::Sender;
use rayon::ThreadPool;
use rayon::ThreadPoolBuilder;

use crate::apply::apply_loop::ApplyLoop;
use crate::apply::apply_loop::ApplyParts;
use crate::apply::commit::State;
use crate::apply::commit::StateViews;
use crate::apply::flush::Flusher;
use crate::apply::flush_thread::FlushThread;
use crate::apply::flush_thread::OnHalt;
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
use crate::apply::tests::kit::word;
use crate::apply::tests::table::meanwhile;
use crate::apply::thread;
use crate::apply::thread::Handle;
use crate::fsm::base::BaseError;
use crate::fsm::base::PinnedRows;
use crate::fsm::base::Pressure;
use crate::fsm::base::RowBase;
use crate::fsm::base::RowFile;
use crate::fsm::base::StateRow;
use crate::fsm::base::StateRows;
use crate::fsm::base::WriteFileError;
use crate::fsm::command::Reply;
use crate::fsm::name::Database;
use crate::fsm::name::NAME_LEN;
use crate::fsm::name::RowName;
use crate::fsm::reader::RowReader;
use crate::fsm::state::Applied;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::keys::kek::KekSet;
use crate::keys::node_keys::NodeKeys;
use crate::keys::rules::RuleError;
use crate::limits::FLUSH_END_DEADLINE;
use crate::members::Members;
use crate::propose::RequestSlot;
use crate::propose::Waiter;
use crate::propose::Waiters;
use crate::raft::Committed;
use crate::raft::thread::Rider;
use crate::testing::base::MemoryBase;
use crate::testing::leader::CLEAR_NAMES;
use crate::testing::picture::Picture;
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
    pub(super) is_held: AtomicBool,
    /// Weak, since the views hold who holds these notes: a suite of many histories would keep the keys of all of them.
    pub(super) views: Mutex<Weak<StateViews>>,
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

/// Notes what the log is told, and how far the state was when the cutover record was made durable.
struct NotedLog {
    notes: Arc<Notes>,
    pool_bytes: u64,
}

impl ApplyLog for NotedLog {
    fn make_durable(&self, cutover: Index) -> Result<(), CutoverNotDurable> {
        if self.notes.refuse_cutover.load(SeqCst) {
            return Err(CutoverNotDurable);
        }
        let views = self.notes.views.lock().unwrap().upgrade().unwrap();
        self.notes.cutovers.lock().unwrap().push((cutover.0, views.load().position.index.0));
        Ok(())
    }

    fn hold(&self, is_held: bool) {
        self.notes.is_held.store(is_held, SeqCst);
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

    fn boottime(&self) -> Duration {
        Duration::ZERO
    }

    fn wall_ms(&self) -> u64 {
        panic!("apply never asks for the time of day")
    }
}

/// The twin of RocksDB, which can be told to fail at the rows of one key.
#[derive(Debug)]
pub(super) struct TestBase {
    pub(super) memory: MemoryBase,
    pub(super) fail_get_of: Mutex<Option<Vec<u8>>>,
    /// How many reads of that key go well before.
    pub(super) good_gets: AtomicU64,
    /// Held while no file is begun.
    pub(super) gate: Mutex<()>,
    /// Bytes of entries that it was told of.
    pub(super) heard: AtomicU64,
    /// Names keys.
    node_keys: Mutex<Option<Arc<NodeKeys>>>,
}

impl TestBase {
    pub(super) fn founded() -> Arc<TestBase> {
        let founding =
            Applied::founding(CLUSTER, CLEAR_NAMES, Members::founders(&[NodeId::new(1).unwrap()]), Vec::new());
        TestBase::of(MemoryBase::new(StateRows { applied: founding.encode(None), keyring: None }))
    }

    pub(super) fn of(memory: MemoryBase) -> Arc<TestBase> {
        Arc::new(TestBase {
            memory,
            fail_get_of: Mutex::default(),
            good_gets: AtomicU64::new(0),
            gate: Mutex::default(),
            heard: AtomicU64::new(0),
            node_keys: Mutex::default(),
        })
    }

    /// A row as somebody with an editor would leave it.
    pub(super) fn put(&self, name: &RowName, row: &[u8]) {
        let Picture { applied, keyring, .. } = Picture::of_base(&self.memory);
        let mut file = self.memory.begin_file(&StateRows { applied, keyring }).unwrap();
        file.put(name, row).unwrap();
        file.finish().unwrap().ingest().unwrap();
    }

    fn fails(&self, name: &RowName) -> bool {
        let key = self.fail_get_of.lock().unwrap().clone();
        let keys = self.node_keys.lock().unwrap().clone();
        let is_told = key.zip(keys).is_some_and(|(key, keys)| name_of(&keys, &key) == *name);
        let use_up = |left: u64| left.checked_sub(1);
        is_told && self.good_gets.fetch_update(SeqCst, SeqCst, use_up).is_err()
    }
}

pub(super) fn name_of(node_keys: &NodeKeys, key: &[u8]) -> RowName {
    let mut names = [[0; NAME_LEN]];
    node_keys.current().name_key().unwrap().names(&[key], &mut names);
    RowName::new(Database::FIRST, names[0])
}

impl RowBase for TestBase {
    fn row(&self, name: &RowName, visit: &mut dyn FnMut(&[u8])) -> Result<bool, BaseError> {
        meanwhile();
        if self.fails(name) {
            return Err(BaseError::Backend("told to fail".into()));
        }
        self.memory.row(name, visit)
    }

    fn rows(&self, names: &[RowName], visit: &mut dyn FnMut(usize, Option<&[u8]>) -> bool) -> Result<(), BaseError> {
        meanwhile();
        if names.iter().any(|name| self.fails(name)) {
            return Err(BaseError::Backend("told to fail".into()));
        }
        self.memory.rows(names, visit)
    }

    fn pin(&self) -> Box<dyn PinnedRows + '_> {
        self.memory.pin()
    }

    fn walk(
        &self,
        names: RangeInclusive<RowName>,
        visit: &mut dyn FnMut(RowName, &[u8]) -> bool,
    ) -> Result<(), BaseError> {
        self.memory.walk(names, visit)
    }

    fn flushed_state(&self, row: StateRow) -> Result<Option<Vec<u8>>, BaseError> {
        self.memory.flushed_state(row)
    }

    fn begin_file(&self, record: &StateRows) -> Result<Box<dyn RowFile + '_>, WriteFileError> {
        // Whoever holds the gate is a disk that does not answer.
        drop(self.gate.lock());
        self.memory.begin_file(record)
    }

    fn pressure(&self) -> Result<Pressure, BaseError> {
        self.memory.pressure()
    }

    fn hears(&self, entry_bytes: u64) {
        self.heard.store(entry_bytes, SeqCst);
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
    pub(super) table_bytes: u64,
    pub(super) kept_bytes: u64,
    pub(super) flush_end: Duration,
    pub(super) clock: Arc<dyn Clock>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            threads: 2,
            run_entries: 4096,
            run_bytes: 1 << 20,
            pool_bytes: 1 << 30,
            overlay_bytes: 1 << 20,
            table_bytes: 64 << 20,
            kept_bytes: 0,
            flush_end: FLUSH_END_DEADLINE,
            clock: Arc::new(Still),
        }
    }
}

/// A node that applies.
pub(super) struct Node {
    pub(super) base: Arc<TestBase>,
    pub(super) node_keys: Arc<NodeKeys>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) notes: Arc<Notes>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) flusher: Arc<Flusher>,
    pub(super) reader: RowReader,
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
        Node::start(TestBase::founded(), keks(7), setup)
    }

    /// Starts on what is in `base`.
    pub(super) fn start(base: Arc<TestBase>, keks: KekSet, setup: &Setup) -> Node {
        let node_keys = Arc::new(NodeKeys::new(CLUSTER, keks));
        *base.node_keys.lock().unwrap() = Some(Arc::clone(&node_keys));
        let record = load(&*base, &node_keys).unwrap();
        let (notes, metrics) = (Arc::new(Notes::default()), Arc::new(Metrics::default()));
        let waiters = Arc::new(Waiters::new());
        let log: Arc<dyn ApplyLog> = Arc::new(NotedLog { notes: Arc::clone(&notes), pool_bytes: setup.pool_bytes });
        let flusher = Flusher::new(Arc::clone(&metrics), Arc::clone(&log)).ending_within(setup.flush_end);
        let flusher = Arc::new(flusher);
        let dyn_base: Arc<dyn RowBase> = Arc::clone(&base) as Arc<dyn RowBase>;
        let state = State::new(dyn_base, record, Arc::clone(&flusher), Arc::clone(&log), setup.table_bytes);
        let state = state.keeping(setup.kept_bytes);
        *notes.views.lock().unwrap() = Arc::downgrade(state.views());
        let reader = RowReader::new(Arc::clone(state.views()), Arc::new(SealedRows::new(Arc::clone(&node_keys))));
        let parts = ApplyParts {
            state,
            reader: reader.clone(),
            node_keys: Arc::clone(&node_keys),
            waiters: Arc::clone(&waiters),
            openings: Openings::eager(pool(setup.threads)),
            log,
            port: Box::new(Port(Arc::clone(&notes))),
            flusher: Arc::clone(&flusher),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(&setup.clock),
            bounds: RunBounds {
                entries_max: setup.run_entries,
                bytes_max: setup.run_bytes,
                overlay_bytes_max: setup.overlay_bytes,
            },
        };
        let apply = ApplyLoop::new(parts);
        Node { base, node_keys, waiters, notes, metrics, flusher, reader, apply, told: Told::default() }
    }

    /// Runs it on threads of its own: where committed entries go, and what runs.
    pub(super) fn on_threads(mut self, on_halt: OnHalt) -> (Sender<Vec<Committed>>, Handle) {
        let flush = FlushThread::spawn(&mut self.apply, Arc::clone(&on_halt)).unwrap();
        let (sender, batches) = thread::queue();
        (sender, thread::spawn(self.apply, flush, batches, on_halt).unwrap())
    }

    /// The same, but for the thread that applies.
    pub(super) fn riding(mut self, on_halt: OnHalt) -> (Sender<Vec<Committed>>, Handle, Box<dyn Rider>) {
        let flush = FlushThread::spawn(&mut self.apply, Arc::clone(&on_halt)).unwrap();
        let (sender, batches) = thread::queue();
        let (handle, rider) = thread::ride(self.apply, flush, batches, on_halt);
        (sender, handle, rider)
    }

    /// Everything that is applied, byte for byte.
    pub(super) fn picture(&self) -> Picture {
        Picture::of(self.apply.state())
    }

    /// The row of a key as the base has it, or would have it.
    pub(super) fn row_of(&self, key: &str) -> Option<Vec<u8>> {
        self.picture().rows.remove(&name_of(&self.node_keys, key.as_bytes()))
    }

    /// Whether there are rows of these keys, and no others.
    pub(super) fn has_just(&self, keys: &[&str]) -> bool {
        let names: BTreeSet<RowName> = keys.iter().map(|key| name_of(&self.node_keys, key.as_bytes())).collect();
        self.picture().rows.into_keys().collect::<BTreeSet<RowName>>() == names
    }

    /// What a reader on another thread would be told now.
    pub(super) fn published(&self) -> Position {
        self.reader.views().load().position
    }

    /// Somebody who proposed the entry at `position` with these slots, and waits.
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
    pub(super) fn crash_and_restart(self, keks: KekSet, setup: &Setup) -> Node {
        let base = Arc::clone(&self.base);
        drop(self);
        base.memory.crash();
        Node::start(base, keks, setup)
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
