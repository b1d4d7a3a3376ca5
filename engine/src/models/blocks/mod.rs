//! Parts that several classes are made of: each loads itself and computes through ops.

pub(super) mod bert_layer;
pub(super) mod decoder;
pub(super) mod htsat;
pub(super) mod swin;

use crate::{device::Device, ops, tensor::Tensor};

/// Rows of `x` by number.
fn gather(device: &Device, x: &Tensor, rows: impl Iterator<Item = usize>) -> Tensor {
    let rows: Vec<u32> = rows.map(|row| row as u32).collect();
    ops::gather_rows(device, x, &device.upload_u32(&[rows.len()], rows))
}
