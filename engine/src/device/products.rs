//! Whoever takes the products of the CPU upon himself: to see what goes into each, and to say what comes
//! out. Weights are chosen and judged by that, on the host.

use std::fmt;

/// A matrix in main memory, told from all others for as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MatrixId(pub(crate) usize);

/// Takes the place of the CPU's own products.
pub trait Products: fmt::Debug {
    /// `[M, N]` from `x: [M, K]`, where K is a multiple of 32 and padded with zeros.
    fn multiply(&self, x: &[f32], matrix: MatrixId) -> Vec<f32>;

    /// `[T, K]`: rows of a table, its padding left out.
    fn rows(&self, ids: &[u32], matrix: MatrixId) -> Vec<f32>;
}

/// Products through which gradients go back.
pub(crate) trait ProductsBack: Products {
    /// The gradient of `x` from that of what [`Products::multiply`] gave for it.
    fn multiply_back(&self, x: &[f32], matrix: MatrixId, gradient: &[f32]) -> Vec<f32>;

    /// Hears the gradient of what [`Products::rows`] gave: indices have none.
    fn rows_back(&self, ids: &[u32], matrix: MatrixId, gradient: &[f32]);
}
