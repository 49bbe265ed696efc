//! A leader that makes real entries, and a node that applies them: what every test here is made of.

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
use zeroize::Zeroizing;

use crate::apply::flush::Flusher;
use crate::apply::flush::Published;
use crate::apply::halt::Halt;
use crate::apply::load::load;
use crate::apply::metrics::Metrics;
use crate::apply::open::Openings;
use crate::apply::ports::AppliedPort;
use crate::apply::ports::CutoverLog;
use crate::apply::ports::CutoverNotDurable;
use crate::apply::ports::LogGauge;
use crate::apply::ports::TrimPort;
use crate::apply::rows::RingRows;
use crate::apply::run::RunBounds;
use crate::apply::step::Loop;
use crate::apply::step::Parts;
use crate::crypto::envelope::EntryFrame;
use crate::crypto::keystore::Purpose;
use crate::crypto::seal::seal_control;
use crate::crypto::seal::seal_entries;
use crate::fsm::codec::encode_batch;
use crate::fsm::codec::encode_control;
use crate::fsm::command::Expiry;
use crate::fsm::command::Reply;
use crate::fsm::command::SetIf;
use crate::fsm::command::SetReply;
use crate::fsm::command::Write;
use crate::fsm::memory::MemoryStore;
use crate::fsm::reader::Reader;
use crate::fsm::state::Applied;
use crate::fsm::state::ConfState;
use crate::fsm::store::StateRow;
use crate::fsm::store::Step;
use crate::fsm::store::Store;
use crate::fsm::store::StoreError;
use crate::ids::ClusterId;
use crate::ids::Index;
use crate::ids::NodeId;
use crate::ids::Position;
use crate::ids::ProposalId;
use crate::ids::Term;
use crate::keys::change::Change;
use crate::keys::kek::KekSet;
use crate::keys::kek::from_bytes;
use crate::keys::make::make_bootstrap;
use crate::keys::make::make_cutover;
use crate::keys::make::make_opener;
use crate::keys::make::make_rotate;
use crate::keys::ring::Ring;
use crate::keys::rules::Facts;
use crate::keys::rules::RuleError;
use crate::keys::rules::decide;
use crate::propose::Outcome;
use crate::propose::Slot;
use crate::propose::Waiter;
use crate::propose::Waiters;
use crate::raft::Committed;
use crate::raft::Members;
use crate::wal::EntryKind;
use crate::wal::LogEntry;
use crate::world::Clock;
use crate::world::Entropy;
use crate::world::random_array;

pub(super) const CLUSTER: ClusterId = ClusterId([0xc1; 16]);

/// Seeded chance (splitmix64) that prints its seed; `SEALKV_SEED` replays one.
pub(super) struct Chance(Mutex<u64>);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(Mutex::new(seed))
    }

    pub(super) fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }
}

impl Entropy for Chance {
    fn fill(&self, out: &mut [u8]) {
        for byte in out {
            *byte = self.next() as u8;
        }
    }
}

/// The seeds of a random test: `SEALKV_SEED` alone, or `SEALKV_COUNT` of them (without it `count`) from a fixed start.
pub(super) fn seeds(count: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().unwrap());
    match number("SEALKV_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SEALKV_COUNT").unwrap_or(count)).collect(),
    }
}

pub(super) fn keks(byte: u8) -> KekSet {
    KekSet::new(vec![from_bytes(&Zeroizing::new([byte; 32]))]).unwrap()
}

pub(super) fn no_keks() -> KekSet {
    KekSet::new(Vec::new()).unwrap()
}

pub(super) fn at(term: u64, index: u64) -> Position {
    Position {
        term: Term(term),
        index: Index(index),
    }
}

pub(super) fn set(key: &str, value: &str) -> Write {
    Write::Set {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        when: SetIf::Always,
        expiry: Expiry::Clear,
        reply: SetReply::Ok,
    }
}

