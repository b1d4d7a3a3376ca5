//! How codes are chosen: the seam for every way to quantise.

use super::{Calibrated, Format, Moments, RoundToNearest};
use crate::error::Result;
use half::f16;
use record::Quantizer;

/// The matrix that is quantised.
///
/// What a way to quantise wants to know of a matrix is a field of this: its place in the model is its
/// name; what was chosen for its neighbours will be another.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Subject<'a> {
    /// Name of the tensor.
    pub name: &'a str,
    /// Outputs, N.
    pub rows: usize,
    /// Inputs, K.
    pub columns: usize,
    /// The numbers that are wanted.
    pub format: Format,
    /// What it is multiplied with, where somebody has looked.
    pub inputs: Option<&'a Moments>,
}

/// How much of a matrix has to be there before its first code can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Any number of whole rows: the matrix streams through.
    Rows,
    /// All rows at once.
    Matrix,
}

/// A quantised group.
#[derive(Clone, Copy, Debug)]
pub struct GroupCodes {
    /// Scale.
    pub d: f16,
    /// Minimum; unused in the symmetric scheme.
    pub m: f16,
    /// One code a weight, as [`super::pack`] wants them.
    pub codes: [u8; 128],
}

/// The way to quantise that a precision names.
pub fn by_name(name: Quantizer) -> &'static dyn Quantiser {
    match name {
        Quantizer::Rtn => &RoundToNearest,
        Quantizer::Gptq => &Calibrated,
    }
}

/// A way to choose the scales and codes of a matrix. Threads ask one at once, each for rows of its own.
pub trait Quantiser: Sync {
    /// What it has to see at once.
    fn span(&self) -> Span {
        Span::Rows
    }

    /// Quantises consecutive rows of `matrix`, of which `first` is the first: as many as
    /// [`Quantiser::span`] asks for, in `weights: [rows, columns]`. `give` takes the groups in any
    /// order, each with the number of its row in `weights` and its own number in that row.
    fn quantise(
        &self,
        matrix: &Subject<'_>,
        first: usize,
        weights: &[f32],
        give: &mut dyn FnMut([usize; 2], &GroupCodes) -> Result<()>,
    ) -> Result<()>;
}
