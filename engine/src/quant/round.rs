//! Chooses codes group by group.

mod eight;

use super::{Format, GroupCodes, Quantiser, Subject};
use crate::error::Result;
use eight::Eight;
use half::f16;
use std::ops::Range;

/// Rounds each weight to the nearest level, with the scale (and minimum) of least squared error
/// among a handful of candidates, each refined by linear regression on its own codes.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundToNearest;

/// How far the outermost level may be pulled in from the largest weight: clipping a few large
/// weights buys finer steps for all others, and pays the more the fewer levels there are.
fn shrink(bits: u32) -> &'static [f32] {
    match bits {
        8 => &[1.0],
        4 => &[1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75],
        3 => &[1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6],
        _ => &[1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5, 0.45, 0.4],
    }
}

/// 1.5 · 2²³: between 2²³ and 2²⁴ floats are integers.
const MAGIC: f32 = 12_582_912.0;

/// The nearest integers within a range below 2²², the same on every target.
#[inline(always)]
fn nearest(x: Eight, [low, high]: [f32; 2]) -> Eight {
    let x = x.or_more(Eight::splat(low)).or_less(Eight::splat(high));
    (x + Eight::splat(MAGIC)) - Eight::splat(MAGIC)
}

/// The low byte of the nearest integer within a range: where floats are integers, their fractions
/// count.
#[inline(always)]
fn nearest_byte(x: f32, [low, high]: [f32; 2]) -> u8 {
    (x.clamp(low, high) + MAGIC).to_bits() as u8
}

/// Sums over all weights of what `terms` makes of them. Eight weights are summed side by side, without
/// reordering what was written: a model has hundreds of millions of them, and each is looked at a
/// dozen times.
#[inline(always)]
fn sums<const N: usize>(weights: &[f32], terms: impl Fn(Eight) -> [Eight; N]) -> [f32; N] {
    let (eights, rest) = weights.as_chunks::<8>();
    let mut sums = [Eight::splat(0.0); N];
    for eight in eights {
        let terms = terms(Eight::new(eight));
        (0..N).for_each(|n| sums[n] = sums[n] + terms[n]);
    }
    let lanes = sums.map(Eight::lanes);
    let mut sums = lanes.map(|lanes| lanes[0]);
    // Those of all sums at once, as each has to be added one after the other.
    let mut add = |lanes: [[f32; 8]; N], range: Range<usize>| {
        for lane in range {
            (0..N).for_each(|n| sums[n] += lanes[n][lane]);
        }
    };
    add(lanes, 1..8);
    if !rest.is_empty() {
        let mut eight = [0.0; 8];
        eight[..rest.len()].copy_from_slice(rest);
        add(terms(Eight::new(&eight)).map(Eight::lanes), 0..rest.len());
    }
    sums
}

/// Lowest and highest code, as numbers.
pub(crate) fn range(bits: u32) -> [f32; 2] {
    match bits {
        8 => [-128.0, 127.0],
        _ => [0.0, ((1u32 << bits) - 1) as f32],
    }
}

impl Quantiser for RoundToNearest {
    fn quantise(
        &self,
        matrix: &Subject<'_>,
        _first: usize,
        weights: &[f32],
        give: &mut dyn FnMut([usize; 2], &GroupCodes) -> Result<()>,
    ) -> Result<()> {
        let Format::Grouped { group, .. } = matrix.format else {
            unreachable!("{} has no groups", matrix.format)
        };
        for (row, weights) in weights.chunks_exact(matrix.columns).enumerate() {
            for (at, weights) in weights.chunks(usize::from(group)).enumerate() {
                give([row, at], &nearest_codes(weights, matrix.format))?;
            }
        }
        Ok(())
    }
}

/// The least and the most of some weights.
fn extremes(weights: &[f32]) -> [f32; 2] {
    let (eights, rest) = weights.as_chunks::<8>();
    let (mut least, mut most) = (Eight::splat(f32::INFINITY), Eight::splat(f32::NEG_INFINITY));
    for eight in eights {
        let eight = Eight::new(eight);
        (least, most) = (least.or_less(eight), most.or_more(eight));
    }
    let less = |least, w| if w < least { w } else { least };
    let more = |most, w| if w > most { w } else { most };
    let all = |lanes: Eight| lanes.lanes().into_iter().chain(rest.iter().copied());
    [all(least).fold(f32::INFINITY, less), all(most).fold(f32::NEG_INFINITY, more)]
}

