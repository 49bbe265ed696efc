//! Counters of the client edge, for metrics and INFO. Relaxed atomics: each is a number by itself.

use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use crate::resp::calls::CallStats;
use crate::resp::calls::CommandCall;
use crate::resp::rates::Rates;

/// Numbers since the start of the process, but for the gauges.
#[derive(Debug)]
pub struct Stats {
    /// Gauge: connections now.
    pub connected_clients: AtomicUsize,
    /// Gauge: connections that have yet to authenticate.
    pub unauthenticated_clients: AtomicUsize,
    /// Gauge: bytes in the buffers of all clients.
    pub buffer_bytes: AtomicUsize,
    /// Connections accepted, refused ones included.
    pub connections_total: AtomicU64,
    /// Connections refused because there were too many.
    pub connections_rejected_total: AtomicU64,
    /// Connections closed for what they sent or held: protocol errors, bounds, deadlines.
    pub connections_closed_total: AtomicU64,
    /// Connections closed because the outcome of their request is unknown.
    pub outcomes_unknown_total: AtomicU64,
    /// Streams that lost their frame.
    pub protocol_errors_total: AtomicU64,
    /// Commands run, refused ones included.
    pub commands_total: AtomicU64,
    /// Error replies.
    pub error_replies_total: AtomicU64,
    /// Requests answered with TRYAGAIN.
    pub try_again_total: AtomicU64,
    /// Requests proposed.
    pub requests_total: AtomicU64,
    /// ReadIndex rounds asked for.
    pub read_rounds_total: AtomicU64,
    /// Groups of reads that needed none.
    pub reads_at_once_total: AtomicU64,
    /// Past-due keys whose removal a read asked for.
    pub past_due_total: AtomicU64,
    /// Reads that failed for the store or for a value that does not open.
    pub read_errors_total: AtomicU64,
    /// Connections with TLS whose handshake failed.
    pub handshakes_failed_total: AtomicU64,
    /// Wrong passwords.
    pub auth_failures_total: AtomicU64,
    /// Bytes received.
    pub input_bytes_total: AtomicU64,
    /// Bytes sent.
    pub output_bytes_total: AtomicU64,
    /// Keys that were looked up and there.
    pub hits_total: AtomicU64,
    /// Keys that were looked up and not there.
    pub misses_total: AtomicU64,
    pub(crate) calls: CallStats,
    pub(crate) rates: Rates,
    wrong_passwords: Mutex<Gathered>,
    refused_operators: Mutex<Gathered>,
    flushes: Mutex<Gathered>,
    failed_handshakes: Mutex<Gathered>,
}

/// Things that clients may do as often as they like: said at most once in a while, with how often.
#[derive(Debug, Default)]
struct Gathered {
    said: Option<Instant>,
    count: u64,
}

impl Gathered {
    /// Counts one more; how many there were since the last line, if one is due.
    fn count(&mut self, every: Duration) -> Option<u64> {
        self.count += 1;
        let is_due = self.said.is_none_or(|said| said.elapsed() >= every);
        is_due.then(|| std::mem::replace(self, Gathered { said: Some(Instant::now()), count: 0 }).count)
    }
}

impl Default for Stats {
    fn default() -> Self {
        Stats {
            connected_clients: AtomicUsize::new(0),
            unauthenticated_clients: AtomicUsize::new(0),
            buffer_bytes: AtomicUsize::new(0),
            connections_total: AtomicU64::new(0),
            connections_rejected_total: AtomicU64::new(0),
            connections_closed_total: AtomicU64::new(0),
            outcomes_unknown_total: AtomicU64::new(0),
            protocol_errors_total: AtomicU64::new(0),
            commands_total: AtomicU64::new(0),
            error_replies_total: AtomicU64::new(0),
            try_again_total: AtomicU64::new(0),
            requests_total: AtomicU64::new(0),
            read_rounds_total: AtomicU64::new(0),
            reads_at_once_total: AtomicU64::new(0),
            past_due_total: AtomicU64::new(0),
            read_errors_total: AtomicU64::new(0),
            handshakes_failed_total: AtomicU64::new(0),
            auth_failures_total: AtomicU64::new(0),
            input_bytes_total: AtomicU64::new(0),
            output_bytes_total: AtomicU64::new(0),
            wrong_passwords: Mutex::default(),
            refused_operators: Mutex::default(),
            flushes: Mutex::default(),
            failed_handshakes: Mutex::default(),
            hits_total: AtomicU64::new(0),
            misses_total: AtomicU64::new(0),
            calls: CallStats::default(),
            rates: Rates::default(),
        }
    }
}

