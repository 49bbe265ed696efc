//! What is counted of the connections to one peer, for metrics and INFO.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::time::Instant;

use crate::ids::NodeId;
use crate::peers::config::PeerAddress;

/// A peer, as its connections are now.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Which.
    pub node: NodeId,
    /// Where it is dialled.
    pub address: PeerAddress,
    /// Both connections to it stand.
    pub is_connected: bool,
    /// Since when that is so, or is not.
    pub since: Duration,
    /// Why it could not be reached the last time.
    pub last_error: Option<String>,
    /// Messages and requests that wait to be written.
    pub queued: usize,
    /// Requests that wait for an answer.
    pub calls: usize,
    /// Messages that were dropped: without a connection, or at a full queue.
    pub dropped_total: u64,
    /// Connections to it that were made.
    pub connects_total: u64,
    /// Bytes that were written to it, answers to its requests aside.
    pub sent_bytes_total: u64,
    /// Messages and requests that they were.
    pub sent_messages_total: u64,
    /// Bytes of frames that came from it, on the connections that it made.
    pub received_bytes_total: u64,
    /// Messages and requests that they were.
    pub received_messages_total: u64,
    /// How long the newest question took that asks for nothing; `None`: it has no answer.
    pub round_trip: Option<Duration>,
}

/// What has gone one way.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) bytes: AtomicU64,
    pub(super) items: AtomicU64,
}

impl Traffic {
    pub(super) fn add(&self, items: usize, bytes: usize) {
        self.items.fetch_add(items as u64, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }
}

/// Counters that every thread may raise.
#[derive(Debug, Default)]
pub(super) struct PeerCounters {
    pub(super) dropped: AtomicU64,
    pub(super) connects: AtomicU64,
    pub(super) sent: Traffic,
    pub(super) received: Traffic,
    /// In microseconds; 0 if it is not known.
    round_trip: AtomicU64,
}

impl PeerCounters {
    pub(super) fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Relaxed);
    }

    pub(super) fn set_round_trip(&self, time: Option<Duration>) {
        let micros = time.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
        self.round_trip.store(micros, Relaxed);
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        Some(self.round_trip.load(Relaxed)).filter(|micros| *micros > 0).map(Duration::from_micros)
    }
}

/// How the connections to a peer stand.
#[derive(Debug)]
pub(super) struct Standing {
    inner: Mutex<StandingInner>,
}

#[derive(Debug)]
struct StandingInner {
    lanes_up: usize,
    since: Instant,
    last_error: Option<String>,
}

impl Default for Standing {
    fn default() -> Standing {
        Standing { inner: Mutex::new(StandingInner { lanes_up: 0, since: Instant::now(), last_error: None }) }
    }
}

impl Standing {
    /// One more connection stands. Returns whether all do, since now.
    pub(super) fn rise(&self) -> bool {
        let mut inner = self.lock();
        inner.lanes_up += 1;
        let is_whole = inner.lanes_up == LANES;
        if is_whole {
            inner.since = Instant::now();
        }
        is_whole
    }

    /// One is gone.
    pub(super) fn fall(&self) {
        let mut inner = self.lock();
        if inner.lanes_up == LANES {
            inner.since = Instant::now();
        }
        inner.lanes_up -= 1;
    }

    /// Why a connection is gone or was not made. Returns whether that is news.
    pub(super) fn failed(&self, error: String) -> bool {
        let mut inner = self.lock();
        let is_news = inner.last_error.as_ref() != Some(&error);
        inner.last_error = Some(error);
        is_news
    }

    /// Whether both connections stand, for how long that is so, and the last error.
    pub(super) fn look(&self) -> (bool, Duration, Option<String>) {
        let inner = self.lock();
        (inner.lanes_up == LANES, inner.since.elapsed(), inner.last_error.clone())
    }

    fn lock(&self) -> MutexGuard<'_, StandingInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connections to one peer.
const LANES: usize = 2;
