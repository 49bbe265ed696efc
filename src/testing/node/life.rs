//! One life of a simulated node, from its start to its crash: the real loops, stepped by hand instead of by threads.
//!
//! A start goes the way of a node's: recover the log, load the state, compare the two, replay up to commit, then raft.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;

use crate::apply;
use crate::apply::apply_loop;
use crate::apply::apply_loop::ApplyProgress;
use crate::apply::commit::State;
use crate::apply::flush::Flusher;
use crate::apply::metrics::Metrics;
use crate::apply::open::Openings;
use crate::apply::ports::ApplyLog;
use crate::apply::replay::replay;
use crate::apply::rows::SealedRows;
use crate::apply::run::RunBounds;
use crate::exit::chain;
use crate::fsm::base::RowBase;
use crate::fsm::reader::RowReader;
use crate::fsm::state::Applied;
use crate::fsm::state::StateRecord;
use crate::ids::Index;
use crate::ids::Position;
use crate::keys::keyring::Keyring;
use crate::keys::node_keys::NodeKeys;
use crate::limits::RAFT_STEP_INPUTS_MAX;
use crate::limits::RUN_ENTRIES_MAX;
use crate::node::agree;
use crate::node::end::End;
use crate::node::end::Ends;
use crate::node::members_watch::MembersWatch;
use crate::node::open::load_and_compare;
use crate::node::open::log_facts;
use crate::node::open::starting_point;
use crate::node::ports::AppliedTo;
use crate::node::ports::StateReads;
use crate::node::ports::has_keys;
use crate::node::retention::LogRetention;
use crate::node::retention::TrimHold;
use crate::node::retention::trims_at_start;
use crate::node::snapshot::Snapshots;
use crate::node::snapshot::disk::SnapshotDisk;
use crate::node::snapshot::install;
use crate::node::snapshot::install::FoundLog;
use crate::node::snapshot::install::InstallParts;
use crate::node::snapshot::parts::SnapshotParts;
use crate::propose;
use crate::propose::AppliedFacts;
use crate::propose::KekWitness;
use crate::propose::MemberLack;
use crate::propose::Waiters;
use crate::raft;
use crate::raft::Committed;
use crate::raft::Input;
use crate::raft::PeerMessage;
use crate::raft::SnapshotOffer;
use crate::raft::Status;
use crate::testing::node::log::DurableTerms;
use crate::testing::node::log::SimLog;
use crate::testing::node::remains::Remains;
use crate::testing::node::remains::keks_of;
use crate::testing::node::shared::SharedBySimNodes;
use crate::testing::node::snapshots::SimSnapshots;
use crate::testing::node::snapshots::SnapshotDesk;
use crate::testing::record::Deed;
use crate::testing::seed::Seeded;
use crate::wal::Append;
use crate::wal::LogLoop;
use crate::wal::Recovered;
use crate::wal::WalError;
use crate::world::Clock;
use crate::world::Entropy;
use crate::world::World;

/// The loops of a running node and the queues between them.
pub(super) struct Life {
    pub(super) handle: propose::ProposeHandle,
    pub(super) reads: StateReads,
    pub(super) log: SimLog,
    pub(super) raft: raft::RaftLoop,
    pub(super) apply: apply_loop::ApplyLoop,
    inputs: Receiver<Input>,
    /// By tests.
    asked: Vec<Input>,
    batches: Receiver<Vec<Committed>>,
    /// Of a node of several.
    snapshots: Option<SimSnapshots>,
    node_keys: Arc<NodeKeys>,
}

