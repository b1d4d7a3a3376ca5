//! How far outputs are from what they should be.

use crate::{
    case::Expected,
    error::{Error, Result},
    published::Inputs,
    stats::argmax,
    testing::rel_l2,
};
use record::Correctness;
use std::collections::BTreeMap;

/// Named outputs on the host.
pub(crate) type Values = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Adds the kernel error: `got` against the same computation in f32 on dequantised weights.
pub(crate) fn kernel(got: &Values, reference: &Values, correctness: &mut Correctness) {
    let (mut worst, mut largest) = (0.0f64, 0.0f64);
    for (name, (_, values)) in got {
        let (_, reference) = &reference[name];
        worst = worst.max(finite(rel_l2(values, reference)));
        for (a, b) in values.iter().zip(reference) {
            largest = largest.max(finite((f64::from(*a) - f64::from(*b)).abs()));
        }
    }
    correctness.kernel_rel_l2 = Some(worst);
    correctness.kernel_max_abs = Some(largest);
}

/// Adds the distance from the expected outputs, and what quantisation lost of them.
///
/// Rows of padded positions are left out: what a model computes there is nobody's output.
pub(crate) fn expected(
    got: &Values,
    expected: &Expected,
    inputs: &Inputs,
    correctness: &mut Correctness,
) -> Result<()> {
    let mask = inputs.ints.get("attention_mask");
    for (name, (shape, want)) in &expected.outputs {
        let Some((got_shape, values)) = got.get(name) else {
            let known: Vec<&String> = got.keys().collect();
            return Err(Error::tensor(name, format!("is expected, the class gives {known:?}")));
        };
        if got_shape != shape {
            let message = format!("is expected as {shape:?} and came as {got_shape:?}");
            return Err(Error::tensor(name, message));
        }
        let columns = shape.last().copied().unwrap_or(1).max(1);
        let keep: Vec<bool> = match mask {
            Some((mask_shape, mask)) if shape.len() == 3 && shape[..2] == mask_shape[..] => {
                mask.iter().map(|keep| *keep != 0).collect()
            }
            _ => vec![true; want.len() / columns],
        };
        let rows = |values: &[f32]| -> Vec<f32> {
            let kept = values.chunks_exact(columns).zip(&keep).filter(|(_, keep)| **keep);
            kept.flat_map(|(row, _)| row.iter().copied()).collect()
        };
        let (values, want) = (rows(values), rows(want));
        raise(&mut correctness.reference_rel_l2, finite(rel_l2(&values, &want)));
        let pairs = values.chunks_exact(columns).zip(want.chunks_exact(columns));
        for (a, b) in pairs.clone() {
            lower(&mut correctness.cosine, cosine(a, b));
        }
        if name == "logits" {
            let count = pairs.len().max(1) as f64;
            correctness.kl =
                Some(finite(pairs.clone().map(|(a, b)| kl(a, b)).sum::<f64>() / count));
            let agree = pairs.filter(|(a, b)| argmax(a) == argmax(b)).count();
            correctness.top1_agreement = Some(agree as f64 / count);
        }
    }
    Ok(())
}

/// JSON has no infinity: what is not a number counts as the largest one.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { f64::MAX }
}

fn raise(slot: &mut Option<f64>, value: f64) {
    *slot = Some(slot.map_or(value, |old| old.max(value)));
}

fn lower(slot: &mut Option<f64>, value: f64) {
    *slot = Some(slot.map_or(value, |old| old.min(value)));
}

/// 1 for two rows of zeros, −1 where something is not a number.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    match dot(a, b) / lengths {
        _ if lengths == 0.0 => f64::from(u8::from(a == b)),
        cosine if cosine.is_nan() => -1.0,
        cosine => cosine.clamp(-1.0, 1.0),
    }
}

/// KL divergence in nats of softmax(a) from softmax(b): `Σ b · ln(b / a)`.
fn kl(a: &[f32], b: &[f32]) -> f64 {
    let log_sum = |row: &[f32]| {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|x| f64::from(x - largest).exp()).sum();
        f64::from(largest) + sum.ln()
    };
    let (a_sum, b_sum) = (log_sum(a), log_sum(b));
    let terms = a.iter().zip(b).map(|(a, b)| {
        let (a, b) = (f64::from(*a) - a_sum, f64::from(*b) - b_sum);
        b.exp() * (b - a)
    });
    terms.sum::<f64>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_is_that_of_the_textbook() {
        // Distributions (1/2, 1/2) and (3/4, 1/4): ½ ln(½ / ¾) + ½ ln(½ / ¼) = 0.143841 nats.
        let divergence = kl(&[3f32.ln(), 0.0], &[0.0, 0.0]);
        assert!((divergence - 0.143_841).abs() < 1e-6, "{divergence}");
        assert_eq!(kl(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
    }

    #[test]
    fn padded_rows_do_not_count() {
        let mut inputs = Inputs::default();
        inputs.ints.insert("attention_mask".to_owned(), (vec![1, 2], vec![1, 0]));
        let mut wanted = Expected::default();
        wanted.outputs.insert("logits".to_owned(), (vec![1, 2, 2], vec![1.0, 2.0, 9.0, 9.0]));
        let got = Values::from([("logits".to_owned(), (vec![1, 2, 2], vec![1.0, 2.0, 0.0, 7.0]))]);
        let mut correctness = Correctness::default();
        expected(&got, &wanted, &inputs, &mut correctness).unwrap();
        assert_eq!(correctness.reference_rel_l2, Some(0.0));
        assert_eq!(correctness.top1_agreement, Some(1.0));
    }

    #[test]
    fn not_a_number_is_never_close() {
        assert_eq!(cosine(&[f32::NAN, 1.0], &[1.0, 1.0]), -1.0);
        assert_eq!(finite(rel_l2(&[f32::NAN], &[1.0])), f64::MAX);
    }
}