/// The weight furthest from 0, and of two at that distance the first.
fn largest(weights: &[f32]) -> f32 {
    let [least, most] = extremes(weights);
    let size = if most > -least { most } else { -least };
    weights.iter().copied().find(|w| w.abs() == size).unwrap_or(0.0)
}

/// The codes of up to 128 weights that share a scale.
pub(super) fn nearest_codes(weights: &[f32], format: Format) -> GroupCodes {
    match format {
        Format::Grouped { asymmetric: true, .. } => asymmetric(weights, format),
        _ => symmetric(weights, format),
    }
}

fn symmetric(weights: &[f32], format: Format) -> GroupCodes {
    let bits = format.bits();
    let zero = format.zero();
    let [low, high] = range(bits);
    let largest = largest(weights);
    let mut best = (0.0f32, 0.0f32);
    // The largest weight meets the outermost level on either side; the sides differ where there is one
    // level more below zero than above, and are one another's mirror images at two bits.
    let ends = [low - zero, high - zero];
    let ends = if bits == 2 { &ends[..1] } else { &ends[..] };
    let candidates =
        shrink(bits).iter().flat_map(|&ratio| ends.iter().map(move |&end| (ratio, end)));
    let mut inverses = candidates.map(|(ratio, end)| end / (largest * ratio));
    // Two at once, as the sums of one leave registers free; of an odd one both are the same.
    while let Some(first) = inverses.next() {
        let pair = [first, inverses.next().unwrap_or(first)];
        let pair = pair.map(Eight::splat);
        let zero = Eight::splat(zero);
        let [wl, other_wl, ll, other_ll] = sums(weights, |w| {
            let [a, b] = pair.map(|inverse| nearest(w * inverse + zero, [low, high]) - zero);
            [w * a, w * b, a * a, b * b]
        });
        for (wl, ll) in [(wl, ll), (other_wl, other_ll)] {
            // Σ(w − d·l)² is least at d = Σwl / Σl², where it is Σw² − (Σwl)² / Σl². Of a group of
            // zeros nothing here is a number, and so nothing is a gain.
            let gain = wl * wl / ll;
            if gain > best.0 {
                best = (gain, wl / ll);
            }
        }
    }
    let d = f16::from_f32(best.1);
    let inverse = if d == f16::ZERO { 0.0 } else { 1.0 / d.to_f32() };
    let mut codes = [0u8; 128];
    for (code, &w) in codes.iter_mut().zip(weights) {
        *code = nearest_byte(w * inverse + zero, [low, high]);
    }
    GroupCodes { d, m: f16::ZERO, codes }
}

