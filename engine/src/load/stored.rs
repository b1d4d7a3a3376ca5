//! What of a file's own codes is kept: codes that somebody has chosen with care are not chosen anew.
//!
//! Blocks whose words are a format's own are taken as they are. Other codes are packed into words of the
//! narrowest format that holds them, and their scales and minimums are rounded to f16 where they are
//! products of two numbers: by at most 1 in 2048, which moves a weight of q bits by at most 1 in 2^(10 − q) of a
//! step. What the file has in 16 bits or more stays in f16.

use super::Step;
use crate::{
    quant::Format,
    weights::{Checkpoint, Dtype, TensorInfo, codes::CodeType},
};
use std::collections::BTreeMap;

/// What stands for blocks that no format holds: at eight bits, chosen anew, they lose next to nothing.
pub(super) const OTHERWISE: Format = Format::Grouped { bits: 8, asymmetric: false, group: 32 };

/// The format in which the codes of a tensor are kept, and how they come there.
pub(super) fn format(info: &TensorInfo) -> Option<(Format, Step)> {
    let CodeType { bits, asymmetric, group } = info.code_type()?;
    let step = match info.dtype {
        Dtype::Q8_0 | Dtype::Q4_0 | Dtype::Q4_1 => Step::TakeBlocks,
        _ => Step::TakeCodes,
    };
    Some((Format::Grouped { bits, asymmetric, group }, step))
}

/// Bits of the codes that hold most of a checkpoint's weights.
pub(super) fn bits(checkpoint: &Checkpoint) -> Option<u8> {
    let mut weights: BTreeMap<u8, usize> = BTreeMap::new();
    for info in checkpoint.tensors.values().filter(|info| info.is_quantised()) {
        let bits = info.code_type().map_or(0, |codes| codes.bits);
        *weights.entry(bits).or_default() += info.len();
    }
    let (bits, _) = weights.into_iter().max_by_key(|(_, weights)| *weights)?;
    (bits != 0).then_some(bits)
}
