//! A product with packed weights and what stands around it in a layer: `f(norm(x) · wᵀ + bias) + addend`.
//!
//! A step of decoding has one row of `x`, and each dispatch costs it more than its arithmetic: on a GPU
//! few rows take a single one. Many rows, and the CPU, take the ops one after another.

use super::{
    Activation, Check, add, gate_halves,
    matmul::{Around, dispatch_few, fused_kernel, matmul, sample_matrix},
    rms_norm,
};
use crate::{
    device::{Analysis, Device},
    quant::{Format, Matrix},
    tensor::Tensor,
    testing::normal,
};

/// What stands around a product.
#[derive(Clone, Copy, Default)]
pub struct Projection<'a> {
    /// `x` goes through [`rms_norm`] of this weight `[K]`, with this addend to the mean of squares.
    pub norm: Option<(&'a Tensor, f32)>,
    /// `[N]`, added to the product.
    pub bias: Option<&'a Tensor>,
    /// The first half of the rows of `w` is a gate: `y` is `gated` of it and the second half.
    pub gate: Option<Activation>,
    /// Of the shape of `y`, added to it.
    pub addend: Option<&'a Tensor>,
}

/// The product, and an operation or a few for each number around it.
pub(super) fn analysis(x: &[usize], w: &Matrix, how: &Projection<'_>) -> Analysis {
    let [n, k] = w.shape();
    let halves = if how.gate.is_some() { 2 } else { 1 };
    let output = [&x[..x.len() - 1], &[n / halves]].concat();
    let there = |tensor: Option<&Tensor>| tensor.map_or(0, Tensor::count);
    let rows = x[..x.len() - 1].iter().product::<usize>();
    let normed = if how.norm.is_some() { 4 * rows * k } else { 0 };
    let around = [there(how.bias) * rows, 2 * (halves - 1) * rows * (n / 2), there(how.addend)];
    Analysis::writes(output)
        .reads([x, &[there(how.norm.map(|(weight, _)| weight))]])
        .reads([&[there(how.bias)], &[there(how.addend)]])
        .reads_bytes(w.layout.bytes(w.format, n, k))
        .operations(
            2 * (rows * n) as u64 * k as u64 + (normed + around.iter().sum::<usize>()) as u64,
        )
}

/// `[.., N]`, or `[.., N / 2]` behind a gate, from `x: [.., K]` and `w: [N, K]`.
pub fn project(device: &Device, x: &Tensor, w: &Matrix, how: Projection<'_>) -> Tensor {
    let Projection { norm, bias, gate, addend } = how;
    assert!(gate.is_none() || w.rows.is_multiple_of(2));
    if let Device::Gpu(gpu) = device
        && gate.is_none_or(|gate| gate == Activation::Silu)
        && let Some(kernel) = fused_kernel(gpu, x, w, gate.is_some())
    {
        let analysis = analysis(x.shape(), w, &how);
        let y = gpu.alloc(&device.call("project", &[x.shape(), &w.shape()], analysis));
        assert!(addend.is_none_or(|addend| addend.count() == y.count()));
        let around = Around { norm, bias, addend, gated: gate.is_some() };
        dispatch_few(gpu, &kernel, x, w, around, &y);
        return y;
    }
    let normed = norm.map(|(weight, eps)| rms_norm(device, x, weight, eps));
    let mut y = matmul(device, normed.as_ref().unwrap_or(x), w, bias);
    if let Some(gate) = gate {
        y = gate_halves(device, &y, gate);
    }
    match addend {
        Some(addend) => add(device, &y, addend),
        None => y,
    }
}

/// What `--scheme auto` gives at each width. Other formats are unpacked as in a product without a gate, and
/// a software adapter takes half a second to compile a kernel.
pub(super) fn checks() -> Vec<Check> {
    let few_bits = [8, 4, 3, 2].map(|bits| Format::Grouped { bits, asymmetric: false, group: 32 });
    [Format::F32, Format::F16].into_iter().chain(few_bits).map(check).collect()
}