/// What the loops of one life share.
struct LifeParts {
    facts: Arc<AppliedFacts>,
    waiters: Arc<Waiters>,
    read_points: Arc<propose::ReadPoints>,
    node_keys: Arc<NodeKeys>,
    raft: Sender<Input>,
    members: Arc<MembersWatch>,
    hold: Arc<TrimHold>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// What a start finds on its disks.
struct FoundOnDisks {
    log: LogLoop,
    recovered: Recovered,
    base: Arc<dyn RowBase>,
    record: StateRecord,
    disk: Arc<dyn SnapshotDisk>,
}

impl FoundOnDisks {
    /// A snapshot that is complete is installed first. Then log and state are compared.
    fn open(body: &Remains, node_keys: &NodeKeys, world: &World) -> Result<FoundOnDisks, String> {
        let disk: Arc<dyn SnapshotDisk> = Arc::new(body.files.of_this_life());
        let (mut log, recovered) = open_and_install(body, &*disk, node_keys, world)?;
        log.sync_recovered().map_err(|error| error.to_string())?;
        let base = body.base().ok_or("there is no state")?;
        let record = load_and_compare(&*base, &body.identity, &recovered, node_keys);
        let record = record.map_err(|refusal| refusal.to_string())?;
        install::remove_leftovers(&*disk, &body.places).map_err(|refusal| chain(&refusal))?;
        Ok(FoundOnDisks { log, recovered, base, record, disk })
    }
}

impl LifeParts {
    fn new(
        body: &Remains,
        applied: &Applied,
        node_keys: Arc<NodeKeys>,
        world: World,
        raft: Sender<Input>,
    ) -> LifeParts {
        let World { clock, entropy } = world;
        LifeParts {
            facts: Arc::new(AppliedFacts::new(
                Arc::clone(&clock),
                applied.last_stamp_ms,
                applied.client_command_applied,
            )),
            waiters: Arc::new(Waiters::new()),
            read_points: Arc::new(propose::ReadPoints::new(applied.position.index)),
            node_keys,
            raft,
            members: Arc::new(MembersWatch::new(body.identity.node, applied)),
            hold: Arc::default(),
            clock,
            entropy,
        }
    }
}

impl Life {
    /// Starts on what `body` holds; a snapshot that is complete is installed first. The error is why a node would not start.
    pub(super) fn start(
        body: &Remains,
        shared_by_all: &SharedBySimNodes,
        entropy: Arc<Seeded>,
    ) -> Result<Life, String> {
        let world = World { clock: Arc::clone(&body.clock) as Arc<dyn Clock>, entropy };
        let node_keys = Arc::new(NodeKeys::new(body.identity.cluster, keks_of(body.mode)));
        let FoundOnDisks { log, recovered, base, record, disk } = FoundOnDisks::open(body, &node_keys, &world)?;
        let (raft, inputs) = raft::thread::queue();
        let shared = LifeParts::new(body, &record.applied, node_keys, world, raft);
        let flushed = record.applied.position;
        let retention = LogRetention::new(Arc::clone(&shared.members), Arc::clone(&shared.hold));
        let record_of_deeds = shared_by_all.record.of(body.identity.node.value());
        let seen_by = (shared_by_all.sealings.clone(), record_of_deeds.clone());
        let log = SimLog::new(log, DurableTerms::of(&recovered), shared.raft.clone(), retention, seen_by);
        let snapshots = body.is_of_several.then(|| snapshots(body, &shared, (&base, &disk), shared_by_all));
        let (mut apply, reader) = apply_loop(base, &shared, &log, record);
        replay_log(&mut apply, &recovered)?;
        inputs.try_iter().for_each(drop);
        if trims_at_start(recovered.compacted.index, flushed.index, &log.space()) {
            log.trim(flushed);
        }
        drop(shared.raft.try_send(has_keys(&shared.node_keys)));
        let (queue, handle) = proposer(body, &shared);
        let (committed, batches) = apply::thread::queue();
        let ports = SimPorts {
            log: log.clone(),
            apply: committed,
            read_points: Arc::clone(&shared.read_points),
            snapshots: snapshots.as_ref().map(SimSnapshots::desk),
        };
        record_of_deeds.note(|| started(&recovered, &apply, &shared.node_keys));
        let outside = outside_of_raft(queue, ports, &shared, shared_by_all);
        let raft = raft::RaftLoop::new(raft_config(body), starting_point(recovered, apply.applied()), outside);
        let raft = raft.map_err(|error| error.to_string())?;
        let reads = StateReads { reader };
        let node_keys = Arc::clone(&shared.node_keys);
        Ok(Life { handle, reads, log, raft, apply, inputs, asked: Vec::new(), batches, snapshots, node_keys })
    }

    /// One turn of raft's loop: it takes what has arrived and what the other loops have for it.
    pub(super) fn step_raft(&mut self, arrived: Vec<PeerMessage>) -> Result<(), String> {
        let asked = std::mem::take(&mut self.asked);
        let inputs = asked.into_iter().chain(arrived.into_iter().map(Input::Message)).chain(self.inputs.try_iter());
        self.raft.step(inputs.take(RAFT_STEP_INPUTS_MAX)).map_err(|error| error.to_string())
    }

    /// Something for raft's next turn.
    pub(super) fn ask(&mut self, input: Input) {
        self.asked.push(input);
    }

