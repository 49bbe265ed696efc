//! The thread that owns the [`ApplyLoop`], unless it rides on raft's; another one flushes the state beside it.
//!
//! They are thin: take the input, step, report why it ended. Bounded channels in front of both (BOUNDED).

use std::io;
use std::sync::Arc;
use std::thread::Builder;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::TryRecvError;
use crossbeam_channel::after;
use crossbeam_channel::bounded;
use crossbeam_channel::never;
use crossbeam_channel::select;

use crate::apply::apply_loop::ApplyLoop;
use crate::apply::apply_loop::ApplyProgress;
use crate::apply::flush::Flusher;
use crate::apply::flush_thread::FlushThread;
use crate::apply::flush_thread::OnHalt;
use crate::limits::APPLY_END_DEADLINE;
use crate::limits::APPLY_QUEUE_MAX;
use crate::limits::RUN_ENTRIES_MAX;
use crate::raft::Committed;
use crate::raft::thread::Rider;
use crate::world::NotJoined;
use crate::world::join_within;

/// What runs. Dropping the sender of batches stops it once everything that was sent is applied.
pub struct Handle {
    /// `None` where apply rides on raft's thread.
    apply: Option<JoinHandle<()>>,
    flush: JoinHandle<()>,
    asker: FlushAsker,
}

