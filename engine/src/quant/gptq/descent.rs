//! Chooses each code anew, all others as they are: no step makes the cost larger.

use super::{feedback::BLOCK, rows::Rows};
use crate::gemm::{Grid, add_product};

impl Rows<'_> {
    /// Goes over all columns once.
    pub(super) fn descend(&mut self) {
        let n = self.factor.columns;
        let rows = self.errors.len() / n;
        let (moments, range) = (&self.factor.ordered, self.range());
        let mut end = n;
        while end > 0 {
            let first = end.saturating_sub(BLOCK);
            let width = end - first;
            // How the cost falls with each value of the block, halved.
            let mut slopes = vec![0.0; rows * width];
            let across = Grid::of(moments, n).part(0..n, first..end);
            add_product(&mut slopes, Grid::of(&self.errors, n), across);
            for row in 0..rows {
                let slopes = &mut slopes[row * width..(row + 1) * width];
                for at in (first..end).rev() {
                    let place = row * n + at;
                    let line = self.lines[row * self.groups + self.factor.order[at] / self.group];
                    let [d, m] = line;
                    let value = d * self.codes[place] + m;
                    let aim = value + slopes[at - first] / moments[at * n + at];
                    let [code, chosen] = Rows::nearest_level(line, range, aim);
                    let step = chosen - value;
                    if step != 0.0 {
                        self.codes[place] = code;
                        self.errors[place] -= step;
                        let own = &moments[at * n + first..at * n + end];
                        slopes.iter_mut().zip(own).for_each(|(slope, a)| *slope -= step * a);
                    }
                }
            }
            end = first;
        }
    }
}
