//! The moments of a matrix's inputs, made ready: the most important column last, and `L·Lᵀ`.

use crate::quant::Moments;
use crate::threads;

/// Added to the diagonal, as a share of its mean: what the text did not show may still come.
const DAMPING: f64 = 0.01;

/// Moments `A` with their columns in another order, and their Cholesky factor.
pub(super) struct Factor {
    pub(super) columns: usize,
    /// Columns from the least important to the most: the last one is rounded first.
    pub(super) order: Vec<usize>,
    /// `[K, K]` in the order of the model.
    pub(super) natural: Vec<f32>,
    /// `[K, K]` in this order.
    pub(super) ordered: Vec<f32>,
    /// `[K, K]` in this order, lower triangle: `A = L·Lᵀ`.
    pub(super) lower: Vec<f32>,
}

impl Factor {
    pub(super) fn of(inputs: &Moments, columns: usize) -> Factor {
        let squares = &inputs.squares;
        assert_eq!(squares.len(), columns * columns);
        let damping = DAMPING * f64::from(inputs.mean(columns).max(f32::MIN_POSITIVE));
        let mut natural = squares.clone();
        natural.iter_mut().step_by(columns + 1).for_each(|square| *square += damping as f32);
        let mut order: Vec<usize> = (0..columns).collect();
        let importance = |column: usize| squares[column * (columns + 1)];
        order.sort_by(|a, b| importance(*a).total_cmp(&importance(*b)).then(a.cmp(b)));
        let row =
            |row: &usize| order.iter().map(|at| natural[row * columns + at]).collect::<Vec<_>>();
        let ordered: Vec<f32> = order.iter().flat_map(row).collect();
        let lower = cholesky(&ordered, columns);
        Factor { columns, order, natural, ordered, lower }
    }

    /// Rows of weights in the order of the model, to this order.
    pub(super) fn to_order<T: Copy>(&self, rows: &[T]) -> Vec<T> {
        let row = |row: &[T]| self.order.iter().map(|at| row[*at]).collect::<Vec<_>>();
        rows.chunks_exact(self.columns).flat_map(row).collect()
    }

    /// And back.
    pub(super) fn to_model<T: Copy + Default>(&self, rows: &[T]) -> Vec<T> {
        let mut back = vec![T::default(); rows.len()];
        for (back, row) in back.chunks_exact_mut(self.columns).zip(rows.chunks_exact(self.columns))
        {
            self.order.iter().zip(row).for_each(|(at, value)| back[*at] = *value);
        }
        back
    }
}

/// Columns that are computed before those to their right hear of them.
const PANEL: usize = 32;

/// The lower triangle `L` of `A = L·Lᵀ`, in f64 on the way: text has directions that hardly occur.
fn cholesky(a: &[f32], n: usize) -> Vec<f32> {
    let mut l: Vec<f64> = a.iter().map(|value| f64::from(*value)).collect();
    for first in (0..n).step_by(PANEL) {
        let end = (first + PANEL).min(n);
        for column in first..end {
            let (above, below) = l.split_at_mut((column + 1) * n);
            let head = &mut above[column * n..];
            let spent: f64 = head[first..column].iter().map(|value| value * value).sum();
            // The damping keeps it above 0 but for rounding.
            let pivot = (head[column] - spent)
                .max(f64::EPSILON * head[column].abs())
                .max(f64::MIN_POSITIVE)
                .sqrt();
            head[column] = pivot;
            let head = &head[first..=column];
            threads::rows(below, n, PANEL, |_, rows| {
                for row in rows.chunks_exact_mut(n) {
                    let sum = dot(&row[first..column], &head[..column - first]);
                    row[column] = (row[column] - sum) / pivot;
                }
            });
        }
        // What is to the right of these columns, rows at a time.
        let panel: Vec<f64> =
            (end..n).flat_map(|row| l[row * n + first..row * n + end].to_vec()).collect();
        let width = end - first;
        threads::rows(&mut l[end * n..], n, width * (n - end), |at, rows| {
            for (at, row) in (at..).zip(rows.chunks_exact_mut(n)) {
                let own = &panel[at * width..(at + 1) * width];
                for (value, other) in row[end..=end + at].iter_mut().zip(panel.chunks_exact(width))
                {
                    *value -= dot(own, other);
                }
            }
        });
    }
    let mut lower = vec![0.0; n * n];
    for row in 0..n {
        for column in 0..=row {
            lower[row * n + column] = l[row * n + column] as f32;
        }
    }
    lower
}

/// Four sums side by side, which vectorises.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    let mut sums = [0.0; 4];
    for (a, b) in a.iter().zip(b) {
        (0..4).for_each(|lane| sums[lane] += a[lane] * b[lane]);
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normal;

    #[test]
    fn the_factor_times_itself_is_the_moments() {
        for columns in [1, 5, 32, 33, 100] {
            let moments = Moments::of(&normal(3, 200 * columns), columns);
            let factor = Factor::of(&moments, columns);
            let l = |row: usize, column: usize| f64::from(factor.lower[row * columns + column]);
            for row in 0..columns {
                for column in 0..=row {
                    let sum: f64 = (0..=column).map(|k| l(row, k) * l(column, k)).sum();
                    let wanted = factor.ordered[row * columns + column];
                    assert!((sum - f64::from(wanted)).abs() < 1e-2, "{columns}: {sum} {wanted}");
                }
            }
            let diagonal: Vec<f32> =
                (0..columns).map(|at| factor.ordered[at * (columns + 1)]).collect();
            assert!(diagonal.is_sorted());
            let weights = normal(4, 3 * columns);
            assert_eq!(factor.to_model(&factor.to_order(&weights)), weights);
        }
    }
}
