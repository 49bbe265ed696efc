//! The threads of a node and the queues between them.
//!
//! ```text
//! clients -> propose queue -> raft thread -> log thread -> persisted -> raft thread
//!                                  |                                        |
//!                                  '------------ committed -> apply thread -'-> answers
//! ```

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use rayon::ThreadPool;
use rayon::ThreadPoolBuilder;

use crate::apply;
use crate::apply::flush::Flusher;
use crate::apply::flush::Published;
use crate::apply::metrics::Metrics;
use crate::apply::open::Openings;
use crate::apply::replay::replay;
use crate::apply::run::RunBounds;
use crate::apply::step;
use crate::keys::node_keys::NodeKeys;
use crate::node::agree;
use crate::node::config::Config;
use crate::node::datadir::DataDir;
use crate::node::end::End;
use crate::node::end::Ends;
use crate::node::numbers::NodeNumbers;
use crate::node::operator::NodeOperator;
use crate::node::ports::AppliedTo;
use crate::node::ports::LogReports;
use crate::node::ports::RaftPorts;
use crate::node::ports::StateReads;
use crate::node::ports::StatusCell;
use crate::node::ports::TrimmedLog;
use crate::node::ports::may_campaign;
use crate::node::progress::ProgressLine;
use crate::node::refusal::Refusal;
use crate::node::settings::Encryption;
use crate::node::start::Opened;
use crate::node::start::log_facts;
use crate::propose;
use crate::propose::AppliedFacts;
use crate::propose::Gateway;
use crate::propose::Waiters;
use crate::raft;
use crate::raft::Committed;
use crate::raft::Input;
use crate::resp::ClientReads;
use crate::resp::Operator;
use crate::resp::Stats;
use crate::wal;
use crate::wal::thread::LogThread;
use crate::world::World;

/// Why the threads did not start.
#[derive(Debug)]
pub enum StartError {
    /// A check failed.
    Refused(Refusal),
    /// The replay halted, or agreement cannot begin.
    Ended(End),
}

/// A node whose threads run.
pub struct Running {
    /// Where clients' requests go.
    pub gateway: Arc<dyn Gateway>,
    /// Clients' reads.
    pub reads: Arc<dyn ClientReads>,
    /// What an operator asks through clients' connections.
    pub operator: Arc<dyn Operator>,
    /// Numbers.
    pub numbers: Arc<NodeNumbers>,
    raft: Sender<Input>,
    raft_thread: JoinHandle<()>,
    apply_thread: apply::thread::Handle,
    log: Arc<LogThread>,
    waiters: Arc<Waiters>,
    read_points: Arc<propose::ReadPoints>,
    /// Held to the end.
    _directory: DataDir,
}

/// What the threads share.
struct Shared {
    log: Arc<LogThread>,
    facts: Arc<AppliedFacts>,
    waiters: Arc<Waiters>,
    reads: Arc<propose::ReadPoints>,
    status: Arc<StatusCell>,
    metrics: Arc<Metrics>,
    published: Arc<Published>,
    raft: Sender<Input>,
}

