//! Three tests: of two sets of samples, of one new value, and of many tests at once.

use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_PI};

/// Samples of both sides up to which the permutations are counted and not approximated; beyond it a
/// test takes milliseconds, and the approximation is within a tenth of any p that is not tiny.
const COUNTED: usize = 60;

/// How likely the two sides would part at least so far if they were drawn alike: the two-sided p of
/// Wilcoxon's rank-sum test, which is Mann and Whitney's. 1 where a side is empty.
///
/// Equal values share the mean of their ranks, and the distribution is that of the very ranks that are
/// there, over all ways to deal them out to the two sides: so p is exact, ties or not, up to 60
/// samples. Beyond these it is the normal approximation with the correction for ties and for
/// continuity (Hollander, Wolfe & Chicken, *Nonparametric Statistical Methods*, 4.1).
pub fn rank_sum(a: &[f64], b: &[f64]) -> f64 {
    let (n, m) = (a.len(), b.len());
    if n == 0 || m == 0 {
        return 1.0;
    }
    let ranks = doubled_ranks(a, b);
    // Twice the sum of the ranks of `a`, which is `n · (n + m + 1)` on average.
    let sum: usize = ranks[..n].iter().sum();
    let mean = n * (n + m + 1);
    let distance = sum.abs_diff(mean);
    match n + m <= COUNTED {
        true => counted(&ranks, n, mean, distance),
        false => approximated(&ranks, n, distance),
    }
}

/// Twice the rank of every sample, those of `a` first: whole numbers even where ranks are shared.
fn doubled_ranks(a: &[f64], b: &[f64]) -> Vec<usize> {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let mut sorted = all.clone();
    sorted.sort_by(f64::total_cmp);
    let rank = |value: &f64| {
        let below = sorted.partition_point(|other| other.total_cmp(value).is_lt());
        let up_to = sorted.partition_point(|other| other.total_cmp(value).is_le());
        below + up_to + 1
    };
    all.iter().map(rank).collect()
}

/// The share of all choices of `n` ranks whose sum is at least `distance` from the mean.
fn counted(ranks: &[usize], n: usize, mean: usize, distance: usize) -> f64 {
    let most: usize = ranks.iter().sum();
    // How many choices of `k` of the ranks seen so far have this sum.
    let mut ways = vec![vec![0.0f64; most + 1]; n + 1];
    ways[0][0] = 1.0;
    for rank in ranks {
        for k in (1..=n).rev() {
            let (fewer, more) = ways.split_at_mut(k);
            let from = &fewer[k - 1][..=most - rank];
            more[0][*rank..].iter_mut().zip(from).for_each(|(ways, from)| *ways += from);
        }
    }
    let all: f64 = ways[n].iter().sum();
    let far = ways[n].iter().enumerate().filter(|(sum, _)| sum.abs_diff(mean) >= distance);
    (far.map(|(_, ways)| ways).sum::<f64>() / all).min(1.0)
}

fn approximated(ranks: &[usize], n: usize, distance: usize) -> f64 {
    let (total, n) = (ranks.len() as f64, n as f64);
    let centre = total + 1.0;
    let squares: f64 = ranks.iter().map(|rank| (*rank as f64 - centre).powi(2)).sum();
    let variance = n * (total - n) / (total * (total - 1.0)) * squares;
    if variance == 0.0 {
        return 1.0;
    }
    // Doubled sums move in steps of two.
    let z = (distance as f64 - 1.0).max(0.0) / variance.sqrt();
    libm::erfc(z * FRAC_1_SQRT_2)
}

/// How likely a further value of the kind of `before` would lie at least so far from their mean as
/// `value` does: the two-sided p of Student's prediction interval, on logarithms, as times and rates
/// spread by factors. All are positive; 1 for fewer than two of `before`.
pub fn new_value(before: &[f64], value: f64) -> f64 {
    let n = before.len() as f64;
    if n < 2.0 {
        return 1.0;
    }
    let logs: Vec<f64> = before.iter().map(|value| value.ln()).collect();
    let mean = logs.iter().sum::<f64>() / n;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let distance = (value.ln() - mean).abs();
    // What rounding leaves of equal logarithms is no distance.
    if distance < 1e-12 {
        return 1.0;
    }
    let t = distance / (variance * (1.0 + 1.0 / n)).sqrt();
    // Values that never differed have no spread, and then `t` is infinite.
    students_two_sided(t, before.len() as u32 - 1)
}

/// The share of Student's distribution beyond ±`t`, for whole degrees of freedom a finite sum
/// (Abramowitz & Stegun, *Handbook of Mathematical Functions*, 26.7.3 and 26.7.4).
fn students_two_sided(t: f64, degrees: u32) -> f64 {
    let angle = (t / f64::from(degrees).sqrt()).atan();
    let square = angle.cos().powi(2);
    let is_odd = degrees % 2 == 1;
    let (mut term, mut sum) = if is_odd { (angle.cos(), 0.0) } else { (1.0, 0.0) };
    // The next factor is 2/3, 4/5, … for odd degrees and 1/2, 3/4, … for even ones.
    for at in (if is_odd { 1 } else { 0 }..degrees - 1).step_by(2) {
        sum += term;
        term *= f64::from(at + 1) / f64::from(at + 2) * square;
    }
    let within = match is_odd {
        true => FRAC_2_PI * (angle + angle.sin() * sum),
        false => angle.sin() * sum,
    };
    (1.0 - within).max(0.0)
}

