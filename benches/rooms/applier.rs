//! A node that applies what a leader made: the real loop over a base in memory, without threads.

use std::sync::Arc;

use sealkv::apply::apply_loop::ApplyLoop;
use sealkv::apply::apply_loop::ApplyParts;
use sealkv::apply::commit::State;
use sealkv::apply::flush::Flusher;
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
use sealkv::fsm::reader::RowReader;
use sealkv::fsm::state::Applied;
use sealkv::ids::Index;
use sealkv::ids::NodeId;
use sealkv::ids::Position;
use sealkv::keys::node_keys::NodeKeys;
use sealkv::keys::rules::RuleError;
use sealkv::limits::TABLE_BYTES;
use sealkv::members::Members;
use sealkv::propose::Waiters;
use sealkv::raft::Committed;
use sealkv::testing::base::MemoryBase;
use sealkv::testing::clock::SimClock;
use sealkv::testing::leader::CLEAR_NAMES;
use sealkv::testing::leader::CLUSTER;
use sealkv::testing::leader::Leader;
use sealkv::testing::leader::keks;
use sealkv::testing::workload::Workload;

/// The loop, what it reads with, and what is below it.
pub struct Applier {
    pub base: Arc<MemoryBase>,
    pub reader: RowReader,
    pub apply: ApplyLoop,
}

struct Nobody;

impl AppliedPort for Nobody {
    fn applied(&mut self, _record: &Applied) {}
    fn control(&mut self, _position: Position, _outcome: Result<(), RuleError>) {}
}

impl ApplyLog for Nobody {
    fn make_durable(&self, _cutover: Index) -> Result<(), CutoverNotDurable> {
        Ok(())
    }
    fn trim(&self, _flushed: Position) {}
    fn bytes_used(&self) -> u64 {
        0
    }
    fn pool_bytes(&self) -> u64 {
        1 << 40
    }
}

impl Applier {
    /// A new cluster of one.
    pub fn founded() -> Applier {
        Applier::founded_with(Openings::new(None))
    }

    /// The same, which opens entries on the threads of `openings`.
    pub fn founded_with(openings: Openings) -> Applier {
        let members = Members::founders(&[NodeId::new(1).expect("not 0")]);
        let founding = Applied::founding(CLUSTER, CLEAR_NAMES, members, Vec::new());
        let base = MemoryBase::new(StateRows { applied: founding.encode(None), keyring: None });
        Applier::start(Arc::new(base), openings)
    }

    /// A start on what is in `base`.
    pub fn on(base: Arc<MemoryBase>) -> Applier {
        Applier::start(base, Openings::new(None))
    }

    fn start(base: Arc<MemoryBase>, openings: Openings) -> Applier {
        let node_keys = Arc::new(NodeKeys::new(CLUSTER, keks(7)));
        let record = load(&*base, &node_keys).expect("a state of its own");
        let metrics = Arc::<Metrics>::default();
        let log: Arc<dyn ApplyLog> = Arc::new(Nobody);
        let flusher = Arc::new(Flusher::new(Arc::clone(&metrics), Arc::clone(&log)));
        let below: Arc<dyn RowBase> = Arc::clone(&base) as Arc<dyn RowBase>;
        let state = State::new(below, record, Arc::clone(&flusher), Arc::clone(&log), TABLE_BYTES);
        let reader = RowReader::new(Arc::clone(state.views()), Arc::new(SealedRows::new(Arc::clone(&node_keys))));
        let apply = ApplyLoop::new(ApplyParts {
            state,
            reader: reader.clone(),
            node_keys,
            waiters: Arc::new(Waiters::new()),
            openings,
            log,
            port: Box::new(Nobody),
            flusher,
            metrics,
            clock: Arc::new(SimClock::default()),
            bounds: RunBounds::default(),
        });
        Applier { base, reader, apply }
    }

    /// Applies these entries; the index that is applied then.
    pub fn run(&mut self, entries: &[Committed]) -> u64 {
        self.apply.offer(entries.to_vec());
        while self.apply.queued() > 0 && self.apply.step().is_ok() {}
        self.apply.applied().position.index.0
    }
}

impl Applier {
    /// Applies these entries up to the halt that must come; the index that is applied then.
    pub fn run_to_halt(&mut self, entries: &[Committed]) -> u64 {
        self.apply.offer(entries.to_vec());
        while self.apply.step().is_ok() {}
        self.apply.applied().position.index.0
    }
}

/// A log of one SET an entry, sealed from its beginning or never, and how many entries stand before the SETs.
pub fn log_of_sets(cipher: &str, count: usize, size: usize) -> (Vec<Committed>, usize) {
    log_of_groups(cipher, (count, 1), size)
}

/// The same with so many entries of so many SETs each.
pub fn log_of_groups(cipher: &str, (count, sets): (usize, usize), size: usize) -> (Vec<Committed>, usize) {
    let mut leader = if cipher == "sealed" { Leader::sealed(1) } else { Leader::new(1) };
    if cipher == "nil" {
        leader.empty();
    }
    let before = leader.log.len();
    for group in Workload::new(1).sets(0, count * sets, size).chunks(sets) {
        leader.clients(group);
    }
    (leader.log, before)
}
