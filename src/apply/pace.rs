//! How fast tables may fill while a flush waits until the base has merged its files.
//!
//! Without it apply goes at full speed until memory is at its bound, and then stands still until the flush is done: seconds, for
//! everybody at once. So what is left of memory is shared out over the time that such a wait takes. A wait that takes far longer
//! slows down nobody: then memory gets full, the log is held, and clients are told before their requests are proposed.

use std::time::Duration;

use crate::limits::PACE_EXPECTED_MAX;
use crate::limits::PACE_GIVEN_UP_MAX;

/// See the head of this file. It reads no clock.
#[derive(Debug)]
pub(super) struct FillPace {
    /// How long a flush that has to wait takes: the longest one lately.
    expected: Duration,
    held: Option<Held>,
}

/// The flush that waits now.
#[derive(Debug)]
struct Held {
    freezes: u64,
    began: Duration,
    began_bytes: u64,
    seen: Duration,
    /// Memory was full: what comes in now may be what makes space.
    was_full: bool,
}

impl Default for FillPace {
    fn default() -> FillPace {
        FillPace { expected: EXPECTED, held: None }
    }
}

/// A flush that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldFlush {
    /// Freezes so far: tells one flush from the next.
    pub(super) freezes: u64,
    /// Bytes that the tables take.
    pub(super) bytes: u64,
    /// And may take.
    pub(super) bytes_max: u64,
}

impl FillPace {
    /// No flush waits.
    pub(super) fn goes_on(&mut self) {
        if let Some(held) = self.held.take() {
            // Each is a little shorter than the longest; one that is longer counts at once.
            let took = held.seen.saturating_sub(held.began).clamp(EXPECTED_MIN, PACE_EXPECTED_MAX);
            self.expected = took.max((7 * self.expected + took) / 8);
        }
    }

    /// Whether a run may begin now.
    pub(super) fn allows(&mut self, flush: HeldFlush, now: Duration) -> bool {
        let HeldFlush { freezes, bytes, bytes_max } = flush;
        if self.held.as_ref().is_some_and(|held| held.freezes != freezes) {
            self.goes_on();
        }
        let new = Held { freezes, began: now, began_bytes: bytes, seen: now, was_full: false };
        let held = self.held.get_or_insert(new);
        held.seen = now;
        held.was_full |= bytes >= bytes_max;
        let taken = now.saturating_sub(held.began);
        let left = bytes_max.saturating_sub(held.began_bytes);
        held.was_full || bytes < held.began_bytes + self.part(left, taken)
    }

    /// Which part of what was left may be used once the flush has waited so long. It never falls.
    fn part(&self, left: u64, taken: Duration) -> u64 {
        if taken >= (self.expected * GIVEN_UP_AFTER).min(PACE_GIVEN_UP_MAX) {
            return left;
        }
        let (taken, expected) = (taken.as_micros(), self.expected.as_micros());
        // Evenly, and a quarter is kept for a wait that takes longer than expected: ever less of that.
        let (evenly, rest) = (u128::from(left) * 3 / 4, u128::from(left) / 4);
        let part = evenly * taken.min(expected) / expected + rest * taken.saturating_sub(expected) / taken.max(1);
        u64::try_from(part).unwrap_or(left)
    }
}

/// Until the first one is done.
const EXPECTED: Duration = Duration::from_secs(2);
const EXPECTED_MIN: Duration = Duration::from_millis(100);
/// How many times that a wait may take.
const GIVEN_UP_AFTER: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = 512 << 20;
    const BEGAN: u64 = 170 << 20;

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// Bytes that are in the tables, ms by ms, where 200 KiB a ms want in.
    fn filled(pace: &mut FillPace, freezes: u64, times: std::ops::Range<u64>) -> Vec<u64> {
        let mut bytes = BEGAN;
        let step = |now| {
            if bytes < MAX && pace.allows(HeldFlush { freezes, bytes, bytes_max: MAX }, ms(now)) {
                bytes += 200 << 10;
            }
            bytes
        };
        times.map(step).collect()
    }

    #[test]
    fn tables_fill_evenly_for_as_long_as_a_wait_is_expected_to_take_and_then_ever_slower() {
        let mut pace = FillPace::default();
        let bytes = filled(&mut pace, 1, 0..8000);
        let in_second = |second: usize| bytes[1000 * second + 999] - bytes[1000 * second];
        let even = (MAX - BEGAN) * 3 / 4 / 2;
        for second in 0..2 {
            assert!(in_second(second).abs_diff(even) < even / 50, "{} of {even}", in_second(second));
        }
        for second in 3..6 {
            assert!(in_second(second) < in_second(second - 1), "{second}");
            assert!(in_second(second) > 512 << 10, "{second}");
        }
        assert!(bytes[5999] < MAX);
        assert!(*bytes.last().unwrap() >= MAX, "in the end memory gets full, which others are told of");
    }

    #[test]
    fn a_longer_wait_counts_at_once_and_shorter_ones_little_by_little() {
        let mut pace = FillPace::default();
        filled(&mut pace, 1, 0..3501);
        pace.goes_on();
        assert_eq!(pace.expected, ms(3500));
        // Of another flush, without a look in between.
        filled(&mut pace, 2, 6000..6501);
        filled(&mut pace, 3, 7000..7501);
        assert_eq!(pace.expected, (7 * ms(3500) + ms(500)) / 8);
        pace.goes_on();
        for flush in 4..100 {
            filled(&mut pace, flush, flush * 1000..flush * 1000 + 501);
            pace.goes_on();
        }
        assert!(pace.expected >= ms(500) && pace.expected < ms(510), "{:?}", pace.expected);
        pace.goes_on();
        assert!(pace.expected >= ms(500), "nothing has waited");
        filled(&mut pace, 100, 200_000..800_000);
        pace.goes_on();
        assert_eq!(pace.expected, PACE_EXPECTED_MAX, "an hour of trouble is not expected again");
    }

    #[test]
    fn where_memory_was_full_once_the_flush_that_waits_has_no_pace_any_more() {
        let mut pace = FillPace::default();
        let mut allows = |freezes, bytes, now| pace.allows(HeldFlush { freezes, bytes, bytes_max: MAX }, ms(now));
        assert!(!allows(1, BEGAN, 0));
        assert!(allows(1, MAX, 1));
        assert!(allows(1, MAX - 1, 2), "what comes in may be what makes space");
        assert!(!allows(2, MAX - 1, 3));
    }
}