fn asymmetric(weights: &[f32], format: Format) -> GroupCodes {
    let bits = format.bits();
    let [low, high] = range(bits);
    let count = weights.len() as f32;
    let [least, most] = extremes(weights);
    let sum = weights.iter().fold(0.0f32, |sum, w| sum + w);
    let centre = 0.5 * (least + most);
    let mean = sum / count;
    // Without any step the group is its mean, and nothing of its variance is explained.
    let mut best = (0.0f32, 0.0f32, mean);
    for &ratio in shrink(bits) {
        let start = centre - 0.5 * ratio * (most - least);
        let inverse = (high - low) / (ratio * (most - least));
        let [start, inverse] = [start, inverse].map(Eight::splat);
        let [q1, q2, wq] = sums(weights, |w| {
            let code = nearest((w - start) * inverse + Eight::splat(low), [low, high]);
            [code, code * code, (w - Eight::splat(mean)) * code]
        });
        // Linear regression of the weights on their codes; the gain is what it explains. The least and
        // the largest weight have different codes, so codes have a spread; where those are one weight,
        // nothing here is a number, and so nothing is a gain.
        let spread = q2 - q1 * q1 / count;
        let gain = wq * wq / spread;
        if gain > best.0 {
            let d = wq / spread;
            best = (gain, d, mean - d * q1 / count);
        }
    }
    let (d, m) = (f16::from_f32(best.1), f16::from_f32(best.2));
    let inverse = if d == f16::ZERO { 0.0 } else { 1.0 / d.to_f32() };
    let start = m.to_f32();
    let mut codes = [0u8; 128];
    for (code, &w) in codes.iter_mut().zip(weights) {
        *code = nearest_byte((w - start) * inverse, [low, high]);
    }
    GroupCodes { d, m, codes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normal;

    fn error(bits: u8, asymmetric: bool, quantised: &GroupCodes, weights: &[f32]) -> f64 {
        let format = Format::Grouped { bits, asymmetric, group: 32 };
        let (d, m) = (quantised.d.to_f32(), quantised.m.to_f32());
        let m = if asymmetric { m } else { -format.zero() * d };
        weights
            .iter()
            .zip(quantised.codes)
            .map(|(w, code)| {
                let code = if bits == 8 { f32::from(code as i8) } else { f32::from(code) };
                f64::from(w - (d * code + m)).powi(2)
            })
            .sum()
    }

    /// The search must beat plain scaling by the largest weight, which it includes as a candidate,
    /// and stay above the rate-distortion bound of a Gaussian source.
    #[test]
    fn the_search_beats_scaling_by_the_largest() {
        for bits in [8u8, 4, 3, 2] {
            let format = Format::Grouped { bits, asymmetric: false, group: 32 };
            let (mut searched, mut plain, mut power) = (0.0, 0.0, 0.0);
            for seed in 0..200 {
                let weights = normal(seed, 32);
                let largest = weights.iter().fold(0.0f32, |a, w| a.max(w.abs()));
                let [low, high] = range(bits.into());
                let d = f16::from_f32(largest / (high - format.zero()));
                let mut codes = [0; 128];
                for (code, w) in codes.iter_mut().zip(&weights) {
                    *code = nearest_byte(w / d.to_f32() + format.zero(), [low, high]);
                }
                let simple = GroupCodes { d, m: f16::ZERO, codes };
                plain += error(bits, false, &simple, &weights);
                searched += error(bits, false, &nearest_codes(&weights, format), &weights);
                power += weights.iter().map(|w| f64::from(w * w)).sum::<f64>();
            }
            let bound = power * 4f64.powi(-i32::from(bits));
            assert!(searched < plain * 1.001, "{bits} bits: {searched} against {plain}");
            assert!(searched > bound, "{bits} bits: {searched} is below what is possible, {bound}");
            if bits <= 4 {
                assert!(searched < 0.8 * plain, "{bits} bits: {searched} against {plain}");
            }
        }
    }

    #[test]
    fn weights_beyond_the_eights_count() {
        for count in [1, 7, 8, 9, 20] {
            let weights: Vec<f32> = (1..=count).map(|w| w as f32).collect();
            let expected: [f32; 2] = [weights.iter().sum(), weights.iter().map(|w| w * w).sum()];
            assert_eq!(sums(&weights, |w| [w, w * w]), expected, "{count} weights");
        }
    }

    #[test]
    fn the_largest_is_the_first_of_its_size() {
        let weights: Vec<f32> = (0..20).map(|at| [0.5, -2.0, 2.0, -0.0][at % 4]).collect();
        for first in 0..20 {
            for end in first + 1..=20 {
                let weights = &weights[first..end];
                let size = weights.iter().fold(0.0f32, |size, w| size.max(w.abs()));
                let expected = weights.iter().find(|w| w.abs() == size);
                assert_eq!(Some(&largest(weights)), expected, "{first}..{end}");
                let negative: Vec<f32> = weights.iter().map(|w| -w.abs()).collect();
                assert_eq!(largest(&negative), -size, "{first}..{end}");
            }
        }
    }

    #[test]
    fn asymmetric_groups_follow_an_offset() {
        for bits in [8u8, 4, 3, 2] {
            let weights: Vec<f32> = normal(7, 32).iter().map(|w| w + 5.0).collect();
            let [with, without] = [true, false].map(|asymmetric| {
                let format = Format::Grouped { bits, asymmetric, group: 32 };
                error(bits, asymmetric, &nearest_codes(&weights, format), &weights)
            });
            assert!(with < 0.5 * without, "{bits} bits: {with} against {without}");
        }
    }

    #[test]
    fn constant_groups_are_exact() {
        for asymmetric in [false, true] {
            for value in [0.0f32, 0.5, -2.0] {
                let format = Format::Grouped { bits: 4, asymmetric, group: 32 };
                let weights = vec![value; 32];
                let quantised = nearest_codes(&weights, format);
                assert!(error(4, asymmetric, &quantised, &weights) < 1e-9, "{value}");
            }
        }
    }

    #[test]
    fn the_fewer_levels_there_are_the_more_may_be_clipped() {
        let furthest = [8, 4, 3, 2].map(|bits| shrink(bits).iter().copied().fold(1.0, f32::min));
        assert_eq!(furthest, [1.0, 0.75, 0.6, 0.4]);
        assert!([8, 4, 3, 2].iter().all(|bits| shrink(*bits).contains(&1.0)));
        assert!([4, 3].iter().all(|bits| shrink(*bits).contains(&1.05)));
    }

    /// The candidates of least error, each with its error as it is, in f64: scale and minimum.
    fn least(weights: &[f32], format: Format) -> (f64, f64) {
        let weights: Vec<f64> = weights.iter().copied().map(f64::from).collect();
        let [low, high] = range(format.bits());
        let (low, high, zero) = (f64::from(low), f64::from(high), f64::from(format.zero()));
        let is_asymmetric = matches!(format, Format::Grouped { asymmetric: true, .. });
        let of = |better: fn(f64, f64) -> bool| {
            weights.iter().copied().reduce(|a, b| if better(b, a) { b } else { a }).unwrap()
        };
        let largest = of(|b, a| b.abs() > a.abs());
        let (first, last) = (of(|b, a| b < a), of(|b, a| b > a));
        let mut best = (f64::INFINITY, 0.0, 0.0);
        for ratio in shrink(format.bits()).iter().copied().map(f64::from) {
            let reach = ratio * (last - first) / 2.0;
            let lines = match is_asymmetric {
                true => vec![((high - low) / (2.0 * reach), (first + last) / 2.0 - reach, low)],
                false => [low - zero, high - zero]
                    .map(|end| (end / (largest * ratio), 0.0, zero))
                    .to_vec(),
            };
            for (steep, from, to) in lines {
                let code = |w: &f64| ((w - from) * steep + to).round_ties_even().clamp(low, high);
                let codes: Vec<f64> = weights.iter().map(code).collect();
                // Of a line through all points, or of one through the code that is zero.
                let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
                let (x, y) =
                    if is_asymmetric { (mean(&codes), mean(&weights)) } else { (zero, 0.0) };
                let pairs = codes.iter().zip(&weights);
                let product: f64 = pairs.clone().map(|(code, w)| (code - x) * (w - y)).sum();
                let d = product / codes.iter().map(|code| (code - x).powi(2)).sum::<f64>();
                let m = y - d * x;
                let error: f64 = pairs.map(|(code, w)| (w - d * code - m).powi(2)).sum();
                if error < best.0 {
                    best = (error, d, m);
                }
            }
        }
        (best.1, best.2)
    }

    /// Of groups of all lengths, as the last one of a row may be shorter.
    #[test]
    fn the_candidate_of_least_error_is_found() {
        for format in Format::all() {
            let Format::Grouped { bits, asymmetric, group } = format else { continue };
            let (mut found, mut wanted) = (0.0, 0.0);
            for seed in 0..60 {
                let count = usize::from(group) - 3 * (seed as usize % 9);
                let weights: Vec<f32> = normal(seed, count).iter().map(|w| w + 0.3).collect();
                let codes = nearest_codes(&weights, format);
                found += error(bits, asymmetric, &codes, &weights);
                let (d, m) = least(&weights, format);
                let line = GroupCodes { d: f16::from_f64(d), m: f16::from_f64(m), ..codes };
                let [low, high] = range(bits.into());
                let (d, m) = (line.d.to_f32(), line.m.to_f32());
                let m = if asymmetric { m } else { -format.zero() * d };
                let mut nearest = line;
                for (code, w) in nearest.codes.iter_mut().zip(&weights) {
                    *code = ((w - m) / d).round_ties_even().clamp(low, high) as i32 as u8;
                }
                wanted += error(bits, asymmetric, &nearest, &weights);
            }
            // At 8 bits what candidates differ by is near the rounding of the sums that tell them apart.
            let within = if bits == 8 { 1e-2 } else { 1e-4 };
            assert!((found / wanted - 1.0).abs() < within, "{format}: {found} and not {wanted}");
        }
    }

    /// So that a matrix is packed into the same words wherever that is done.
    #[test]
    fn the_first_of_equally_good_candidates_is_taken() {
        let format = Format::Grouped { bits: 8, asymmetric: false, group: 32 };
        let d = |weights: &[f32]| nearest_codes(weights, format).d.to_f32();
        assert_eq!(d(&[1.0, 0.0, 0.0]), -1.0 / 128.0, "and not 1 / 127");
        assert!(d(&[1.0, -1.0]) > 0.0 && d(&[-1.0, 1.0]) < 0.0, "the first of the largest decides");
    }
}
