//! Answers on their way to the connections: other threads put them here, and one task of the network hands them out.
//!
//! Each connection could be told where its answer is made. Then the thread that makes answers wakes the network's for each of
//! them, is stopped by it, and both go to and fro for every reply. Here it wakes it once, behind the last answer of a step.

use std::sync::Mutex;

use tokio::sync::Notify;
use tokio::sync::oneshot;

use crate::propose::Outcome;
use crate::propose::ReadOutcome;
use crate::propose::Sleeper;
use crate::resp::memory::Hold;
use crate::resp::registry::lock;

/// How a request ended, and what its large replies hold.
pub(crate) struct ProposedEnd {
    pub(crate) outcome: Outcome,
    pub(crate) hold: Option<Hold>,
}

impl From<Outcome> for ProposedEnd {
    fn from(outcome: Outcome) -> ProposedEnd {
        ProposedEnd { outcome, hold: None }
    }
}

/// An answer, and where it goes. The connection may have gone; then nobody wants it.
pub(super) enum Undelivered {
    /// A request ended.
    Proposed(oneshot::Sender<ProposedEnd>, ProposedEnd),
    /// A read point was reached, or not.
    Read(oneshot::Sender<ReadOutcome>, ReadOutcome),
}

/// Of all connections of a server. Bounded by what they ask for: each waits for one answer.
#[derive(Default)]
pub(super) struct Deliveries {
    waiting: Mutex<Vec<Undelivered>>,
    woken: Notify,
}

impl Deliveries {
    /// Takes an answer; it is delivered behind the next wake.
    pub(super) fn put(&self, answer: Undelivered) {
        lock(&self.waiting).push(answer);
    }

    /// Delivers what is put, for ever.
    pub(super) async fn deliver(&self) {
        let mut all = Vec::new();
        loop {
            self.woken.notified().await;
            std::mem::swap(&mut *lock(&self.waiting), &mut all);
            for answer in all.drain(..) {
                match answer {
                    Undelivered::Proposed(to, ended) => drop(to.send(ended)),
                    Undelivered::Read(to, outcome) => drop(to.send(outcome)),
                }
            }
        }
    }
}

impl Sleeper for Deliveries {
    fn wake(&self) {
        self.woken.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::runtime::Builder;

    use super::*;
    use crate::ids::Index;

    #[test]
    fn one_wake_delivers_everything_that_was_put_and_a_reader_that_is_gone_holds_up_nobody() {
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let deliveries = Arc::new(Deliveries::default());
            let delivering = Arc::clone(&deliveries);
            let task = tokio::spawn(async move { delivering.deliver().await });
            for _ in 0..2 {
                let (to, gone) = oneshot::channel();
                drop(gone);
                deliveries.put(Undelivered::Proposed(to, Outcome::Unknown.into()));
                let (to, proposed) = oneshot::channel();
                deliveries.put(Undelivered::Proposed(to, Outcome::TryAgain.into()));
                let (to, read) = oneshot::channel();
                deliveries.put(Undelivered::Read(to, ReadOutcome::Ready(Index(7))));
                deliveries.wake();
                assert!(matches!(proposed.await.unwrap().outcome, Outcome::TryAgain));
                assert_eq!(read.await.unwrap(), ReadOutcome::Ready(Index(7)));
            }
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        });
    }
}
