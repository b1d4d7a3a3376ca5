//! Rounds one column after another; each makes up for the errors of those before it.

use super::rows::Rows;
use crate::gemm::{Grid, add_product};

/// Columns whose errors reach all others at once.
pub(super) const BLOCK: usize = 64;

impl Rows<'_> {
    /// Chooses all codes. The last column is the first.
    pub(super) fn feed_back(&mut self) {
        let n = self.factor.columns;
        let rows = self.errors.len() / n;
        let (lower, range) = (&self.factor.lower, self.range());
        let targets = std::mem::take(&mut self.errors);
        self.errors = vec![0.0; targets.len()];
        let mut end = n;
        while end > 0 {
            let first = end.saturating_sub(BLOCK);
            let width = end - first;
            // What the columns behind the block add to each of it, before it is divided by the pivot.
            let mut owed = vec![0.0; rows * width];
            let behind = Grid::of(&self.errors, n).part(0..rows, end..n);
            add_product(&mut owed, behind, Grid::of(lower, n).part(end..n, first..end));
            for row in 0..rows {
                let owed = &mut owed[row * width..(row + 1) * width];
                for at in (first..end).rev() {
                    let pivot = lower[at * n + at];
                    let place = row * n + at;
                    let line = self.lines[row * self.groups + self.factor.order[at] / self.group];
                    let aim = targets[place] + owed[at - first] / pivot;
                    let [code, value] = Rows::nearest_level(line, range, aim);
                    let error = targets[place] - value;
                    self.codes[place] = code;
                    self.errors[place] = error;
                    let own = &lower[at * n + first..at * n + at];
                    owed.iter_mut().zip(own).for_each(|(owed, l)| *owed += error * l);
                }
            }
            end = first;
        }
    }
}