/// Every kernel there is.
#[cfg(test)]
pub(super) fn all_checks() -> Vec<Check> {
    Format::all().into_iter().flat_map(|format| [check(format), long(format)]).collect()
}

/// A gate over a row so long that weights are fetched ahead.
#[cfg(test)]
fn long(format: Format) -> Check {
    Check::new(format!("project {format}, long rows"), move |device| {
        let (n, k) = (24, 32 * 130);
        let w = sample_matrix(device, n, k, format);
        // Sums of so many products are then of ordinary size, and no gate is closed.
        let x = device.upload(&[1, k], normal(7, k).iter().map(|x| x / 128.0).collect());
        let bias = device.upload(&[n], vec![2.0; n]);
        let gate = Some(Activation::Silu);
        let how = Projection { gate, bias: Some(&bias), ..Projection::default() };
        vec![project(device, &x, &w, how)]
    })
}

/// Rows of a slab and a rest, of a number that fills no workgroup; and short ones, of so many that few
/// rows of `x` are rounded before.
fn check(format: Format) -> Check {
    Check::new(format!("project {format}"), move |device| {
        let sizes = [[22, 32 * (96 + 5)], [8_206, 64]];
        sizes.into_iter().flat_map(|size| products(device, format, size)).collect()
    })
}

fn products(device: &Device, format: Format, [n, k]: [usize; 2]) -> Vec<Tensor> {
    let w = sample_matrix(device, n, k, format);
    let (weight, bias) = (device.upload(&[k], normal(8, k)), device.upload(&[n], normal(6, n)));
    let product = |m: usize, gate: Option<Activation>, with: [bool; 3]| {
        let x = device.upload(&[m, k], normal(7, m * k));
        let columns = if gate.is_some() { n / 2 } else { n };
        let addend = device.upload(&[m, columns], normal(9, m * columns));
        let how = Projection {
            norm: with[0].then_some((&weight, 0.5)),
            bias: with[1].then_some(&bias),
            gate,
            addend: with[2].then_some(&addend),
        };
        project(device, &x, &w, how)
    };
    let silu = Some(Activation::Silu);
    vec![
        product(1, silu, [true, false, false]),
        product(3, silu, [false, true, true]),
        product(3, None, [true, true, false]),
        product(1, None, [false, false, true]),
        product(6, silu, [true, true, true]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_a_product_is_done_in_its_order() {
        let device = Device::reference();
        let w = sample_matrix(&device, 4, 32, Format::F32);
        let x = device.upload(&[1, 32], normal(1, 32));
        let weight = device.upload(&[32], vec![2.0; 32]);
        let bias = device.upload(&[4], vec![0.25, -0.5, 1.0, 3.0]);
        let addend = device.upload(&[1, 2], vec![10.0, 20.0]);
        let how = Projection {
            norm: Some((&weight, 1e-6)),
            bias: Some(&bias),
            gate: Some(Activation::Relu),
            addend: Some(&addend),
        };
        let got = project(&device, &x, &w, how);
        let squares: f32 = x.f32s().iter().map(|x| x * x).sum();
        let mut row = vec![0.0; 32];
        let sums: Vec<f32> = (0..4)
            .map(|n| {
                w.dequantise_row(n, &mut row);
                let sum: f32 = x.f32s().iter().zip(&row).map(|(x, w)| x * w).sum();
                sum * 2.0 / (squares / 32.0 + 1e-6).sqrt() + bias.f32s()[n]
            })
            .collect();
        let expected = [sums[0].max(0.0) * sums[2] + 10.0, sums[1].max(0.0) * sums[3] + 20.0];
        for (got, want) in got.f32s().iter().zip(expected) {
            assert!((got - want).abs() < 1e-4 * want.abs(), "{got} {want}");
        }
    }
}
