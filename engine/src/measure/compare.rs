//! How far outputs are from what they should be.

use super::steps::{self, Steps};
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

/// The output that is furthest from what it should be.
pub(crate) struct Worst {
    pub(crate) output: String,
}

/// Adds the kernel error: `got` against the same computation in f32 on dequantised weights, the worst
/// of all outputs.
pub(crate) fn kernel(got: &Values, reference: &Values, correctness: &mut Correctness) -> Worst {
    let (mut worst, mut largest, mut output) = (None, 0.0f64, String::new());
    for (name, (_, values)) in got {
        let (_, reference) = &reference[name];
        let error = finite(rel_l2(values, reference));
        if worst.is_none_or(|worst| error > worst) {
            (worst, output) = (Some(error), name.clone());
        }
        for (a, b) in values.iter().zip(reference) {
            largest = largest.max(finite((f64::from(*a) - f64::from(*b)).abs()));
        }
    }
    correctness.kernel_rel_l2 = worst;
    correctness.kernel_max_abs = Some(largest);
    Worst { output }
}

/// Says which outputs of the same pass run `again` have other bits.
pub(crate) fn unequal(first: &Values, again: &Values) -> Option<String> {
    let differ = |(name, (_, a)): (&String, &(_, Vec<f32>))| {
        let (_, b) = &again[name];
        let count = a.iter().zip(b).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        (count > 0).then(|| format!("{count} of {} numbers of {name}", a.len()))
    };
    let different: Vec<String> = first.iter().filter_map(differ).collect();
    let text = || format!("a second run has other bits: {}", different.join(", "));
    (!different.is_empty()).then(text)
}

/// FNV-1a of 64 bits over names and bits of all outputs, in hexadecimal: equal where every number is.
pub(crate) fn checksum(values: &Values) -> String {
    let mut hash = 0xCBF2_9CE4_8422_2325u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    for (name, (_, values)) in values {
        name.bytes().for_each(&mut add);
        values.iter().flat_map(|value| value.to_bits().to_le_bytes()).for_each(&mut add);
    }
    format!("{hash:016x}")
}

/// Says where a decoder chose another token than the logits of its step say, or counted others as
/// emitted than those that were forced on it.
pub(super) fn choices(values: &Values, steps: &Steps) -> Option<String> {
    for (at, chosen) in steps.chosen.iter().enumerate() {
        let (_, logits) = &values[&steps::name(at)];
        let likeliest = argmax(logits) as u32;
        if likeliest != *chosen {
            return Some(format!(
                "step {at} of the decode chose token {chosen}, its logits say {likeliest}"
            ));
        }
    }
    let (emitted, forced) = (steps.emitted.as_ref()?, &steps.forced);
    (emitted[..forced.len() - 1] != forced[1..])
        .then(|| format!("the decode emitted {emitted:?} where {:?} were forced", &forced[1..]))
}

