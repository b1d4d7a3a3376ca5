//! Medians with their uncertainty, and the largest of a row.

use crate::testing::uniform;

/// The middle of the samples, or the mean of the two in the middle.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => 0.5 * (sorted[n / 2 - 1] + sorted[n / 2]),
    }
}

/// The 95% confidence interval of the median by the percentile bootstrap (Efron 1979): medians of
/// 1,000 resamples, without their lowest and highest 2.5%.
pub fn median_ci95(samples: &[f64]) -> [f64; 2] {
    const RESAMPLES: usize = 1000;
    let n = samples.len();
    if n == 0 {
        return [0.0; 2];
    }
    let draws = uniform(95, RESAMPLES * n);
    let mut medians: Vec<f64> = draws
        .chunks_exact(n)
        .map(|draws| {
            let resample: Vec<f64> =
                draws.iter().map(|draw| samples[(draw * n as f32) as usize % n]).collect();
            median(&resample)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    [medians[RESAMPLES * 25 / 1000], medians[RESAMPLES * 975 / 1000 - 1]]
}

/// Where the largest of some numbers is: the first of equal ones, and 0 of none.
pub(crate) fn argmax(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (i, value)| if *value > row[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_holds_the_median_and_narrows() {
        let few: Vec<f64> = (0..5).map(f64::from).collect();
        let many: Vec<f64> = (0..500).map(|i| f64::from(i) / 100.0).collect();
        let width = |samples: &[f64]| {
            let [low, high] = median_ci95(samples);
            assert!(low <= median(samples) && median(samples) <= high);
            high - low
        };
        assert!(width(&many) < 0.5 * width(&few));
        assert_eq!(median_ci95(&[7.0]), [7.0, 7.0]);
    }
}
