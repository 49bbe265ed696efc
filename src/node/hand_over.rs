//! A leader that cannot do its work, or is about to end, gives the leadership to another voter first.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crossbeam_channel::Sender;
use crossbeam_channel::bounded;

use crate::limits::HAND_OVER_DEADLINE;
use crate::node::numbers::NodeNumbers;
use crate::raft::Input;
use crate::raft::TransferRefused;
use crate::resp::NodeFacts as _;

/// See the head of this file.
#[derive(Clone)]
pub(crate) struct HandOver {
    raft: Sender<Input>,
    numbers: Arc<NodeNumbers>,
}

impl HandOver {
    pub(crate) fn new(raft: Sender<Input>, numbers: Arc<NodeNumbers>) -> HandOver {
        HandOver { raft, numbers }
    }

    /// Asks raft to hand over, if this node leads and there is another voter. Never blocks. Whether it was asked.
    pub(crate) fn begin(&self, why: &str) -> bool {
        if !self.leads_others() {
            return false;
        }
        tracing::info!(why, "this node hands its leadership over");
        let done = |result| {
            if let Err(error) = result {
                tracing::warn!(%error, "the leadership stays");
            }
        };
        self.raft.try_send(Input::Transfer { to: None, done: Box::new(done) }).is_ok()
    }

    /// The same, and waits until another node leads or it is clear that none will.
    pub(crate) fn finish(&self, why: &str) {
        if !self.leads_others() {
            return;
        }
        tracing::info!(why, "this node hands its leadership over");
        let (done, begun) = bounded(1);
        let done = move |result| {
            // Nobody waits any more only if it took too long.
            let _ = done.try_send(result);
        };
        let until = Instant::now() + HAND_OVER_DEADLINE;
        if self.raft.send_timeout(Input::Transfer { to: None, done: Box::new(done) }, HAND_OVER_DEADLINE).is_err() {
            return tracing::warn!("the leadership stays: raft takes nothing");
        }
        match begun.recv_timeout(until.saturating_duration_since(Instant::now())) {
            // The other one is as good.
            Ok(Ok(_) | Err(TransferRefused::NotNow)) => {}
            Ok(Err(error)) => return tracing::warn!(%error, "the leadership stays"),
            Err(_) => return,
        }
        while self.leads_others() && Instant::now() < until {
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn leads_others(&self) -> bool {
        self.numbers.status.load().is_leader && self.numbers.voters() > 1
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(5);
