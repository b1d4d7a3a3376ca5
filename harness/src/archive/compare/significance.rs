//! Three tests: of the visits of two runs, side by side or in turns, of one move among many, and of many
//! tests at once.

use statrs::{
    distribution::{ContinuousCDF, StudentsT},
    function::gamma::digamma,
};

/// Fewer pairs than this say too little about how noisy pairs are in general.
const LEAST_PAIRS: usize = 8;
/// The least noise that is believed, as a variance of logarithms: what a clock's step hides.
const LEAST_VARIANCE: f64 = 1e-6;
/// As good as infinitely many degrees of freedom.
const CERTAIN: f64 = 1e6;

/// What a test says of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tested {
    /// How likely the means of the two sides would lie at least so far apart if nothing had changed.
    pub p: f64,
    /// The standard error of their distance, as a logarithm.
    pub error: f64,
}

/// The moderated t-test, two-sided, on logarithms, as times and rates spread by factors. p is 1 where a
/// side is empty, or both have one value.
///
/// Four values a side show their own noise badly, but many pairs together show how noisy pairs are, and
/// how unlike in that. So each variance is drawn towards the common one, by as much as the spread of all
/// variances is no more than chance: with `d0` and `s0²` estimated from the moments of their logarithms,
/// `t` has `d0` more degrees of freedom (Smyth 2004, *Linear models and empirical Bayes methods*).
pub fn moderated(pairs: &[[Vec<f64>; 2]]) -> Vec<Tested> {
    let noise: Vec<(f64, f64)> = pairs.iter().map(variance).collect();
    let (prior, common) = common(&noise);
    let tested = pairs.iter().zip(&noise).map(|([a, b], (variance, degrees))| {
        if a.is_empty() || b.is_empty() || *degrees == 0.0 {
            return Tested { p: 1.0, error: 0.0 };
        }
        let variance = (prior * common + degrees * variance) / (prior + degrees);
        let share = 1.0 / a.len() as f64 + 1.0 / b.len() as f64;
        let error = (variance * share).sqrt();
        Tested { p: beyond((mean(a) - mean(b)).abs() / error, prior + degrees), error }
    });
    tested.collect()
}

/// What the ratios of two sides that were measured in turns come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Their geometric mean.
    pub mean: f64,
    /// The interval that holds it but for the doubt that was allowed; none of a single ratio.
    pub interval: Option<[f64; 2]>,
    /// How likely they would lie at least so far from 1 if the sides were alike; 1 of a single ratio.
    pub p: f64,
}

/// The same test of rows of ratios, each of one side to the other in one round: what both have in common
/// in a round, a machine that grows warm for example, is in neither. 1 − `doubt` is the confidence of the
/// intervals.
pub fn paired(rows: &[Vec<f64>], doubt: f64) -> Vec<Ratio> {
    let noise: Vec<(f64, f64)> =
        rows.iter().map(|ratios| variance(&[ratios.clone(), Vec::new()])).collect();
    let (prior, common) = common(&noise);
    let tested = rows.iter().zip(&noise).map(|(ratios, (variance, degrees))| {
        let mean = if ratios.is_empty() { 0.0 } else { mean(ratios) };
        if *degrees == 0.0 {
            return Ratio { mean: mean.exp(), interval: None, p: 1.0 };
        }
        let variance = (prior * common + degrees * variance) / (prior + degrees);
        let (error, degrees) = ((variance / ratios.len() as f64).sqrt(), prior + degrees);
        let far = students(degrees).inverse_cdf(1.0 - doubt / 2.0) * error;
        Ratio {
            mean: mean.exp(),
            interval: Some([(mean - far).exp(), (mean + far).exp()]),
            p: beyond(mean.abs() / error, degrees),
        }
    });
    tested.collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64
}

