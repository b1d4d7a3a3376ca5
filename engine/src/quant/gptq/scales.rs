//! Scales and minimums of least cost for codes that are given, all groups of a row at once.

use super::rows::Rows;
use crate::{
    gemm::{Grid, add_product},
    quant::Format,
};
use half::f16;

/// Added to the diagonal of a row's equations, as a share of its mean, so that a group that hardly counts
/// stays where it is.
const RIDGE: f64 = 1e-4;

impl Rows<'_> {
    /// Chooses the lines of all groups anew; a row that would cost more, rounded to 16 bits, keeps its own.
    pub(super) fn refit(&mut self) {
        let (n, groups) = (self.factor.columns, self.groups);
        let Format::Grouped { asymmetric, .. } = self.format else { unreachable!("no groups") };
        let zero = if asymmetric { 0.0 } else { self.format.zero() };
        let natural = &self.factor.natural;
        let rows = self.errors.len() / n;
        let model = self.factor.to_model(&self.codes);
        let codes: Vec<f32> = model.iter().map(|code| code - zero).collect();
        let errors = self.factor.to_model(&self.errors);
        let weighed = weigh(&errors, natural, n);
        let unknowns = if asymmetric { 2 * groups } else { groups };
        let mut equations = vec![vec![0.0f64; unknowns * unknowns]; rows];
        for at in 0..groups {
            let own = at * self.group..((at + 1) * self.group).min(n);
            let mut met = vec![0.0; rows * n];
            let below = Grid::of(natural, n).part(own.clone(), 0..n);
            add_product(&mut met, Grid::of(&codes, n).part(0..rows, own.clone()), below);
            // What a minimum meets is the same for all rows.
            let flat: Vec<f32> = match asymmetric {
                true => (0..n).map(|k| own.clone().map(|row| natural[row * n + k]).sum()).collect(),
                false => Vec::new(),
            };
            for (row, equations) in equations.iter_mut().enumerate() {
                let row = row * n..(row + 1) * n;
                let (met, codes) = (&met[row.clone()], &codes[row]);
                for (other, columns) in spans(n, self.group).enumerate() {
                    let product = |a: &[f32], b: &[f32]| -> f64 {
                        a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum()
                    };
                    let sum = |a: &[f32]| -> f64 { a.iter().map(|a| f64::from(*a)).sum() };
                    let (met, codes) = (&met[columns.clone()], &codes[columns.clone()]);
                    equations[at * unknowns + other] = product(met, codes);
                    if asymmetric {
                        let flat = &flat[columns];
                        equations[at * unknowns + groups + other] = sum(met);
                        equations[(groups + at) * unknowns + other] = product(flat, codes);
                        equations[(groups + at) * unknowns + groups + other] = sum(flat);
                    }
                }
            }
        }
        let mut moved = self.lines.clone();
        for (row, equations) in equations.iter_mut().enumerate() {
            let place = row * n..(row + 1) * n;
            let (codes, owed) = (&codes[place.clone()], &weighed[place]);
            let mut by: Vec<f64> = vec![0.0; unknowns];
            for (at, columns) in spans(n, self.group).enumerate() {
                let pairs = codes[columns.clone()].iter().zip(&owed[columns.clone()]);
                by[at] = pairs.map(|(code, owed)| f64::from(code * owed)).sum();
                if asymmetric {
                    by[groups + at] = owed[columns].iter().map(|owed| f64::from(*owed)).sum();
                }
            }
            if !solve(equations, &mut by) {
                continue;
            }
            for (at, line) in moved[row * groups..(row + 1) * groups].iter_mut().enumerate() {
                let half = |value: f64| f16::from_f64(value).to_f32();
                let d = half(f64::from(line[0]) + by[at]);
                let m = match asymmetric {
                    true => half(f64::from(line[1]) + by[groups + at]),
                    false => -zero * d,
                };
                *line = [d, m];
            }
        }
        let fresh: Vec<f32> = (0..model.len())
            .map(|at| {
                let [d, m] = moved[at / n * groups + at % n / self.group];
                self.targets[at] - (d * model[at] + m)
            })
            .collect();
        let anew = weigh(&fresh, natural, n);
        for row in 0..rows {
            let (place, lines) = (row * n..(row + 1) * n, row * groups..(row + 1) * groups);
            let cost = |errors: &[f32], weighed: &[f32]| -> f64 {
                errors.iter().zip(weighed).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
            };
            let before = cost(&errors[place.clone()], &weighed[place.clone()]);
            // What is not a number is no gain.
            if cost(&fresh[place.clone()], &anew[place.clone()]) < before {
                self.lines[lines.clone()].copy_from_slice(&moved[lines]);
                let ordered = self.factor.to_order(&fresh[place.clone()]);
                self.errors[place].copy_from_slice(&ordered);
            }
        }
    }
}

/// Rows of errors times the moments.
fn weigh(errors: &[f32], moments: &[f32], n: usize) -> Vec<f32> {
    let mut weighed = vec![0.0; errors.len()];
    add_product(&mut weighed, Grid::of(errors, n), Grid::of(moments, n));
    weighed
}

/// The columns of each group.
fn spans(columns: usize, group: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..columns).step_by(group).map(move |first| first..(first + group).min(columns))
}

/// `b` becomes `A⁻¹ · b`; false where `A` is not positive.
fn solve(a: &mut [f64], b: &mut [f64]) -> bool {
    let n = b.len();
    let mean = a.iter().step_by(n + 1).sum::<f64>() / n as f64;
    a.iter_mut().step_by(n + 1).for_each(|value| *value += RIDGE * mean);
    for column in 0..n {
        let (above, below) = a.split_at_mut((column + 1) * n);
        let head = &mut above[column * n..];
        let spent: f64 = head[..column].iter().map(|value| value * value).sum();
        let pivot = head[column] - spent;
        if pivot.is_nan() || pivot <= 0.0 {
            return false;
        }
        head[column] = pivot.sqrt();
        for row in below.chunks_exact_mut(n) {
            let sum: f64 = row[..column].iter().zip(&head[..column]).map(|(a, b)| a * b).sum();
            row[column] = (row[column] - sum) / head[column];
        }
    }
    for row in 0..n {
        let sum: f64 = a[row * n..row * n + row].iter().zip(&b[..row]).map(|(a, b)| a * b).sum();
        b[row] = (b[row] - sum) / a[row * n + row];
    }
    for row in (0..n).rev() {
        let sum: f64 = (row + 1..n).map(|below| a[below * n + row] * b[below]).sum();
        b[row] = (b[row] - sum) / a[row * n + row];
    }
    true
}
