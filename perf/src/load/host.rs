//! Latencies of the time in which the host of a virtual machine took no CPU from it.
//!
//! A machine whose host takes time, or free memory, away stands still for a tenth of a second now and then, and no server on it can
//! answer meanwhile. So latencies are kept twice: all of them, and those of the undisturbed time. Both are in a record.

use std::fs;
use std::time::Duration;
use std::time::Instant;

use hdrhistogram::Histogram;

/// See the head of this file. Time is cut into short spans; one counts if nothing was stolen in it, nor in the one before, whose
/// requests may have their replies here.
pub struct Undisturbed {
    span: Histogram<u64>,
    span_end: Instant,
    /// Ticks that the host had taken when the span began.
    stolen: Option<u64>,
    was_disturbed: bool,
    micros: Histogram<u64>,
    spans: u32,
}

impl Undisturbed {
    /// `empty` is what latencies are kept in.
    pub fn new(empty: &Histogram<u64>, now: Instant) -> Undisturbed {
        Undisturbed {
            span: empty.clone(),
            span_end: now + SPAN,
            stolen: stolen_ticks(),
            was_disturbed: false,
            micros: empty.clone(),
            spans: 0,
        }
    }

    pub fn record(&mut self, micros: u64) {
        self.span.saturating_record(micros);
    }

    /// Ends the span if it is over.
    pub fn look(&mut self, now: Instant) {
        if now >= self.span_end {
            self.end_span(now, stolen_ticks());
        }
    }

    fn end_span(&mut self, now: Instant, stolen: Option<u64>) {
        // What nobody can tell counts as disturbed.
        let taken = stolen.zip(self.stolen).map_or(u64::MAX, |(after, before)| after.saturating_sub(before));
        let is_disturbed = taken > STOLEN_TICKS_MAX || now >= self.span_end + SPAN;
        if !is_disturbed && !self.was_disturbed {
            self.micros.add(&self.span).expect("both are made alike");
            self.spans += 1;
        }
        self.span.reset();
        self.span_end = now + SPAN;
        self.was_disturbed = is_disturbed;
        self.stolen = stolen;
    }

    /// How long it was, and what is known of it; `None` if it is too short to say anything.
    pub fn summary(&self) -> Option<serde_json::Value> {
        let seconds = SPAN.as_secs_f64() * f64::from(self.spans);
        let quantile = |quantile| self.micros.value_at_quantile(quantile);
        (self.spans > 0).then(|| {
            serde_json::json!({
                "seconds": seconds, "replies": self.micros.len(), "p50_micros": quantile(0.5), "p99_micros": quantile(0.99),
                "p999_micros": quantile(0.999), "max_micros": self.micros.max(),
            })
        })
    }
}

/// CPU time of all cores that the host took so far, in ticks of 10 ms: `steal` in proc_stat(5).
fn stolen_ticks() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().next()?.split_whitespace().nth(8)?.parse().ok()
}

const SPAN: Duration = Duration::from_millis(250);
/// A single tick may be what has summed up over many spans.
const STOLEN_TICKS_MAX: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_spans_count_in_which_nothing_was_stolen_nor_in_the_one_before() {
        let begin = Instant::now();
        let empty = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
        let mut found = Undisturbed { stolen: Some(100), ..Undisturbed::new(&empty, begin) };
        assert!(found.summary().is_none(), "nothing is known yet");
        let mut now = begin;
        let mut span = |micros, stolen| {
            now += SPAN;
            found.record(micros);
            found.end_span(now, stolen);
        };
        span(10, Some(100));
        span(20, Some(101));
        span(9_000, Some(109));
        span(8_000, Some(109));
        span(30, Some(109));
        span(7_000, None);
        span(6_000, Some(109));
        span(5_000, Some(109));
        span(40, Some(109));
        let summary = found.summary().unwrap();
        assert_eq!((summary["max_micros"].as_u64(), summary["replies"].as_u64()), (Some(40), Some(4)));
        assert_eq!(summary["seconds"].as_f64(), Some(1.0));
    }

    #[test]
    fn a_span_in_which_even_the_generator_stood_still_is_disturbed() {
        let begin = Instant::now();
        let empty = Histogram::new_with_bounds(1, 600_000_000, 3).unwrap();
        let mut found = Undisturbed { stolen: Some(0), ..Undisturbed::new(&empty, begin) };
        found.record(1);
        found.end_span(begin + 3 * SPAN, Some(0));
        assert!(found.summary().is_none());
    }

    #[test]
    fn this_machine_says_what_its_host_takes() {
        assert!(stolen_ticks().is_some());
    }
}