pub(super) fn incr(key: &str) -> Write {
    Write::IncrementBy {
        key: Bytes::copy_from_slice(key.as_bytes()),
        delta: 1,
    }
}

pub(super) fn append(key: &str, value: &str) -> Write {
    Write::Append {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    }
}

/// Makes the entries that a leader of this version makes, and remembers them as the log.
pub(super) struct Leader {
    pub(super) chance: Chance,
    pub(super) ring: Ring,
    pub(super) term: u64,
    pub(super) log: Vec<Committed>,
    stamp_ms: u64,
    has_clients: bool,
}

impl Leader {
    pub(super) fn new(seed: u64) -> Leader {
        let ring = Ring::new(CLUSTER, keks(7));
        Leader {
            chance: Chance::new(seed),
            ring,
            term: 1,
            log: Vec::new(),
            stamp_ms: 1_000_000,
            has_clients: false,
        }
    }

    /// A log that begins sealed: empty entry, bootstrap that is the cutover, opener.
    pub(super) fn sealed(seed: u64) -> Leader {
        let mut leader = Leader::new(seed);
        leader.empty();
        leader.bootstrap(true);
        leader.opener();
        leader
    }

    pub(super) fn next_position(&self) -> Position {
        at(self.term, self.log.len() as u64 + 2)
    }

    pub(super) fn entry(&self, index: u64) -> &LogEntry {
        &self.log[usize::try_from(index - 2).unwrap()].entry
    }

    pub(super) fn entry_mut(&mut self, index: u64) -> &mut LogEntry {
        &mut self.log[usize::try_from(index - 2).unwrap()].entry
    }

    pub(super) fn empty(&mut self) -> Position {
        self.push(EntryKind::Normal, Bytes::new(), None)
    }

    /// A new term as a node begins it: the empty entry, then an opener if sealing is on.
    pub(super) fn elect(&mut self) {
        self.term += 1;
        self.empty();
        if self.ring.cutover() != Index::NEVER {
            self.opener();
        }
    }

    pub(super) fn bootstrap(&mut self, is_cutover: bool) -> Position {
        let change = make_bootstrap(self.ring.keks(), CLUSTER, is_cutover, &self.chance).unwrap();
        self.control(&change)
    }

    pub(super) fn cutover(&mut self) -> Position {
        let change = make_cutover(self.ring.view().keyring().unwrap());
        self.control(&change)
    }

    pub(super) fn opener(&mut self) -> Position {
        let change = make_opener(Term(self.term), &self.chance);
        self.control(&change)
    }

    pub(super) fn rotate(&mut self, purpose: Purpose) -> Position {
        let view = self.ring.view();
        let change = make_rotate(self.ring.keks(), view.keyring().unwrap(), purpose, &self.chance).unwrap();
        self.control(&change)
    }

    /// A control entry in the clear or sealed, as its place asks for; the leader's ring follows if it applies.
    pub(super) fn control(&mut self, change: &Change) -> Position {
        let mut payload = Vec::new();
        encode_control(&change.encode(), &mut payload).unwrap();
        let data = self.seal_control(&payload);
        let position = self.push(EntryKind::Normal, data, None);
        let facts = Facts {
            cluster: CLUSTER,
            client_command_applied: self.has_clients,
        };
        let view = self.ring.view();
        if let Ok(keyring) = decide(view.keyring(), change, position, facts) {
            self.ring.install(keyring, position.index).unwrap();
        }
        position
    }

    pub(super) fn clients(&mut self, writes: &[Write]) -> Position {
        self.stamp_ms += self.chance.below(3);
        let payload = self.payload(writes);
        let data = self.seal(&payload);
        self.has_clients = true;
        self.push(EntryKind::Normal, data, None)
    }

    pub(super) fn payload(&self, writes: &[Write]) -> Vec<u8> {
        let mut payload = Vec::new();
        encode_batch(self.stamp_ms, writes, &mut payload).unwrap();
        payload
    }

