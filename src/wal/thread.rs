//! The thin shell around [`LogLoop`]: a named thread, a bounded channel in front, callbacks behind.
//!
//! [`LogThread`] is the one way in. It issues the tickets by which the log counts: a caller's own number comes back.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::Builder;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use crossbeam_channel::RecvTimeoutError;
use crossbeam_channel::Sender;
use crossbeam_channel::TryRecvError;
use crossbeam_channel::TrySendError;
use crossbeam_channel::bounded;

use crate::disk::SlotId;
use crate::entry::LogEntry;
use crate::ids::Index;
use crate::ids::Position;
use crate::limits::CUTOVER_DEADLINE;
use crate::limits::LOG_QUEUE_MAX;
use crate::limits::LOG_READS_MAX;
use crate::wal::Append;
use crate::wal::bell::Bell;
use crate::wal::error::During;
use crate::wal::error::WalError;
use crate::wal::log_loop::LogLoop;
use crate::wal::log_loop::LogProgress;
use crate::wal::pipeline::STEP_WAIT;
use crate::wal::pulse::Pulse;
use crate::wal::space::LogSpace;
use crate::wal::tickets::Owner;
use crate::wal::tickets::Tickets;
use crate::world::Clock;
use crate::world::Standstill;

/// Reports of the log thread. Called on the log thread (a fatal hang: on its watchdog's), so it must not block.
pub trait Callbacks: Send + Sync {
    /// Everything up to the append that came with this number is durable.
    fn on_persisted(&self, ticket: u64);
    /// The log is poisoned: nothing more will be persisted, the process must end. Called at most once.
    fn on_fatal(&self, error: WalError);
    /// Numbers for metrics, after every step that did something.
    fn on_progress(&self, progress: &LogProgress) {
        let _ = progress;
    }
}

/// A question for entries that are no longer in memory.
pub struct Fetch {
    /// The first wanted.
    pub first: Index,
    /// The last wanted.
    pub last: Index,
    /// As many as fit, at least one.
    pub bytes_max: usize,
    /// Called on the log thread; must not block.
    pub answer: Box<dyn FnOnce(Result<Vec<LogEntry>, WalError>) + Send>,
}

/// Requests to the log thread.
#[derive(Debug)]
pub enum LogRequest {
    /// Make this durable.
    Append(Append),
    /// Read entries back.
    Fetch(Fetch),
}

/// The running log, for any number of threads. Its last drop closes it.
#[derive(Debug)]
pub struct LogThread {
    door: Arc<Mutex<Door>>,
    space: Arc<LogSpace>,
    reported: Arc<AtomicBool>,
    /// The watchdog, then the log thread.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Ticket and queue under one lock, so that tickets reach the log in their order.
#[derive(Debug, Default)]
struct Door {
    /// `None` until the log has started, and once it is closed.
    sender: Option<Sender<LogRequest>>,
    bell: Option<Arc<Bell>>,
    tickets: Tickets,
}

/// The log thread cannot take it now, or is gone.
#[derive(Debug)]
pub enum NotSent {
    /// Its queue is full: later.
    Full(Box<LogRequest>),
    /// It has ended, or hangs; `on_fatal` has the reason.
    Ended,
}

impl LogThread {
    /// Hands an append over and counts its bytes. Never blocks. `append.ticket` is the caller's own number: it comes back
    /// through [`Callbacks::on_persisted`], and must increase.
    ///
    /// # Errors
    /// [`NotSent`] gives it back.
    pub fn append(&self, append: Append) -> Result<(), NotSent> {
        let number = append.ticket;
        self.hand(append, Owner::Caller(number))
    }

    /// Entries up to and including `position` are no longer needed. Never blocks.
    ///
    /// # Errors
    /// [`NotSent`]: a later trim covers it.
    pub fn trim(&self, position: Position) -> Result<(), NotSent> {
        self.hand(Append { trim: Some(position), ..Append::default() }, Owner::Nobody)
    }

    /// Returns once the log's own record of the cutover is durable.
    ///
    /// # Errors
    /// [`NotSent`]: it may or may not become durable.
    pub fn record_cutover(&self, cutover: Index) -> Result<(), NotSent> {
        let (done, durable) = bounded(1);
        self.hand(Append { cutover: Some(cutover), ..Append::default() }, Owner::Waiter(done))?;
        durable.recv_timeout(CUTOVER_DEADLINE).map_err(|_| NotSent::Ended)
    }

    /// Asks for old entries. Never blocks.
    ///
    /// # Errors
    /// [`NotSent`] gives it back.
    pub fn fetch(&self, fetch: Fetch) -> Result<(), NotSent> {
        lock(&self.door).send(LogRequest::Fetch(fetch))
    }

    /// The gauge of the log's free space.
    #[must_use]
    pub fn space(&self) -> &Arc<LogSpace> {
        &self.space
    }

    /// Lets the thread finish everything that was handed over, and waits for it unless it hangs. Later calls are refused.
    pub fn close(&self) {
        // Not joined under the lock: the thread's last callbacks need it.
        drop(lock(&self.door).sender.take());
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if self.reported.load(Ordering::Acquire) {
                // A thread that hangs in the kernel is not waited for: the process is about to end. The watchdog comes
                // first, since it ends with the log thread or once it has reported such a hang.
                return;
            }
            // One that panicked reports nothing more; its callbacks are the caller's.
            drop(thread.join());
        }
    }