/// Which of the tests with these p may be believed, so that at most the share `q` of what is believed
/// is false on average (Benjamini & Hochberg 1995). The tests may depend on each other as the wall and
/// the GPU time of one pass do: positively (Benjamini & Yekutieli 2001).
pub fn believed(p: &[f64], q: f64) -> Vec<bool> {
    let mut sorted = p.to_vec();
    sorted.sort_by(f64::total_cmp);
    let bound = |rank: usize| q * (rank + 1) as f64 / p.len() as f64;
    let last = (0..p.len()).rev().find(|rank| sorted[*rank] <= bound(*rank));
    p.iter().map(|p| last.is_some_and(|last| *p <= sorted[last])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::testing::normal;

    fn near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-9, "{found} is not {expected}");
    }

    #[test]
    fn ranks_give_the_p_of_the_tables_and_of_scipy() {
        // Hollander, Wolfe & Chicken, example 4.1: W = 30 of 10 and 5, P(W ≤ 30) = 0.1272.
        let a = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46];
        let b = [1.15, 0.88, 0.90, 0.74, 1.21];
        near(rank_sum(&a, &b), 0.2544122544122544);
        // Ten against ten that part: 2 of the 184,756 ways.
        let low: Vec<f64> = (0..10).map(f64::from).collect();
        let high: Vec<f64> = (20..30).map(f64::from).collect();
        near(rank_sum(&low, &high), 2.0 / 184_756.0);
        assert_eq!(rank_sum(&low, &low), 1.0);
        assert_eq!(rank_sum(&low, &[]), 1.0);
    }

    #[test]
    fn ties_are_counted_as_they_fall() {
        // Of the 20 ways to deal out 1 1 2 2 2 3, six lie as far from the mean as this one or farther.
        near(rank_sum(&[1.0, 1.0, 2.0], &[2.0, 2.0, 3.0]), 0.3);
        assert_eq!(rank_sum(&[5.0; 10], &[5.0; 10]), 1.0);
    }

    #[test]
    fn many_samples_are_approximated_closely() {
        let samples = |seed, shift: f64| -> Vec<f64> {
            normal(seed, 30).iter().map(|x| f64::from(*x) + shift).collect()
        };
        let (a, b) = (samples(1, 0.0), samples(1 << 40, 0.5));
        let ranks = doubled_ranks(&a, &b);
        let distance = ranks[..30].iter().sum::<usize>().abs_diff(30 * 61);
        let (exact, close) = (rank_sum(&a, &b), approximated(&ranks, 30, distance));
        assert!((close / exact - 1.0).abs() < 0.1, "{close} for {exact}");
        assert_eq!(approximated(&[62; 61], 30, 0), 1.0);
    }

    #[test]
    fn a_new_value_is_held_against_those_before() {
        let before = [10.0, 11.0, 9.0, 10.5, 9.5, 10.2, 9.8, 10.1, 9.9, 10.0];
        near(new_value(&before, 12.0), 0.01005782905506725);
        assert!(new_value(&before, 10.3) > 0.5 && new_value(&before, 20.0) < 1e-5);
        assert_eq!((new_value(&[7.0; 5], 7.0), new_value(&[7.0; 5], 7.1)), (1.0, 0.0));
        assert_eq!(new_value(&[7.0], 9.0), 1.0);
    }

    #[test]
    fn students_distribution_has_the_points_of_its_table() {
        for (degrees, t) in [(1, 12.7062), (2, 4.3027), (3, 3.1824), (9, 2.2622), (30, 2.0423)] {
            let beyond = students_two_sided(t, degrees);
            assert!((beyond - 0.05).abs() < 1e-5, "{degrees}: {beyond}");
        }
        assert_eq!((students_two_sided(0.0, 4), students_two_sided(f64::INFINITY, 3)), (1.0, 0.0));
    }

    #[test]
    fn of_equal_samples_no_more_is_believed_than_was_allowed() {
        // A family with any finding has only false ones, so at most 5% of families may have some.
        let family = |family: u64| -> Vec<f64> {
            let samples: Vec<f64> = normal(family << 32, 800).into_iter().map(f64::from).collect();
            samples.chunks_exact(20).map(|test| rank_sum(&test[..10], &test[10..])).collect()
        };
        let families: Vec<_> = (1..=300).map(family).collect();
        let p: Vec<f64> = families.iter().flatten().copied().collect();
        let below = |bound| p.iter().filter(|p| **p <= bound).count() as f64 / p.len() as f64;
        for bound in [0.01, 0.05, 0.2, 0.5] {
            assert!(below(bound) < 1.15 * bound, "{} below {bound}", below(bound));
        }
        assert!(below(0.5) > 0.4, "and the test is not blunt");
        let with = families.iter().filter(|p| believed(p, 0.05).contains(&true)).count();
        assert!(with <= 26, "{with} of 300: 15 on average, three standard deviations more at most");
    }

    #[test]
    fn the_worked_example_of_benjamini_and_hochberg_gives_four() {
        let p = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
            0.5719, 0.6528, 0.7590, 1.0000,
        ];
        let believed = believed(&p, 0.05);
        assert_eq!(believed.iter().filter(|is| **is).count(), 4);
        assert!(believed[..4].iter().all(|is| *is));
        assert_eq!(super::believed(&[], 0.05), [false; 0]);
    }
}