/// Which thread was not joined, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEnded {
    /// The one that applies.
    #[error("the apply thread")]
    Apply(#[source] NotJoined),
    /// The one that flushes, behind the other. The log has what it would have flushed.
    #[error("the flush thread")]
    Flush(#[source] NotJoined),
}

/// Where committed entries are put: full means that the sender waits.
#[must_use]
pub fn queue() -> (Sender<Vec<Committed>>, Receiver<Vec<Committed>>) {
    bounded(APPLY_QUEUE_MAX)
}

/// Starts the thread that owns `apply`, beside the one that flushes for it. They end when every sender of `batches` is gone.
///
/// At a halt `on_halt` is called and entries are no longer taken; their senders find the queue closed.
///
/// # Errors
/// If the kernel gives no thread.
pub fn spawn(
    apply: ApplyLoop,
    flush: FlushThread,
    batches: Receiver<Vec<Committed>>,
    on_halt: OnHalt,
) -> io::Result<Handle> {
    let (handle, driver) = driver(apply, flush, batches, on_halt);
    let apply = Builder::new().name("apply".into()).spawn(move || driver.run())?;
    Ok(Handle { apply: Some(apply), ..handle })
}

/// The same without a thread for `apply`, which rides on raft's.
#[must_use]
pub fn ride(
    apply: ApplyLoop,
    flush: FlushThread,
    batches: Receiver<Vec<Committed>>,
    on_halt: OnHalt,
) -> (Handle, Box<dyn Rider>) {
    let (handle, driver) = driver(apply, flush, batches, on_halt);
    (handle, Box::new(ApplyRider(Some(driver))))
}

fn driver(
    mut apply: ApplyLoop,
    flush: FlushThread,
    batches: Receiver<Vec<Committed>>,
    on_halt: OnHalt,
) -> (Handle, ApplyDriver) {
    apply.keep_pace();
    let flusher = apply.flusher();
    // One wake that is not yet taken says all that many would say.
    let (wake, woken) = bounded(1);
    // Held there too: a handle that is gone is no wake.
    let kept = wake.clone();
    let driver = ApplyDriver { apply, batches, woken, on_halt, _wake: kept };
    (Handle { apply: None, flush: flush.into_handle(), asker: FlushAsker { flusher, wake } }, driver)
}

/// Asks for flushes, from any thread.
#[derive(Clone)]
pub struct FlushAsker {
    flusher: Arc<Flusher>,
    wake: Sender<()>,
}

debug_fields!(self: FlushAsker { flusher: self.flusher });

impl FlushAsker {
    /// Asks for a flush of what is applied now, also where nothing more is applied. Never waits.
    pub fn ask(&self) {
        self.flusher.ask();
        let _ = self.wake.try_send(());
    }

    /// The same, and waits for it, `patience` at most, and not behind the end of the process.
    ///
    /// # Errors
    /// Why the state is not flushed by then.
    pub fn flush_within(&self, patience: Duration) -> Result<(), Arc<str>> {
        self.ask();
        match self.flusher.wait_until_done(patience) {
            true => Ok(()),
            false => Err(self.flusher.trouble().unwrap_or_else(|| Arc::from("the flush is still under way"))),
        }
    }
}

impl Handle {
    /// For whoever asks for flushes later.
    #[must_use]
    pub fn flush_asker(&self) -> FlushAsker {
        self.asker.clone()
    }

    /// From now on nothing waits for a flush: where there is no space for a run, the threads end instead.
    pub fn interrupt(&self) {
        self.asker.flusher.interrupt();
    }

    /// Whether apply rides on raft's thread, which then has to be waited for first, and as long.
    #[must_use]
    pub fn rides(&self) -> bool {
        self.apply.is_none()
    }

    /// Waits until its threads have ended. Apply has waited for the flush by then as long as anybody should.
    ///
    /// # Errors
    /// [`NotEnded`].
    pub fn join(self) -> Result<(), NotEnded> {
        if let Some(apply) = self.apply {
            join_within(apply, APPLY_END_DEADLINE).map_err(NotEnded::Apply)?;
        }
        join_within(self.flush, FLUSH_LEAVES_WITHIN).map_err(NotEnded::Flush)
    }
}

debug_fields!(self: Handle {});

/// Apply with its inputs, and the thread that flushes for it.
struct ApplyDriver {
    apply: ApplyLoop,
    batches: Receiver<Vec<Committed>>,
    woken: Receiver<()>,
    on_halt: OnHalt,
    _wake: Sender<()>,
}

impl ApplyDriver {
    /// Until every sender of batches is gone.
    fn run(mut self) {
        loop {
            if self.apply.queued() == 0 {
                select! {
                    recv(self.batches) -> batch => match batch {
                        Ok(batch) => self.apply.offer(batch),
                        Err(_) => break,
                    },
                    recv(self.woken) -> _ => {}
                    recv(if self.apply.is_held() { after(HELD_PAUSE) } else { never() }) -> _ => {}
                }
            }
            self.take_batches();
            match self.apply.step() {
                Ok(ApplyProgress::Idle | ApplyProgress::Applied(_)) => {}
                // What is not applied is in the log.
                Ok(ApplyProgress::Full) if !self.apply.flusher().wait_until_idle(FULL_PAUSE) => break,
                Ok(ApplyProgress::Full) => {}
                Err(halt) => {
                    (self.on_halt)(halt);
                    return self.end();
                }
            }
        }
        if let Err(halt) = self.apply.flush() {
            (self.on_halt)(halt);
        }
        self.end();
    }

    /// What came meanwhile makes the run longer; what does not fit into a run waits in the channel.
    fn take_batches(&mut self) {
        while self.apply.queued() < RUN_ENTRIES_MAX {
            match self.batches.try_recv() {
                Ok(batch) => self.apply.offer(batch),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
    }

    /// Nothing more is taken, and nothing is flushed any more.
    fn end(self) {
        let ApplyDriver { apply, batches, .. } = self;
        let flusher = apply.flusher();
        drop((apply, batches));
        flusher.close();
    }
}

/// Apply on the thread of raft; `None` once it has halted.
struct ApplyRider(Option<ApplyDriver>);

impl Rider for ApplyRider {
    fn turn(&mut self) -> Duration {
        let Some(driver) = &mut self.0 else { return Duration::MAX };
        while driver.woken.try_recv().is_ok() {}
        driver.take_batches();
        match driver.apply.step() {
            Ok(ApplyProgress::Idle) if driver.apply.is_held() => HELD_PAUSE,
            Ok(ApplyProgress::Idle) => Duration::MAX,
            Ok(ApplyProgress::Applied(_)) => Duration::ZERO,
            Ok(ApplyProgress::Full) => FULL_PAUSE,
            Err(halt) => {
                (driver.on_halt)(halt);
                self.0.take().into_iter().for_each(ApplyDriver::end);
                Duration::MAX
            }
        }
    }

    fn finish(self: Box<Self>) {
        self.0.into_iter().for_each(ApplyDriver::run);
    }
}

/// What the thread that flushes may still take once nothing waits for it.
const FLUSH_LEAVES_WITHIN: Duration = Duration::from_secs(1);
/// Until it is looked again whether the flush has made space, while there is nothing to apply.
const HELD_PAUSE: Duration = Duration::from_millis(20);
/// Until it is looked again whether there is space for a run; where apply rides, raft goes on meanwhile.
const FULL_PAUSE: Duration = Duration::from_millis(1);