/// Adds the distance from the expected outputs, and what quantisation lost of them.
///
/// Rows of padded positions are left out.
pub(crate) fn expected(
    got: &Values,
    expected: &Expected,
    inputs: &Inputs,
    correctness: &mut Correctness,
) -> Result<()> {
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
        let keep = kept(shape, inputs);
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

/// Which rows of an output of this shape are somebody's: what a model computes of padding is nobody's.
pub(crate) fn kept(shape: &[usize], inputs: &Inputs) -> Vec<bool> {
    match inputs.ints.get("attention_mask") {
        Some((mask_shape, mask)) if shape.len() == 3 && shape[..2] == mask_shape[..] => {
            mask.iter().map(|keep| *keep != 0).collect()
        }
        _ => vec![true; shape[..shape.len().saturating_sub(1)].iter().product()],
    }
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
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
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
    match terms.sum::<f64>() {
        // `max` would make 0 of what is not a number.
        sum if sum.is_nan() => f64::MAX,
        sum => sum.max(0.0),
    }
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

    /// What `expected` makes of one output beside a mask of two tokens.
    fn one(name: &str, shape: &[usize], got: &[f32], want: &[f32], mask: [i64; 2]) -> Correctness {
        let mut inputs = Inputs::default();
        inputs.ints.insert("attention_mask".to_owned(), (vec![1, 2], mask.to_vec()));
        let value = |values: &[f32]| (shape.to_vec(), values.to_vec());
        let mut wanted = Expected::default();
        wanted.outputs.insert(name.to_owned(), value(want));
        let got = Values::from([(name.to_owned(), value(got))]);
        let mut correctness = Correctness::default();
        expected(&got, &wanted, &inputs, &mut correctness).unwrap();
        correctness
    }

    #[test]
    fn a_mask_of_tokens_hides_nothing_of_what_has_no_tokens() {
        let pooled = one("pooler_output", &[1, 2], &[3.0, 0.0], &[0.0, 4.0], [0, 1]);
        assert_eq!(pooled.reference_rel_l2, Some(1.25));
        // Three patches beside two tokens; the last one is wrong.
        let (got, want) = ([1.0, 0.0, 1.0, 0.0, 3.0, 0.0], [1.0, 0.0, 1.0, 0.0, 2.0, 0.0]);
        let patches = one("image_embeds", &[1, 3, 2], &got, &want, [1, 0]);
        assert_eq!(patches.reference_rel_l2, Some((1.0f64 / 6.0).sqrt()));
    }

    #[test]
    fn loss_is_a_mean_over_rows_and_the_least_cosine() {
        // One row as it should be, and one of (3/4, 1/4) where (1/2, 1/2) is wanted.
        let three = 3f32.ln();
        let got = one("logits", &[1, 2, 2], &[0.0, 1.0, three, 0.0], &[0.0, 1.0, 0.0, 0.0], [1, 1]);
        assert!((got.kl.unwrap() - 0.143_841 / 2.0).abs() < 1e-6, "{:?}", got.kl);
        // Of equal logits the first counts, in both.
        assert_eq!(got.top1_agreement, Some(1.0));
        assert_eq!(got.cosine, Some(0.0));
        let got = one("logits", &[1, 2, 2], &[0.0, 1.0, 2.0, 0.0], &[0.0, 1.0, 0.0, 2.0], [1, 1]);
        assert_eq!((got.top1_agreement, got.cosine), (Some(0.5), Some(0.0)));
    }

    #[test]
    fn cosines_are_those_of_the_textbook() {
        assert!((cosine(&[1.0, 0.0], &[2.0, 2.0]) - 0.5f64.sqrt()).abs() < 1e-12);
        assert!((cosine(&[3.0, 4.0], &[4.0, 3.0]) - 0.96).abs() < 1e-12);
        assert_eq!(cosine(&[1.0, -2.0], &[-2.0, 4.0]), -1.0);
        assert_eq!(cosine(&[0.0, 0.0], &[0.0, 0.0]), 1.0);
        assert_eq!(cosine(&[0.0, 0.0], &[0.0, 1.0]), 0.0);
    }

    #[test]
    fn checksums_are_fnv_1a() {
        // The hashes of nothing and of "foobar" that Fowler, Noll and Vo publish.
        assert_eq!(checksum(&Values::new()), "cbf29ce484222325");
        assert_eq!(checksum(&values(&[("foobar", &[])])), "85944171f73967e8");
    }

    fn values(outputs: &[(&str, &[f32])]) -> Values {
        let value = |(name, values): &(&str, &[f32])| {
            ((*name).to_owned(), (vec![values.len()], values.to_vec()))
        };
        outputs.iter().map(value).collect()
    }

    /// Whichever output is wrong, the worst counts, and it is named.
    #[test]
    fn kernel_error_is_the_worst_of_all_outputs() {
        let right = [("a", &[1.0, 2.0][..]), ("b", &[3.0, 4.0]), ("c", &[5.0, 6.0])];
        for (at, wrong) in ["a", "b", "c"].into_iter().enumerate() {
            let mut got = right;
            got[at].1 = &[9.0, 9.0];
            let mut correctness = Correctness::default();
            let worst = kernel(&values(&got), &values(&right), &mut correctness);
            assert_eq!(worst.output, wrong);
            assert!(correctness.kernel_rel_l2.unwrap() > 0.1, "{wrong}");
            assert_eq!(correctness.kernel_max_abs, Some([8.0, 6.0, 4.0][at]), "{wrong}");
        }
        let mut correctness = Correctness::default();
        kernel(&values(&right), &values(&right), &mut correctness);
        assert_eq!(correctness.kernel_rel_l2, Some(0.0));
        // Of outputs that are equally wrong the first is named.
        let doubled = right.map(|(name, _)| (name, &[2.0, 2.0][..]));
        let single = right.map(|(name, _)| (name, &[1.0, 1.0][..]));
        let mut correctness = Correctness::default();
        assert_eq!(kernel(&values(&doubled), &values(&single), &mut correctness).output, "a");
    }

    #[test]
    fn other_bits_are_no_repetition() {
        let first = values(&[("a", &[0.0, 2.0]), ("b", &[f32::NAN])]);
        assert_eq!(unequal(&first, &first), None);
        let again = values(&[("a", &[-0.0, 2.0]), ("b", &[f32::NAN])]);
        let problem = unequal(&first, &again).unwrap();
        assert_eq!(problem, "a second run has other bits: 1 of 2 numbers of a");
        assert_ne!(checksum(&first), checksum(&again));
    }

    #[test]
    fn choices_follow_from_logits_and_tokens_from_what_was_forced() {
        let logits =
            values(&[("decode_logits[0]", &[0.0, 3.0]), ("decode_logits[1]", &[5.0, 3.0])]);
        let steps = |chosen: [u32; 2], emitted: Option<[u32; 2]>| Steps {
            forced: vec![4, 7],
            chosen: chosen.to_vec(),
            emitted: emitted.map(Vec::from),
        };
        assert_eq!(choices(&logits, &steps([1, 0], Some([7, 0]))), None);
        assert_eq!(choices(&logits, &steps([1, 0], None)), None);
        let wrong = choices(&logits, &steps([1, 1], None)).unwrap();
        assert_eq!(wrong, "step 1 of the decode chose token 1, its logits say 0");
        assert!(choices(&logits, &steps([1, 0], Some([4, 0]))).is_some());
    }

    #[test]
    fn not_a_number_is_never_close() {
        assert_eq!(cosine(&[f32::NAN, 1.0], &[1.0, 1.0]), -1.0);
        assert_eq!(kl(&[f32::NAN, 1.0], &[1.0, 1.0]), f64::MAX);
        assert_eq!(finite(rel_l2(&[f32::NAN], &[1.0])), f64::MAX);
    }
}
