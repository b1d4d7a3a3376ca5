//! A gated feed-forward: two products of which the second takes what the first lets through.
//!
//! A GPU that decodes rounds a row of activations before a product with long rows. Here who writes the row can do it, and
//! a layer has a dispatch less.

use super::{
    Activation, Check, Projection,
    matmul::{
        Around, dispatch_few, dispatch_given, leaving_kernel, left_kernel, rounded_row,
        sample_matrix,
    },
    project,
    project::analysis,
};
use crate::{
    device::{Device, Gpu},
    quant::{Format, Matrix},
    tensor::Tensor,
    testing::normal,
};

/// What [`project`] makes of `x: [.., K]` by `up: [2 N, K]`, with a gate, and of that by `down: [M, N]`.
pub fn feed_forward(
    device: &Device,
    x: &Tensor,
    up: (&Matrix, Projection<'_>),
    down: (&Matrix, Projection<'_>),
) -> Tensor {
    if let Device::Gpu(gpu) = device
        && let Some(y) = in_two(device, gpu, x, up, down)
    {
        return y;
    }
    let inner = project(device, x, up.0, up.1);
    project(device, &inner, down.0, down.1)
}

/// The same in two dispatches, or in three where the row is so long that it is rounded before the first.
fn in_two(
    device: &Device,
    gpu: &Gpu,
    x: &Tensor,
    (up, how): (&Matrix, Projection<'_>),
    (down, then): (&Matrix, Projection<'_>),
) -> Option<Tensor> {
    if how.gate != Some(Activation::Silu) || how.addend.is_some() || then.norm.is_some() {
        return None;
    }
    let kernel = leaving_kernel(gpu, x, up, down)?;
    let inner = device.call("project", &[x.shape(), &up.shape()], analysis(x.shape(), up, &how));
    let left = rounded_row(gpu, down.columns);
    let Projection { norm, bias, .. } = how;
    let around = Around { norm, bias, addend: None, gated: true };
    dispatch_few(gpu, &kernel, x, up, around, &left);

    let kernel = left_kernel(gpu, down)?;
    let y = device.call("project", &[&inner, &down.shape()], analysis(&inner, down, &then));
    let y = gpu.alloc(&y);
    let Projection { bias, addend, .. } = then;
    let around = Around { bias, addend, ..Around::default() };
    dispatch_given(gpu, &kernel, &left, down, around, &y);
    Some(y)
}

/// As long as a row must be for its product to have it rounded before, and so that some workgroups have no chunk.
fn check(format: Format, k: usize) -> Check {
    let (n, m) = (32 * 130, 24);
    Check::new(format!("feed_forward {format}, {k} columns"), move |device| {
        let up = sample_matrix(device, 2 * n, k, format);
        let down = sample_matrix(device, m, n, format);
        let x = device.upload(&[1, k], normal(7, k));
        let weight = device.upload(&[k], normal(8, k));
        let bias = device.upload(&[2 * n], normal(6, 2 * n));
        let addend = device.upload(&[1, m], normal(9, m));
        let first = Projection {
            norm: Some((&weight, 0.5)),
            bias: Some(&bias),
            gate: Some(Activation::Silu),
            addend: None,
        };
        let then = Projection { addend: Some(&addend), ..Projection::default() };
        vec![feed_forward(device, &x, (&up, first), (&down, then))]
    })
}

/// What `--scheme auto` gives at each width: short rows, which are rounded by whoever multiplies.
pub(super) fn checks() -> Vec<Check> {
    let few_bits = [8, 4, 3, 2].map(|bits| Format::Grouped { bits, asymmetric: false, group: 32 });
    few_bits.map(|format| check(format, 64)).into()
}

/// Every kernel there is.
#[cfg(test)]
pub(super) fn all_checks() -> Vec<Check> {
    let grouped = Format::all().into_iter().filter(|it| matches!(it, Format::Grouped { .. }));
    grouped.flat_map(|format| [32, 64].map(|k| check(format, k))).collect()
}
