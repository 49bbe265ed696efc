//! The threads of a node, started in the order in which an entry needs them: log, apply, propose, raft.
//!
//! ```text
//! clients -> propose queue -> raft thread -> log thread -> persisted -> raft thread
//!                                  |                                        |
//!                                  '------------ committed -> apply thread -'-> answers
//! ```
//!
//! Each step of [`start`] returns what the next one needs. Apply replays the log before raft exists; no thread but the
//! log's runs until everything that can be refused is built.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use rayon::ThreadPool;
use rayon::ThreadPoolBuilder;

use crate::apply;
use crate::apply::apply_loop;
use crate::apply::commit::State;
use crate::apply::flush::Flusher;
use crate::apply::open::Openings;
use crate::apply::ports::ApplyLog;
use crate::apply::rows::SealedRows;
use crate::apply::table_gauge::TableGauge;
use crate::apply::thread::FlushAsker;
use crate::fsm::base::RowBase;
use crate::fsm::reader::RowReader;
use crate::ids::NodeId;
use crate::keys::identity::Identity;
use crate::keys::node_keys::NodeKeys;
use crate::node::apply_threads::ApplyThreads;
use crate::node::catch_up::CatchUp;
use crate::node::config::Config;
use crate::node::datadir::DataDir;
use crate::node::encryption::NodeOperator;
use crate::node::end::Ends;
use crate::node::end::NodeFailure;
use crate::node::expiry::ExpiryParts;
use crate::node::expiry::ExpiryThread;
use crate::node::links::Links;
use crate::node::membership::NodeMembership;
use crate::node::memory_numbers::MemoryNumbers;
use crate::node::numbers::NodeNumbers;
use crate::node::open::OpenedNode;
use crate::node::open::starting_point;
use crate::node::peering;
use crate::node::peering::PeerDesk;
use crate::node::ports::AppliedTo;
use crate::node::ports::HeldDeadlines;
use crate::node::ports::LogReports;
use crate::node::ports::RaftPorts;
use crate::node::ports::StateReads;
use crate::node::ports::TrimmedLog;
use crate::node::ports::has_keys;
use crate::node::progress::StartProgress;
use crate::node::refusal::Refusal;
use crate::node::retention::LogRetention;
use crate::node::running::NodeThreads;
use crate::node::running::RunningNode;
use crate::node::settings::Encryption;
use crate::node::snapshot::Snapshots;
use crate::node::snapshot::disk::SnapshotDisk;
use crate::node::snapshot::files::SnapshotFiles;
use crate::node::snapshot::parts::SnapshotParts;
use crate::node::snapshot::places::SnapshotPlaces;
use crate::node::watch_facts::WatchFacts;
use crate::peers::Peers;
use crate::propose;
use crate::propose::ExpiryWalk;
use crate::propose::ProposeConfig;
use crate::propose::ProposeHandle;
use crate::propose::ProposeParts;
use crate::raft;
use crate::raft::Committed;
use crate::raft::Input;
use crate::raft::RaftConfig;
use crate::raft::RaftLoop;
use crate::raft::RaftParts;
use crate::raft::StartingPoint;
use crate::raft::thread::Rider;
use crate::resp::Stats;
use crate::wal;
use crate::wal::LogLoop;
use crate::wal::thread::LogThread;
use crate::world::World;

