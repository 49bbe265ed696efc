//! The memory of all clients: what a client may make the node hold is taken from here before it is fetched or allocated.
//!
//! Without as much left, whoever asks waits. While somebody waits, clients that hold much and do not move are closed, so a
//! wait is short: see [`ClientMemory::allows`]. What is small ([`CLIENT_HOLD_FREE_BYTES`]) is counted and never waits: one
//! who asks for little is served however much others hold. A read is taken once its size is known, while its reply is still to be
//! shown: only threads of the network can hold more for a moment, each one reply.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio::time::sleep;
use tokio::time::timeout_at;

use crate::limits::CLIENT_HOLD_FREE_BYTES;
use crate::limits::CLIENT_READ_BYTES;
use crate::limits::READ_BATCH_COMMANDS_MAX;
use crate::resp::stats::Stats;

/// What all clients of a server may hold together.
#[derive(Debug)]
pub(crate) struct ClientMemory {
    stats: Arc<Stats>,
    /// What may be taken: the setting without what a read needs that is under way.
    bytes_max: usize,
    freed: Notify,
    waiting: AtomicUsize,
}

impl ClientMemory {
    pub(crate) fn new(stats: Arc<Stats>, bytes_max: usize) -> Arc<ClientMemory> {
        let bytes_max = bytes_max.saturating_sub(CLIENT_READ_BYTES);
        Arc::new(ClientMemory { stats, bytes_max, freed: Notify::new(), waiting: AtomicUsize::new(0) })
    }

    /// Takes `bytes`, whether they are left or not: they are held already, or few.
    pub(crate) fn hold(self: &Arc<ClientMemory>, bytes: usize) -> Hold {
        self.stats.buffer_bytes.fetch_add(bytes, Relaxed);
        Hold { memory: Arc::clone(self), bytes }
    }

    /// Takes `bytes` if as many are left.
    pub(crate) fn try_take(self: &Arc<ClientMemory>, bytes: usize) -> Option<Hold> {
        let fits = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        self.stats.buffer_bytes.fetch_update(Relaxed, Relaxed, fits).ok()?;
        Some(Hold { memory: Arc::clone(self), bytes })
    }

    /// Takes `bytes` once as many are left; `None` if they are not by `deadline`.
    pub(crate) async fn take(self: &Arc<ClientMemory>, bytes: usize, deadline: Instant) -> Option<Hold> {
        if let Some(hold) = self.try_take(bytes) {
            return Some(hold);
        }
        if bytes > self.bytes_max {
            return None;
        }
        self.waiting.fetch_add(1, Relaxed);
        let _leave = Leave(self);
        loop {
            // Whether it was woken or not, it looks: who was woken may have needed more than there was.
            let _ = timeout_at(deadline.min(Instant::now() + LOOK_EVERY), self.freed.notified()).await;
            if let Some(hold) = self.try_take(bytes) {
                self.freed.notify_one();
                return Some(hold);
            }
            if Instant::now() >= deadline {
                return None;
            }
        }
    }

    /// What is left to take.
    pub(crate) fn left(&self) -> usize {
        self.bytes_max.saturating_sub(self.stats.buffer_bytes.load(Relaxed))
    }

    /// More than half is held: what is large is to be asked for first, and buffers stay small.
    pub(crate) fn is_tight(&self) -> bool {
        self.left() < self.bytes_max / 2
    }

    /// How many bytes one connection receives, or gathers to be sent, at once.
    pub(crate) fn buffer_bytes(&self, most: usize) -> usize {
        let left = self.left();
        match left {
            _ if left >= self.bytes_max / 2 => most,
            _ if left >= self.bytes_max / 8 => most.min(CLIENT_HOLD_FREE_BYTES),
            _ => most.min(CLIENT_HOLD_FREE_BYTES / 4),
        }
    }

    /// How many commands of one connection go on together.
    pub(crate) fn group_commands(&self) -> usize {
        if self.is_tight() { GROUP_COMMANDS_TIGHT } else { READ_BATCH_COMMANDS_MAX }
    }

    /// Whether a client may go on holding `bytes` that has moved `moved` bytes since `since`. While nobody waits it may.
    /// Otherwise one that holds much must move at a pace: who does not read, or sends a byte now and then, gives way.
    pub(crate) fn allows(&self, bytes: usize, moved: usize, since: Instant) -> bool {
        let grace = Duration::from_secs(1 + (moved / PACE_BYTES_PER_SECOND) as u64);
        bytes <= CLIENT_HOLD_FREE_BYTES || self.waiting.load(Relaxed) == 0 || since.elapsed() < grace
    }

    /// Returns once a connection that holds `held` bytes keeps others waiting and has moved too little since `since`.
    pub(crate) async fn pressed(&self, held: usize, moved: usize, since: Instant) {
        while self.allows(held, moved, since) {
            sleep(LOOK_EVERY).await;
        }
    }

    fn wake(&self) {
        if self.waiting.load(Relaxed) > 0 {
            self.freed.notify_one();
        }
    }
}

/// Bytes that were taken; given back when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    memory: Arc<ClientMemory>,
    bytes: usize,
}

impl Hold {
    /// Gives back what is above `bytes`, or takes what is missing, whether it is left or not.
    pub(crate) fn set(&mut self, bytes: usize) {
        let gauge = &self.memory.stats.buffer_bytes;
        let before = std::mem::replace(&mut self.bytes, bytes);
        if bytes > before {
            gauge.fetch_add(bytes - before, Relaxed);
        } else if bytes < before {
            gauge.fetch_sub(before - bytes, Relaxed);
            self.memory.wake();
        }
    }

    /// Adds what another one holds.
    pub(crate) fn add(&mut self, mut other: Hold) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// One that waits, until it does not.
struct Leave<'a>(&'a ClientMemory);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

/// What must move of a large hold while others wait.
const PACE_BYTES_PER_SECOND: usize = 1 << 20;
const LOOK_EVERY: Duration = Duration::from_millis(250);
const GROUP_COMMANDS_TIGHT: usize = 64;
