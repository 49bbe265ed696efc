//! A node from its first check to its last byte: start, serve, end.

use std::fs;
use std::io;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam_channel::Receiver;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::crypto::aead;
use crate::crypto::aead::TierError;
use crate::crypto::selftest;
use crate::exit::Blame;
use crate::exit::SECOND_SIGNAL_STATUS;
use crate::exit::chain;
use crate::limits::BACKLOG;
use crate::limits::PASSWORD_FILE_BYTES_MAX;
use crate::node::admin;
use crate::node::config::Config;
use crate::node::end::End;
use crate::node::end::Ends;
use crate::node::process;
use crate::node::start;
use crate::node::wiring;
use crate::node::wiring::Running;
use crate::node::wiring::StartError;
use crate::resp::ClientBounds;
use crate::resp::Drained;
use crate::resp::Password;
use crate::resp::Server;
use crate::resp::ServerParts;
use crate::world::World;

/// Runs a node until a signal or a fatal error, and says how it ended.
#[must_use]
pub fn run(config: &Config) -> ExitCode {
    process::forbid_core_dumps();
    process::end_at_first_panic();
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err((status, line)) => {
            tracing::error!("{line}");
            status.into()
        }
    }
}

type Ended = (Blame, String);

fn serve(config: &Config) -> Result<(), Ended> {
    aead::choose(config.aead_tier).map_err(|error| tier_refused(&error))?;
    let world = World::real();
    let keks = start::keks(config, &world).map_err(|refusal| (refusal.blame(), chain(&refusal)))?;
    selftest::known_answers().map_err(|error| (Blame::Damage, chain(&error)))?;
    let password = config.requirepass_file.as_deref().map(password).transpose()?;
    let clients_max = process::allow_descriptors(config.maxclients).map_err(|line| (Blame::Config, line))?;
    let runtime = runtime().map_err(|error| (Blame::Damage, format!("threads for the network: {error}")))?;
    let (ends, ended) = Ends::new();
    let is_serving = Arc::new(AtomicBool::new(false));
    let stopping = listen_for_signals(&runtime, ends.clone(), Arc::clone(&is_serving));
    // Before anything is made or replayed: a port that is taken is said at once.
    let sockets = reserve(config, &runtime)?;
    let opened = start::open_with(config, &world, keks).map_err(|refusal| (refusal.blame(), chain(&refusal)))?;
    let running = wiring::start(config, &world, opened, ends).map_err(|error| match error {
        StartError::Refused(refusal) => (refusal.blame(), chain(&refusal)),
        StartError::Ended(end) => end.status().unwrap_or((Blame::Damage, "ended".to_owned())),
    })?;
    let listeners = listen(config, &runtime, sockets)?;
    is_serving.store(true, Relaxed);
    let bounds = ClientBounds {
        clients_max,
        password,
        idle_timeout: config.idle_timeout.unwrap_or(Duration::ZERO),
        ..ClientBounds::default()
    };
    let clients = open_doors(config, &runtime, &running, bounds, listeners, stopping.subscribe())?;
    running.numbers.is_serving.store(true, Relaxed);
    let end = ended.recv().unwrap_or(End::Signal);
    if let Some(fatal) = end.status() {
        // Connections end with the process: nobody is told yes or no for what is not certain.
        running.abandon();
        return Err(fatal);
    }
    tracing::info!("stopping");
    // Nobody listens only if the server is gone already.
    let _ = stopping.send(true);
    match runtime.block_on(clients) {
        Ok(drained) => tracing::info!(aborted = drained.aborted, "clients are gone"),
        Err(error) => tracing::warn!(%error, "the clients' task"),
    }
    stop(running, &ended)
}

/// Everything handed over is written and flushed; a fatal error on the way still counts.
fn stop(running: Running, ended: &Receiver<End>) -> Result<(), Ended> {
    running.stop();
    match ended.try_iter().find_map(|end| end.status()) {
        Some(fatal) => Err(fatal),
        None => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// Reads what the settings name and a start would read first: the KEK and the password; and asks for the AEAD tier.
/// Changes nothing.
///
/// # Errors
/// The exit status and the line of a start that would be refused for it.
pub fn check(config: &Config) -> Result<(), (Blame, String)> {
    config.aead_tier.resolve().map_err(|error| tier_refused(&error))?;
    start::keks(config, &World::real()).map_err(|refusal| (refusal.blame(), chain(&refusal)))?;
    config.requirepass_file.as_deref().map(password).transpose()?;
    Ok(())
}

fn tier_refused(error: &TierError) -> Ended {
    let status = if matches!(error, TierError::Wrong { .. }) { Blame::Damage } else { Blame::Config };
    (status, format!("aead-tier: {}", chain(error)))
}

fn runtime() -> io::Result<Runtime> {
    // Sockets only: the work is done by the named threads. One worker for each four cores: measured, more do not help.
    let workers = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 4).clamp(1, 8));
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).thread_name("net").enable_all().build()
}