/// The variance within the two sides of a pair, and its degrees of freedom.
fn variance(sides: &[Vec<f64>; 2]) -> (f64, f64) {
    let squares = |side: &Vec<f64>| -> f64 {
        let mean = mean(side);
        side.iter().map(|value| (value.ln() - mean).powi(2)).sum()
    };
    let degrees = sides.iter().map(|side| side.len().saturating_sub(1)).sum::<usize>() as f64;
    let sum: f64 = sides.iter().map(squares).sum();
    ((sum / degrees.max(1.0)).max(LEAST_VARIANCE), degrees)
}

/// How many degrees of freedom the common variance is worth, and what it is.
fn common(noise: &[(f64, f64)]) -> (f64, f64) {
    let noise: Vec<_> = noise.iter().filter(|(_, degrees)| *degrees > 0.0).collect();
    if noise.len() < LEAST_PAIRS {
        return (0.0, 0.0);
    }
    let count = noise.len() as f64;
    let logs = noise.iter().map(|(variance, d)| variance.ln() - digamma(d / 2.0) + (d / 2.0).ln());
    let mean = logs.clone().sum::<f64>() / count;
    let spread = logs.map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let by_chance = noise.iter().map(|(_, degrees)| trigamma(degrees / 2.0)).sum::<f64>() / count;
    let half = inverse_trigamma(spread - by_chance);
    (2.0 * half, (mean + digamma(half) - half.ln()).exp())
}

/// The second derivative of the logarithm of Γ, for positive numbers (Abramowitz & Stegun, *Handbook of
/// Mathematical Functions*, 6.4.6 and 6.4.12).
fn trigamma(x: f64) -> f64 {
    let below: f64 = (0..8).map(|step| (x + f64::from(step)).powi(-2)).sum();
    let x = x + 8.0;
    let series = [(-1, 1.0), (-2, 0.5), (-3, 1.0 / 6.0), (-5, -1.0 / 30.0), (-7, 1.0 / 42.0)];
    below + series.iter().map(|(power, factor)| factor * x.powi(*power)).sum::<f64>()
}

/// Where trigamma, which falls, is `y`: found by halving, as nothing here is in a hurry. As far as it looks,
/// where `y` is not positive and trigamma is nowhere so low.
fn inverse_trigamma(y: f64) -> f64 {
    let (mut low, mut high) = (1e-3f64, CERTAIN);
    for _ in 0..100 {
        let middle = (low * high).sqrt();
        *(if trigamma(middle) > y { &mut low } else { &mut high }) = middle;
    }
    low
}

/// How likely the next move would be at least so far if it were as those before it, from one run to the
/// next: the two-sided p of Student's t. Their spread is told by their median, which one real
/// change among them leaves where it is, and which is worth half as many degrees of freedom.
pub fn new_move(before: &[f64], moved: f64) -> f64 {
    /// What the median of |x| is to the standard deviation, of normal x.
    const MEDIAN_OF_NORMAL: f64 = 0.6745;
    // What rounding leaves of equal logarithms is no distance.
    if before.is_empty() || moved.abs() < 1e-12 {
        return 1.0;
    }
    let spread = engine::stats::median(before) / MEDIAN_OF_NORMAL;
    // Moves that were none have no spread, and then `t` is infinite.
    beyond(moved.abs() / spread, before.len() as f64 / 2.0)
}

/// The share of Student's distribution beyond ±`t`.
fn beyond(t: f64, degrees: f64) -> f64 {
    if t.is_infinite() {
        return 0.0;
    }
    2.0 * students(degrees).sf(t)
}

