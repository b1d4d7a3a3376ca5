//! How far logits are from those of the model as it is, and which way is back.

use crate::threads;
use std::sync::atomic::{AtomicU64, Ordering};

/// Below this a third-order series has all digits of a float.
const NEAR: f32 = 0.01;

/// The mean Kullback-Leibler divergence of `own` from `whole` in nats: rows of logits over a vocabulary.
pub(super) fn divergence(whole: &[f32], own: &[f32], vocabulary: usize) -> f64 {
    let rows = whole.len() / vocabulary;
    let parts = threads::map(rows, 32 * vocabulary, |rows| {
        let rows = rows.map(|at| at * vocabulary..(at + 1) * vocabulary);
        rows.map(|row| Row::of(&whole[row.clone()], &own[row.clone()]).divergence).sum::<f64>()
    });
    parts.into_iter().sum::<f64>() / rows.max(1) as f64
}

/// The same, and its gradient by `own`, which takes the place of `whole`.
pub(super) fn loss(mut whole: Vec<f32>, own: &[f32], vocabulary: usize) -> (f64, Vec<f32>) {
    let rows = own.len() / vocabulary;
    let share = 1.0 / rows as f32;
    // Each row has a place of its own, so that their sum does not depend on threads.
    let found: Vec<AtomicU64> = (0..rows).map(|_| AtomicU64::default()).collect();
    threads::rows(&mut whole, vocabulary, 32 * vocabulary, |first, whole| {
        let each = whole.chunks_exact_mut(vocabulary).zip(own.chunks_exact(vocabulary).skip(first));
        for ((whole, own), found) in each.zip(&found[first..]) {
            let Row { divergence, sums: [of, by] } = Row::of(whole, own);
            found.store(divergence.to_bits(), Ordering::Relaxed);
            for (whole, own) in whole.iter_mut().zip(own) {
                *whole = share * ((own - by).exp() - (*whole - of).exp());
            }
        }
    });
    let sum: f64 = found.iter().map(|bits| f64::from_bits(bits.load(Ordering::Relaxed))).sum();
    (sum / rows as f64, whole)
}

/// Logits of one token.
struct Row {
    divergence: f64,
    /// Logarithms of the sums of all exponentials.
    sums: [f32; 2],
}

impl Row {
    /// With `δ` the difference of two logarithms, `Σ p · δ` is `Σ p · (δ + exp(−δ) − 1)`, as both sum to one. No term
    /// of that is negative, so that nothing cancels where the two are near each other.
    fn of(whole: &[f32], own: &[f32]) -> Row {
        let sums = [whole, own].map(log_sum);
        let shift = sums[0] - sums[1];
        let terms = whole.iter().zip(own).map(|(whole, own)| {
            let by = whole - own - shift;
            let term = match by.abs() < NEAR {
                true => by * by * (0.5 - by / 6.0),
                false => by + (-by).exp() - 1.0,
            };
            f64::from((whole - sums[0]).exp()) * f64::from(term)
        });
        Row { divergence: terms.sum(), sums }
    }
}

fn log_sum(logits: &[f32]) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    most + logits.iter().map(|logit| (logit - most).exp()).sum::<f32>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normal;

    /// In f64, by the definition.
    fn plain(whole: &[f32], own: &[f32], vocabulary: usize) -> f64 {
        let rows = whole.chunks_exact(vocabulary).zip(own.chunks_exact(vocabulary));
        let each = rows.map(|(whole, own)| {
            let sum = |logits: &[f32]| logits.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
            let (of, by) = (sum(whole), sum(own));
            let terms = whole.iter().zip(own).map(|(whole, own)| {
                let (p, q) = (f64::from(*whole) - of, f64::from(*own) - by);
                p.exp() * (p - q)
            });
            terms.sum::<f64>()
        });
        each.sum::<f64>() / (whole.len() / vocabulary) as f64
    }

    #[test]
    fn divergence_has_its_digits_far_away_and_near() {
        let whole = normal(1, 3 * 500);
        for by in [2.0, 0.1, 1e-3] {
            let own: Vec<f32> =
                whole.iter().zip(normal(2, 3 * 500)).map(|(x, e)| x + by * e + 3.0).collect();
            let (found, wanted) = (divergence(&whole, &own, 500), plain(&whole, &own, 500));
            // Logits are rounded to about 3e-7 where they are as large as these.
            assert!((found - wanted).abs() < 1e-3 * wanted + 1e-12, "{by}: {found} {wanted}");
            assert_eq!(loss(whole.clone(), &own, 500).0, found);
        }
        assert_eq!(divergence(&whole, &whole, 500), 0.0);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_divergence() {
        let (whole, own) = (normal(1, 2 * 40), normal(2, 2 * 40));
        let (_, gradient) = loss(whole.clone(), &own, 40);
        for at in 0..80 {
            let moved = |by: f32| {
                let mut own = own.clone();
                own[at] += by;
                plain(&whole, &own, 40)
            };
            let wanted = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!(
                (f64::from(gradient[at]) - wanted).abs() < 1e-4,
                "{at}: {} {wanted}",
                gradient[at]
            );
        }
    }
}
