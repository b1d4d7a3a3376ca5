//! What a matrix is multiplied with, as far as its errors depend on it.

/// Second moments of the inputs of a matrix: its rows `w`, replaced by others, give outputs that differ by
/// `(w − q) · squares · (w − q)ᵀ` in their squares, summed over all inputs.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    /// `[K, K]`: sums of `xᵀ · x` over inputs.
    pub squares: Vec<f32>,
    /// `[K, K]`: sums of `(x₀ − x)ᵀ · x`, where `x₀` is the input that a model without errors has in the
    /// place of `x`; empty where nobody knows.
    pub drift: Vec<f32>,
}

#[cfg(not(target_arch = "wasm32"))]
impl Moments {
    /// Of inputs `[rows, columns]`.
    pub fn of(x: &[f32], columns: usize) -> Moments {
        use crate::gemm::{Grid, gram};
        Moments { squares: gram(Grid::of(x, columns)), drift: Vec::new() }
    }

    /// Of inputs, beside those that they should be.
    pub fn beside(x: &[f32], exact: &[f32], columns: usize) -> Moments {
        use crate::gemm::{Grid, add_product_spread};
        let moments = Moments::of(x, columns);
        let mut drift = moments.squares.iter().map(|square| -square).collect::<Vec<_>>();
        let (x, exact) = (Grid::of(x, columns), Grid::of(exact, columns));
        add_product_spread(&mut drift, exact.transposed(), x);
        Moments { drift, ..moments }
    }

    /// Mean of the diagonal.
    pub(crate) fn mean(&self, columns: usize) -> f32 {
        let diagonal = self.squares.iter().step_by(columns + 1);
        diagonal.map(|square| f64::from(*square)).sum::<f64>() as f32 / columns as f32
    }

    /// Every input counts as often as all these together on the average, whatever they are: for a table
    /// whose rows are looked up as well.
    #[must_use]
    pub fn levelled(mut self, columns: usize) -> Moments {
        let mean = self.mean(columns);
        self.squares.iter_mut().step_by(columns + 1).for_each(|square| *square += mean);
        self
    }
}