fn students(degrees: f64) -> StudentsT {
    let students = StudentsT::new(0.0, 1.0, degrees.min(CERTAIN));
    students.expect("degrees of freedom are positive")
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
    use std::f64::consts::PI;

    fn near(found: f64, expected: f64, within: f64) {
        assert!((found / expected - 1.0).abs() < within, "{found} is not {expected}");
    }

    fn p(pairs: &[[Vec<f64>; 2]]) -> Vec<f64> {
        moderated(pairs).into_iter().map(|tested| tested.p).collect()
    }

    /// Pairs of `visits` a side whose noise is itself spread, as that of cells is.
    fn pairs(seed: u64, count: usize, visits: usize, apart: f64) -> Vec<[Vec<f64>; 2]> {
        let noise = normal(seed << 32, count);
        let values = normal((seed + 1) << 32, 2 * count * visits);
        let values = values.chunks_exact(2 * visits).zip(noise);
        let pair = |(values, noise): (&[f32], f32)| {
            let spread = 0.05 * (0.3 * f64::from(noise)).exp();
            let side = |values: &[f32], by: f64| {
                values.iter().map(|x| (f64::from(*x) * spread + by).exp()).collect::<Vec<f64>>()
            };
            [side(&values[..visits], 0.0), side(&values[visits..], apart)]
        };
        values.map(pair).collect()
    }

    #[test]
    fn a_pair_alone_is_judged_by_students_test() {
        // Student's t of 1, 2, 3, 4 and 3, 4, 5, 7 is 2.10195 with 6 degrees of freedom.
        let exp = |values: [f64; 4]| values.map(f64::exp).to_vec();
        let pair = [exp([1.0, 2.0, 3.0, 4.0]), exp([3.0, 4.0, 5.0, 7.0])];
        near(p(&[pair])[0], 0.080_261_3, 1e-5);
        assert_eq!(p(&[[vec![1.0], vec![2.0]], [vec![], vec![2.0; 5]]]), [1.0, 1.0]);
        assert!(p(&[[vec![7.0; 4], vec![7.1; 4]]])[0] < 0.05, "a clock that never differs");
    }

    #[test]
    fn of_equal_visits_no_more_is_believed_than_was_allowed() {
        // A family with any finding has only false ones, so at most 5% of families may have some.
        let families: Vec<_> = (1..=300).map(|seed| p(&pairs(seed, 40, 4, 0.0))).collect();
        let p: Vec<f64> = families.iter().flatten().copied().collect();
        let below = |bound| p.iter().filter(|p| **p <= bound).count() as f64 / p.len() as f64;
        for bound in [0.01, 0.05, 0.2, 0.5] {
            assert!(below(bound) < 1.3 * bound, "{} below {bound}", below(bound));
        }
        assert!(below(0.5) > 0.4, "and the test is not blunt");
        let with = families.iter().filter(|p| believed(p, 0.05).contains(&true)).count();
        assert!(with <= 26, "{with} of 300: 15 on average, three standard deviations more at most");
    }

    #[test]
    fn rounds_in_turn_are_judged_by_students_test_of_pairs() {
        // Of the logarithms 1, 2, 3, 4 the mean is 2.5 ± 0.645497, and t 3.87298 with 3 degrees of freedom,
        // of which 3.18245 leaves 5%.
        let ratios: Vec<f64> = [1.0, 2.0, 3.0, 4.0].map(f64::exp).to_vec();
        let alone = paired(std::slice::from_ref(&ratios), 0.05)[0];
        near(alone.mean.ln(), 2.5, 1e-9);
        near(alone.p, 0.030_466_2, 1e-4);
        let [low, high] = alone.interval.unwrap().map(f64::ln);
        near(low, 2.5 - 3.182_446 * 0.645_497, 1e-4);
        near(high, 2.5 + 3.182_446 * 0.645_497, 1e-4);
        let surer = paired(std::slice::from_ref(&ratios), 0.01)[0].interval.unwrap();
        assert!(surer[0].ln() < low && surer[1].ln() > high);
        // One ratio has no spread, and none is none.
        for few in [vec![2.0], vec![]] {
            let Ratio { mean, interval, p } = paired(std::slice::from_ref(&few), 0.05)[0];
            assert_eq!((interval, p), (None, 1.0));
            near(mean, few.first().copied().unwrap_or(1.0), 1e-9);
        }
    }

    #[test]
    fn of_equal_sides_the_interval_holds_one_as_often_as_it_says() {
        let rows: Vec<Vec<f64>> = pairs(11, 4000, 2, 0.0)
            .into_iter()
            .map(|[a, b]| a.iter().chain(&b).copied().collect())
            .collect();
        for doubt in [0.05, 0.01] {
            let tested = paired(&rows, doubt);
            let holds = |ratio: &&Ratio| {
                ratio.interval.is_some_and(|[low, high]| low <= 1.0 && 1.0 <= high)
            };
            let missed = 1.0 - tested.iter().filter(holds).count() as f64 / 4000.0;
            assert!(missed < 1.4 * doubt && missed > 0.4 * doubt, "{missed} of {doubt}");
            let by_p = tested.iter().filter(|ratio| ratio.p > doubt).count();
            assert_eq!(by_p, tested.iter().filter(holds).count(), "p and interval say the same");
        }
    }

    #[test]
    fn many_pairs_together_show_what_one_alone_cannot() {
        let changed = pairs(7, 200, 4, 0.18);
        let together = p(&changed).iter().filter(|p| **p < 0.002).count();
        let alone = changed.iter().filter(|pair| p(&[(*pair).clone()])[0] < 0.002).count();
        assert!(together > 170 && alone < 130, "{together} together, {alone} alone");
    }

    #[test]
    fn the_common_noise_is_found() {
        let noise: Vec<_> = pairs(3, 2000, 4, 0.0).iter().map(variance).collect();
        let (prior, common) = common(&noise);
        near(common.sqrt(), 0.05, 0.1);
        // Its logarithm has the variance 0.36, which trigamma has near 3.3.
        assert!((4.5..9.5).contains(&prior), "{prior}");
        assert_eq!(super::common(&noise[..7]), (0.0, 0.0));
        assert!(super::common(&noise[..8]).0 > 0.0);
        // Pairs without any degree of freedom show no noise.
        let none = [(1e-6, 0.0); 3];
        assert_eq!(super::common(&[&noise[..9], &none].concat()), super::common(&noise[..9]));
        assert_eq!(super::common(&[&noise[..7], &none].concat()), (0.0, 0.0));
    }

    /// Where trigamma of half the degrees is π² / 6 by chance and as much besides, the common variance is
    /// worth two degrees and is the geometric mean; where there is nothing besides, it is all that counts.
    #[test]
    fn the_common_noise_is_the_one_that_can_be_told_by_hand() {
        let noise = |spread: f64| -> Vec<(f64, f64)> {
            let far = (spread * 7.0 / 8.0).sqrt();
            (0..8).map(|at| (if at % 2 == 0 { far.exp() } else { (-far).exp() }, 2.0)).collect()
        };
        let (prior, variance) = common(&noise(PI * PI / 3.0));
        near(prior, 2.0, 1e-9);
        near(variance, 1.0, 1e-9);
        for spread in [0.0, 1.0] {
            let (prior, variance) = common(&noise(spread));
            assert!(prior >= CERTAIN, "{prior}");
            // e to the power of Euler's constant, as digamma of 1 is its negative.
            near(variance, 1.781_072_418, 1e-5);
        }
    }

    #[test]
    fn trigamma_has_the_values_of_its_table() {
        near(trigamma(1.0), PI * PI / 6.0, 1e-9);
        near(trigamma(0.5), PI * PI / 2.0, 1e-9);
        near(trigamma(20.0), 0.051_270_822, 1e-7);
        near(inverse_trigamma(trigamma(3.7)), 3.7, 1e-9);
    }

    #[test]
    fn a_move_is_held_against_those_before() {
        let before = [0.02, 0.05, 0.01, 0.03, 0.04, 0.03, 0.02, 0.03, 0.9];
        assert!(new_move(&before, 0.03) > 0.4 && new_move(&before, -0.4) < 0.001);
        assert_eq!((new_move(&[0.0; 9], 0.1), new_move(&[0.0; 9], 0.0)), (0.0, 1.0));
        assert_eq!(new_move(&[], 0.5), 1.0);
        assert_eq!(new_move(&[0.0; 9], 1e-12), 0.0, "and this is more than rounding leaves");
        // Student's t of 2 with 4 degrees of freedom, half as many as there are moves.
        near(new_move(&[0.6745; 8], -2.0), 0.116_116_524, 1e-7);
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
