//! The thread around the loop: takes all waiting inputs, steps, sleeps until the next input or tick. Another loop may ride
//! on it: where there are few cores, a hand-over to a thread of its own costs more than what could be done beside raft.

use std::io;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::thread::Builder;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use crossbeam_channel::RecvTimeoutError;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::limits::RAFT_QUEUE_MAX;
use crate::limits::RAFT_STEP_INPUTS_MAX;
use crate::raft::fatal::RaftFatal;
use crate::raft::input::Input;
use crate::raft::raft_loop::RaftLoop;

/// The queue in front of the thread. When it is full, senders wait, or drop a message that raft sends again.
#[must_use]
pub fn queue() -> (Sender<Input>, Receiver<Input>) {
    bounded(RAFT_QUEUE_MAX)
}

/// A loop that has its turns between raft's steps. What it sends to raft in one turn fits half of raft's queue.
pub trait Rider: Send {
    /// Does a bounded piece of work, if there is any, and says after what time it wants its next turn, should raft have no
    /// input until then. Must not wait.
    fn turn(&mut self) -> Duration;

    /// Raft has ended, and everything that it gave out is there: does the rest.
    fn finish(self: Box<Self>);
}

/// Runs `raft` on its thread until [`Input::Stop`], a fatal error, or the last sender is gone; then calls `ended`, and then
/// `rider` finishes.
///
/// The library panics when a peer or a caller breaks its rules. That is a fatal error too: a node without this thread must
/// not live on.
///
/// # Errors
/// If the thread cannot be made.
pub fn spawn(
    raft: RaftLoop,
    inputs: Receiver<Input>,
    mut rider: Option<Box<dyn Rider>>,
    ended: impl FnOnce(Result<(), RaftFatal>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name("raft".to_owned()).spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| run(raft, &inputs, &mut rider)));
        ended(result.unwrap_or(Err(RaftFatal::Panicked)));
        // Nobody takes what the rider still reports: its sends must fail, and not wait.
        drop(inputs);
        rider.into_iter().for_each(Rider::finish);
    })
}

fn run(mut raft: RaftLoop, inputs: &Receiver<Input>, rider: &mut Option<Box<dyn Rider>>) -> Result<(), RaftFatal> {
    let mut first = None;
    loop {
        raft.step(first.take().into_iter().chain(inputs.try_iter()).take(RAFT_STEP_INPUTS_MAX))?;
        if raft.is_stopped() {
            return Ok(());
        }
        let rest = match rider {
            // It reports on this queue, which nobody but this thread makes shorter.
            Some(rider) if inputs.len() < RAFT_QUEUE_MAX / 2 => rider.turn(),
            Some(_) => Duration::ZERO,
            None => Duration::MAX,
        };
        match inputs.recv_timeout(raft.idle_for().min(rest)) {
            Ok(input) => first = Some(input),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return raft.step(std::iter::once(Input::Stop)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crossbeam_channel::unbounded;

    use super::*;
    use crate::ids::Index;
    use crate::ids::NodeId;
    use crate::ids::Position;
    use crate::ids::Term;
    use crate::members::Members;
    use crate::raft::*;
    use crate::wal::Append;
    use crate::wal::HardState;
    use crate::wal::LogSpace;
    use crate::world::KernelEntropy;
    use crate::world::SystemClock;

    struct Idle;

    impl Proposer for Idle {
        fn next(&mut self, _view: &LeaderView) -> Option<Box<dyn Batch>> {
            None
        }

        fn not_leading(&mut self, _leader: Option<u64>) {}
    }

    struct Out(Sender<(Option<u64>, Option<Index>)>);

    impl Ports for Out {
        fn log(&mut self, append: Append) {
            self.0.send((Some(append.ticket), None)).unwrap();
        }

        fn apply(&mut self, committed: Vec<Committed>) {
            self.0.send((None, Some(committed[0].entry.index))).unwrap();
        }

        fn read_ready(&mut self, _context: u64, _index: Index) {}

        fn read_lost(&mut self, _context: u64) {}

        fn status(&mut self, _status: Status) {}
    }

    // The shell only: what it drives has its own tests.
    #[test]
    fn the_thread_steps_on_input_and_ends_when_told() {
        let founded = Position { term: Term(1), index: Index(1) };
        let node = NodeId::new(1).unwrap();
        let recovered = StartingPoint {
            hard_state: HardState { term: Term(1), vote: 0, commit: Index(1) },
            compacted: founded,
            entries: Vec::new(),
            older_terms: Vec::new(),
            members: Members::founders(&[node]),
            applied: founded,
        };
        let (effects, seen) = unbounded();
        let outside = RaftParts {
            proposer: Box::new(Idle),
            ports: Box::new(Out(effects)),
            transport: Box::new(Nowhere),
            space: Arc::new(LogSpace::of(1 << 30, 1 << 30)),
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(KernelEntropy),
        };
        let raft = RaftLoop::new(RaftConfig::new(node), recovered, outside).unwrap();
        let (sender, inputs) = queue();
        let (ended, end) = unbounded();
        let thread = spawn(raft, inputs, None, move |result| ended.send(result).unwrap()).unwrap();
        let patience = Duration::from_secs(20);
        let (ticket, _) = seen.recv_timeout(patience).unwrap();
        sender.send(Input::Persisted(ticket.unwrap())).unwrap();
        assert_eq!(seen.recv_timeout(patience).unwrap(), (None, Some(Index(2))));
        sender.send(Input::Stop).unwrap();
        assert_eq!(end.recv_timeout(patience).unwrap(), Ok(()));
        thread.join().unwrap();
    }
}