/// Replays the log and starts every thread but the network's.
///
/// # Errors
/// [`StartError`]: a refusal before anything changed, or a halt in the replay.
pub fn start(config: &Config, world: &World, opened: Opened, ends: Ends) -> Result<Running, StartError> {
    let Opened { directory, identity, log, recovered, store, reader, node_keys, applied } = opened;
    let (raft_sender, raft_receiver) = raft::thread::queue();
    let (log_engine, space) = (log.engine().word(), log.space());
    let log_reports = Arc::new(LogReports::new(raft_sender.clone(), ends.clone()));
    let log_thread = wal::thread::spawn(log, log_reports.clone()).map_err(|error| ended(End::Log(error)))?;
    let shared = Shared {
        log: Arc::new(log_thread),
        facts: Arc::new(AppliedFacts::new(applied.last_stamp_ms, applied.client_command_applied)),
        waiters: Arc::new(Waiters::new()),
        reads: Arc::new(propose::ReadPoints::new(applied.position.index)),
        status: Arc::new(StatusCell::default()),
        metrics: Arc::new(Metrics::default()),
        published: Arc::new(Published::new(applied.position)),
        raft: raft_sender,
    };
    let apply_log = Arc::new(TrimmedLog { log: Arc::clone(&shared.log), raft: shared.raft.clone() });
    let flusher =
        Flusher::new(Arc::clone(&store), Arc::clone(&shared.published), Arc::clone(&shared.metrics), apply_log.clone());
    let state = Arc::clone(&store);
    let parts = step::Parts {
        store,
        reader: reader.clone(),
        node_keys: Arc::clone(&node_keys),
        waiters: Arc::clone(&shared.waiters),
        openings: Openings::new(Some(pool(config)?)),
        log: apply_log,
        port: Box::new(AppliedTo {
            raft: shared.raft.clone(),
            facts: Arc::clone(&shared.facts),
            reads: Arc::clone(&shared.reads),
            node_keys: Arc::clone(&node_keys),
        }),
        published: Arc::clone(&shared.published),
        flusher: Arc::new(flusher),
        flush_wake: None,
        metrics: Arc::clone(&shared.metrics),
        clock: Arc::clone(&world.clock),
        bounds: RunBounds::default(),
    };
    let mut apply = step::Loop::new(parts, applied);
    replay_log(&mut apply, &recovered, &raft_receiver)?;
    drop(shared.raft.send(may_campaign(&node_keys)));

    let numbers = NodeNumbers {
        identity,
        log_engine,
        is_log_sealed: config.kek.is_some(),
        status: Arc::clone(&shared.status),
        apply: Arc::clone(&shared.metrics),
        clients: Arc::new(Stats::default()),
        node_keys: Arc::clone(&node_keys),
        space: Arc::clone(&space),
        log: log_reports,
        is_serving: AtomicBool::new(false),
        aead_tier: NodeNumbers::tier(),
    };
    let settings = propose::ProposeConfig::new(mode(config));
    let (queue, handle) = proposer(settings, world, &shared, Arc::clone(&node_keys));
    let operator = NodeOperator {
        mode: config.encryption,
        limits: settings.limits,
        node_keys,
        store: state,
        apply: Arc::clone(&shared.metrics),
        proposer: handle.clone(),
    };
    let (batches, apply_receiver) = apply::thread::queue();
    let recovered = raft::StartingPoint {
        hard_state: recovered.hard_state,
        compacted: recovered.compacted,
        entries: recovered.entries,
        members: apply.applied().members.clone(),
        applied: apply.applied().position,
    };
    let outside = outside(world, &shared, queue, batches, space);
    let raft = raft::RaftLoop::new(raft::RaftConfig::new(identity.node), recovered, outside);
    let raft = raft.map_err(|fatal| ended(End::Raft(fatal)))?;
    let (raft_thread, apply_thread) = spawn(raft, raft_receiver, apply, apply_receiver, &ends)?;
    Ok(Running {
        gateway: Arc::new(handle),
        operator: Arc::new(operator),
        reads: Arc::new(StateReads { reader, facts: shared.facts }),
        numbers: Arc::new(numbers),
        raft: shared.raft,
        raft_thread,
        apply_thread,
        log: shared.log,
        waiters: shared.waiters,
        read_points: shared.reads,
        _directory: directory,
    })
}

fn ended(end: End) -> StartError {
    StartError::Ended(end)
}

fn pool(config: &Config) -> Result<Arc<ThreadPool>, StartError> {
    let built = ThreadPoolBuilder::new()
        .num_threads(config.open_threads)
        .thread_name(|number| format!("open-{number}"))
        .build();
    let failed = |error: rayon::ThreadPoolBuildError| {
        let source = std::io::Error::other(error.to_string());
        StartError::Refused(Refusal::Make { path: "threads that open entries".into(), source })
    };
    built.map(Arc::new).map_err(failed)
}

