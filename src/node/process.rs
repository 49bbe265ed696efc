//! The process around the node: its log lines, no core dumps, and an end at the first panic.

use std::env;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::panic;
use std::process::Command;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;

use rustix::fs::Mode;
use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload;

use crate::limits::DROPPED_FILES_HELD_MAX;
use crate::limits::OWN_DESCRIPTORS;
use crate::node::log_lines;
use crate::node::log_lines::END;
use crate::node::log_lines::ToLogLines;
use crate::node::refusal::Refusal;
use crate::node::settings::LogFormat;
use crate::node::words::LogFilter;

/// Runs this program again in this process, with the same arguments. Returns only if that cannot be done.
#[must_use]
pub fn run_anew() -> io::Error {
    let mut args = env::args_os();
    // The file itself, also where its name has another one by now.
    let mut anew = Command::new("/proc/self/exe");
    if let Some(name) = args.next() {
        anew.arg0(name);
    }
    anew.args(args).exec()
}

/// Starts logging to standard output, through [`log_lines`].
///
/// # Errors
/// The thread that writes cannot be made, or there is a subscriber already.
pub fn start_logging(format: LogFormat, filter: &LogFilter) -> Result<(), String> {
    log_lines::start().map_err(|error| format!("the thread that writes log lines cannot be made: {error}"))?;
    let lines = tracing_subscriber::fmt().with_writer(ToLogLines::default());
    let words = compiled(filter)?;
    let (started, set): (_, SetFilter) = match format {
        LogFormat::Json => {
            let builder = lines.json().flatten_event(true).with_current_span(false);
            let builder = builder.with_env_filter(words).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Box::new(move |filter| handle.reload(filter)))
        }
        LogFormat::Text => {
            let builder = lines.with_ansi(false);
            let builder = builder.with_env_filter(words).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Box::new(move |filter| handle.reload(filter)))
        }
    };
    started.map_err(|error| error.to_string())?;
    // Only one subscriber can be started in a process.
    let _ = FILTER.set(RunningFilter { words: Mutex::new(filter.clone()), set });
    Ok(())
}

/// Which log lines are written now.
#[must_use]
pub fn log_filter() -> LogFilter {
    FILTER.get().map_or_else(LogFilter::default, |running| lock(&running.words).clone())
}

/// Writes other log lines from now on.
///
/// # Errors
/// The reason in words; nothing is changed.
pub fn change_log_filter(filter: &LogFilter) -> Result<(), String> {
    let running = FILTER.get().ok_or("log lines are not written by this process")?;
    let mut words = lock(&running.words);
    (running.set)(compiled(filter)?).map_err(|error| error.to_string())?;
    *words = filter.clone();
    Ok(())
}

fn compiled(filter: &LogFilter) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(filter.directives()).map_err(|error| error.to_string())
}

type SetFilter = Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>;

struct RunningFilter {
    words: Mutex<LogFilter>,
    set: SetFilter,
}

static FILTER: OnceLock<RunningFilter> = OnceLock::new();

fn lock(words: &Mutex<LogFilter>) -> MutexGuard<'_, LogFilter> {
    words.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this process was started with `signal` ignored, if the kernel says.
#[must_use]
pub fn ignores(signal: Signal) -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal.as_raw() - 1) & 1 == 1
}

/// Bytes of this process in memory, if the kernel says.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    let resident: u64 = pages.split(' ').nth(1)?.parse().ok()?;
    resident.checked_mul(rustix::param::page_size() as u64)
}

/// The most that this process had in memory, if the kernel says.
#[must_use]
pub fn peak_bytes() -> Option<u64> {
    kibibytes("/proc/self/status", "VmHWM:")
}

/// Memory of the machine, if the kernel says.
#[must_use]
pub fn machine_bytes() -> Option<u64> {
    kibibytes("/proc/meminfo", "MemTotal:")
}

fn kibibytes(file: &str, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Seconds of processors that this process has used in user and in kernel mode, if the kernel says.
#[must_use]
pub fn cpu_seconds() -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name of the process, which may hold blanks: the state is the first field, the times are the 12th and 13th.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut seconds =
        || Some(fields.next()?.parse::<u64>().ok()? as f64 / rustix::param::clock_ticks_per_second() as f64);
    Some((seconds()?, seconds()?))
}

/// No core file and no ptrace by other processes of the user: keys and plaintext are in memory (NO-SECRETS-OUT).
pub fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = rustix::process::setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be switched off by rlimit");
    }
    if let Err(error) = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the process could not be made undumpable");
    }
}

/// What this process makes is its user's alone, whatever umask it was started with: RocksDB's files hold users' keys.
pub fn keep_files_private() {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
}

/// For what the limit of descriptors suffices beside the node's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// So many clients.
    pub clients: usize,
    /// And so many files that a node can do without, up to [`DROPPED_FILES_HELD_MAX`].
    pub spare: usize,
}

/// Raises the limit of descriptors for `clients` clients beside the node's own, and for files that it can do without.
///
/// # Errors
/// [`Refusal::Descriptors`]: the hard limit leaves none for any client.
pub fn allow_descriptors(clients: u32) -> Result<Descriptors, Refusal> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let need = u64::from(clients) + OWN_DESCRIPTORS + DROPPED_FILES_HELD_MAX as u64;
    let most = limit.maximum.map_or(need, |maximum| maximum.min(need));
    let has = limit.current.unwrap_or(u64::MAX);
    let allowed = if has < most {
        let raised =
            rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum });
        raised.map_or(has, |()| most)
    } else {
        has
    };
    if allowed <= OWN_DESCRIPTORS {
        return Err(Refusal::Descriptors { allowed, own: OWN_DESCRIPTORS });
    }
    let fitting = (allowed - OWN_DESCRIPTORS).min(u64::from(clients));
    if fitting < u64::from(clients) {
        tracing::warn!(
            maxclients = fitting,
            asked = clients,
            limit = allowed,
            "maxclients is lowered: open files are limited"
        );
    }
    let spare = (allowed - OWN_DESCRIPTORS - fitting).min(DROPPED_FILES_HELD_MAX as u64);
    let count = |count| usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Descriptors { clients: count(fitting), spare: count(spare) })
}

/// Ends the process at once, as a crash would: nothing is drained, flushed or destroyed.
pub fn end_now(status: i32) -> ! {
    std::process::exit(status)
}

/// A panic anywhere is a broken invariant: one line saying where, and the end. Half a node must not go on.
pub fn end_at_first_panic() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        // Only messages that are literals or formats of ours; payloads of other types may hold anything.
        let message = info.payload_as_str().unwrap_or("(no message)");
        let thread = std::thread::current().name().unwrap_or("?").to_owned();
        log_lines::last(|| {
            tracing::error!(target: END, place, thread, message, "a bug: this should not be possible; the node ends");
        });
        std::process::abort();
    }));
}