    /// A membership change that adds a learner.
    pub(super) fn membership(&mut self) -> Position {
        let members = Members {
            learners: vec![2],
            ..Members::founders(&[NodeId::new(1).unwrap()])
        };
        // ConfChangeV2 { changes: [{ AddLearnerNode, node 2 }] }
        let data = Bytes::from_static(b"\x12\x04\x08\x02\x10\x02");
        self.push(EntryKind::ConfChangeV2, data, Some(members.encode()))
    }

    /// Entry data around a payload, as sealed or clear as the next place asks for.
    pub(super) fn seal(&self, payload: &[u8]) -> Bytes {
        let (position, proposal_id) = (self.next_position(), ProposalId(self.chance.next()));
        if position.index <= self.ring.cutover() {
            return EntryFrame { proposal_id, payload }.encode();
        }
        let key = self.ring.view().leadership_key().unwrap();
        let random = random_array(&self.chance);
        seal_entries(&key, random, position.index, &[(proposal_id, payload)])
            .unwrap()
            .remove(0)
    }

    pub(super) fn seal_control(&self, payload: &[u8]) -> Bytes {
        let (position, proposal_id) = (self.next_position(), ProposalId(self.chance.next()));
        if position.index <= self.ring.cutover() {
            return EntryFrame { proposal_id, payload }.encode();
        }
        let key = self.ring.view().control_key().unwrap();
        seal_control(&key, position, proposal_id, random_array(&self.chance), payload).unwrap()
    }

    pub(super) fn push(&mut self, kind: EntryKind, data: Bytes, conf_state: Option<Bytes>) -> Position {
        let position = self.next_position();
        let entry = LogEntry {
            term: position.term,
            index: position.index,
            kind,
            data,
        };
        self.log.push(Committed { entry, conf_state });
        position
    }
}

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

/// Notes where the state was when the cutover record was made durable.
struct CutoverNotes(Arc<Notes>, Arc<TestStore>);

impl CutoverLog for CutoverNotes {
    fn make_durable(&self, cutover: Index) -> Result<(), CutoverNotDurable> {
        if self.0.refuse_cutover.load(SeqCst) {
            return Err(CutoverNotDurable);
        }
        let row = self.1.state(StateRow::Applied).unwrap().unwrap();
        let applied = Applied::decode(&row).unwrap().position.index.0;
        self.0.cutovers.lock().unwrap().push((cutover.0, applied));
        Ok(())
    }
}

struct Trims(Arc<Notes>);

impl TrimPort for Trims {
    fn trim(&self, flushed: Position) {
        self.0.trims.lock().unwrap().push(flushed.index.0);
    }
}

struct Gauge(Arc<Notes>);

impl LogGauge for Gauge {
    fn bytes_written(&self) -> u64 {
        self.0.log_bytes.load(SeqCst)
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
    pub(super) fail_get_of: Mutex<Option<Vec<u8>>>,
    pub(super) fail_write: AtomicBool,
    pub(super) steps: AtomicU64,
}

impl TestStore {
    pub(super) fn founded() -> Arc<TestStore> {
        let store = TestStore::default();
        let founding = Applied::founding(CLUSTER, ConfState::single(NodeId::new(1).unwrap()), Vec::new());
        let state = vec![(StateRow::Applied, founding.encode(None))];
        store
            .memory
            .write(Step {
                state,
                ..Step::default()
            })
            .unwrap();
        store.memory.flush().unwrap();
        Arc::new(store)
    }

    pub(super) fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        self.memory
            .scan(&mut |key, row| {
                rows.push((key.to_vec(), row.to_vec()));
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
    rows: Vec<(Vec<u8>, Vec<u8>)>,
    applied: Option<Vec<u8>>,
    keyring: Option<Vec<u8>>,
}

impl Store for TestStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if self.fail_get_of.lock().unwrap().as_deref() == Some(key) {
            return Err(StoreError::Backend("told to fail".into()));
        }
        self.memory.get(key)
    }

