//! Medians with their uncertainty, and the largest of a row.

/// The share of repetitions in which an interval of [`median_ci95`] must hold the median.
const CONFIDENCE: f64 = 0.95;

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

/// First and third quartile: the medians of both halves, of which each has the sample in the middle.
pub fn quartiles(samples: &[f64]) -> [f64; 2] {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len().div_ceil(2);
    [median(&sorted[..half]), median(&sorted[sorted.len() - half..])]
}

/// A confidence interval of the median of at least 95%; none for fewer than six samples.
///
/// Its ends are samples: the k-th from below and the k-th from above. Whatever the distribution is, each
/// sample lies below its median with probability ½, so the two hold the median between them unless
/// fewer than k of the n samples lie on one side, which has the probability `2 · P(Bin(n, ½) < k)`
/// (the interval of the sign test; Conover, *Practical Nonparametric Statistics*, 3.2). k is the
/// largest that leaves 95%. Even the widest interval, from the least sample to the largest, holds the
/// median of five samples in 93.75% of repetitions only, so there is none to be claimed.
///
/// That holds for independent samples. Those of one visit to a cell share the state of its machine, so
/// the interval tells of the spread within a run and not of how runs differ.
pub fn median_ci95(samples: &[f64]) -> Option<[f64; 2]> {
    let n = samples.len();
    // `below` is P(Bin(n, ½) < k), and `term` the logarithm of P(Bin(n, ½) = k), which of many samples
    // would be no number at first.
    let (mut below, mut term) = (0.0, -(n as f64) * std::f64::consts::LN_2);
    let mut k = 0;
    // At the middle `below` is a half, so this ends.
    while 1.0 - 2.0 * (below + term.exp()) >= CONFIDENCE {
        below += term.exp();
        term += ((n - k) as f64 / (k + 1) as f64).ln();
        k += 1;
    }
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    (k > 0).then(|| [sorted[k - 1], sorted[n - k]])
}

/// Where the largest of some numbers is: the first of equal ones, and 0 of none.
pub(crate) fn argmax(row: &[f32]) -> usize {
    row.iter().enumerate().fold(0, |best, (i, value)| if *value > row[best] { i } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::uniform;

    fn ranks(n: usize) -> Vec<f64> {
        (1..=n).map(|rank| rank as f64).collect()
    }

    #[test]
    fn the_median_is_in_the_middle_of_the_sorted_samples() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[7.0]), 7.0);
        assert_eq!(median(&[9.0, 2.0, 4.0]), 4.0);
        assert_eq!(median(&[9.0, 2.0, 4.0, 5.0]), 4.5);
        assert_eq!(median(&[1.0, 30.0, 8.0, 3.0, 2.0]), 3.0);
        assert_eq!(median(&[1.0, 30.0, 8.0, 3.0, 2.0, 6.0]), 4.5);
    }

    #[test]
    fn the_first_of_the_largest_is_found() {
        assert_eq!(argmax(&[]), 0);
        assert_eq!(argmax(&[1.0, 5.0, 5.0, 2.0]), 1);
        assert_eq!(argmax(&[-3.0, -2.0, -1.0]), 2);
    }

    #[test]
    fn ends_are_those_of_the_tables() {
        // Conover, table A3, as `qbinom(0.025, n, 0.5)` of R gives them.
        for (n, ends) in [(6, [1.0, 6.0]), (8, [1.0, 8.0]), (9, [2.0, 8.0]), (10, [2.0, 9.0])] {
            assert_eq!(median_ci95(&ranks(n)), Some(ends), "{n}");
        }
        assert_eq!(median_ci95(&ranks(20)), Some([6.0, 15.0]));
        assert_eq!(median_ci95(&ranks(100)), Some([40.0, 61.0]));
        assert_eq!(median_ci95(&ranks(10_000)), Some([4902.0, 5099.0]));
        for n in 0..6 {
            assert_eq!(median_ci95(&ranks(n)), None, "{n}");
        }
    }

    #[test]
    fn an_interval_holds_the_median_as_often_as_it_says() {
        for n in [6, 10, 25] {
            let draws = uniform(n as u64, 4000 * n);
            let holds = |samples: &&[f32]| {
                let samples: Vec<f64> = samples.iter().map(|draw| f64::from(*draw)).collect();
                median_ci95(&samples).is_some_and(|[low, high]| low <= 0.5 && 0.5 <= high)
            };
            let held = draws.chunks_exact(n).filter(holds).count();
            // Four standard deviations below 95%, and what six samples give is 96.9%.
            assert!((3745..=3955).contains(&held), "{n}: {held} of 4000");
        }
    }

    #[test]
    fn a_sample_that_broke_out_moves_no_end() {
        let mut samples = ranks(10);
        samples[9] = 1e9;
        assert_eq!(median_ci95(&samples), Some([2.0, 9.0]));
    }
}
