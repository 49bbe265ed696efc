//! A node from its first check to its last byte: start, serve, end.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam_channel::Receiver;
use crossbeam_channel::bounded;
use tokio::runtime::Runtime;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::watch as watch_channel;
use tokio::task::JoinHandle;

use crate::crypto::aead;
use crate::crypto::selftest;
use crate::exit::Blame;
use crate::exit::SECOND_SIGNAL_STATUS;
use crate::exit::START_AGAIN_STATUS;
use crate::exit::chain;
use crate::limits::THREAD_END_DEADLINE;
use crate::node::admin::AdminFacts;
use crate::node::certificates::Certificates;
use crate::node::client_tls::ClientTlsConfig;
use crate::node::config::Config;
use crate::node::config::KekSource;
use crate::node::dropped_files;
use crate::node::end::End;
use crate::node::end::Ends;
use crate::node::end::NodeFailure;
use crate::node::listeners::Sockets;
use crate::node::log_lines;
use crate::node::log_lines::END;
use crate::node::open;
use crate::node::password;
use crate::node::password::Passwords;
use crate::node::process;
use crate::node::refusal::Refusal;
use crate::node::remedy;
use crate::node::resources;
use crate::node::running::RunningNode;
use crate::node::start::start;
use crate::node::watch;
use crate::resp::ClientBounds;
use crate::resp::Drained;
#[cfg(feature = "testing")]
use crate::testing::clock::ShiftedClock;
use crate::tls::ClientTls;
use crate::world::World;

/// Runs a node until a signal or a failure ends it; logs why it ended and returns the exit status.
#[must_use]
pub fn run(config: &Config) -> ExitCode {
    process::forbid_core_dumps();
    process::end_at_first_panic();
    process::keep_files_private();
    let node = match ServingNode::start(config) {
        Ok(node) => node,
        Err(refusal) => return ended(refusal.blame(), &refusal, refusal.remedy()),
    };
    match node.serve() {
        Ok(Stopped::Asked) => ExitCode::SUCCESS,
        Ok(Stopped::ToInstall) => start_anew(config),
        Err(failure) => ended(failure.blame(), &failure, remedy::by_cause(&failure)),
    }
}

/// Reads the KEK, the password and the certificates for clients as a start would, and resolves the AEAD tier. Changes nothing.
///
/// # Errors
/// The [`Refusal`] of a start.
pub fn check(config: &Config) -> Result<(), Refusal> {
    config.aead_tier.resolve().map_err(Refusal::Tier)?;
    open::keks(config, &World::real())?;
    password::read(config)?;
    client_tls(config)?;
    Ok(())
}

/// The certificates for clients.
fn client_tls(config: &Config) -> Result<Option<Arc<ClientTls>>, Refusal> {
    let load = |tls: &ClientTlsConfig| ClientTls::load(tls.files.clone()).map(Arc::new);
    config.tls.as_ref().map(load).transpose().map_err(Refusal::ClientTls)
}

/// The machine's clock and entropy. A binary for tests may be told to take its wall clock for wrong.
fn world() -> World {
    let world = World::real();
    #[cfg(feature = "testing")]
    if let Some(clock) = ShiftedClock::of_environment() {
        return World { clock: Arc::new(clock), ..world };
    }
    world
}

/// Logs why the process ends, and what to do about it.
pub fn ended(blame: Blame, error: &dyn std::error::Error, remedy: Option<&str>) -> ExitCode {
    // RocksDB's threads may still have something to say; the reason is what an operator looks for, and it is the last line.
    let line = chain(error);
    log_lines::last(|| match remedy {
        Some(remedy) => tracing::error!(target: END, "{line}: {remedy}"),
        None => tracing::error!(target: END, "{line}"),
    });
    blame.into()
}

/// A node that serves clients until an end is reported.
struct ServingNode {
    runtime: Runtime,
    running: RunningNode,
    clients: JoinHandle<Drained>,
    stopping: watch_channel::Sender<bool>,
    ended: Receiver<End>,
    drain_deadline: Duration,
}