    fn get_many(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.memory.get_many(keys)
    }

    fn state(&self, row: StateRow) -> Result<Option<Vec<u8>>, StoreError> {
        self.memory.state(row)
    }

    fn flushed_state(&self, row: StateRow) -> Result<Option<Vec<u8>>, StoreError> {
        self.memory.flushed_state(row)
    }

    fn write(&self, step: Step) -> Result<(), StoreError> {
        if self.fail_write.load(SeqCst) {
            return Err(StoreError::Backend("told to fail".into()));
        }
        self.steps.fetch_add(1, SeqCst);
        self.memory.write(step)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.memory.flush()
    }

    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.memory.scan(visit)
    }
}

/// How a node is run.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) threads: usize,
    pub(super) run_entries: usize,
    pub(super) pool_bytes: u64,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            threads: 2,
            run_entries: 4096,
            pool_bytes: 1 << 30,
        }
    }
}

/// A node that applies.
pub(super) struct Node {
    pub(super) store: Arc<TestStore>,
    pub(super) ring: Arc<Ring>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) notes: Arc<Notes>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) published: Arc<Published>,
    pub(super) apply: Loop,
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
        let ring = Arc::new(Ring::new(CLUSTER, keks));
        let applied = load(&*store, &ring).unwrap();
        let (notes, metrics) = (Arc::new(Notes::default()), Arc::new(Metrics::default()));
        let published = Arc::new(Published::new(applied.position));
        let waiters = Arc::new(Waiters::new());
        let dyn_store: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let flusher = Flusher::new(
            Arc::clone(&dyn_store),
            Arc::clone(&published),
            Arc::clone(&metrics),
            Box::new(Gauge(Arc::clone(&notes))),
            Box::new(Trims(Arc::clone(&notes))),
            setup.pool_bytes,
        );
        let parts = Parts {
            store: Arc::clone(&dyn_store),
            reader: Reader::new(dyn_store, Arc::new(RingRows::new(Arc::clone(&ring)))),
            ring: Arc::clone(&ring),
            waiters: Arc::clone(&waiters),
            openings: Openings::eager(pool(setup.threads)),
            cutover_log: Box::new(CutoverNotes(Arc::clone(&notes), Arc::clone(&store))),
            port: Box::new(Port(Arc::clone(&notes))),
            published: Arc::clone(&published),
            flusher: Arc::new(flusher),
            flush_wake: None,
            metrics: Arc::clone(&metrics),
            clock: Arc::new(Still),
            bounds: RunBounds {
                entries_max: setup.run_entries,
                bytes_max: 1 << 20,
            },
        };
        let apply = Loop::new(parts, applied);
        Node {
            store,
            ring,
            waiters,
            notes,
            metrics,
            published,
            apply,
            told: Told::default(),
        }
    }

    /// Somebody who proposed the entry at `position` with these slots, and waits.
    pub(super) fn wait_for(&self, position: Position, slots: Vec<Slot>) {
        let told = Arc::clone(&self.told);
        let done = move |outcome| {
            let word = match outcome {
                Outcome::Replies(replies) => Ok(replies),
                Outcome::TryAgain => Err("try again"),
                Outcome::NotLeader(_) => Err("not leader"),
                Outcome::TooLarge => Err("too large"),
                Outcome::Unknown => Err("unknown"),
            };
            told.lock().unwrap().push((position.index.0, word));
        };
        self.waiters
            .register(position, [Waiter::new(slots, Box::new(done))], Duration::MAX);
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

/// `threads` opening threads, of which one is the caller's.
pub(super) fn pool(threads: usize) -> Option<Arc<ThreadPool>> {
    let helpers = threads.checked_sub(1).filter(|helpers| *helpers > 0)?;
    Some(Arc::new(ThreadPoolBuilder::new().num_threads(helpers).build().unwrap()))
}
