//! The thread that has expired keys removed: it drives the walk, and proposes what that finds where this node leads.
//!
//! One entry of removals is under way at a time, and there is a pause behind each: expired keys never crowd out clients.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::Builder;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::Receiver;
use crossbeam_channel::RecvTimeoutError;
use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::fsm::command::Reply;
use crate::fsm::command::WriteCommand;
use crate::fsm::name::Database;
use crate::fsm::name::RowName;
use crate::fsm::value::ValueError;
use crate::limits::EXPIRY_PAUSE;
use crate::limits::EXPIRY_PAUSE_DAMAGED;
use crate::limits::EXPIRY_STEP_TIME;
use crate::limits::THREAD_END_DEADLINE;
use crate::node::ports::StatusCell;
use crate::propose::AppliedFacts;
use crate::propose::ClientRequest;
use crate::propose::ExpiryWalk;
use crate::propose::Gateway;
use crate::propose::Outcome;
use crate::propose::ProposeHandle;
use crate::propose::RequestSlot;
use crate::world::NotJoined;
use crate::world::join_within;

/// What the thread works with.
pub struct ExpiryParts {
    /// The walk over the rows.
    pub walk: ExpiryWalk,
    /// The clock that judges.
    pub facts: Arc<AppliedFacts>,
    /// Whether this node leads.
    pub status: Arc<StatusCell>,
    /// Where removals go.
    pub proposer: ProposeHandle,
    /// Keys that were removed.
    pub removed: Arc<AtomicU64>,
    /// For how long no damaged row was said.
    pub said_before: Duration,
}

/// The thread, and what stops it.
pub struct ExpiryThread {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl ExpiryThread {
    /// Starts it.
    ///
    /// # Errors
    /// If the thread cannot be made.
    pub fn spawn(mut parts: ExpiryParts) -> io::Result<ExpiryThread> {
        let (stop, stopped) = bounded(0);
        let thread = Builder::new().name("expiry".to_owned()).spawn(move || parts.run(&stopped))?;
        Ok(ExpiryThread { stop, thread })
    }

    /// Ends it. An entry that is under way must have been answered, or be answered without this thread.
    ///
    /// # Errors
    /// [`NotJoined`].
    pub fn join(self) -> Result<(), NotJoined> {
        drop(self.stop);
        join_within(self.thread, THREAD_END_DEADLINE)
    }
}

impl ExpiryParts {
    fn run(&mut self, stopped: &Receiver<()>) {
        let mut pause = EXPIRY_PAUSE;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            pause = self.step();
        }
    }

    /// How long to wait for the next.
    fn step(&mut self) -> Duration {
        let begun = Instant::now();
        let walked = self.walk.step(self.facts.stamps().now_ms());
        let took = begun.elapsed();
        let step = match walked {
            Ok(step) => step,
            Err(error) => {
                tracing::error!(%error, "the state cannot be read: expired keys are not looked for now");
                return EXPIRY_PAUSE_DAMAGED;
            }
        };
        self.damaged(step.damage, step.pause);
        if !step.past_due.is_empty() && self.status.load().is_leader {
            self.remove(step.past_due);
        }
        paced(step.pause, took)
    }

    /// Says that rows are damaged, once a minute at most.
    fn damaged(&mut self, damage: Option<ValueError>, pause: Duration) {
        self.said_before = self.said_before.saturating_add(pause);
        if let Some(error) = damage
            && self.said_before >= EXPIRY_PAUSE_DAMAGED
        {
            tracing::error!(%error, "a row cannot be read: it is not removed when it expires");
            self.said_before = Duration::ZERO;
        }
    }

    /// Has them removed and waits for the outcome. What is not removed now is found again.
    fn remove(&self, names: Vec<RowName>) {
        let (done, outcome) = bounded(1);
        let request = ClientRequest {
            conditions: Vec::new(),
            slots: vec![RequestSlot::Write(Database::FIRST, WriteCommand::RemoveExpired { names })],
            done: Box::new(move |outcome| drop(done.try_send(outcome))),
        };
        if self.proposer.propose(request).is_ok()
            && let Ok(Outcome::Replies(replies)) = outcome.recv()
            && let Some(Reply::Integer(removed)) = replies.first()
        {
            self.removed.fetch_add(removed.unsigned_abs(), Relaxed);
        }
    }
}

/// The pause behind a step that took so long. With many files in level 0 and all cores busy a row costs much to look at: steps took
/// up to 80 ms of CPU (20 million keys, Zen 5, 2026-11-30). The walk keeps to its share of a core then, and takes longer.
fn paced(pause: Duration, took: Duration) -> Duration {
    let times = took.as_micros().div_ceil(EXPIRY_STEP_TIME.as_micros()).max(1);
    pause.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)).min(EXPIRY_PAUSE_DAMAGED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::EXPIRY_PAUSE_IDLE;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn a_walk_keeps_to_its_share_of_a_core_where_its_steps_take_long() {
        for pause in [EXPIRY_PAUSE / 5, EXPIRY_PAUSE, EXPIRY_PAUSE_IDLE] {
            assert_eq!(paced(pause, Duration::ZERO), pause);
            assert_eq!(paced(pause, EXPIRY_STEP_TIME), pause);
            let share = pause.as_secs_f64() / EXPIRY_STEP_TIME.as_secs_f64();
            for took in [11, 25, 55].map(ms) {
                let found = paced(pause, took).as_secs_f64() / took.as_secs_f64();
                assert!(found >= share && found <= 2.0 * share, "{found} where {share} is meant");
            }
        }
        assert_eq!(paced(EXPIRY_PAUSE_IDLE, Duration::from_secs(3600)), EXPIRY_PAUSE_DAMAGED, "it goes on some day");
    }
}
