//! The thin shell around [`LogLoop`]: a named thread, a bounded channel in front, two callbacks behind.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::Builder;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use crossbeam_channel::RecvTimeoutError;
use crossbeam_channel::Sender;
use crossbeam_channel::TryRecvError;
use crossbeam_channel::bounded;

use crate::disk::SlotId;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::limits::LOG_QUEUE_MAX;
use crate::limits::LOG_READS_MAX;
use crate::wal::Append;
use crate::wal::error::During;
use crate::wal::error::WalError;
use crate::wal::log_loop::LogLoop;
use crate::wal::log_loop::Progress;
use crate::wal::pipeline::Pulse;
use crate::wal::space::LogSpace;
use crate::world::Clock;

/// What the log thread reports. Called on the log thread (a fatal hang: on its watchdog's), so it must not block.
pub trait Callbacks: Send + Sync {
    /// Everything up to this ticket is durable.
    fn on_persisted(&self, ticket: u64);
    /// The log is poisoned: nothing more will be persisted, the process must end. Called at most once.
    fn on_fatal(&self, error: WalError);
    /// Numbers for metrics, after every step that did something.
    fn on_progress(&self, progress: &Progress) {
        let _ = progress;
    }
}

/// A question for entries that are no longer in memory.
pub struct Read {
    /// The first wanted.
    pub first: Index,
    /// The last wanted.
    pub last: Index,
    /// As many as fit, at least one.
    pub bytes_max: usize,
    /// Called on the log thread; must not block.
    pub answer: Box<dyn FnOnce(Result<Vec<LogEntry>, WalError>) + Send>,
}

/// What the log thread can be asked for.
#[derive(Debug)]
pub enum Request {
    /// Make this durable.
    Append(Append),
    /// Read entries back.
    Read(Read),
}

/// The running log. Dropping it lets the thread finish what was handed over, and waits for it.
#[derive(Debug)]
pub struct LogThread {
    sender: Option<Sender<Request>>,
    space: Arc<LogSpace>,
    reported: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    watchdog: Option<JoinHandle<()>>,
}

/// The log thread cannot take it now, or is gone.
#[derive(Debug)]
pub enum NotSent {
    /// Its queue is full: later.
    Full(Box<Request>),
    /// It has ended; `on_fatal` said why.
    Ended,
}

impl LogThread {
    /// Hands an append over and counts it against the space. Never blocks.
    ///
    /// # Errors
    /// [`NotSent`] gives it back.
    pub fn append(&self, append: Append) -> Result<(), NotSent> {
        let cost = append.entries.iter().map(|entry| entry.data.len());
        let cost = self.space.cost_bytes(cost);
        self.send(Request::Append(append))?;
        // After, not before: one that was given back must not stay counted. Only the caller's own door reads it.
        self.space.handed(cost);
        Ok(())
    }

    /// Asks for old entries. Never blocks.
    ///
    /// # Errors
    /// [`NotSent`] gives it back.
    pub fn read(&self, read: Read) -> Result<(), NotSent> {
        self.send(Request::Read(read))
    }

    /// The gauge for the door.
    #[must_use]
    pub fn space(&self) -> Arc<LogSpace> {
        self.space.clone()
    }

    fn send(&self, request: Request) -> Result<(), NotSent> {
        let Some(sender) = &self.sender else {
            return Err(NotSent::Ended);
        };
        sender.try_send(request).map_err(|error| match error {
            crossbeam_channel::TrySendError::Full(request) => NotSent::Full(Box::new(request)),
            crossbeam_channel::TrySendError::Disconnected(_) => NotSent::Ended,
        })
    }
}

impl Drop for LogThread {
    fn drop(&mut self) {
        drop(self.sender.take());
        if self.reported.load(Ordering::Acquire) {
            // A thread that hangs in the kernel is not waited for: the process is about to end.
            return;
        }
        // A thread that panicked has nothing left to say; its callbacks are the caller's.
        drop(self.thread.take().map(JoinHandle::join));
        drop(self.watchdog.take().map(JoinHandle::join));
    }
}

/// Starts the log thread. When this returns what was recovered is durable, so that votes and acknowledgements may
/// rest on it; nothing on disk has changed yet.
///
/// # Errors
/// The device's, while syncing what was recovered, or if no thread can be made.
pub fn spawn(log: LogLoop, callbacks: Arc<dyn Callbacks>) -> Result<LogThread, WalError> {
    let (sender, requests) = bounded(LOG_QUEUE_MAX + LOG_READS_MAX);
    let (started_sender, started) = bounded(1);
    let space = log.space();
    let (pulse, clock, hung) = log.pulse();
    let reported = Arc::new(AtomicBool::new(false));
    let (stop_sender, stop) = bounded::<()>(0);
    let driver = Driver { log, requests, callbacks: callbacks.clone(), reported: reported.clone(), _stop: stop_sender };
    let spawned = Builder::new().name("wal".to_owned()).spawn(move || driver.run(&started_sender));
    let thread = spawned.map_err(no_thread)?;
    // The thread answers, or it has panicked and dropped the sender, or its call into the kernel does not come back.
    let waited = hung.saturating_mul(SYNCS_AT_START_MAX);
    started.recv_timeout(waited).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(WalError::Hung { slot: SlotId(0), during: During::Sync, waited }),
        RecvTimeoutError::Disconnected => Err(WalError::Poisoned),
    })?;
    let watchdog = Watchdog { pulse, clock, hung, callbacks, reported: reported.clone() };
    let spawned = Builder::new().name("wal-watchdog".to_owned()).spawn(move || watchdog.run(&stop));
    let watchdog = spawned.map_err(no_thread)?;
    Ok(LogThread { reported, sender: Some(sender), space, thread: Some(thread), watchdog: Some(watchdog) })
}

