//! Products of large matrices of floats on the host, where weights are chosen and judged and no page is
//! near: by `matrixmultiply`, which takes the processor's widest instructions. What it gives may differ in
//! its last bits from one kind of processor to another.

use crate::threads;
use std::ops::Range;

/// Numbers in rows and columns, as they lie in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    /// From a row, and from a column, to the next.
    strides: [usize; 2],
}

impl<'a> Grid<'a> {
    /// Rows of so many columns, one after another.
    pub(crate) fn of(values: &'a [f32], columns: usize) -> Grid<'a> {
        assert_eq!(values.len() % columns, 0);
        Grid { values, rows: values.len() / columns, columns, strides: [columns, 1] }
    }

    /// Rows become columns.
    pub(crate) fn transposed(self) -> Grid<'a> {
        let [row, column] = self.strides;
        Grid { rows: self.columns, columns: self.rows, strides: [column, row], ..self }
    }

    /// Some rows, and of them some columns.
    pub(crate) fn part(self, rows: Range<usize>, columns: Range<usize>) -> Grid<'a> {
        assert!(rows.end <= self.rows && columns.end <= self.columns);
        let [row, column] = self.strides;
        let first = (rows.start * row + columns.start * column).min(self.values.len());
        Grid {
            values: &self.values[first..],
            rows: rows.len(),
            columns: columns.len(),
            strides: self.strides,
        }
    }

    /// Rows there are.
    pub(crate) fn rows(self) -> usize {
        self.rows
    }

    /// Values behind the first that the last one is.
    fn reach(&self) -> usize {
        match self.rows * self.columns {
            0 => 0,
            _ => (self.rows - 1) * self.strides[0] + (self.columns - 1) * self.strides[1] + 1,
        }
    }
}

/// `a · b`, its rows spread over threads.
pub(crate) fn product(a: Grid<'_>, b: Grid<'_>) -> Vec<f32> {
    let mut y = vec![0.0; a.rows * b.columns];
    spread(&mut y, a, b, 0.0);
    y
}

/// Rows of `a` for which it pays to put `b` into another order first.
const MANY: usize = 6;

/// The products of each row of `x` with each row of `weights`, all of `width` numbers.
pub(crate) fn by_rows(x: &[f32], weights: &[f32], width: usize) -> Vec<f32> {
    let (count, outputs) = (x.len() / width, weights.len() / width);
    if count == 0 || count >= MANY {
        return product(Grid::of(x, width), Grid::of(weights, width).transposed());
    }
    // Weights are read once, as they lie: a token of a text is one row.
    let mut turned = vec![0.0; outputs * count];
    threads::rows(&mut turned, count, count * width, |first, turned| {
        let weights = weights[first * width..].chunks_exact(width);
        for (weights, y) in weights.zip(turned.chunks_exact_mut(count)) {
            for (x, y) in x.chunks_exact(width).zip(y) {
                *y = dot(x, weights);
            }
        }
    });
    (0..count).flat_map(|row| turned.iter().skip(row).step_by(count)).copied().collect()
}

/// In as many sums as a processor adds up at once.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0; 16];
    let (a, b) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    rest + sums.iter().sum::<f32>()
}

/// `y += a · b`, where the rows of `y` lie one after another.
pub(crate) fn add_product(y: &mut [f32], a: Grid<'_>, b: Grid<'_>) {
    assert_eq!(y.len(), a.rows * b.columns);
    product_within(y, b.columns, a, b, 1.0);
}

/// `y = a · b + y · share`, where it is `y_row` from a row of `y` to the next. If the share is 0, `y` is not read:
/// pages of zeros that are read before they are written are mapped twice, and each time all threads wait.
fn product_within(y: &mut [f32], y_row: usize, a: Grid<'_>, b: Grid<'_>, share: f32) {
    assert_eq!(a.columns, b.rows);
    assert!(b.columns <= y_row && (a.rows == 0 || y.len() >= (a.rows - 1) * y_row + b.columns));
    assert!(a.reach() <= a.values.len() && b.reach() <= b.values.len());
    let stride = |strides: [usize; 2]| strides.map(|stride| stride as isize);
    let ([a_row, a_column], [b_row, b_column]) = (stride(a.strides), stride(b.strides));
    // SAFETY: by the assertions above all that is read lies within `a` and `b`, and all that is written
    // within `y`, which nobody else has.
    unsafe {
        matrixmultiply::sgemm(
            a.rows,
            a.columns,
            b.columns,
            1.0,
            a.values.as_ptr(),
            a_row,
            a_column,
            b.values.as_ptr(),
            b_row,
            b_column,
            share,
            y.as_mut_ptr(),
            y_row as isize,
            1,
        );
    }
}