/// Replays the log and starts every thread but the network's.
///
/// # Errors
/// [`Refusal::Failure`] if the replay halts or agreement cannot begin, [`Refusal::Make`] for a thread.
pub fn start(
    config: &Config,
    world: &World,
    opened: OpenedNode,
    ends: &Ends,
    progress: &StartProgress,
) -> Result<RunningNode, Refusal> {
    let OpenedNode { directory, identity, log, recovered, base, record, node_keys } = opened;
    let (raft, inputs) = raft::thread::queue();
    let links = Links::new(identity.node, &record.applied, raft, &node_keys, world, ends, config.client_port());
    let start = Start { config, world, ends, links, node_keys };
    let log = start.log(log)?;
    let to_trim = start.trimmed(&log);
    let flusher = Arc::new(Flusher::new(Arc::clone(&start.links.metrics), Arc::clone(&to_trim)));
    let flushed = record.applied.position;
    let snapshots = start.snapshots(&directory, &base);
    let (trimmed, table_bytes) = (Arc::clone(&to_trim), config.memory.settled_table_bytes());
    let state = State::new(base, record, Arc::clone(&flusher), trimmed, table_bytes).keeping(config.memory.kept_bytes);
    let tables = state.gauge();
    let cipher = Arc::new(SealedRows::new(Arc::clone(&start.node_keys)));
    let reader = RowReader::new(Arc::clone(state.views()), cipher);
    let mut apply = start.apply(Arc::clone(&to_trim), flusher, state, reader.clone())?;
    let apply_threads = ApplyThreads::begin(&mut apply, ends)?;
    let flush = apply_threads.flush();
    let catch_up = CatchUp { recovered: &recovered, log: &log.thread, inputs: &inputs, progress, flush };
    catch_up.replay(&mut apply)?;
    catch_up.flush(&mut apply)?;
    catch_up.trim_again(&*to_trim, flushed);
    drop(start.links.raft.send(has_keys(&start.node_keys)));
    apply.let_in(config.memory.unapplied_bytes());
    let (proposals, proposer) = start.propose();
    let membership = start.links.membership(identity.node);
    if let Some(several) = &config.cluster {
        start.links.members.set_addresses(several.addresses());
        let book = peering::open_book(&config.data_dir, several, &recovered, &apply.applied().members, world);
        let cannot = |source| Refusal::Make { what: "PEERS cannot be read or written".to_owned(), source };
        start.links.keks.keep(Arc::new(book.map_err(cannot)?));
    }
    let peers = start.peers(&proposer, &membership, snapshots.as_ref())?;
    let (to_apply, committed) = apply::thread::queue();
    let from = starting_point(recovered, apply.applied());
    let raft = start.raft(&log, proposals, to_apply, identity.node, from, peers.as_deref().zip(snapshots))?;
    let (apply_thread, rider) = apply_threads.go_on(apply, committed, config.cluster.is_none())?;
    let raft_thread = start.spawn_raft(raft, inputs, rider)?;
    let numbers = start.numbers(identity, &log, tables, peers.as_ref());
    let operator = start.operator(proposer.clone(), &reader, membership, apply_thread.flush_asker());
    let expiry = start.spawn_expiry(proposer.clone(), &reader, &numbers)?;
    let Start { links, .. } = start;
    Ok(RunningNode {
        gateway: Arc::new(proposer),
        reads: Arc::new(StateReads { reader }),
        operator: Arc::new(operator),
        numbers: Arc::new(numbers),
        threads: NodeThreads {
            raft: links.raft,
            raft_thread,
            apply_thread,
            expiry,
            log: log.thread,
            waiters: links.waiters,
            read_points: links.read_points,
            peers,
            _directory: directory,
        },
    })
}

/// A start under way: what its steps share.
struct Start<'a> {
    config: &'a Config,
    world: &'a World,
    ends: &'a Ends,
    links: Links,
    node_keys: Arc<NodeKeys>,
}

/// The log, whose thread runs.
struct LogHandle {
    thread: Arc<LogThread>,
    reports: Arc<LogReports>,
    engine: &'static str,
}

