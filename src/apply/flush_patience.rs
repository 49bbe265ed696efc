//! How long the thread that flushes waits between tries that come to nothing, and what it says meanwhile.

use std::sync::Arc;
use std::time::Duration;

use crate::apply::flush::FlushTry;
use crate::limits::FLUSH_HELD_LOOK;
use crate::limits::FLUSH_HELD_SAID_AFTER;
use crate::limits::FLUSH_HELD_SAID_EVERY;
use crate::limits::FLUSH_RETRY;
use crate::limits::FLUSH_RETRY_MAX;

/// See the head of this file. It counts its own pauses and reads no clock.
#[derive(Debug, Default)]
pub(super) struct FlushPatience {
    /// Before the next try; `None`: there is nothing to try again.
    pause: Option<Duration>,
    /// The reason that was logged last.
    said: Option<Arc<str>>,
    /// For how long the base is behind.
    held: Duration,
    /// When that is to be said next.
    say_held_at: Duration,
}

impl FlushPatience {
    /// Before the next try; `None`: until there is something new to flush.
    pub(super) fn pause(&self) -> Option<Duration> {
        self.pause
    }

    /// What a try came to.
    pub(super) fn tried(&mut self, tried: &FlushTry) {
        match tried {
            FlushTry::Failed(why) => {
                let longer = self.pause.map_or(FLUSH_RETRY, |pause| pause.saturating_mul(2));
                // It may have waited for the base before, which is looked at far more often.
                self.pause = Some(longer.clamp(FLUSH_RETRY, FLUSH_RETRY_MAX));
                if self.said.as_ref() != Some(why) {
                    tracing::error!(%why, "the state cannot be flushed: it is tried again, writes wait if memory gets full");
                    self.said = Some(Arc::clone(why));
                }
            }
            FlushTry::Held => {
                self.pause = Some(FLUSH_HELD_LOOK);
                self.hold();
            }
            FlushTry::Done(position) => {
                if self.said.take().is_some() {
                    tracing::info!(index = %position.index, "the state is flushed again");
                }
                *self = FlushPatience::default();
            }
            FlushTry::Idle => self.pause = None,
        }
    }

    fn hold(&mut self) {
        self.held += FLUSH_HELD_LOOK;
        if self.held >= self.say_held_at.max(FLUSH_HELD_SAID_AFTER) {
            let (why, seconds) = (FlushTry::Held.trouble(), self.held.as_secs());
            tracing::warn!(%why, seconds, "the state is not flushed for so long, writes wait if memory gets full");
            self.say_held_at = self.held + FLUSH_HELD_SAID_EVERY;
            self.said = Some(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Position;

    #[test]
    fn bounded_a_file_that_cannot_be_written_is_tried_less_and_less_often() {
        let mut patience = FlushPatience::default();
        assert_eq!(patience.pause(), None);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            patience.tried(&FlushTry::Failed(Arc::from("full")));
            pauses.push(patience.pause().unwrap().as_millis());
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        patience.tried(&FlushTry::Held);
        assert_eq!(patience.pause(), Some(FLUSH_HELD_LOOK), "asking costs nothing");
        patience.tried(&FlushTry::Failed(Arc::from("full")));
        assert_eq!(patience.pause(), Some(FLUSH_RETRY), "a file that is written again costs something");
        patience.tried(&FlushTry::Done(Position::default()));
        assert_eq!(patience.pause(), None);
        patience.tried(&FlushTry::Failed(Arc::from("full")));
        assert_eq!(patience.pause(), Some(FLUSH_RETRY), "it begins anew");
    }

    const LOOKS_A_SECOND: u32 = 40;

    #[test]
    fn a_base_that_is_behind_is_said_after_ten_seconds_and_then_once_a_minute() {
        let mut patience = FlushPatience::default();
        let mut said = Vec::new();
        for tries in 1..=160 * LOOKS_A_SECOND {
            let before = patience.say_held_at;
            patience.tried(&FlushTry::Held);
            if patience.say_held_at != before {
                said.push(tries / LOOKS_A_SECOND);
            }
        }
        assert_eq!(said, [10, 70, 130]);
    }
}
