//! The threads that drive apply: one owns the [`ApplyLoop`], another flushes the state beside it.
//!
//! Both are thin: take the input, step, report why it ended. Bounded channels in front of both (BOUNDED).

use std::io;
use std::sync::Arc;
use std::thread::Builder;
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;
use crossbeam_channel::Sender;
use crossbeam_channel::TryRecvError;
use crossbeam_channel::bounded;

use crate::apply::apply_loop::ApplyLoop;
use crate::apply::flush::Flusher;
use crate::apply::halt::Halt;
use crate::limits::APPLY_QUEUE_MAX;
use crate::limits::RUN_ENTRIES_MAX;
use crate::raft::Committed;

/// Told once if apply stops before it was asked to; the node then ends with [`Halt::blame`]'s status.
pub type OnHalt = Box<dyn Fn(Arc<Halt>) + Send + Sync>;

/// The running threads. Dropping the sender of batches stops them once everything that was sent is applied.
pub struct Handle {
    apply: JoinHandle<()>,
}

/// Where committed entries are put: full means that the sender waits.
#[must_use]
pub fn queue() -> (Sender<Vec<Committed>>, Receiver<Vec<Committed>>) {
    bounded(APPLY_QUEUE_MAX)
}

/// Starts the thread that owns `apply`, and one that flushes beside it. They end when every sender of `batches` is gone.
///
/// At a halt `on_halt` is called and entries are no longer taken; their senders find the queue closed.
///
/// # Errors
/// If the kernel gives no thread.
pub fn spawn(mut apply: ApplyLoop, batches: Receiver<Vec<Committed>>, on_halt: OnHalt) -> io::Result<Handle> {
    let on_halt: Arc<OnHalt> = Arc::new(on_halt);
    // One wake that is not yet taken says all that many would say.
    let (wake, woken) = bounded(1);
    let flusher = apply.flusher();
    let flush_halt = Arc::clone(&on_halt);
    let flush = Builder::new().name("flush".into()).spawn(move || drive_flush(&flusher, &woken, &**flush_halt))?;
    apply.set_flush_wake(Box::new(move || {
        let _ = wake.try_send(());
    }));
    let apply = Builder::new().name("apply".into()).spawn(move || {
        drive(apply, &batches, &**on_halt);
        // The loop is gone, and with it the only wake: the other thread has seen its end.
        let _ = flush.join();
    })?;
    Ok(Handle { apply })
}

impl Handle {
    /// Waits until both threads have ended.
    ///
    /// # Errors
    /// What a thread panicked with.
    pub fn join(self) -> std::thread::Result<()> {
        self.apply.join()
    }
}

debug_fields!(self: Handle {});

fn drive(mut apply: ApplyLoop, batches: &Receiver<Vec<Committed>>, on_halt: &dyn Fn(Arc<Halt>)) {
    loop {
        if apply.queued() == 0 {
            match batches.recv() {
                Ok(batch) => apply.offer(batch),
                Err(_) => break,
            }
        }
        // What came meanwhile makes the run longer; what does not fit into a run waits in the channel.
        while apply.queued() < RUN_ENTRIES_MAX {
            match batches.try_recv() {
                Ok(batch) => apply.offer(batch),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        if let Err(halt) = apply.step() {
            return on_halt(halt);
        }
    }
    if let Err(halt) = apply.flush() {
        on_halt(halt);
    }
}

fn drive_flush(flusher: &Flusher, woken: &Receiver<()>, on_halt: &dyn Fn(Arc<Halt>)) {
    while woken.recv().is_ok() {
        // The wake may have been sent while the flush that it asks for was under way.
        if !flusher.is_due() {
            continue;
        }
        if let Err(error) = flusher.flush() {
            let position = flusher.published().position();
            return on_halt(Arc::new(Halt::at(position, error)));
        }
    }
}
