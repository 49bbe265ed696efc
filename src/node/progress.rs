//! How far long work of a start is: a log line every few seconds, and an answer for who asks meanwhile.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::apply::flush::FlushTry;
use crate::limits::FLUSH_RETRY;
use crate::limits::REPLAY_FAILED_MAX;
use crate::limits::REPLAY_HELD_MAX;

/// What a start is doing now, for the admin listener, which answers before the node serves.
#[derive(Debug, Default)]
pub struct StartProgress(Mutex<Option<StartStep>>);

/// A piece of long work, and how far it is.
#[derive(Clone, Copy, Debug)]
struct StartStep {
    what: &'static str,
    unit: &'static str,
    done: u64,
    all: u64,
}

impl StartProgress {
    /// In words: what is being done, and how far it is.
    #[must_use]
    pub fn words(&self) -> String {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            None => "starting".to_owned(),
            Some(StartStep { what, all: 0, .. }) => what.to_owned(),
            Some(StartStep { what, unit, done, all }) => format!("{what}: {done} of {all} {unit}"),
        }
    }

    fn set(&self, step: Option<StartStep>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }
}

/// One piece of long work.
#[derive(Debug)]
pub struct ProgressLine<'a> {
    to: &'a StartProgress,
    what: &'static str,
    unit: &'static str,
    began: Instant,
    logged: Instant,
}

impl<'a> ProgressLine<'a> {
    /// Work that begins now.
    #[must_use]
    pub fn begin(to: &'a StartProgress, what: &'static str, unit: &'static str) -> ProgressLine<'a> {
        let now = Instant::now();
        ProgressLine { to, what, unit, began: now, logged: now }
    }

    /// Work of which nobody knows how far it is.
    #[must_use]
    pub fn begin_uncounted(to: &'a StartProgress, what: &'static str) -> ProgressLine<'a> {
        let line = ProgressLine::begin(to, what, "");
        to.set(Some(StartStep { what, unit: "", done: 0, all: 0 }));
        line
    }

    /// The work is at `done` of `all`.
    pub fn at(&mut self, done: u64, all: u64) {
        debug_assert!(done <= all, "{done} of {all}");
        self.to.set(Some(StartStep { what: self.what, unit: self.unit, done, all }));
        if self.logged.elapsed() > INTERVAL {
            self.logged = Instant::now();
            tracing::info!(done, all, unit = self.unit, "{}", self.what);
        }
    }

    /// The work is done; logged if it took long enough to be noticed.
    pub fn end(self) {
        self.to.set(None);
        if self.began.elapsed() > INTERVAL {
            tracing::info!(seconds = self.began.elapsed().as_secs(), "{}: done", self.what);
        }
    }
}

/// How a start waits while it needs a flush and the state takes none.
#[derive(Debug)]
pub struct ReplayPatience {
    need: &'static str,
    since: Option<Instant>,
}

impl ReplayPatience {
    /// For a start that needs a flush because of `need`.
    #[must_use]
    pub fn new(need: &'static str) -> ReplayPatience {
        ReplayPatience { need, since: None }
    }

    /// Waits a little, and says whether it is worth another try. The first wait is logged with its reason.
    pub fn wait(&mut self, tried: &FlushTry) -> bool {
        let since = *self.since.get_or_insert_with(|| {
            tracing::warn!(why = %tried.trouble(), "the start waits: {} and the state takes no flush", self.need);
            Instant::now()
        });
        let patience = match tried {
            FlushTry::Failed(_) => REPLAY_FAILED_MAX,
            FlushTry::Idle | FlushTry::Held | FlushTry::Done(_) => REPLAY_HELD_MAX,
        };
        let is_worth_it = since.elapsed() < patience;
        if is_worth_it {
            std::thread::sleep(FLUSH_RETRY);
        }
        is_worth_it
    }

    /// The start goes on.
    pub fn end(&mut self) {
        if let Some(since) = self.since.take() {
            tracing::info!(seconds = since.elapsed().as_secs(), "the start goes on");
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_says_what_it_does_and_how_far_it_is() {
        let progress = StartProgress::default();
        assert_eq!(progress.words(), "starting");
        let mut line = ProgressLine::begin(&progress, "replaying the log", "entries");
        line.at(5, 9);
        assert_eq!(progress.words(), "replaying the log: 5 of 9 entries");
        line.end();
        assert_eq!(progress.words(), "starting");
        let line = ProgressLine::begin_uncounted(&progress, "flushing the state");
        assert_eq!(progress.words(), "flushing the state");
        line.end();
        assert_eq!(progress.words(), "starting");
    }
}
