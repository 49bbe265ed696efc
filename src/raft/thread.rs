//! The thread around the loop: takes everything that waits, steps, sleeps until the next input or tick.

use std::io;
use std::thread::Builder;
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;
use crossbeam_channel::RecvTimeoutError;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::limits::RAFT_QUEUE_MAX;
use crate::limits::RAFT_STEP_INPUTS_MAX;
use crate::raft::config::Fatal;
use crate::raft::run::Input;
use crate::raft::run::Loop;

/// The queue in front of the thread; full means that whoever sends waits, or drops what raft sends again.
#[must_use]
pub fn queue() -> (Sender<Input>, Receiver<Input>) {
    bounded(RAFT_QUEUE_MAX)
}

/// Runs `raft` on a thread of its own until [`Input::Stop`], a fatal error, or the last sender is gone; then calls `ended`.
///
/// # Errors
/// If the thread cannot be made.
pub fn spawn(
    raft: Loop,
    inputs: Receiver<Input>,
    ended: impl FnOnce(Result<(), Fatal>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new()
        .name("raft".to_owned())
        .spawn(move || ended(run(raft, &inputs)))
}

fn run(mut raft: Loop, inputs: &Receiver<Input>) -> Result<(), Fatal> {
    let mut first = None;
    loop {
        raft.step(
            first
                .take()
                .into_iter()
                .chain(inputs.try_iter())
                .take(RAFT_STEP_INPUTS_MAX),
        )?;
        if raft.is_stopped() {
            return Ok(());
        }
        match inputs.recv_timeout(raft.idle_for()) {
            Ok(input) => first = Some(input),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return raft.step(std::iter::once(Input::Stop)),
        }
    }
}