impl ServingNode {
    /// Secrets and limits first, then addresses, then the directory: nothing is made or replayed for a port that is taken.
    fn start(config: &Config) -> Result<ServingNode, Refusal> {
        aead::choose(config.aead_tier).map_err(Refusal::Tier)?;
        let world = world();
        let keks = open::keks(config, &world)?;
        selftest::known_answers()?;
        let passwords = password::read(config)?;
        let descriptors = process::allow_descriptors(config.maxclients)?;
        resources::check(config.open_threads, config.memory.all_bytes)?;
        let runtime = runtime()?;
        let (ends, ended) = Ends::new();
        let is_serving = Arc::new(AtomicBool::new(false));
        let certificates = Certificates::default();
        let tls = client_tls(config)?;
        tls.iter().for_each(|tls| certificates.of_clients(tls));
        let stopping = listen_for_signals(&runtime, ends.clone(), Arc::clone(&is_serving), certificates.clone());
        let facts = AdminFacts::default();
        let sockets = Sockets::reserve(config, &runtime, facts.clone())?;
        let opened = open::open_with(config, &world, keks, &facts.progress)?;
        let running = start(config, &world, opened, &ends, &facts.progress)?;
        if let (Some(peers), true) =
            (&running.threads.peers, config.cluster.as_ref().is_some_and(|it| it.tls.is_some()))
        {
            certificates.of_peers(peers);
        }
        // Only once: this is the one place that sets it.
        let _ = facts.numbers.set(Arc::clone(&running.numbers));
        watch::spawn(&config.data_dir, &running.numbers, &ends, running.hand_over())?;
        let dropped_bytes = Arc::clone(&running.numbers.dropped_bytes);
        dropped_files::spawn(config.data_dir.join("state"), descriptors.spare, dropped_bytes)?;
        let listeners = sockets.listen(config, &runtime)?;
        is_serving.store(true, Relaxed);
        let bounds = bounds(config, descriptors.clients, passwords);
        let clients = listeners.serve(config, &runtime, &running, bounds, tls, stopping.subscribe())?;
        running.numbers.is_serving.store(true, Relaxed);
        Ok(ServingNode { runtime, running, clients, stopping, ended, drain_deadline: config.drain_deadline })
    }

    /// Until a signal, then drains clients and stops: everything handed over is written and flushed.
    fn serve(self) -> Result<Stopped, NodeFailure> {
        let ServingNode { runtime, running, clients, stopping, ended, drain_deadline } = self;
        let stop = match ended.recv() {
            Ok(End::Failure(failure)) => {
                // Connections end with the process: no client is told yes or no for an outcome that is not certain.
                running.abandon();
                runtime.shutdown_timeout(RUNTIME_END);
                return Err(failure);
            }
            Ok(End::Install) => Stopped::ToInstall,
            Ok(End::Signal) | Err(_) => Stopped::Asked,
        };
        tracing::info!("stopping");
        // While clients are served: what they send meanwhile goes to the next leader.
        running.hand_over().finish("it stops");
        // Nobody listens only if the server is gone already.
        let _ = stopping.send(true);
        drain(&runtime, clients, drain_deadline);
        let stopped = running.stop();
        // A read that hangs on the disk is a task that never ends.
        runtime.shutdown_timeout(RUNTIME_END);
        // A failure on the way still counts, and says more than what it led to.
        let failed = ended.try_iter().find_map(|end| match end {
            End::Failure(failure) => Some(failure),
            End::Signal | End::Install => None,
        });
        failed.map_or(stopped, Err)?;
        log_lines::last(|| tracing::info!("stopped"));
        Ok(stop)
    }
}

/// Why a node has stopped in order.
enum Stopped {
    /// By a signal or a command.
    Asked,
    /// The next start installs a snapshot.
    ToInstall,
}

