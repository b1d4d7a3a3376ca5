use super::*;
use crate::{
    device::Device,
    quant::{Format, Matrix, MatrixBuilder, Moments, Quantiser, RoundToNearest},
    testing::normal,
    threads::tests::over,
};

const COLUMNS: usize = 200;

/// Inputs whose columns have much in common, and of which a few are large.
fn inputs(seed: u64, rows: usize) -> Vec<f32> {
    let (own, shared) = (normal(seed, rows * COLUMNS), normal(seed + 1, rows * 4));
    let value = |at: usize| {
        let (row, column) = (at / COLUMNS, at % COLUMNS);
        let common: f32 =
            (0..4).map(|k| shared[row * 4 + k] * 0.3 * (1.0 + (column * k % 5) as f32)).sum();
        (own[at] + common) * if column % 37 == 0 { 6.0 } else { 1.0 }
    };
    (0..rows * COLUMNS).map(value).collect()
}

fn packed(weights: &[f32], format: Format, inputs: &Moments, by: &dyn Quantiser) -> Matrix {
    let device = Device::cpu();
    let rows = weights.len() / COLUMNS;
    let builder = MatrixBuilder::new(&device, "w", rows, COLUMNS, format);
    let mut builder = builder.with_inputs(inputs);
    builder.push_f32(weights, by).unwrap();
    builder.finish()
}

fn values(matrix: &Matrix) -> Vec<f32> {
    let mut row = vec![0.0; matrix.chunks() * 32];
    let mut all = Vec::new();
    for at in 0..matrix.rows {
        matrix.dequantise_row(at, &mut row);
        all.extend_from_slice(&row[..COLUMNS]);
    }
    all
}

/// What outputs differ by on inputs, in their squares, of what they are.
fn harm(weights: &[f32], matrix: &Matrix, x: &[f32]) -> f64 {
    let quantised = values(matrix);
    let (mut off, mut all) = (0.0, 0.0);
    for x in x.chunks_exact(COLUMNS) {
        for (w, q) in weights.chunks_exact(COLUMNS).zip(quantised.chunks_exact(COLUMNS)) {
            let product = |w: &[f32]| -> f64 {
                w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()
            };
            let (y, got) = (product(w), product(q));
            off += (y - got).powi(2);
            all += y * y;
        }
    }
    off / all
}

#[test]
fn outputs_on_other_inputs_of_the_kind_differ_by_less() {
    let weights = normal(9, 24 * COLUMNS);
    let moments = Moments::of(&inputs(1, 800), COLUMNS);
    let unseen = inputs(5, 100);
    for format in Format::all() {
        let Format::Grouped { bits, .. } = format else { continue };
        let [near, chosen] = [&RoundToNearest as &dyn Quantiser, &Gptq]
            .map(|by| harm(&weights, &packed(&weights, format, &moments, by), &unseen));
        let most = if bits == 8 { 0.9 } else { 0.6 };
        assert!(chosen < most * near, "{format}: {chosen:.2e} and rounded {near:.2e}");
    }
}

#[test]
fn every_act_makes_the_cost_smaller() {
    let weights = normal(9, 16 * COLUMNS);
    let moments = Moments::of(&inputs(1, 400), COLUMNS);
    let factor = factor::Factor::of(&moments, COLUMNS);
    for asymmetric in [false, true] {
        let format = Format::Grouped { bits: 2, asymmetric, group: 64 };
        let mut rows = rows::Rows::nearest(&weights, format, &factor);
        let cost = |rows: &rows::Rows<'_>| {
            let mut sum = 0.0;
            for errors in rows.errors.chunks_exact(COLUMNS) {
                for (a, row) in errors.iter().zip(factor.ordered.chunks_exact(COLUMNS)) {
                    let met: f64 =
                        errors.iter().zip(row).map(|(b, m)| f64::from(*b) * f64::from(*m)).sum();
                    sum += f64::from(*a) * met;
                }
            }
            sum
        };
        rows.feed_back();
        let mut costs = vec![cost(&rows)];
        for _ in 0..2 {
            rows.refit();
            costs.push(cost(&rows));
            rows.descend();
            costs.push(cost(&rows));
        }
        assert!(costs.windows(2).all(|pair| pair[1] < pair[0]), "{asymmetric}: {costs:?}");
        // The errors that are kept are those of the codes that come out.
        let codes = rows.codes();
        let kept = factor.to_model(&rows.errors);
        for (at, error) in kept.iter().enumerate() {
            let (row, column) = (at / COLUMNS, at % COLUMNS);
            let chosen = &codes[row * COLUMNS.div_ceil(64) + column / 64];
            let d = chosen.d.to_f32();
            let m = if asymmetric { chosen.m.to_f32() } else { -1.5 * d };
            let value = d * f32::from(chosen.codes[column % 64]) + m;
            assert!((weights[at] - value - error).abs() < 1e-4, "{at}");
        }
    }
}

