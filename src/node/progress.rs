//! Long work logs how far it is, every few seconds.

use std::time::Duration;
use std::time::Instant;

/// The log line of one piece of long work.
#[derive(Debug)]
pub struct ProgressLine {
    what: &'static str,
    unit: &'static str,
    began: Instant,
    logged: Instant,
}

impl ProgressLine {
    /// Work that begins now.
    #[must_use]
    pub fn begin(what: &'static str, unit: &'static str) -> ProgressLine {
        let now = Instant::now();
        ProgressLine { what, unit, began: now, logged: now }
    }

    /// The work is at `done` of `all`.
    pub fn at(&mut self, done: u64, all: u64) {
        debug_assert!(done <= all, "{done} of {all}");
        if self.logged.elapsed() > INTERVAL {
            self.logged = Instant::now();
            tracing::info!(done, all, unit = self.unit, "{}", self.what);
        }
    }

    /// The work is done; logged if it took long enough to be noticed.
    pub fn end(self) {
        if self.began.elapsed() > INTERVAL {
            tracing::info!(seconds = self.began.elapsed().as_secs(), "{}: done", self.what);
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(2);