/// The first SIGTERM or SIGINT drains, the second ends at once; so does the first as long as nobody is served: what a
/// start has done by then is what a crash would leave, and the next one deals with it.
fn listen_for_signals(runtime: &Runtime, ends: Ends, is_serving: Arc<AtomicBool>) -> watch::Sender<bool> {
    let (stopping, _) = watch::channel(false);
    let is_stopping = Arc::new(AtomicBool::new(false));
    runtime.spawn(async move {
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
            tracing::warn!("signals cannot be taken: they end the node at once");
            return;
        };
        loop {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            if is_stopping.swap(true, Relaxed) {
                tracing::warn!("a second signal: ending at once");
                process::end_now(SECOND_SIGNAL_STATUS);
            }
            if !is_serving.load(Relaxed) {
                tracing::info!("stopped before the start was done: the next start begins it again");
                process::end_now(0);
            }
            ends.end(End::Signal);
        }
    });
    stopping
}

/// The sockets of clients and of admin, bound and not listening: nobody else can take them, nobody waits in them.
struct Sockets {
    clients: TcpSocket,
    admin: TcpSocket,
}

fn reserve(config: &Config, runtime: &Runtime) -> Result<Sockets, Ended> {
    let _in_runtime = runtime.enter();
    let bind = |name, address| bind(address).map_err(|error| taken(name, address, &error));
    Ok(Sockets { clients: bind("listen", config.listen)?, admin: bind("admin-listen", config.admin_listen)? })
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Without it a restart would wait for the connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// The same sockets, listening.
struct Listeners {
    clients: TcpListener,
    admin: TcpListener,
}

fn listen(config: &Config, runtime: &Runtime, sockets: Sockets) -> Result<Listeners, Ended> {
    let _in_runtime = runtime.enter();
    let admin = sockets.admin.listen(BACKLOG).map_err(|error| taken("admin-listen", config.admin_listen, &error))?;
    let clients = sockets.clients.listen(BACKLOG).map_err(|error| taken("listen", config.listen, &error))?;
    Ok(Listeners { clients, admin })
}

fn taken(name: &str, address: SocketAddr, error: &io::Error) -> Ended {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => " (another process has it; is this node running already?)",
        io::ErrorKind::AddrNotAvailable => " (not an address of this machine)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need the right to bind them)",
        _ => "",
    };
    (Blame::Config, format!("{name} {address}: {error}{hint}: give another --{name}"))
}

/// Takes clients and scrapers in, and says where they come in.
fn open_doors(
    config: &Config,
    runtime: &Runtime,
    running: &Running,
    bounds: ClientBounds,
    listeners: Listeners,
    stopping: watch::Receiver<bool>,
) -> Result<JoinHandle<Drained>, Ended> {
    let _in_runtime = runtime.enter();
    let Listeners { clients, admin } = listeners;
    let no_address = |error: io::Error| (Blame::Damage, format!("the address of a listener: {error}"));
    let admin_address = admin.local_addr().map_err(no_address)?;
    let parts = ServerParts {
        gateway: Arc::clone(&running.gateway),
        reads: Arc::clone(&running.reads),
        operator: Arc::clone(&running.operator),
        facts: running.numbers.clone(),
        bounds,
        stats: Arc::clone(&running.numbers.clients),
    };
    let server = Server::new(clients, parts).map_err(no_address)?;
    let (numbers, profiling) = (Arc::clone(&running.numbers), config.profiling);
    runtime.spawn(async move {
        if let Err(error) = admin::serve(admin, numbers, profiling).await {
            tracing::warn!(%error, "the admin listener broke");
        }
    });
    tracing::info!(address = %admin_address, "admin");
    if !(config.listen.ip().is_loopback() && config.admin_listen.ip().is_loopback()) {
        tracing::warn!("listening beyond loopback without TLS: everybody on the path can read and write");
    }
    tracing::info!(address = %server.local_address(), "clients");
    Ok(runtime.spawn(server.run(stopping)))
}

/// The first line of the file.
fn password(path: &Path) -> Result<Password, Ended> {
    let refused = |why: String| (Blame::Config, format!("requirepass-file {}: {why}", path.display()));
    let metadata = fs::metadata(path).map_err(|error| refused(error.to_string()))?;
    if !metadata.is_file() {
        return Err(refused("not a regular file".to_owned()));
    }
    let file = fs::File::open(path).map_err(|error| refused(error.to_string()))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(PASSWORD_FILE_BYTES_MAX + 1));
    file.take(PASSWORD_FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| refused(error.to_string()))?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || bytes.len() > PASSWORD_FILE_BYTES_MAX {
        return Err(refused(format!("expected one line of 1 to {PASSWORD_FILE_BYTES_MAX} bytes")));
    }
    Ok(Password::new(&Zeroizing::new(line.to_vec())))
}