impl Start<'_> {
    fn log(&self, log: LogLoop) -> Result<LogHandle, Refusal> {
        let engine = log.engine().word();
        let reports = Arc::new(LogReports::new(self.links.raft.clone(), self.ends.clone()));
        let thread = wal::thread::spawn(log, reports.clone()).map_err(NodeFailure::Log)?;
        Ok(LogHandle { thread: Arc::new(thread), reports, engine })
    }

    /// Both sides of snapshots, of a node of several.
    fn snapshots(&self, directory: &DataDir, base: &Arc<dyn RowBase>) -> Option<Snapshots> {
        self.config.cluster.as_ref()?;
        let disk: Arc<dyn SnapshotDisk> = Arc::new(SnapshotFiles::new(self.config.rocks_beside()));
        let places = SnapshotPlaces::of(directory);
        let Links { raft, hold, snapshots: numbers, .. } = &self.links;
        let (node_keys, ends, clock) = (&self.node_keys, self.ends, &self.world.clock);
        let (disk, places) = (&disk, &places);
        Some(Snapshots::new(&SnapshotParts { base, disk, places, node_keys, hold, numbers, raft, ends, clock }))
    }

    /// The log as apply uses it.
    fn trimmed(&self, log: &LogHandle) -> Arc<dyn ApplyLog> {
        let Links { members, hold, .. } = &self.links;
        let retention = LogRetention::new(Arc::clone(members), Arc::clone(hold));
        Arc::new(TrimmedLog { log: Arc::clone(&log.thread), retention })
    }

    fn apply(
        &self,
        log: Arc<dyn ApplyLog>,
        flusher: Arc<Flusher>,
        state: State,
        reader: RowReader,
    ) -> Result<apply_loop::ApplyLoop, Refusal> {
        let Links { raft, facts, waiters, read_points, voters, members, metrics, .. } = &self.links;
        let port = AppliedTo {
            raft: raft.clone(),
            facts: Arc::clone(facts),
            reads: Arc::clone(read_points),
            voters: Arc::clone(voters),
            members: Arc::clone(members),
            node_keys: Arc::clone(&self.node_keys),
        };
        let parts = apply_loop::ApplyParts {
            state,
            reader,
            node_keys: Arc::clone(&self.node_keys),
            waiters: Arc::clone(waiters),
            openings: Openings::new(Some(self.open_threads()?)),
            log,
            port: Box::new(port),
            flusher,
            metrics: Arc::clone(metrics),
            clock: Arc::clone(&self.world.clock),
            bounds: self.config.memory.run_bounds(),
        };
        Ok(apply_loop::ApplyLoop::new(parts))
    }

    fn open_threads(&self) -> Result<Arc<ThreadPool>, Refusal> {
        let built = ThreadPoolBuilder::new()
            .num_threads(self.config.open_threads)
            .thread_name(|number| format!("open-{number}"))
            .build();
        built
            .map(Arc::new)
            .map_err(|error| no_threads("threads that open entries", io::Error::other(error.to_string())))
    }

    fn propose(&self) -> (propose::Queue, ProposeHandle) {
        let raft = self.links.raft.clone();
        let parts = ProposeParts {
            witness: match &self.config.cluster {
                None => Box::new(propose::SoleVoter),
                Some(_) => Box::new(Arc::clone(&self.links.keks)),
            },
            node_keys: Arc::clone(&self.node_keys),
            facts: Arc::clone(&self.links.facts),
            waiters: Arc::clone(&self.links.waiters),
            reads: Arc::clone(&self.links.read_points),
            clock: Arc::clone(&self.world.clock),
            entropy: Arc::clone(&self.world.entropy),
            wake: Box::new(move || drop(raft.try_send(Input::Wake))),
        };
        propose::queue(self.propose_config(), parts)
    }

    /// The connections of a node of several.
    fn peers(
        &self,
        proposer: &ProposeHandle,
        membership: &Arc<NodeMembership>,
        snapshots: Option<&Snapshots>,
    ) -> Result<Option<Arc<Peers>>, Refusal> {
        let Some((several, snapshots)) = self.config.cluster.as_ref().zip(snapshots) else { return Ok(None) };
        let Links { raft, keks, members, .. } = &self.links;
        let desk = PeerDesk {
            raft: raft.clone(),
            proposer: proposer.clone(),
            meetings: Arc::clone(keks),
            members: Arc::clone(members),
            membership: Arc::clone(membership),
            snapshots: snapshots.clone(),
        };
        Ok(Some(peering::start(several, desk, members, self.config.memory.peer_queue_bytes())?))
    }

    fn propose_config(&self) -> ProposeConfig {
        ProposeConfig::new(match self.config.encryption {
            Encryption::Off => propose::Mode::Off,
            Encryption::Ready => propose::Mode::Ready,
            Encryption::On => propose::Mode::On,
        })
    }

    fn raft(
        &self,
        log: &LogHandle,
        proposals: propose::Queue,
        apply: Sender<Vec<Committed>>,
        node: NodeId,
        from: StartingPoint,
        several: Option<(&Peers, Snapshots)>,
    ) -> Result<RaftLoop, Refusal> {
        let ports = RaftPorts {
            log: Arc::clone(&log.thread),
            raft: self.links.raft.clone(),
            apply,
            reads: Arc::clone(&self.links.read_points),
            status: Arc::clone(&self.links.status),
            ends: self.ends.clone(),
            snapshots: several.as_ref().map(|(_, snapshots)| snapshots.clone()),
        };
        let parts = RaftParts {
            proposer: Box::new(proposals),
            ports: Box::new(ports),
            transport: match several {
                None => Box::new(raft::Nowhere),
                Some((peers, _)) => Box::new(peers.transport()),
            },
            space: Arc::clone(log.thread.space()),
            clock: Arc::clone(&self.world.clock),
            entropy: Arc::clone(&self.world.entropy),
        };
        let config = RaftConfig {
            can_fetch: true,
            lease: self.config.cluster.as_ref().and_then(|cluster| cluster.lease),
            unapplied_bytes_max: self.config.memory.unapplied_bytes(),
            entry_cache_bytes_max: self.config.memory.entry_cache_bytes(),
            ..RaftConfig::new(node)
        };
        Ok(RaftLoop::new(config, from, parts).map_err(NodeFailure::Raft)?)
    }

    fn spawn_raft(
        &self,
        raft: RaftLoop,
        inputs: Receiver<Input>,
        rider: Option<Box<dyn Rider>>,
    ) -> Result<JoinHandle<()>, Refusal> {
        let ends = self.ends.clone();
        let on_end = move |result| {
            if let Err(fatal) = result {
                ends.fail(NodeFailure::Raft(fatal));
            }
        };
        raft::thread::spawn(raft, inputs, rider, on_end).map_err(|source| no_threads("threads", source))
    }

    fn spawn_expiry(
        &self,
        proposer: ProposeHandle,
        reader: &RowReader,
        numbers: &NodeNumbers,
    ) -> Result<ExpiryThread, Refusal> {
        let rows = Box::new(HeldDeadlines(reader.clone()));
        let parts = ExpiryParts {
            walk: ExpiryWalk::new(rows, Arc::clone(&numbers.keys)),
            facts: Arc::clone(&self.links.facts),
            status: Arc::clone(&self.links.status),
            proposer,
            removed: Arc::clone(&numbers.expired),
            said_before: Duration::MAX,
        };
        ExpiryThread::spawn(parts).map_err(|source| no_threads("threads", source))
    }

    fn numbers(
        &self,
        identity: Identity,
        log: &LogHandle,
        tables: TableGauge,
        peers: Option<&Arc<Peers>>,
    ) -> NodeNumbers {
        let (clients, status) = (Arc::<Stats>::default(), Arc::clone(&self.links.status));
        NodeNumbers {
            identity,
            log_engine: log.engine,
            is_log_sealed: self.config.kek.is_some(),
            status: Arc::clone(&self.links.status),
            apply: Arc::clone(&self.links.metrics),
            clients: Arc::clone(&clients),
            node_keys: Arc::clone(&self.node_keys),
            space: Arc::clone(log.thread.space()),
            log: Arc::clone(&log.reports),
            facts: Arc::clone(&self.links.facts),
            voters: Arc::clone(&self.links.voters),
            watch: WatchFacts::default(),
            keys: Arc::default(),
            expired: Arc::default(),
            dropped_bytes: Arc::default(),
            snapshots: Arc::clone(&self.links.snapshots),
            is_serving: AtomicBool::new(false),
            memory: MemoryNumbers { plan: self.config.memory, tables, clients, status },
            aead_tier: NodeNumbers::tier(),
            peers: peers.map(Arc::downgrade),
        }
    }

    fn operator(
        &self,
        proposer: ProposeHandle,
        reader: &RowReader,
        membership: Arc<NodeMembership>,
        flushes: FlushAsker,
    ) -> NodeOperator {
        NodeOperator {
            membership,
            mode: self.config.encryption,
            limits: self.propose_config().limits,
            node_keys: Arc::clone(&self.node_keys),
            reader: reader.clone(),
            apply: Arc::clone(&self.links.metrics),
            proposer,
            clock: Arc::clone(&self.world.clock),
            ends: self.ends.clone(),
            rotations: Arc::default(),
            flushes,
        }
    }
}

fn no_threads(which: &str, source: io::Error) -> Refusal {
    Refusal::Make { what: format!("{which} cannot be made"), source }
}
