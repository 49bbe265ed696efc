//! The bell at the log's door: wakes the log thread where it sleeps for the device although it could take another frame.
//!
//! The thread says that it sleeps and looks at its queue once more; a sender queues and then looks whether it sleeps. Both
//! orders are total (`SeqCst`), so one of them sees the other, and no append waits for the device beside free space.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::atomic::fence;

use crate::disk::Waker;

/// Between the log thread and those who hand it appends.
#[derive(Debug)]
pub(super) struct Bell {
    sleeps: AtomicBool,
    waker: Waker,
}

impl Bell {
    /// A bell that wakes by `waker`.
    pub(super) fn new(waker: Waker) -> Bell {
        Bell { sleeps: AtomicBool::new(false), waker }
    }

    /// Something was queued: wakes the thread if it sleeps.
    pub(super) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeps.load(Ordering::SeqCst) && self.sleeps.swap(false, Ordering::SeqCst) {
            self.waker.wake();
        }
    }

    /// From now on a ring wakes the thread; it looks at its queue once more before it sleeps.
    pub(super) fn listen(&self) {
        self.sleeps.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The thread is awake.
    pub(super) fn rest(&self) {
        self.sleeps.store(false, Ordering::Relaxed);
    }
}
