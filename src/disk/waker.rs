//! A way to end another thread's [`Disk::wait`](crate::disk::Disk::wait): a descriptor that the ring listens to.

use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::fd::RawFd;
use std::sync::Arc;

use rustix::event::EventfdFlags;
use rustix::io::Errno;

/// Wakes the thread that sleeps in `wait`, or the next one that would.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// Ends one wait, now or the next. A few microseconds.
    pub fn wake(&self) {
        // Full means that a wake is under way already; nothing else can happen to a counter.
        while rustix::io::write(&self.event, &1_u64.to_ne_bytes()) == Err(Errno::INTR) {}
    }

    pub(super) fn new() -> std::io::Result<Waker> {
        let event = rustix::event::eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Waker { event: Arc::new(event) })
    }

    pub(super) fn raw(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// Forgets the wakes so far.
    pub(super) fn reset(&self) {
        let mut count = [0; 8];
        while rustix::io::read(&self.event, &mut count) == Err(Errno::INTR) {}
    }
}