    /// One turn of apply's loop. True if it applied a run.
    pub(super) fn step_apply(&mut self) -> Result<bool, String> {
        while self.apply.queued() < RUN_ENTRIES_MAX {
            match self.batches.try_recv() {
                Ok(batch) => self.apply.offer(batch),
                Err(_) => break,
            }
        }
        let progress = self.apply.step().map_err(|halt| halt.to_string())?;
        Ok(matches!(progress, ApplyProgress::Applied(_)))
    }

    /// What its apply loop has done until now.
    pub(super) fn applied(&self) -> Deed {
        Deed::Applied { at: self.apply.applied().position, keyring: keyring_row(&self.node_keys) }
    }

    /// Ends in order, as at a signal: raft gives back what waits, apply finishes and flushes, the log writes what it has.
    pub(super) fn stop(&mut self) -> Result<(), String> {
        self.raft.step(std::iter::once(Input::Stop)).map_err(|error| error.to_string())?;
        while self.step_apply()? {}
        self.apply.flush().map_err(|halt| halt.to_string())?;
        self.log.settle()
    }

    pub(super) fn status(&self) -> Status {
        self.raft.status()
    }

    /// One turn of the threads of snapshots. Why the node ends, if it does.
    pub(super) fn step_snapshots(&mut self, chance: &Seeded) -> Option<End> {
        self.snapshots.as_mut()?.step(chance)
    }

