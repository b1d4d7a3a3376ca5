//! Parts that several classes are made of: each loads itself and computes through ops.
//!
//! `encoder.rs` is a transformer layer that normalises first, with its attention and feed-forward
//! for others, `decoder.rs` the decoder that LLaMA and its relatives are; `patches.rs` turns an image into
//! tokens, `clip.rs` makes CLIP's two towers of them, and `resnet.rs` is the convolutional backbone
//! of DETR.

pub(super) mod bert_layer;
pub(super) mod clip;
pub(super) mod decoder;
pub(super) mod encoder;
pub(super) mod htsat;
pub(super) mod patches;
pub(super) mod resnet;
pub(super) mod swin;

use crate::{device::Device, ops, tensor::Tensor};

/// Rows of `x` by number.
fn gather(device: &Device, x: &Tensor, rows: impl Iterator<Item = usize>) -> Tensor {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    ops::gather_rows(device, x, &device.upload_u32(&[rows.len()], rows))
}