impl Stats {
    /// Every command: how often it was called, and how long its clients waited.
    pub fn commands(&self) -> impl Iterator<Item = CommandCall> + '_ {
        self.calls.commands()
    }

    /// Upper bound in microseconds of each bucket with the number of batches up to it, and the sum of all times.
    #[must_use]
    pub fn batches(&self) -> (Vec<(u64, u64)>, u64) {
        self.calls.batches()
    }

    /// Looks at the counters of which INFO tells how fast they grow. To be called now and then.
    pub fn sample(&self) {
        let counts = [&self.commands_total, &self.input_bytes_total, &self.output_bytes_total].map(load);
        self.rates.sample(Instant::now(), counts);
    }

    /// Counts keys that were there, and keys that were not.
    pub(crate) fn count_lookups(&self, (hits, misses): (u64, u64)) {
        for (counter, count) in [(&self.hits_total, hits), (&self.misses_total, misses)] {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Counts a wrong password, and says so at most once a minute: somebody may be guessing.
    pub(crate) fn count_wrong_password(&self, from: IpAddr) {
        add(&self.auth_failures_total, 1);
        let due = self.wrong_passwords.lock().unwrap_or_else(PoisonError::into_inner).count(SAY_GATHERED_EVERY);
        if let Some(count) = due {
            tracing::warn!(target: "audit", count, newest = %from, "wrong passwords");
        }
    }

    /// Counts a handshake that failed, and says so at most once a minute: strangers may try as often as they like.
    pub(crate) fn count_failed_handshake(&self, from: IpAddr, why: &str) {
        add(&self.handshakes_failed_total, 1);
        let due = self.failed_handshakes.lock().unwrap_or_else(PoisonError::into_inner).count(SAY_GATHERED_EVERY);
        match due {
            Some(count) => {
                tracing::warn!(count, newest = %from, why, "clients do not get through the handshake of TLS")
            }
            None => tracing::debug!(%from, why, "a client does not get through the handshake of TLS"),
        }
    }

    /// Counts a command of operators that another client sent, and says so at most once a minute.
    pub(crate) fn count_refused_operator(&self, from: IpAddr, command: &str) {
        let due = self.refused_operators.lock().unwrap_or_else(PoisonError::into_inner).count(SAY_GATHERED_EVERY);
        if let Some(count) = due {
            tracing::warn!(target: "audit", count, newest = %from, command, "commands of operators were refused");
        }
    }

    /// Says, at most once a second, that a client asked to remove every key of a database or of all.
    pub(crate) fn say_flush(&self, from: IpAddr, command: &str) {
        let due = self.flushes.lock().unwrap_or_else(PoisonError::into_inner).count(SAY_FLUSHES_EVERY);
        if let Some(count) = due {
            tracing::info!(target: "audit", count, newest = %from, command, "a client asks to remove all keys");
        }
    }

    /// CONFIG RESETSTAT: what INFO counts since the start begins again.
    pub(crate) fn reset(&self) {
        let counters = [
            &self.connections_total,
            &self.connections_rejected_total,
            &self.commands_total,
            &self.error_replies_total,
            &self.input_bytes_total,
            &self.output_bytes_total,
            &self.hits_total,
            &self.misses_total,
        ];
        for counter in counters {
            counter.store(0, Ordering::Relaxed);
        }
        self.calls.reset();
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: usize) {
    counter.fetch_add(amount as u64, Ordering::Relaxed);
}

/// Reads a counter.
pub(crate) fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

const SAY_GATHERED_EVERY: Duration = Duration::from_secs(60);
const SAY_FLUSHES_EVERY: Duration = Duration::from_secs(1);
