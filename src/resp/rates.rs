//! What clients do in a second, from samples of the counters.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

/// Commands, bytes received and bytes sent.
type Counts = [u64; 3];

/// The newest samples.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<VecDeque<(Instant, Counts)>>);

impl Rates {
    /// Takes a sample: the counters as they are at `now`.
    pub(crate) fn sample(&self, now: Instant, counts: Counts) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back((now, counts));
        while samples.len() > SAMPLES {
            samples.pop_front();
        }
    }

    /// By how much each counter grew in a second, between the oldest and the newest sample.
    pub(crate) fn of_a_second(&self) -> Counts {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some((since, old)), Some((until, new))) = (samples.front(), samples.back()) else { return [0; 3] };
        let millis = u64::try_from(until.duration_since(*since).as_millis()).unwrap_or(u64::MAX);
        // CONFIG RESETSTAT can have made a counter smaller.
        let rate = |at: usize| (new[at].saturating_sub(old[at]) * 1000).checked_div(millis).unwrap_or(0);
        [rate(0), rate(1), rate(2)]
    }
}

/// Two seconds of the watch.
const SAMPLES: usize = 5;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_is_that_of_the_newest_samples() {
        let rates = Rates::default();
        assert_eq!(rates.of_a_second(), [0; 3]);
        let start = Instant::now();
        for half in 0..10_u64 {
            rates.sample(start + Duration::from_millis(500 * half), [half * half, 100 * half, 0]);
        }
        assert_eq!(rates.of_a_second(), [(81 - 25) / 2, 200, 0]);
        rates.sample(start + Duration::from_secs(5), [0, 0, 0]);
        assert_eq!(rates.of_a_second(), [0; 3], "the counters began again");
    }
}
