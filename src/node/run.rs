//! A node from its first check to its last byte: start, serve, end.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam_channel::Receiver;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::crypto::selftest;
use crate::node::admin;
use crate::node::admin::AdminFacts;
use crate::node::config::Config;
use crate::node::end::End;
use crate::node::end::Ends;
use crate::node::exit::ExitStatus;
use crate::node::exit::Fatal;
use crate::node::exit::chain;
use crate::node::process;
use crate::node::start;
use crate::node::start::World;
use crate::node::wiring;
use crate::node::wiring::Running;
use crate::node::wiring::StartError;
use crate::resp::Password;
use crate::resp::Server;
use crate::resp::ServerParts;
use crate::resp::Settings;
use crate::world::KernelEntropy;
use crate::world::SystemClock;

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

type Ended = (ExitStatus, String);

fn serve(config: &Config) -> Result<(), Ended> {
    selftest::known_answers().map_err(|error| (ExitStatus::Damage, chain(&error)))?;
    let password = config.requirepass_file.as_deref().map(password).transpose()?;
    let runtime = runtime().map_err(|error| (ExitStatus::Damage, format!("threads for the network: {error}")))?;
    let (ends, ended) = Ends::new();
    let stopping = listen_for_signals(&runtime, ends.clone());
    let world = World { clock: Arc::new(SystemClock::default()), entropy: Arc::new(KernelEntropy) };
    let opened = start::open(config, &world).map_err(|refusal| (refusal.exit_status(), refusal.line()))?;
    let running = wiring::start(config, &world, opened, ends).map_err(|error| match error {
        StartError::Refused(refusal) => (refusal.exit_status(), refusal.line()),
        StartError::Ended(end) => end.status().unwrap_or((ExitStatus::Damage, "ended".to_owned())),
    })?;
    let clients = listen(config, &runtime, &running, password, stopping.subscribe())?;
    running.facts.is_serving.store(true, Relaxed);
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

fn runtime() -> std::io::Result<Runtime> {
    // Sockets only: the work is done by the named threads. One worker for each four cores (findings 6.2).
    let workers = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 4).clamp(1, 8));
    tokio::runtime::Builder::new_multi_thread().worker_threads(workers).thread_name("net").enable_all().build()
}

/// The first SIGTERM or SIGINT drains, the second ends at once.
fn listen_for_signals(runtime: &Runtime, ends: Ends) -> watch::Sender<bool> {
    let (stopping, _) = watch::channel(false);
    let is_stopping = Arc::new(AtomicBool::new(false));
    runtime.spawn(async move {
        use tokio::signal::unix::SignalKind;
        use tokio::signal::unix::signal;
        let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
            tracing::warn!("signals cannot be taken: they end the node at once");
            return;
        };
        loop {
            tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
            if is_stopping.swap(true, Relaxed) {
                tracing::warn!("a second signal: ending at once");
                std::process::exit(SECOND_SIGNAL_STATUS);
            }
            ends.end(End::Signal);
        }
    });
    stopping
}

/// Opens both listeners and says where they are.
fn listen(
    config: &Config,
    runtime: &Runtime,
    running: &Running,
    password: Option<Password>,
    stopping: watch::Receiver<bool>,
) -> Result<tokio::task::JoinHandle<crate::resp::Drained>, Ended> {
    let refused = |line: String| (ExitStatus::Config, line);
    let listener = runtime
        .block_on(admin::bind(config.admin_listen))
        .map_err(|error| refused(format!("admin-listen {}: {error}", config.admin_listen)))?;
    let admin_address = listener.local_addr().map_err(|error| refused(format!("admin-listen: {error}")))?;
    let settings = Settings {
        clients_max: config.maxclients as usize,
        password,
        idle_timeout: config.idle_timeout.unwrap_or(Duration::ZERO),
        ..Settings::default()
    };
    let parts = ServerParts {
        gateway: Arc::clone(&running.gateway),
        reads: Arc::clone(&running.reads),
        operator: Arc::clone(&running.operator),
        facts: running.facts.clone(),
        settings,
        stats: Arc::clone(&running.facts.clients),
    };
    let server = runtime.block_on(Server::bind(config.listen, parts)).map_err(|error| refused(chain(&error)))?;
    let facts: Arc<dyn AdminFacts> = running.facts.clone();
    runtime.spawn(async move {
        if let Err(error) = admin::serve(listener, facts).await {
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
    let refused = |why: String| (ExitStatus::Config, format!("requirepass-file {}: {why}", path.display()));
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

/// As a shell reports a process that SIGTERM ended.
const SECOND_SIGNAL_STATUS: i32 = 143;
const PASSWORD_FILE_BYTES_MAX: usize = 512;
