//! Parts that several classes are made of: each declares its weights and computes through
//! ops.
//!
//! Text: `bert_layer.rs` is a layer that normalises last, `decoder.rs` the decoder that LLaMA made
//! common, `distance_bias.rs` tells T5 how far words are apart. Images: `encoder.rs` is a layer that
//! normalises first, with its attention and feed-forward for others, `patches.rs` turns an image into
//! tokens, `clip.rs` makes CLIP's two towers of them, `tiles.rs` puts together what LLaVA-NeXT looks at
//! in pieces, `resnet.rs` is the convolutional backbone of DETR, and `pixel_positions.rs` tells where
//! its pixels lie. Sounds: `htsat.rs` folds a spectrogram into an image, which `swin.rs` reads in
//! windows.

pub(super) mod bert_layer;
pub(super) mod clip;
pub(super) mod decoder;
pub(super) mod distance_bias;
pub(super) mod encoder;
pub(super) mod htsat;
pub(super) mod patches;
pub(super) mod pixel_positions;
pub(super) mod resnet;
mod strips;
pub(super) mod swin;
pub(super) mod tiles;

use crate::{device::Device, ops, tensor::Tensor};

/// Rows of `x` by number.
pub fn gather(device: &Device, x: &Tensor, rows: impl Iterator<Item = usize>) -> Tensor {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    ops::gather_rows(device, x, &device.upload_u32(&[rows.len()], rows))
}
