//! Long work shows how far it is: a bar on a terminal, a line every few seconds otherwise.

use std::io::IsTerminal;
use std::time::Duration;
use std::time::Instant;

use indicatif::ProgressBar;
use indicatif::ProgressStyle;

/// One piece of long work.
pub struct Steps {
    what: &'static str,
    unit: &'static str,
    bar: Option<ProgressBar>,
    said: Instant,
    began: Instant,
}

impl Steps {
    /// Work that begins now.
    #[must_use]
    pub fn begin(what: &'static str, unit: &'static str) -> Steps {
        let now = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}");
            let bar = ProgressBar::new(0).with_message(what);
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Steps { what, unit, bar, said: now, began: now }
    }

    /// It is at `done` of `all`.
    pub fn at(&mut self, done: u64, all: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(all);
            bar.set_position(done);
        } else if self.said.elapsed() > SAY_EVERY {
            self.said = Instant::now();
            tracing::info!(done, all, unit = self.unit, "{}", self.what);
        }
    }

    /// It is done. Says so if it took long enough to be noticed.
    pub fn end(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.began.elapsed() > SAY_EVERY {
            tracing::info!(seconds = self.began.elapsed().as_secs(), "{}: done", self.what);
        }
    }
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steps").field("what", &self.what).finish_non_exhaustive()
    }
}

const SAY_EVERY: Duration = Duration::from_secs(2);
