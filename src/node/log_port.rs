//! The one way to the log thread: raft's groups, apply's trims and the cutover get their tickets here, in one order.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::apply::ports::CutoverLog;
use crate::apply::ports::CutoverNotDurable;
use crate::apply::ports::LogGauge;
use crate::apply::ports::TrimPort;
use crate::ids::Index;
use crate::ids::Position;
use crate::limits::CUTOVER_DEADLINE;
use crate::node::end::End;
use crate::node::end::Ends;
use crate::raft::Input;
use crate::wal::Append;
use crate::wal::LogSpace;
use crate::wal::Progress;
use crate::wal::WalError;
use crate::wal::thread::Callbacks;
use crate::wal::thread::LogThread;
use crate::wal::thread::NotSent;

/// Who is told when a ticket is durable.
enum Owner {
    /// Raft, by the number it gave.
    Raft(u64),
    /// Apply, which waits for it.
    Cutover(Sender<()>),
    /// Nobody.
    Trim,
}

#[derive(Default)]
struct Inner {
    /// `None` before the start and after the end.
    thread: Option<LogThread>,
    last_ticket: u64,
    waiting: VecDeque<(u64, Owner)>,
}

/// Shared by raft's ports, apply's ports and the log thread's callbacks.
pub struct LogPort {
    inner: Mutex<Inner>,
    raft: Sender<Input>,
    ends: Ends,
    slowest_sync_micros: AtomicU64,
    is_stalled: std::sync::atomic::AtomicBool,
}

impl LogPort {
    /// A port that has no log thread yet; `raft` is told what is persisted and trimmed.
    #[must_use]
    pub fn new(raft: Sender<Input>, ends: Ends) -> Arc<LogPort> {
        Arc::new(LogPort {
            inner: Mutex::default(),
            raft,
            ends,
            slowest_sync_micros: AtomicU64::new(0),
            is_stalled: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// From now on appends go to `thread`.
    pub fn open(&self, thread: LogThread) {
        self.inner().thread = Some(thread);
    }

    /// Lets the log thread finish what was handed over, and waits for it.
    pub fn close(&self) {
        // Not under the lock: the thread's last callbacks need it.
        let thread = self.inner().thread.take();
        drop(thread);
    }

    /// Raft's group; its own ticket comes back as [`Input::Persisted`].
    pub fn append(&self, append: Append) {
        let ticket = append.ticket;
        match self.hand(append, Owner::Raft(ticket)) {
            Ok(()) => {}
            // The log said why through `on_fatal`; nothing of this will be acknowledged.
            Err(NotSent::Ended) => tracing::debug!(ticket, "an append after the end of the log"),
            Err(NotSent::Full(_)) => unreachable!("the door keeps raft's groups below half of the log's queue"),
        }
    }

    /// The longest sync so far, in microseconds.
    #[must_use]
    pub fn slowest_sync_micros(&self) -> u64 {
        self.slowest_sync_micros.load(Ordering::Relaxed)
    }

    /// Whether entries wait for a slot of the log.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.is_stalled.load(Ordering::Relaxed)
    }

    fn hand(&self, mut append: Append, owner: Owner) -> Result<(), NotSent> {
        let mut inner = self.inner();
        // Ticket and queue under one lock, so that tickets reach the log in their order.
        append.ticket = inner.last_ticket + 1;
        let ticket = append.ticket;
        let thread = inner.thread.as_ref().ok_or(NotSent::Ended)?;
        thread.append(append)?;
        inner.last_ticket = ticket;
        inner.waiting.push_back((ticket, owner));
        Ok(())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Callbacks for LogPort {
    fn on_persisted(&self, ticket: u64) {
        let mut newest = None;
        let mut inner = self.inner();
        while let Some((_, owner)) = inner.waiting.pop_front_if(|(waiting, _)| *waiting <= ticket) {
            match owner {
                Owner::Raft(ticket) => newest = Some(ticket),
                // Apply may have given up; then nobody listens.
                Owner::Cutover(done) => drop(done.try_send(())),
                Owner::Trim => {}
            }
        }
        drop(inner);
        if let Some(ticket) = newest {
            // Gone only when the node ends.
            drop(self.raft.send(Input::Persisted(ticket)));
        }
    }

    fn on_fatal(&self, error: WalError) {
        self.ends.end(End::Log(error));
    }

    fn on_progress(&self, progress: &Progress) {
        if let Some(sync) = progress.slowest_sync {
            let micros = u64::try_from(sync.as_micros()).unwrap_or(u64::MAX);
            self.slowest_sync_micros.fetch_max(micros, Ordering::Relaxed);
        }
        self.is_stalled.store(progress.stalled, Ordering::Relaxed);
    }
}

/// Apply's half of the port.
#[derive(Clone)]
pub struct ApplyLog {
    /// The way to the log.
    pub port: Arc<LogPort>,
    /// Its free space.
    pub space: Arc<LogSpace>,
}

impl CutoverLog for ApplyLog {
    fn make_durable(&self, cutover: Index) -> Result<(), CutoverNotDurable> {
        let (done, durable) = bounded(1);
        let append = Append { cutover: Some(cutover), ..Append::default() };
        self.port.hand(append, Owner::Cutover(done)).map_err(|_| CutoverNotDurable)?;
        durable.recv_timeout(CUTOVER_DEADLINE).map_err(|_| CutoverNotDurable)
    }
}

impl TrimPort for ApplyLog {
    fn trim(&self, flushed: Position) {
        let append = Append { trim: Some(flushed), ..Append::default() };
        match self.port.hand(append, Owner::Trim) {
            Ok(()) => drop(self.port.raft.try_send(Input::Trimmed(flushed))),
            // The next flush says it again.
            Err(_) => tracing::debug!(index = %flushed.index, "the log takes no trim now"),
        }
    }
}

impl LogGauge for ApplyLog {
    fn bytes_used(&self) -> u64 {
        self.space.handed_bytes()
    }

    fn pool_bytes(&self) -> u64 {
        self.space.pool_bytes()
    }
}

impl fmt::Debug for LogPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogPort").finish_non_exhaustive()
    }
}

impl fmt::Debug for ApplyLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplyLog").finish_non_exhaustive()
    }
}