    fn hand(&self, mut append: Append, owner: Owner) -> Result<(), NotSent> {
        let cost = self.space.cost_bytes(append.entries.iter().map(|entry| entry.data.len()));
        let mut door = lock(&self.door);
        append.ticket = door.tickets.next();
        door.send(LogRequest::Append(append))?;
        door.tickets.issue(owner);
        // After, not before: one that was given back must not stay counted. Only the caller's own door reads it.
        self.space.handed(cost);
        Ok(())
    }
}

impl Door {
    fn send(&self, request: LogRequest) -> Result<(), NotSent> {
        let sender = self.sender.as_ref().ok_or(NotSent::Ended)?;
        sender.try_send(request).map_err(|error| match error {
            TrySendError::Full(request) => NotSent::Full(Box::new(request)),
            TrySendError::Disconnected(_) => NotSent::Ended,
        })?;
        if let Some(bell) = &self.bell {
            bell.ring();
        }
        Ok(())
    }
}

fn lock(door: &Mutex<Door>) -> MutexGuard<'_, Door> {
    door.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.close();
    }
}

/// Starts the log thread. When this returns the recovered log is durable, so that votes and acknowledgements may
/// rest on it; nothing on disk has changed yet.
///
/// # Errors
/// The device's, while syncing the recovered log, or if no thread can be made.
pub fn spawn(mut log: LogLoop, callbacks: Arc<dyn Callbacks>) -> Result<LogThread, WalError> {
    let (sender, requests) = bounded(LOG_QUEUE_MAX + LOG_READS_MAX);
    let (started_sender, started) = bounded(1);
    let space = log.space();
    let (pulse, clock, hung) = log.pulse();
    let reported = Arc::new(AtomicBool::new(false));
    let (stop_sender, stop) = bounded::<()>(0);
    let bell = log.waker().map(|waker| Arc::new(Bell::new(waker)));
    let door = Arc::new(Mutex::new(Door { bell: bell.clone(), ..Door::default() }));
    let driver = Driver {
        log,
        bell,
        requests,
        door: door.clone(),
        callbacks: callbacks.clone(),
        reported: reported.clone(),
        _stop: stop_sender,
    };
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
    // Only now: without a sender the thread ends, so that a log that was not started keeps no files open.
    lock(&door).sender = Some(sender);
    let threads = Mutex::new(vec![watchdog, thread]);
    Ok(LogThread { door, space, reported, threads })
}

struct Driver {
    log: LogLoop,
    bell: Option<Arc<Bell>>,
    requests: Receiver<LogRequest>,
    door: Arc<Mutex<Door>>,
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
        let mut progress = LogProgress::default();
        loop {
            let wait = if progress.busy { Duration::ZERO } else { progress.wake_in.unwrap_or(IDLE_WAIT) };
            let open = self.take_requests(wait);
            progress = self.step()?;
            if let Some(ticket) = progress.persisted_ticket {
                // Not under the lock: a callback may take another.
                let number = lock(&self.door).tickets.persisted(ticket);
                number.into_iter().for_each(|number| self.callbacks.on_persisted(number));
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

    /// One step of the log. While it sleeps for the device and could take another frame, it is woken for one.
    fn step(&mut self) -> Result<LogProgress, WalError> {
        let Driver { log, bell, requests, .. } = self;
        let progress = log.step_with(|takes_more| match bell.as_ref().filter(|_| takes_more) {
            Some(bell) => {
                bell.listen();
                if requests.is_empty() { STEP_WAIT } else { Duration::ZERO }
            }
            None => STEP_WAIT,
        });
        bell.as_ref().inspect(|bell| bell.rest());
        progress
    }

    /// Takes the requests that have come, waiting at most `wait` for the first. False once every sender is gone.
    fn take_requests(&mut self, wait: Duration) -> bool {
        if wait > Duration::ZERO && self.log.is_full() {
            // Stalled for want of a slot: requests in the channel cannot be taken yet.
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

    fn take(&mut self, request: LogRequest) {
        match request {
            LogRequest::Append(append) => {
                let taken = self.log.offer(append);
                assert!(taken.is_ok(), "is_full was asked, or the queue had been drained");
            }
            LogRequest::Fetch(fetch) => {
                let found = self.log.fetch(fetch.first, fetch.last, fetch.bytes_max);
                (fetch.answer)(found);
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
        let mut standstill = Standstill::default();
        standstill.look(self.clock.monotonic(), Duration::MAX);
        while stop.recv_timeout(WATCH_EVERY) == Err(RecvTimeoutError::Timeout) {
            let now = self.clock.monotonic();
            standstill.look(now, WATCH_EVERY);
            let Some((slot, since)) = self.pulse.busy_since() else { continue };
            let (waited, during) = (standstill.waited(since, now), During::Wait);
            if waited >= self.hung {
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

debug_fields!(self: Fetch { first: self.first, last: self.last });

/// At start every slot is synced, and one of them may have much to write back.
const SYNCS_AT_START_MAX: u32 = 8;
/// Longest sleep with nothing to do.
const IDLE_WAIT: Duration = Duration::from_secs(1);
/// While the queue is full and nothing is in flight.
const FULL_WAIT: Duration = Duration::from_millis(20);
/// How often a hang is looked for.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// Something due later than this is not waited for at the end.
const LAST_WAIT: Duration = Duration::from_millis(50);
