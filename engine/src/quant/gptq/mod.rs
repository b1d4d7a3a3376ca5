//! Codes chosen by what they do to outputs: GPTQ (Frantar et al. 2022) with what has been learnt since.
//!
//! What a row of weights `w` costs when it becomes `q` is `(w − q) · A · (w − q)ᵀ`, with the second moments
//! `A` of its inputs. Four acts make that small:
//!
//! 1. `targets.rs`: inputs that have drifted by the errors of layers before are met by other weights than
//!    the model's own (as in GPTAQ, Li et al. 2025), by half of the way.
//! 2. `feedback.rs`: one column after another is rounded, the most important first; each makes up for the
//!    errors of those before it. With `A = L·Lᵀ` what they add is a row of errors times a column of `L`, and
//!    no inverse is needed (LDLQ, Chee et al. 2023).
//! 3. `scales.rs`: for the codes that came out, scales and minimums of least cost, all groups of a row at once.
//! 4. `descent.rs`: for those scales, each code anew.
//!
//! The last two are done twice. Rows know nothing of each other, so threads share them.

#[cfg(not(target_arch = "wasm32"))]
mod descent;
#[cfg(not(target_arch = "wasm32"))]
mod factor;
#[cfg(not(target_arch = "wasm32"))]
mod feedback;
#[cfg(not(target_arch = "wasm32"))]
mod rows;
#[cfg(not(target_arch = "wasm32"))]
mod scales;
#[cfg(not(target_arch = "wasm32"))]
mod targets;

use super::{GroupCodes, Quantiser, Subject};
use crate::error::{Error, Result};

/// Stands for codes that a calibration has chosen: whoever has none is told where to get them.
#[derive(Clone, Copy, Debug)]
pub struct Calibrated;

impl Quantiser for Calibrated {
    fn quantise(
        &self,
        matrix: &Subject<'_>,
        _first: usize,
        _weights: &[f32],
        _give: &mut dyn FnMut([usize; 2], &GroupCodes) -> Result<()>,
    ) -> Result<()> {
        let message = "gptq chooses codes on a calibration text, which takes longer than loading: make \
                       the packed model with harness quantize, and load that";
        Err(Error::tensor(matrix.name, message))
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use host::Gptq;

#[cfg(not(target_arch = "wasm32"))]
mod host {
    use super::{
        super::{Format, RoundToNearest, Span},
        factor::Factor,
        rows::Rows,
        targets::drifted,
        *,
    };
    use crate::threads;

    /// How often scales and codes are chosen anew.
    const ROUNDS: usize = 2;

    /// Chooses codes by the moments of a matrix's inputs; rounds to nearest where there are none.
    #[derive(Clone, Copy, Debug)]
    pub struct Gptq;

    impl Quantiser for Gptq {
        fn span(&self) -> Span {
            Span::Matrix
        }

        fn quantise(
            &self,
            matrix: &Subject<'_>,
            first: usize,
            weights: &[f32],
            give: &mut dyn FnMut([usize; 2], &GroupCodes) -> Result<()>,
        ) -> Result<()> {
            let Some(inputs) = matrix.inputs else {
                return RoundToNearest.quantise(matrix, first, weights, give);
            };
            let Format::Grouped { group, .. } = matrix.format else {
                unreachable!("{} has no groups", matrix.format)
            };
            let columns = matrix.columns;
            let factor = Factor::of(inputs, columns);
            let targets = drifted(weights, inputs, &factor);
            let operations = 8 * columns * columns;
            let parts = threads::map(targets.len() / columns, operations, |rows| {
                let targets = &targets[rows.start * columns..rows.end * columns];
                let mut chosen = Rows::nearest(targets, matrix.format, &factor);
                chosen.feed_back();
                for _ in 0..ROUNDS {
                    chosen.refit();
                    chosen.descend();
                }
                (rows.start, chosen.codes())
            });
            let groups = columns.div_ceil(usize::from(group));
            for (first, codes) in parts {
                for (at, codes) in codes.iter().enumerate() {
                    give([first + at / groups, at % groups], codes)?;
                }
            }
            Ok(())
        }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
