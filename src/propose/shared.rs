//! What the two ends of the proposer and the bundles under way share.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::limits::FORWARD_PAUSE;
use crate::limits::FORWARDS_MAX;
use crate::propose::facts::AppliedFacts;
use crate::propose::orders::Orders;
use crate::propose::read_points::ReadPoints;
use crate::propose::requests::RequestQueue;
use crate::world::Clock;

/// See the head of this file.
pub(super) struct SharedQueue {
    pub(super) requests: RequestQueue,
    pub(super) orders: Orders,
    pub(super) reads: Arc<ReadPoints>,
    pub(super) facts: Arc<AppliedFacts>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) queue_deadline: Duration,
    pub(super) answer_deadline: Duration,
    pub(super) forwards: ForwardState,
    /// A wake is on its way, or the raft thread has not looked since.
    pub(super) is_awake: AtomicBool,
    pub(super) wake: Box<dyn Fn() + Send + Sync>,
}

impl SharedQueue {
    pub(super) fn wake(&self) {
        if !self.is_awake.swap(true, SeqCst) {
            (self.wake)();
        }
    }
}

/// How many bundles are under way, and until when none goes out.
#[derive(Debug, Default)]
pub(super) struct ForwardState {
    under_way: AtomicUsize,
    paused_until: Mutex<Duration>,
}

impl ForwardState {
    /// Whether one more bundle may go out.
    pub(super) fn is_open(&self, now: Duration) -> bool {
        let until = *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        self.under_way.load(SeqCst) < FORWARDS_MAX && until <= now
    }

    /// One more is under way.
    pub(super) fn begin(&self) {
        self.under_way.fetch_add(1, SeqCst);
    }

    /// One has ended.
    pub(super) fn end(&self) {
        let before = self.under_way.fetch_sub(1, SeqCst);
        assert!(before > 0, "each bundle was counted");
    }

    /// The leader could not be reached, or leads no more: no bundle for a moment.
    pub(super) fn pause(&self, now: Duration) {
        *self.paused_until.lock().unwrap_or_else(PoisonError::into_inner) = now + FORWARD_PAUSE;
    }
}
