//! The thread that flushes beside apply, from the replay of a start to the end of the node.

use std::io;
use std::sync::Arc;
use std::sync::OnceLock;
use std::thread::Builder;
use std::thread::JoinHandle;

use crate::apply::apply_loop::ApplyLoop;
use crate::apply::flush::FlushWork;
use crate::apply::flush::Flusher;
use crate::apply::flush_patience::FlushPatience;
use crate::apply::halt::Halt;
use crate::apply::halt::MachineError;

/// Told once if apply stops before it was asked to; the node then ends with [`Halt::blame`]'s status.
pub type OnHalt = Arc<dyn Fn(Arc<Halt>) + Send + Sync>;

/// The running thread. It ends once apply is gone and all is flushed, or at an error that ends the process.
pub struct FlushThread {
    thread: JoinHandle<()>,
    failure: Arc<OnceLock<Arc<Halt>>>,
}

impl FlushThread {
    /// From now on `apply` leaves its flushes to a thread. `on_halt` is told where one ends with an error.
    ///
    /// # Errors
    /// If the kernel gives no thread.
    pub fn spawn(apply: &mut ApplyLoop, on_halt: OnHalt) -> io::Result<FlushThread> {
        let (flusher, views) = (apply.flusher(), Arc::clone(apply.state().views()));
        apply.leave_flushes();
        let failure = Arc::new(OnceLock::new());
        let failed = Arc::clone(&failure);
        let thread = Builder::new().name("flush".into()).spawn(move || {
            drive(&flusher, &|error| {
                let halt = Arc::new(Halt::at(views.load().position, error));
                // Before anybody is told: only the first error comes here, for the thread ends with it.
                let _ = failed.set(Arc::clone(&halt));
                on_halt(halt);
            });
        })?;
        Ok(FlushThread { thread, failure })
    }

    /// The error by which it has ended.
    #[must_use]
    pub fn failure(&self) -> Option<Arc<Halt>> {
        self.failure.get().map(Arc::clone)
    }

    pub(super) fn into_handle(self) -> JoinHandle<()> {
        self.thread
    }
}

debug_fields!(self: FlushThread { failure: self.failure });

fn drive(flusher: &Flusher, on_error: &dyn Fn(MachineError)) {
    let mut patience = FlushPatience::default();
    loop {
        match flusher.next_work(patience.pause()) {
            FlushWork::End => break,
            FlushWork::Drop(rubble) => flusher.drop_rubble(rubble),
            FlushWork::Flush => match flusher.try_once() {
                Ok(tried) => patience.tried(&tried),
                Err(error) => {
                    on_error(error);
                    break;
                }
            },
        }
    }
    flusher.leave();
}
