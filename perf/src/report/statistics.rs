//! Medians, and the interval that holds a median with 95 %.

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
}