/// From applied + 1 to commit, and a flush.
fn replay_log(
    apply: &mut step::Loop,
    recovered: &wal::Recovered,
    for_raft: &Receiver<Input>,
) -> Result<(), StartError> {
    let applied = apply.applied().position.index;
    let commit = agree::commit(applied, &log_facts(recovered));
    let entries = recovered.entries.iter().filter(|entry| applied < entry.index && entry.index <= commit);
    let mut progress = ProgressLine::begin("replaying the log", "entries");
    let all = commit.0 - applied.0;
    // What the replay tells raft is in what raft starts from, and nobody takes it yet: the queue must not fill.
    let drain = || for_raft.try_iter().for_each(drop);
    let replayed = replay(apply, entries.cloned(), |index| {
        progress.at(index.0 - applied.0, all);
        drain();
    });
    drain();
    progress.end();
    replayed.map_err(|halt| ended(End::Halt(halt)))?;
    tracing::info!(%applied, %commit, "log replayed");
    Ok(())
}

fn mode(config: &Config) -> propose::Mode {
    match config.encryption {
        Encryption::Off => propose::Mode::Off,
        Encryption::Ready => propose::Mode::Ready,
        Encryption::On => propose::Mode::On,
    }
}

fn proposer(
    settings: propose::ProposeConfig,
    world: &World,
    shared: &Shared,
    node_keys: Arc<NodeKeys>,
) -> (propose::Queue, propose::ProposeHandle) {
    let raft = shared.raft.clone();
    let parts = propose::ProposeParts {
        witness: Box::new(propose::SoleVoter),
        node_keys,
        facts: Arc::clone(&shared.facts),
        waiters: Arc::clone(&shared.waiters),
        reads: Arc::clone(&shared.reads),
        clock: Arc::clone(&world.clock),
        entropy: Arc::clone(&world.entropy),
        wake: Box::new(move || drop(raft.try_send(Input::Wake))),
    };
    propose::queue(settings, parts)
}

fn outside(
    world: &World,
    shared: &Shared,
    queue: propose::Queue,
    apply: Sender<Vec<Committed>>,
    space: Arc<wal::LogSpace>,
) -> raft::RaftParts {
    raft::RaftParts {
        proposer: Box::new(queue),
        ports: Box::new(RaftPorts {
            log: Arc::clone(&shared.log),
            apply,
            reads: Arc::clone(&shared.reads),
            status: Arc::clone(&shared.status),
        }),
        transport: Box::new(raft::Nowhere),
        space,
        clock: Arc::clone(&world.clock),
        entropy: Arc::clone(&world.entropy),
    }
}

fn spawn(
    raft: raft::RaftLoop,
    inputs: Receiver<Input>,
    apply: step::Loop,
    batches: Receiver<Vec<Committed>>,
    ends: &Ends,
) -> Result<(JoinHandle<()>, apply::thread::Handle), StartError> {
    let no_thread = |source| StartError::Refused(Refusal::Make { path: "threads".into(), source });
    let halted = ends.clone();
    let on_halt = Box::new(move |halt| halted.end(End::Halt(halt)));
    let apply_thread = apply::thread::spawn(apply, batches, on_halt).map_err(no_thread)?;
    let failed = ends.clone();
    let on_end = move |result| {
        if let Err(fatal) = result {
            failed.end(End::Raft(fatal));
        }
    };
    let raft_thread = raft::thread::spawn(raft, inputs, on_end).map_err(no_thread)?;
    Ok((raft_thread, apply_thread))
}

impl Running {
    /// Ends in order: raft gives back what waits, apply finishes and flushes, the log writes what it was handed.
    pub fn stop(self) {
        // A thread that is gone already has said why.
        drop(self.raft.send(Input::Stop));
        if self.raft_thread.join().is_err() {
            tracing::error!("the raft thread panicked");
        }
        if self.apply_thread.join().is_err() {
            tracing::error!("the apply thread panicked");
        }
        self.waiters.close();
        self.read_points.close();
        self.log.close();
    }

    /// Ends at once: every waiter learns that nobody knows.
    pub fn abandon(self) {
        self.waiters.close();
        self.read_points.close();
        // Threads may hang on the disk: they go with the process. So must the store: one that another thread closes while
        // the process exits uses what the exit has destroyed already, which is an abort instead of an exit status.
        std::mem::forget(self.log);
        std::mem::forget(self.reads);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").finish_non_exhaustive()
    }
}
