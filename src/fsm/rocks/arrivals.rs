//! How fast files come, and how much of the next one is there already: by its entries, which are in a table long before.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::LEVEL0_FILES_MERGED;

/// The files that came, and the entries that come. Times are of one clock that never goes back.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// The newest ones, those that are merged already too.
    files: VecDeque<FlowMark>,
    /// Bytes of all entries so far.
    bytes: u64,
    /// What they were at the newest look at them, and how many came in a second between that one and the one before.
    look: FlowMark,
    per_second: f64,
}

/// When something came, and the bytes of all entries by then.
#[derive(Clone, Copy, Debug, Default)]
struct FlowMark {
    at: Duration,
    bytes: u64,
}

impl Arrivals {
    /// So many bytes of entries were applied in all.
    pub(crate) fn hears(&mut self, now: Duration, bytes: u64) {
        self.bytes = self.bytes.max(bytes);
        let passed = now.saturating_sub(self.look.at);
        if passed >= LOOK {
            self.per_second = (self.bytes - self.look.bytes) as f64 / passed.as_secs_f64();
            self.look = FlowMark { at: now, bytes: self.bytes };
        }
    }

    /// A file came.
    pub(crate) fn takes(&mut self, now: Duration) {
        self.files.push_back(FlowMark { at: now, bytes: self.bytes });
        while self.files.len() > FILES_REMEMBERED {
            self.files.pop_front();
        }
    }

    /// Whether it is known how fast they come: behind a start it is not.
    pub(crate) fn are_known(&self) -> bool {
        self.files.len() > 1
    }

    /// Files a second over the newest ones. It falls once the next one is later than the mean of their gaps.
    pub(crate) fn mean_rate(&self, now: Duration) -> f64 {
        self.rate(now, FILES_REMEMBERED - 1)
    }

    /// Files a second just now: by the entries, or by the two newest files where no entry came with the files.
    pub(crate) fn newest_rate(&self, now: Duration) -> f64 {
        self.file_bytes().map_or_else(|| self.rate(now, 1), |bytes| self.per_second / bytes)
    }

    /// The same, or by the two newest files alone if that is more: the next ones may be of far fewer bytes of entries, and a few small
    /// entries can change large rows.
    pub(crate) fn highest_rate(&self, now: Duration) -> f64 {
        self.newest_rate(now).max(self.rate(now, 1))
    }

    /// How much has come in since the newest file did, in files. Above one while a flush takes its time.
    pub(crate) fn begun(&self) -> f64 {
        let newest = self.files.back().map_or(0, |file| file.bytes);
        self.file_bytes().map_or(0.0, |bytes| ((self.bytes - newest) as f64 / bytes).min(BEGUN_MOST))
    }

    /// Bytes of entries behind each file.
    fn file_bytes(&self) -> Option<f64> {
        let (first, last) = (self.files.front()?, self.files.back()?);
        let bytes = last.bytes - first.bytes;
        (bytes > 0).then(|| bytes as f64 / (self.files.len() - 1) as f64)
    }

    /// Over the last `gaps` between two of them.
    fn rate(&self, now: Duration, gaps: usize) -> f64 {
        let newest = self.files.len().saturating_sub(1);
        let gaps = gaps.min(newest);
        let (Some(from), Some(last)) = (self.files.get(newest - gaps), self.files.back()) else { return 0.0 };
        let between = last.at.saturating_sub(from.at).as_secs_f64();
        let late = now.saturating_sub(last.at).as_secs_f64() - between / gaps.max(1) as f64;
        gaps as f64 / (between + late.max(0.0)).max(f64::MIN_POSITIVE)
    }
}

/// The gaps between them are as many as the files of a merge.
const FILES_REMEMBERED: usize = LEVEL0_FILES_MERGED as usize + 1;
/// One that is written and what two tables hold beside it. More is only told by files that were smaller than the next ones will be.
const BEGUN_MOST: f64 = 3.0;
/// Longer than single runs are apart, and short beside a burst of writes.
const LOOK: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn files_that_fail_to_come_lower_the_rate_and_a_stop_of_an_hour_does_no_harm() {
        let mut arrivals = Arrivals::default();
        assert_eq!((arrivals.mean_rate(second(9)), arrivals.are_known()), (0.0, false));
        (1..=8).for_each(|file| arrivals.takes(second(10 * file)));
        let now = second(80);
        for gaps in [1, 8] {
            assert!((arrivals.rate(now, gaps) - 0.1).abs() < 1e-9);
            assert!((arrivals.rate(now + second(10), gaps) - 0.1).abs() < 1e-9, "the next is not late yet");
            assert!(arrivals.rate(now + second(3600), gaps) < 0.003);
        }
        assert!((arrivals.newest_rate(now) - 0.1).abs() < 1e-9, "without entries by the files");
        assert_eq!(arrivals.begun(), 0.0);
    }

    #[test]
    fn the_rate_of_this_moment_is_that_of_the_entries() {
        let mut arrivals = Arrivals::default();
        for now in 1..=20 {
            arrivals.hears(second(now), 100 * now);
            if now % 10 == 0 {
                arrivals.takes(second(now));
            }
        }
        assert!((arrivals.newest_rate(second(20)) - 0.1).abs() < 1e-9, "1000 bytes a file, 100 a second");
        arrivals.hears(second(21), 2500);
        assert!((arrivals.newest_rate(second(21)) - 0.5).abs() < 1e-9, "five times as many");
        assert!((arrivals.begun() - 0.5).abs() < 1e-9);
        arrivals.hears(second(21) + LOOK / 2, 4000);
        assert!((arrivals.newest_rate(second(21)) - 0.5).abs() < 1e-9, "no rate is known from a moment");
        assert!((arrivals.begun() - 2.0).abs() < 1e-9, "the flush takes its time");
        assert!((arrivals.highest_rate(second(21)) - 0.5).abs() < 1e-9);
        arrivals.hears(second(30), 3000);
        assert!((arrivals.begun() - 2.0).abs() < 1e-9, "what has come does not go");
        arrivals.hears(second(30), 900_000);
        assert_eq!(arrivals.begun(), BEGUN_MOST, "files were smaller before");
        for now in [3629, 3630] {
            arrivals.hears(second(now), 900_000);
        }
        assert_eq!(arrivals.newest_rate(second(3630)), 0.0, "nothing comes");
        assert!(arrivals.highest_rate(second(3630)) > 0.0);
        assert!(arrivals.mean_rate(second(20)) > 0.09);
    }
}
