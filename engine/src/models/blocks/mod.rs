//! Parts that several classes share, each written once; they load themselves and compute through
//! ops.
//!
//! Text: `bert_layer.rs` is a layer that normalises last, `decoder.rs` the decoder that LLaMA made
//! common, `transformer.rs` the layers of speech models. Images: `encoder.rs` is a layer that normalises first, `patches.rs` turns an image into
//! tokens, `clip.rs` makes CLIP's two towers of them, and `resnet.rs` is the convolutional backbone
//! of DETR. Sounds: `htsat.rs` folds a spectrogram into an image, which `swin.rs` reads in windows.

pub mod bert_layer;
pub mod clip;
pub mod decoder;
pub mod encoder;
pub mod htsat;
pub mod patches;
pub mod resnet;
pub mod swin;
pub mod transformer;

use crate::{device::Device, ops, tensor::Tensor};

/// Rows of `x` by number.
pub fn gather(device: &Device, x: &Tensor, rows: impl Iterator<Item = usize>) -> Tensor {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    ops::gather_rows(device, x, &device.upload_u32(&[rows.len()], rows))
}
