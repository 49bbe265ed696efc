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
    /// When it was said last.
    logged: Option<Instant>,
}

impl<'a> ProgressLine<'a> {
    /// Work that begins now; who asks hears what it is at once.
    #[must_use]
    pub fn begin(to: &'a StartProgress, what: &'static str, unit: &'static str) -> ProgressLine<'a> {
        to.set(Some(StartStep { what, unit, done: 0, all: 0 }));
        ProgressLine { to, what, unit, began: Instant::now(), logged: None }
    }

    /// Work of which nobody knows how far it is.
    #[must_use]
    pub fn begin_uncounted(to: &'a StartProgress, what: &'static str) -> ProgressLine<'a> {
        ProgressLine::begin(to, what, "")
    }

    /// The work is at `done` of `all`.
    pub fn at(&mut self, done: u64, all: u64) {
        debug_assert!(done <= all, "{done} of {all}");
        self.to.set(Some(StartStep { what: self.what, unit: self.unit, done, all }));
        if self.is_due() {
            self.logged = Some(Instant::now());
            tracing::info!(done, all, unit = self.unit, "{}", self.what);
        }
    }

    /// First when it is sure to take a moment, within the second in which an operator wonders, then now and then.
    fn is_due(&self) -> bool {
        self.logged.map_or(self.began.elapsed() >= FIRST_AFTER, |logged| logged.elapsed() >= INTERVAL)
    }

    /// The work is done; logged if it took long enough to be noticed.
    pub fn end(self) {
        self.to.set(None);
        if self.logged.is_some() {
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

const FIRST_AFTER: Duration = Duration::from_millis(500);
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
        let mut line = ProgressLine::begin(&progress, "reading the log", "bytes");
        assert_eq!(progress.words(), "reading the log", "before the first of it is read");
        line.at(1, 9);
        assert!(line.logged.is_none(), "short work is not logged");
        std::thread::sleep(FIRST_AFTER);
        line.at(2, 9);
        let said = line.logged;
        line.at(3, 9);
        assert!(
            said.is_some() && line.logged == said,
            "what takes longer is said within a second, and not at each step"
        );
        line.end();
        let line = ProgressLine::begin_uncounted(&progress, "flushing the state");
        assert_eq!(progress.words(), "flushing the state");
        line.end();
        assert_eq!(progress.words(), "starting");
    }
}
