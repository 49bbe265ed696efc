//! Medians, the interval that holds a median with 95 %, and what two that take turns have to do with each other.

use serde_json::Value;
use serde_json::json;

use crate::Options;

/// The middle one; of none, not a number.
pub fn median(samples: &[f64]) -> f64 {
    let sorted = sorted(samples);
    if sorted.is_empty() { f64::NAN } else { sorted[(sorted.len() - 1) / 2] }
}

/// The order statistics that hold the median with at least 95 %; the ends if there are too few for that.
pub fn interval(samples: &[f64]) -> (f64, f64) {
    let sorted = sorted(samples);
    let count = sorted.len();
    if count == 0 {
        return (f64::NAN, f64::NAN);
    }
    // P(fewer than k of n lie below the median) by the binomial distribution with one half.
    let (mut probability, mut sum, mut low) = (0.5_f64.powi(count as i32), 0.0, 0);
    for k in 0..count {
        if sum + probability > 0.025 {
            break;
        }
        sum += probability;
        probability *= (count - k) as f64 / (k + 1) as f64;
        low = k + 1;
    }
    let low = low.saturating_sub(1).min((count - 1) / 2);
    (sorted[low], sorted[count - 1 - low])
}

/// `--pairs N`: 0 for none.
pub fn pairs_of(options: &Options<'_>) -> Result<usize, String> {
    match options.number("--pairs", 15)? {
        pairs @ 1..6 => Err(format!(
            "--pairs {pairs}: expected 0, or at least 6: fewer have no interval that holds the median with 95 %"
        )),
        pairs => Ok(pairs as usize),
    }
}

/// What servers are asked.
pub struct Cell {
    pub op: &'static str,
    pub clients: u64,
    pub pipeline: u64,
}

/// The first by the second, `pairs` times, one right after the other; which one begins changes from pair to pair.
pub fn in_pairs(
    cell: &Cell,
    pairs: usize,
    mut rate: impl FnMut(usize) -> Result<f64, String>,
) -> Result<Value, String> {
    let mut ratios = Vec::new();
    for pair in 0..pairs {
        let mut rates = [0.0; 2];
        for at in [pair % 2, (pair + 1) % 2] {
            rates[at] = rate(at)?;
        }
        ratios.push(rates[0] / rates[1]);
    }
    let (lower, upper) = interval(&ratios);
    Ok(json!({
        "op": cell.op, "clients": cell.clients, "pipeline": cell.pipeline, "pairs": pairs,
        "median": median(&ratios), "lower": lower, "upper": upper, "samples": ratios,
    }))
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|sample| sample.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_order_statistics() {
        let samples: Vec<f64> = (1..=15).map(f64::from).collect();
        assert_eq!(median(&samples), 8.0);
        // Of 15, the 4th and the 12th hold the median with 96.5 %.
        assert_eq!(interval(&samples), (4.0, 12.0));
        assert_eq!(interval(&[3.0, 1.0, 2.0]), (1.0, 3.0));
    }

    #[test]
    fn of_a_pair_each_begins_in_turn_and_the_first_is_divided_by_the_second() {
        let mut order = Vec::new();
        let cell = Cell { op: "set", clients: 50, pipeline: 16 };
        let found = in_pairs(&cell, 7, |at| {
            order.push(at);
            Ok([3.0, 2.0][at])
        });
        assert_eq!(order, [0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1]);
        let found = found.unwrap();
        assert_eq!((&found["median"], &found["pairs"]), (&json!(1.5), &json!(7)));
        assert_eq!(in_pairs(&cell, 7, |_| Err("gone".to_owned())), Err("gone".to_owned()));
    }
}