/// The same, its rows spread over threads.
pub(crate) fn add_product_spread(y: &mut [f32], a: Grid<'_>, b: Grid<'_>) {
    spread(y, a, b, 1.0);
}

/// Each slice puts all of `b` into the order in which it is read, so there are no more than threads.
fn spread(y: &mut [f32], a: Grid<'_>, b: Grid<'_>, share: f32) {
    assert_eq!(y.len(), a.rows * b.columns);
    threads::tall_rows(y, b.columns, a.columns * b.columns, |first, y| {
        let rows = first..first + y.len() / b.columns;
        product_within(y, b.columns, a.part(rows, 0..a.columns), b, share);
    });
}

/// Rows that [`gram`] computes at once.
const TALL: usize = 64;

/// `xᵀ · x`, of which what mirrors the rest is not computed.
pub(crate) fn gram(x: Grid<'_>) -> Vec<f32> {
    let n = x.columns;
    let mut y = vec![0.0; n * n];
    let columns = x.transposed();
    threads::rows(&mut y, n, x.rows * n / 2, |first, rows| {
        let end = first + rows.len() / n;
        for top in (first..end).step_by(TALL) {
            let tall = top..(top + TALL).min(end);
            let y = &mut rows[(top - first) * n + top..(tall.end - first) * n];
            let (tall, rest) = (columns.part(tall, 0..x.rows), x.part(0..x.rows, top..n));
            product_within(y, n, tall, rest, 0.0);
        }
    });
    for row in 0..n {
        for column in 0..row {
            y[row * n + column] = y[column * n + row];
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normal;

    #[test]
    fn parts_and_transposed_grids_are_multiplied_as_written() {
        let (a, b) = (normal(1, 7 * 9), normal(2, 5 * 9));
        let at = |values: &[f32], columns: usize, row: usize, column: usize| {
            values[row * columns + column]
        };
        let mut y = vec![1.0; 4 * 3];
        // Rows 2 to 5 and columns 1 to 7 of a, by the transposed rows 1 to 3 of b.
        let right = Grid::of(&b, 9).transposed().part(1..8, 1..4);
        add_product(&mut y, Grid::of(&a, 9).part(2..6, 1..8), right);
        for row in 0..4 {
            for column in 0..3 {
                let sum: f32 =
                    (1..8).map(|k| at(&a, 9, row + 2, k) * at(&b, 9, column + 1, k)).sum();
                assert!((y[row * 3 + column] - 1.0 - sum).abs() < 1e-5);
            }
        }
        let left = Grid::of(&a, 9).part(2..6, 1..8);
        let mut spread = vec![1.0; 4 * 3];
        add_product_spread(&mut spread, left, right);
        assert_eq!(spread, y);
        for (own, y) in product(left, right).iter().zip(y) {
            assert!((own + 1.0 - y).abs() < 1e-5);
        }
    }

    #[test]
    fn few_rows_are_multiplied_as_many() {
        for (count, width, outputs) in [(0, 32, 3), (1, 64, 7), (5, 45, 4), (9, 32, 5)] {
            let (x, weights) = (normal(5, count * width), normal(6, outputs * width));
            let wanted = product(Grid::of(&x, width), Grid::of(&weights, width).transposed());
            let own = by_rows(&x, &weights, width);
            assert_eq!(own.len(), wanted.len());
            assert!(own.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-4), "{count} rows");
        }
    }

    #[test]
    fn a_gram_matrix_is_the_product_with_itself() {
        for columns in [1, 63, 64, 65, 150] {
            let x = normal(4, 30 * columns);
            let x = Grid::of(&x, columns);
            let mut wanted = vec![0.0; columns * columns];
            add_product(&mut wanted, x.transposed(), x);
            let far = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4;
            assert!(!gram(x).iter().zip(&wanted).any(far), "{columns} columns");
        }
    }

    #[test]
    #[should_panic(expected = "a.reach()")]
    fn what_lies_beyond_a_matrix_is_not_read() {
        let short = Grid { values: &[1.0; 5], rows: 2, columns: 3, strides: [3, 1] };
        add_product(&mut [0.0; 6], short, Grid::of(&[1.0; 9], 3));
    }
}
