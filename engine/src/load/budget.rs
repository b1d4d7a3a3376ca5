//! The formats that do least harm in so many bytes: a knapsack with one choice a matrix (Kellerer, Pferschy and
//! Pisinger 2004, chapter 11), solved exactly by dynamic programming over bytes.

use super::PrecisionPlan;
use crate::quant::Format;
use serde::{Deserialize, Serialize};

/// Steps that a budget is divided into, at most: the table has one column a step.
const STEPS: u64 = 1 << 16;

/// What one matrix costs in each of some formats; several under one name count as one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Harm {
    /// Its name in a load plan.
    pub name: String,
    /// Weights that it holds.
    pub weights: u64,
    /// In the order in which they were asked for.
    pub choices: Vec<Choice>,
}

/// A matrix in one format.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The format.
    pub format: Format,
    /// Bytes that it takes.
    pub bytes: u64,
    /// How far outputs move: for a model that generates, the mean Kullback-Leibler divergence in nats of what
    /// it expects behind each token; for others the mean squared error of outputs as a share of their squares.
    pub harm: f64,
}

/// The formats of least total harm that take at most `bytes` together. An error says how many the smallest take.
///
/// Where the sizes that matrices can have share no large divisor, they are rounded up to one in 65,536 of what
/// the budget leaves above the smallest.
pub fn within(harms: &[Harm], bytes: u64) -> Result<PrecisionPlan, u64> {
    let least = |harm: &Harm| harm.choices.iter().map(|choice| choice.bytes).min().unwrap_or(0);
    let smallest: u64 = harms.iter().map(least).sum();
    let Some(room) = bytes.checked_sub(smallest) else { return Err(smallest) };
    let extras = |harm: &Harm| {
        let least = least(harm);
        harm.choices.iter().map(move |choice| choice.bytes - least).collect::<Vec<_>>()
    };
    let all: Vec<Vec<u64>> = harms.iter().map(extras).collect();
    let shared = all.iter().flatten().fold(0, |a, b| gcd(a, *b)).max(1);
    let unit = shared.max(room.div_ceil(STEPS));
    let columns = (room / unit) as usize + 1;
    // What the matrices so far cost at least, in at most so many steps; and which choice each takes there.
    let mut costs = vec![0.0; columns];
    let mut taken: Vec<Vec<u8>> = Vec::with_capacity(harms.len());
    for (harm, extras) in harms.iter().zip(&all) {
        let mut next = vec![f64::INFINITY; columns];
        let mut chosen = vec![0; columns];
        for (at, (choice, extra)) in harm.choices.iter().zip(extras).enumerate() {
            let steps = extra.div_ceil(unit) as usize;
            for column in steps..columns {
                let cost = costs[column - steps] + choice.harm;
                if cost < next[column] {
                    (next[column], chosen[column]) = (cost, at as u8);
                }
            }
        }
        costs = next;
        taken.push(chosen);
    }
    let mut column = columns - 1;
    let mut plan = PrecisionPlan::default();
    for ((harm, extras), taken) in harms.iter().zip(&all).zip(&taken).rev() {
        let at = usize::from(taken[column]);
        plan.formats.insert(harm.name.clone(), harm.choices[at].format);
        column -= extras[at].div_ceil(unit) as usize;
    }
    Ok(plan)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normal;

    const WIDTHS: [u8; 4] = [2, 3, 4, 8];

    fn format(bits: u8) -> Format {
        Format::Grouped { bits, asymmetric: false, group: 32 }
    }

    /// Matrices of different sizes whose harm no rule describes.
    fn seeded(count: usize, unit: u64) -> Vec<Harm> {
        let numbers = normal(11, count * 5);
        let each = |(at, numbers): (usize, &[f32])| {
            let weights = unit * (1 + (numbers[0].abs() * 3.0) as u64);
            let choice = |(bits, number): (&u8, &f32)| Choice {
                format: format(*bits),
                bytes: weights * u64::from(*bits),
                harm: f64::from(number.abs()),
            };
            let choices = WIDTHS.iter().zip(&numbers[1..]).map(choice).collect();
            Harm { name: format!("w{at}"), weights, choices }
        };
        numbers.chunks_exact(5).enumerate().map(each).collect()
    }

    /// Harm and bytes of a plan.
    fn totals(harms: &[Harm], plan: &PrecisionPlan) -> (f64, u64) {
        let chosen = harms.iter().map(|harm| {
            let format = plan.formats[&harm.name];
            harm.choices.iter().find(|choice| choice.format == format).unwrap()
        });
        chosen.fold((0.0, 0), |(harm, bytes), choice| (harm + choice.harm, bytes + choice.bytes))
    }

    #[test]
    fn no_other_plan_within_the_budget_does_less_harm() {
        let harms = seeded(6, 96);
        for bytes in [2500, 4000, 5001, 7777, 20_000] {
            let all = (0..4usize.pow(6)).filter_map(|code| {
                let choices = harms.iter().enumerate();
                let choice =
                    choices.map(|(at, harm)| harm.choices[code / 4usize.pow(at as u32) % 4]);
                let (harm, size) =
                    choice.fold((0.0, 0), |(h, b), choice| (h + choice.harm, b + choice.bytes));
                (size <= bytes).then_some(harm)
            });
            let best = all.min_by(f64::total_cmp);
            match (within(&harms, bytes), best) {
                (Ok(plan), Some(best)) => {
                    let (harm, size) = totals(&harms, &plan);
                    assert!(size <= bytes && (harm - best).abs() < 1e-12, "{bytes}: {harm} {best}");
                }
                (Err(smallest), None) => assert!(smallest > bytes),
                other => panic!("{bytes}: {other:?}"),
            }
        }
    }

    /// Sizes that nothing divides are rounded, and a plan never takes more than it may.
    #[test]
    fn large_and_odd_sizes_stay_within_the_budget() {
        let mut harms = seeded(40, 1_000_003);
        for (at, harm) in harms.iter_mut().enumerate() {
            harm.choices.iter_mut().for_each(|choice| choice.bytes += at as u64);
        }
        let smallest = within(&harms, 0).unwrap_err();
        let (_, size) = totals(&harms, &within(&harms, smallest).unwrap());
        assert_eq!(size, smallest);
        let [mut before, mut used] = [f64::INFINITY, 0.0];
        for share in [1.1, 1.4, 2.0] {
            let bytes = (smallest as f64 * share) as u64;
            let (harm, size) = totals(&harms, &within(&harms, bytes).unwrap());
            assert!(size <= bytes && harm <= before, "{share}");
            (before, used) = (harm, size as f64 / bytes as f64);
        }
        assert!(used > 0.5, "{used}");
    }
}