    /// Whether a snapshot is being fetched.
    pub(super) fn is_fetching(&self) -> bool {
        self.snapshots.as_ref().is_some_and(SimSnapshots::is_fetching)
    }
}

fn started(recovered: &Recovered, apply: &apply_loop::ApplyLoop, node_keys: &NodeKeys) -> Deed {
    let compacted = recovered.compacted;
    let last = recovered.entries.last().map_or(compacted.index, |entry| entry.index);
    let position = |index| {
        let index = Index(index);
        Position { term: recovered.term_at(index).expect("a log has no gaps"), index }
    };
    Deed::Started {
        term: recovered.hard_state.term,
        compacted,
        entries: (compacted.index.0 + 1..=last.0).map(position).collect(),
        applied: apply.applied().position,
        keyring: keyring_row(node_keys),
    }
}

fn keyring_row(node_keys: &NodeKeys) -> Option<Vec<u8>> {
    node_keys.current().keyring().map(Keyring::encode)
}

fn outside_of_raft(
    queue: propose::Queue,
    ports: SimPorts,
    shared: &LifeParts,
    shared_by_all: &SharedBySimNodes,
) -> raft::RaftParts {
    raft::RaftParts {
        space: ports.log.space(),
        proposer: Box::new(queue),
        ports: Box::new(ports),
        transport: Box::new(shared_by_all.network.endpoint()),
        clock: Arc::clone(&shared.clock),
        entropy: Arc::clone(&shared.entropy),
    }
}

fn raft_config(body: &Remains) -> raft::RaftConfig {
    raft::RaftConfig { can_fetch: true, lease: body.lease, ..raft::RaftConfig::new(body.identity.node) }
}

/// The log as it is once a complete snapshot is installed.
fn open_and_install(
    body: &Remains,
    disk: &dyn SnapshotDisk,
    node_keys: &NodeKeys,
    world: &World,
) -> Result<FoundLog, String> {
    let open_log = || -> Result<FoundLog, WalError> {
        let platters = Box::new(body.platters.open(None));
        let opened = LogLoop::open(&body.config, platters, Arc::clone(&world.clock), Arc::clone(&world.entropy))?;
        body.log_begins.store(opened.1.compacted.index.0, Relaxed);
        Ok(opened)
    };
    let opened = open_log().map_err(|error| error.to_string())?;
    let parts = InstallParts { places: &body.places, disk, node_keys, open_log: &open_log };
    install::finish(&parts, opened).map_err(|refusal| chain(&refusal))
}

fn snapshots(
    body: &Remains,
    shared: &LifeParts,
    (base, disk): (&Arc<dyn RowBase>, &Arc<dyn SnapshotDisk>),
    shared_by_all: &SharedBySimNodes,
) -> SimSnapshots {
    let (ends, ended) = Ends::new();
    let parts = SnapshotParts {
        base,
        disk,
        places: &body.places,
        node_keys: &shared.node_keys,
        hold: &shared.hold,
        numbers: &body.numbers,
        raft: &shared.raft,
        ends: &ends,
        clock: &shared.clock,
    };
    let (parcels, clock) = (shared_by_all.parcels.clone(), Arc::clone(&shared.clock));
    SimSnapshots::new(body.identity.node, Snapshots::new(&parts), ended, parcels, clock)
}

fn apply_loop(
    base: Arc<dyn RowBase>,
    shared: &LifeParts,
    log: &SimLog,
    record: StateRecord,
) -> (apply_loop::ApplyLoop, RowReader) {
    let metrics = Arc::<Metrics>::default();
    let log: Arc<dyn ApplyLog> = Arc::new(log.clone());
    let flusher = Arc::new(Flusher::new(Arc::clone(&metrics), Arc::clone(&log)));
    let state = State::new(base, record, Arc::clone(&flusher), Arc::clone(&log), TABLE_BYTES);
    let cipher = Arc::new(SealedRows::new(Arc::clone(&shared.node_keys)));
    let reader = RowReader::new(Arc::clone(state.views()), cipher);
    let port = AppliedTo {
        raft: shared.raft.clone(),
        facts: Arc::clone(&shared.facts),
        reads: Arc::clone(&shared.read_points),
        voters: Arc::default(),
        members: Arc::clone(&shared.members),
        node_keys: Arc::clone(&shared.node_keys),
    };
    let parts = apply_loop::ApplyParts {
        state,
        reader: reader.clone(),
        node_keys: Arc::clone(&shared.node_keys),
        waiters: Arc::clone(&shared.waiters),
        openings: Openings::simulated(),
        log,
        port: Box::new(port),
        flusher,
        metrics,
        clock: Arc::clone(&shared.clock),
        bounds: RunBounds::default(),
    };
    (apply_loop::ApplyLoop::new(parts), reader)
}

fn replay_log(apply: &mut apply_loop::ApplyLoop, recovered: &Recovered) -> Result<(), String> {
    let applied = apply.applied().position.index;
    let commit = agree::commit(applied, &log_facts(recovered));
    let is_replayed = |index: Index| applied < index && index <= commit;
    let entries = recovered.entries.iter().filter(|entry| is_replayed(entry.index)).cloned();
    replay(apply, entries, |_| (), |_| false).map_err(|halt| halt.to_string())
}

fn proposer(body: &Remains, shared: &LifeParts) -> (propose::Queue, propose::ProposeHandle) {
    let raft = shared.raft.clone();
    let parts = propose::ProposeParts {
        witness: Box::new(AllHaveTheKek),
        node_keys: Arc::clone(&shared.node_keys),
        facts: Arc::clone(&shared.facts),
        waiters: Arc::clone(&shared.waiters),
        reads: Arc::clone(&shared.read_points),
        clock: Arc::clone(&shared.clock),
        entropy: Arc::clone(&shared.entropy),
        wake: Box::new(move || drop(raft.try_send(Input::Wake))),
    };
    propose::queue(propose::ProposeConfig::new(body.mode), parts)
}

/// Every node of a simulated cluster is started with the same KEK.
struct AllHaveTheKek;

impl KekWitness for AllHaveTheKek {
    fn check(&self) -> Result<(), MemberLack> {
        Ok(())
    }
}

/// Raft's effects, into the queues of the other loops.
struct SimPorts {
    log: SimLog,
    apply: Sender<Vec<Committed>>,
    read_points: Arc<propose::ReadPoints>,
    snapshots: Option<SnapshotDesk>,
}

impl raft::Ports for SimPorts {
    fn log(&mut self, append: Append) {
        self.log.append(append);
    }

    fn apply(&mut self, committed: Vec<Committed>) {
        self.apply.try_send(committed).expect("raft keeps its batches below half of this queue");
    }

    fn read_ready(&mut self, context: u64, index: Index) {
        self.read_points.ready(context, index);
    }

    fn read_lost(&mut self, context: u64) {
        self.read_points.lost(context);
    }

    fn status(&mut self, status: Status) {
        self.read_points.set_leader(status.is_leader);
        self.read_points.set_leads_alone(status.leads_alone);
    }

    fn fetch(&mut self, first: Index, last: Index) -> bool {
        self.log.fetch(first, last);
        true
    }

    fn snapshot_wanted(&mut self) {
        self.snapshots.iter().for_each(SnapshotDesk::wanted);
    }

    fn snapshot_offered(&mut self, offer: SnapshotOffer) {
        self.snapshots.iter().for_each(|snapshots| snapshots.offered(offer));
    }
}

/// Small, so that a table is frozen and flushed again and again.
const TABLE_BYTES: u64 = 256 << 10;