struct Driver {
    log: LogLoop,
    requests: Receiver<Request>,
    callbacks: Arc<dyn Callbacks>,
    reported: Arc<AtomicBool>,
    /// Dropped with this; the watchdog ends by it.
    _stop: Sender<()>,
}

impl Driver {
    fn run(mut self, started: &Sender<Result<(), WalError>>) {
        let synced = self.log.sync_recovered();
        let failed = synced.is_err();
        // `spawn` waits for this; it is gone only if its thread is.
        drop(started.send(synced));
        if failed {
            return;
        }
        if let Err(error) = self.serve() {
            report(&self.reported, self.callbacks.as_ref(), error);
        }
    }

    /// Until every sender is gone and everything handed over is durable.
    fn serve(&mut self) -> Result<(), WalError> {
        let mut progress = Progress::default();
        loop {
            let wait = if progress.busy { Duration::ZERO } else { progress.wake_in.unwrap_or(IDLE_WAIT) };
            let open = self.take_requests(wait);
            progress = self.log.step(STEP_WAIT)?;
            if let Some(ticket) = progress.persisted_ticket {
                self.callbacks.on_persisted(ticket);
            }
            self.callbacks.on_progress(&progress);
            // The last idle frame is wanted too: it attests the end to the next start.
            if !open && !progress.busy && progress.wake_in.is_none_or(|wait| wait > LAST_WAIT) {
                return Ok(());
            }
            if !open && !progress.busy {
                std::thread::sleep(progress.wake_in.unwrap_or_default());
            }
        }
    }

    /// Takes what is there, waiting at most `wait` for the first. False once every sender is gone.
    fn take_requests(&mut self, wait: Duration) -> bool {
        if wait > Duration::ZERO && self.log.is_full() {
            // Stalled for want of a slot: what waits in the channel cannot be taken yet.
            std::thread::sleep(wait.min(FULL_WAIT));
        } else if wait > Duration::ZERO {
            match self.requests.recv_timeout(wait) {
                Ok(request) => self.take(request),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        while !self.log.is_full() {
            match self.requests.try_recv() {
                Ok(request) => self.take(request),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        true
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Append(append) => {
                let taken = self.log.offer(append);
                assert!(taken.is_ok(), "is_full was asked, or the queue had been drained");
            }
            Request::Read(read) => {
                let found = self.log.read(read.first, read.last, read.bytes_max);
                (read.answer)(found);
            }
        }
    }
}

/// Sees a call into the kernel that does not come back, which the loop itself cannot.
pub(super) struct Watchdog {
    pub(super) pulse: Arc<Pulse>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) hung: Duration,
    pub(super) callbacks: Arc<dyn Callbacks>,
    pub(super) reported: Arc<AtomicBool>,
}

impl Watchdog {
    pub(super) fn run(&self, stop: &Receiver<()>) {
        while stop.recv_timeout(WATCH_EVERY) == Err(RecvTimeoutError::Timeout) {
            let busy = self.pulse.busy_for(self.clock.monotonic());
            if let Some((slot, waited)) = busy.filter(|(_, waited)| *waited >= self.hung) {
                let during = During::Wait;
                report(&self.reported, self.callbacks.as_ref(), WalError::Hung { slot, during, waited });
                return;
            }
        }
    }
}

fn report(reported: &AtomicBool, callbacks: &dyn Callbacks, error: WalError) {
    if !reported.swap(true, Ordering::AcqRel) {
        tracing::error!(%error, "the log is poisoned");
        callbacks.on_fatal(error);
    }
}

fn no_thread(source: io::Error) -> WalError {
    WalError::Disk { slot: SlotId(0), during: During::Wait, source }
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Read").field("first", &self.first).field("last", &self.last).finish_non_exhaustive()
    }
}

/// At start every slot is synced, and one of them may have much to write back.
const SYNCS_AT_START_MAX: u32 = 8;
/// With nothing to do: how often the thread looks around all the same.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// While the queue is full and nothing is in flight.
const FULL_WAIT: Duration = Duration::from_millis(20);
/// Longest wait for one completion; hangs are looked for after each.
const STEP_WAIT: Duration = Duration::from_secs(1);
/// How often a hang is looked for.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Something due later than this is not waited for at the end.
const LAST_WAIT: Duration = Duration::from_millis(50);
