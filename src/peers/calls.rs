//! Requests to a peer that wait for their answers. Each is answered once: by the peer, at its deadline, or when its
//! connection ends. From the moment that it may have left this node nobody can say any more that it did not run.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;

use crate::limits::PEER_CALLS_MAX;
use crate::peers::handler::CallAnswer;

/// Called once with what became of a request; must not wait.
pub type CallDone = Box<dyn FnOnce(Result<Bytes, CallFailed>) + Send>;

/// A request that has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailed {
    /// It certainly did not run, and never will.
    #[error("not sent: {0}")]
    NotSent(WhyNotSent),
    /// It may have run, or may still run.
    #[error("sent, and its outcome is unknown")]
    Unknown,
}

/// Why a request did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhyNotSent {
    /// No address of that node is known here.
    #[error("the node is not a member")]
    NotAMember,
    /// There is no connection.
    #[error("the node is not connected")]
    NotConnected,
    /// More requests wait than may.
    #[error("too much waits for the node")]
    Full,
    /// The request is longer than any may be.
    #[error("the request has {bytes} bytes")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Its deadline passed in the queue.
    #[error("the node took nothing until the deadline")]
    Deadline,
    /// The peer says so.
    #[error("the node did not take it")]
    Refused,
}

/// See the head of this file.
#[derive(Default)]
pub(super) struct Calls {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    newest: u64,
    calls: HashMap<u64, WaitingCall>,
}

struct WaitingCall {
    done: CallDone,
    deadline: Instant,
    is_sent: bool,
}

debug_fields!(self: Calls { waiting: self.lock().calls.len() });

impl Calls {
    /// A number for a request; without one, `done` was called.
    pub(super) fn add(&self, patience: Duration, done: CallDone) -> Option<u64> {
        let mut waiting = self.lock();
        if waiting.calls.len() >= PEER_CALLS_MAX {
            drop(waiting);
            done(Err(CallFailed::NotSent(WhyNotSent::Full)));
            return None;
        }
        waiting.newest += 1;
        let number = waiting.newest;
        let call = WaitingCall { done, deadline: Instant::now() + patience, is_sent: false };
        let before = waiting.calls.insert(number, call);
        assert!(before.is_none(), "numbers are used once");
        Some(number)
    }

    /// It is about to be written. `false`: nobody waits for it any more, and it must not be.
    pub(super) fn sent(&self, number: u64) -> bool {
        let mut waiting = self.lock();
        let call = waiting.calls.get_mut(&number);
        call.map(|call| call.is_sent = true).is_some()
    }

    /// It will not be written.
    pub(super) fn not_sent(&self, number: u64, why: WhyNotSent) {
        let call = self.lock().calls.remove(&number);
        if let Some(call) = call {
            assert!(!call.is_sent, "what was written is not taken back");
            (call.done)(Err(CallFailed::NotSent(why)));
        }
    }

    /// The peer's answer. One that nobody waits for is dropped.
    pub(super) fn answered(&self, number: u64, answer: CallAnswer) {
        // An answer to what was not sent is a peer's mistake; the request is still in the queue and must stay unknown to it.
        let call = {
            let mut waiting = self.lock();
            if waiting.calls.get(&number).is_some_and(|call| call.is_sent) {
                waiting.calls.remove(&number)
            } else {
                None
            }
        };
        let Some(call) = call else { return };
        (call.done)(match answer {
            CallAnswer::Done(bytes) => Ok(bytes),
            CallAnswer::NotRun => Err(CallFailed::NotSent(WhyNotSent::Refused)),
            CallAnswer::Unknown => Err(CallFailed::Unknown),
        });
    }

    /// Ends those whose deadline has passed.
    pub(super) fn expire(&self, now: Instant) {
        self.end(WhyNotSent::Deadline, |call| call.deadline <= now);
    }

    /// Ends all: the connection is gone.
    pub(super) fn lost(&self, why: WhyNotSent) {
        self.end(why, |_| true);
    }

    fn end(&self, why: WhyNotSent, is_over: impl Fn(&WaitingCall) -> bool) {
        // Called without the lock: who is told may ask again at once.
        let over: Vec<WaitingCall> =
            self.lock().calls.extract_if(|_, call| is_over(call)).map(|(_, call)| call).collect();
        for call in over {
            (call.done)(Err(if call.is_sent { CallFailed::Unknown } else { CallFailed::NotSent(why) }));
        }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.lock().calls.len()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;
    use std::sync::mpsc::channel;

    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn add(calls: &Calls, patience: Duration) -> (u64, Receiver<Result<Bytes, CallFailed>>) {
        let (done, outcome) = channel();
        (calls.add(patience, Box::new(move |result| done.send(result).unwrap())).unwrap(), outcome)
    }

    #[test]
    fn what_was_never_written_did_not_run_and_what_was_may_have() {
        let calls = Calls::default();
        let (_, queued) = add(&calls, LONG);
        let (sent, written) = add(&calls, LONG);
        assert!(calls.sent(sent));
        calls.lost(WhyNotSent::NotConnected);
        assert_eq!(queued.recv().unwrap(), Err(CallFailed::NotSent(WhyNotSent::NotConnected)));
        assert_eq!(written.recv().unwrap(), Err(CallFailed::Unknown));
        assert!(!calls.sent(sent), "it is over");
    }

    #[test]
    fn a_deadline_ends_a_request_and_a_late_answer_is_dropped() {
        let calls = Calls::default();
        let (queued, of_queued) = add(&calls, Duration::ZERO);
        let (sent, of_sent) = add(&calls, Duration::ZERO);
        let (stays, of_stays) = add(&calls, LONG);
        assert!(calls.sent(sent) && calls.sent(stays));
        calls.expire(Instant::now());
        assert_eq!(of_queued.recv().unwrap(), Err(CallFailed::NotSent(WhyNotSent::Deadline)));
        assert_eq!(of_sent.recv().unwrap(), Err(CallFailed::Unknown));
        assert!(!calls.sent(queued), "it must not be written any more");
        calls.answered(sent, CallAnswer::Done(Bytes::new()));
        calls.answered(stays, CallAnswer::Done(Bytes::from_static(b"yes")));
        assert_eq!(of_stays.recv().unwrap(), Ok(Bytes::from_static(b"yes")));
        assert_eq!(calls.len(), 0);
    }

    #[test]
    fn an_answer_to_what_was_not_sent_is_dropped() {
        let calls = Calls::default();
        let (number, outcome) = add(&calls, LONG);
        calls.answered(number, CallAnswer::Done(Bytes::new()));
        assert!(outcome.try_recv().is_err());
        assert!(calls.sent(number));
        calls.answered(number, CallAnswer::NotRun);
        assert_eq!(outcome.recv().unwrap(), Err(CallFailed::NotSent(WhyNotSent::Refused)));
    }

    #[test]
    fn more_than_the_bound_are_refused() {
        let calls = Calls::default();
        let held: Vec<_> = (0..PEER_CALLS_MAX).map(|_| add(&calls, LONG)).collect();
        let (done, outcome) = channel();
        assert_eq!(calls.add(LONG, Box::new(move |result| done.send(result).unwrap())), None);
        assert_eq!(outcome.recv().unwrap(), Err(CallFailed::NotSent(WhyNotSent::Full)));
        drop(held);
    }
}