/// The same process runs the same program from its beginning: nothing of what it had open is left to interfere.
fn start_anew(config: &Config) -> ExitCode {
    if let Some(KekSource::Descriptor(_)) = config.kek {
        log_lines::last(|| {
            tracing::error!(target: END, "start the node again: its KEK came from a descriptor, so it cannot do so itself");
        });
        return ExitCode::from(START_AGAIN_STATUS);
    }
    let source = process::run_anew();
    let what = "the program cannot be started anew, start the node again".to_owned();
    ended(Blame::Damage, &Refusal::Make { what, source }, None)
}

/// Waits until the clients are gone. The tasks have a deadline of their own, which the runtime cannot keep while a read hangs on the
/// disk; so the thread that waits is not one of the runtime's.
fn drain(runtime: &Runtime, clients: JoinHandle<Drained>, deadline: Duration) {
    let (done, gone) = bounded(1);
    runtime.spawn(async move { done.send(clients.await) });
    match gone.recv_timeout(deadline + THREAD_END_DEADLINE) {
        Ok(Ok(drained)) => tracing::info!(aborted = drained.aborted, "clients are gone"),
        Ok(Err(error)) => tracing::warn!(%error, "the clients' task"),
        Err(_) => tracing::warn!("clients hang, most likely on the disk"),
    }
}

fn bounds(config: &Config, clients_max: usize, passwords: Passwords) -> ClientBounds {
    ClientBounds {
        clients_max,
        password: passwords.clients,
        admin_password: passwords.operators,
        is_flush_for_admin: config.admin_flush,
        memory_bytes_max: usize::try_from(config.memory.client_bytes).unwrap_or(usize::MAX),
        drain_deadline: config.drain_deadline,
        idle_timeout: config.idle_timeout.unwrap_or(Duration::ZERO),
        ..ClientBounds::default()
    }
}

fn runtime() -> Result<Runtime, Refusal> {
    // Sockets only: the work is done by the named threads. Measured: one worker for each four cores keeps up.
    let workers = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 4).clamp(1, 8));
    let built =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).thread_name("net").enable_all().build();
    built.map_err(|source: io::Error| Refusal::Make { what: "threads for the network".to_owned(), source })
}

/// The first SIGTERM, SIGINT or SIGHUP drains, the second ends at once. Before clients are served the first ends at once too: a
/// start that is interrupted leaves what a crash would leave, and the next start deals with it. SIGHUP to a node with
/// certificates has it read them again instead.
///
/// They are taken before this returns. So is SIGXFSZ, which would end the node without a line: the write fails then.
fn listen_for_signals(
    runtime: &Runtime,
    ends: Ends,
    is_serving: Arc<AtomicBool>,
    certificates: Certificates,
) -> watch_channel::Sender<bool> {
    let (stopping, _) = watch_channel::channel(false);
    let is_stopping = Arc::new(AtomicBool::new(false));
    let in_runtime = runtime.enter();
    let taken = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), hangup());
    let file_size = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    drop(in_runtime);
    let (Ok(mut term), Ok(mut int), Ok(mut hangup), Ok(_)) = (taken.0, taken.1, taken.2, file_size) else {
        tracing::warn!("signals cannot be taken: they end the node at once");
        return stopping;
    };
    runtime.spawn(async move {
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
                () = hangup.received() => if certificates.reload() {
                    continue;
                },
            }
            if is_stopping.swap(true, Relaxed) {
                // Without a line: whoever sends it does not want to wait for anything.
                process::end_now(SECOND_SIGNAL_STATUS);
            }
            if !is_serving.load(Relaxed) {
                log_lines::last(|| tracing::info!("stopped before the start was done: the next start begins it again"));
                process::end_now(0);
            }
            ends.end(End::Signal);
        }
    });
    stopping
}

/// SIGHUP, which a terminal sends when it is closed; never where the parent had it ignored (`nohup`).
struct Hangup(Option<Signal>);

fn hangup() -> io::Result<Hangup> {
    let is_ignored = process::ignores(rustix::process::Signal::HUP);
    Ok(Hangup(if is_ignored { None } else { Some(signal(SignalKind::hangup())?) }))
}

impl Hangup {
    async fn received(&mut self) {
        match &mut self.0 {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}

/// What tasks of the runtime may take to end.
const RUNTIME_END: Duration = Duration::from_secs(2);