/// A layer whose inputs have drifted is nearer to what it should give.
#[test]
fn drift_is_met_half_way() {
    let weights = normal(9, 24 * COLUMNS);
    let exact = inputs(1, 800);
    let noise = normal(2, exact.len());
    let drifted: Vec<f32> = exact.iter().zip(noise).map(|(x, noise)| 0.9 * x + noise).collect();
    let format = Format::Grouped { bits: 4, asymmetric: false, group: 32 };
    let far = |moments: &Moments| {
        let quantised = values(&packed(&weights, format, moments, &Gptq));
        let product = |w: &[f32], x: &[f32]| -> f64 {
            w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum()
        };
        let mut off = 0.0;
        for (x, exact) in drifted.chunks_exact(COLUMNS).zip(exact.chunks_exact(COLUMNS)) {
            for (w, q) in weights.chunks_exact(COLUMNS).zip(quantised.chunks_exact(COLUMNS)) {
                off += (product(w, exact) - product(q, x)).powi(2);
            }
        }
        off
    };
    let [blind, aware] =
        [Moments::of(&drifted, COLUMNS), Moments::beside(&drifted, &exact, COLUMNS)]
            .map(|it| far(&it));
    assert!(aware < 0.9 * blind, "{aware} and {blind}");
}

#[test]
fn threads_choose_the_same_codes() {
    let weights = normal(9, 40 * COLUMNS);
    let moments = Moments::of(&inputs(1, 300), COLUMNS);
    let format = Format::Grouped { bits: 3, asymmetric: true, group: 32 };
    let chosen = || values(&packed(&weights, format, &moments, &Gptq));
    let alone = chosen();
    assert_eq!(over(3, chosen), alone);
}

#[test]
fn columns_that_nothing_meets_and_weights_of_zero_are_no_trouble() {
    let mut weights = normal(9, 4 * COLUMNS);
    weights[..COLUMNS].fill(0.0);
    let mut x = inputs(1, 50);
    x.iter_mut().skip(3).step_by(COLUMNS).for_each(|x| *x = 0.0);
    for moments in [Moments::of(&x, COLUMNS), Moments::of(&vec![0.0; 2 * COLUMNS], COLUMNS)] {
        let format = Format::Grouped { bits: 2, asymmetric: false, group: 32 };
        let values = values(&packed(&weights, format, &moments, &Gptq));
        assert!(values.iter().all(|value| value.is_finite()));
        assert!(values[..COLUMNS].iter().all(|value| *value == 0.0));
    }
}

#[test]
fn whoever_has_no_codes_is_told_where_to_get_them() {
    let weights = normal(9, COLUMNS);
    let format = Format::Grouped { bits: 4, asymmetric: false, group: 32 };
    let device = Device::cpu();
    let mut builder = MatrixBuilder::new(&device, "some.weight", 1, COLUMNS, format);
    let error = builder.push_f32(&weights, &Calibrated).unwrap_err().to_string();
    assert!(error.contains("some.weight") && error.contains("harness quantize"), "{error}");
}
