//! `y = x · wᵀ (+ bias)` with packed weights: the op that inference consists of.
//!
//! On a GPU few rows of `x` go to `matvec.wgsl` and many to `matmul.wgsl`, see `kernels.rs`. On the CPU
//! grouped weights meet activations rounded to 15 bits a chunk, see `cpu.rs`; everything else, and all
//! of the reference, multiplies in f32.

mod cpu;
mod kernels;
mod rounded;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;

pub(super) use kernels::choices;

use super::{
    Check,
    host::{Input, on_host},
    pad_columns,
};
use crate::{
    device::{Analysis, Bind, Device, Gpu, Kernel},
    quant::{CHUNK, Format, Layout, Matrix, MatrixBuilder, RoundToNearest, Shard},
    tensor::Tensor,
    testing::normal,
};
use kernels::{FEW_ROWS, TEAM_ROWS, gated_kernels, kernels, team};

/// Of each output a product and a sum for each of K, and a sum where there is a bias: padding takes
/// none. All of the weights are read.
fn analysis(
    x: &[usize],
    [n, k]: [usize; 2],
    format: Format,
    layout: Layout,
    bias: bool,
) -> Analysis {
    let output = [&x[..x.len() - 1], &[n]].concat();
    let bias_shape = if bias { [n] } else { [0] };
    Analysis::writes(output)
        .reads([x, &bias_shape])
        .reads_bytes(layout.bytes(format, n, k))
        .operations_each(2 * k as u64 + u64::from(bias))
}

/// `[.., N]` from `x: [.., K]`, `w: [N, K]` and `bias: [N]`.
pub fn matmul(device: &Device, x: &Tensor, w: &Matrix, bias: Option<&Tensor>) -> Tensor {
    assert_eq!(x.columns(), w.columns, "{:?} by {} × {}", x.shape(), w.rows, w.columns);
    assert!(bias.is_none_or(|bias| bias.count() == w.rows));
    let analysis = analysis(x.shape(), w.shape(), w.format, w.layout, bias.is_some());
    let shape = device.call("matmul", &[x.shape(), &w.shape()], analysis);
    let x = pad_columns(device, x, w.chunks() * CHUNK);
    match device {
        Device::Cpu(how) => {
            let bias = bias.map(Tensor::f32s);
            Tensor::from_f32(&shape, cpu::matmul(x.f32s(), w, bias, how.exact))
        }
        Device::Gpu(gpu) => gpu_matmul(gpu, &x, w, bias, &shape),
    }
}

/// What stands around a product that is one dispatch.
#[derive(Clone, Copy, Default)]
pub(super) struct Around<'a> {
    /// `x` goes through an RMS norm of this weight `[K]`, with this addend to the mean of squares.
    pub norm: Option<(&'a Tensor, f32)>,
    /// `[N]`, added.
    pub bias: Option<&'a Tensor>,
    /// Of the shape of `y`, added.
    pub addend: Option<&'a Tensor>,
    /// Whether `y` is silu(the first half) times the second half of what the product gives.
    pub gated: bool,
}

fn gpu_matmul(gpu: &Gpu, x: &Tensor, w: &Matrix, bias: Option<&Tensor>, shape: &[usize]) -> Tensor {
    let y = gpu.alloc(shape);
    let m = x.rows();
    let Some(kernel) = gpu.choose(kernels(m, w.format)) else {
        let mut inputs = vec![Input::Floats(x), Input::Matrix(w)];
        inputs.extend(bias.map(Input::Floats));
        let shape = shape.to_vec();
        return on_host(gpu, "matmul", &inputs, y, move |_, x, w| {
            let bias = x.get(1).map(Tensor::f32s);
            Tensor::from_f32(&shape, cpu::matmul(x[0].f32s(), &w[0], bias, false))
        });
    };
    if m <= FEW_ROWS {
        let around = Around { bias, ..Around::default() };
        dispatch_few(gpu, &kernel, x, w, around, &y);
        return y;
    }
    for shard in w.shards.iter() {
        let params = [m, shard.rows, w.chunks(), w.groups(), w.rows, shard.first];
        let params = params.into_iter().chain([usize::from(bias.is_some())]);
        let params: Vec<u32> = params.map(|n| n as u32).collect();
        gpu.dispatch(&kernel, &params, &binds(x, w, shard, bias, &y), [shard.rows, m]);
    }
    y
}

/// What every kernel of a product binds. A binding that a call has no use for gets what is there.
fn binds<'a>(
    x: &'a Tensor,
    w: &Matrix,
    shard: &'a Shard,
    bias: Option<&'a Tensor>,
    y: &'a Tensor,
) -> Vec<Bind<'a>> {
    let mut binds = vec![
        Bind::Read(1, x),
        Bind::Raw(2, shard.codes.gpu()),
        Bind::Write(3, y),
        Bind::Read(4, bias.unwrap_or(x)),
    ];
    if w.groups() > 0 {
        binds.push(Bind::Raw(5, shard.scales.gpu()));
    }
    binds
}

/// The kernel for few rows of `x` with what stands around the product; none where that takes more than
/// a dispatch.
pub(super) fn fused_kernel(gpu: &Gpu, x: &Tensor, w: &Matrix, gated: bool) -> Option<Kernel> {
    let whole = w.columns.is_multiple_of(CHUNK) && (!gated || w.shards.len() == 1);
    let kernels = if gated { gated_kernels(w.format) } else { kernels(1, w.format) };
    gpu.choose(kernels).filter(|_| whole && x.rows() <= FEW_ROWS)
}

/// Dispatches a kernel for few rows.
pub(super) fn dispatch_few(
    gpu: &Gpu,
    kernel: &Kernel,
    x: &Tensor,
    w: &Matrix,
    around: Around<'_>,
    y: &Tensor,
) {
    let Around { norm, bias, addend, gated } = around;
    let halves = if gated { 2 } else { 1 };
    for shard in w.shards.iter() {
        let mut binds = binds(x, w, shard, bias, y);
        binds.push(Bind::Read(6, norm.map_or(x, |(weight, _)| weight)));
        binds.push(Bind::Read(7, addend.unwrap_or(x)));
        let rows = shard.rows / halves;
        let team = team(w.chunks(), kernel);
        let sizes = [rows, team, w.chunks(), w.groups(), w.rows / halves, shard.first, w.columns];
        let is_there = [norm.is_some(), bias.is_some(), addend.is_some()].map(u32::from);
        let eps = norm.map_or(0.0, |(_, eps)| eps).to_bits();
        let params = sizes.map(|n| n as u32).into_iter().chain(is_there).chain([eps]);
        let params: Vec<u32> = params.collect();
        let teams = rows.div_ceil(TEAM_ROWS / halves);
        gpu.dispatch(kernel, &params, &binds, [teams * team, x.rows()]);
    }
}

/// The formats that a device is checked with: every one of its own, and what stands for the others.
pub(super) fn formats() -> Vec<Format> {
    let mut formats = vec![Format::F32, Format::F16];
    for bits in [8, 4, 3, 2] {
        for asymmetric in [false, true] {
            formats.push(Format::Grouped { bits, asymmetric, group: 32 });
        }
        formats.push(Format::Grouped { bits, asymmetric: false, group: 128 });
    }
    formats.push(Format::Grouped { bits: 4, asymmetric: true, group: 64 });
    formats
}

/// A matrix of repeatable numbers.
pub(super) fn sample_matrix(
    device: &Device,
    rows: usize,
    columns: usize,
    format: Format,
) -> Matrix {
    sample_in_shards(device, rows, columns, format, rows)
}

/// A matrix of repeatable numbers in shards of `shard_rows`, a multiple of 32 or 1: what is large enough
/// for more than one shard on a real device is too large for a check.
pub(super) fn sample_in_shards(
    device: &Device,
    rows: usize,
    columns: usize,
    format: Format,
    shard_rows: usize,
) -> Matrix {
    pack(device, rows, columns, format, shard_rows, &normal(5, rows * columns))
}

fn pack(
    device: &Device,
    rows: usize,
    columns: usize,
    format: Format,
    shard_rows: usize,
    values: &[f32],
) -> Matrix {
    let limit =
        (shard_rows * Layout::Chunks.code_words(format, columns.div_ceil(CHUNK)) * 4) as u64;
    let mut builder = MatrixBuilder::in_shards(device, "sample", rows, columns, format, limit);
    let mut done = 0;
    while done < rows {
        let piece = builder.piece_rows();
        let values = &values[done * columns..(done + piece) * columns];
        builder.push_f32(values, &RoundToNearest).expect("small numbers fit every format");
        done += piece;
    }
    builder.finish()
}

pub(super) fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for format in formats() {
        // One row, few rows with a bias, and more than one tile of rows; 72 and 40 are no
        // multiples of a chunk, a group or a tile.
        for (m, n, k, with_bias) in [(1, 40, 160, false), (3, 41, 72, true), (37, 40, 96, true)] {
            checks.push(check(format, [m, n, k], with_bias));
        }
    }
    // More chunks in a row than a workgroup has invocations.
    checks.push(check(Format::F16, [1, 5, 1064], false));
    checks.extend(shards().map(|(format, shards)| {
        Check::new(format!("matmul {format} in {shards} shards"), move |device| {
            let n = 32 * (shards - 1) + 9;
            let w = sample_in_shards(device, n, 72, format, 32);
            assert_eq!(w.shards.len(), shards);
            let bias = device.upload(&[n], normal(6, n));
            let product = |m| {
                let x = device.upload(&[m, 72], normal(7, m * 72));
                matmul(device, &x, &w, Some(&bias))
            };
            vec![product(1), product(37)]
        })
    }));
    checks.extend([8, 4, 3].map(|bits| {
        Check::new(format!("matmul of outliers by {bits} bits"), move |device| {
            outliers(device, bits)
        })
    }));
    checks
}

/// Every kernel there is.
#[cfg(test)]
pub(super) fn all_checks() -> Vec<Check> {
    let sizes = [[1, 41, 200], [37, 41, 200]];
    let checks =
        Format::all().into_iter().flat_map(|format| sizes.map(|size| check(format, size, true)));
    // Three groups a row, so that two rows would share a word of scales.
    let by_row = shards().map(|(format, _)| {
        Check::new(format!("matmul {format} in shards of one row"), move |device| {
            let w = sample_in_shards(device, 5, 72, format, 1);
            assert_eq!(w.shards.len(), 5);
            let product = |m| matmul(device, &device.upload(&[m, 72], normal(7, m * 72)), &w, None);
            vec![product(1), product(9)]
        })
    });
    checks.chain(by_row).collect()
}

fn check(format: Format, [m, n, k]: [usize; 3], with_bias: bool) -> Check {
    Check::new(format!("matmul {format} {m}×{k}×{n}"), move |device| {
        let w = sample_matrix(device, n, k, format);
        let bias = device.upload(&[n], normal(6, n));
        let x = device.upload(&[m, k], normal(7, m * k));
        vec![matmul(device, &x, &w, with_bias.then_some(&bias))]
    })
}

/// Formats of every layout of codes and scales, with a number of shards.
pub(super) fn shards() -> impl Iterator<Item = (Format, usize)> {
    let grouped = |bits, asymmetric| Format::Grouped { bits, asymmetric, group: 32 };
    let formats = [Format::F16, grouped(8, false), grouped(4, true), grouped(3, false)];
    formats.into_iter().zip([2, 3].into_iter().cycle())
}

/// Products in which one activation of a chunk is a hundred times the others and meets a weight of
/// zero: what is left comes from the others, for which a single digit of 15 bits is too coarse.
fn outliers(device: &Device, bits: u8) -> Vec<Tensor> {
    let (n, k) = (40, 96);
    let format = Format::Grouped { bits, asymmetric: false, group: 32 };
    let large = |column: usize| column % 64 == 17;
    let mut weights = normal(5, n * k);
    weights.iter_mut().enumerate().filter(|(i, _)| large(i % k)).for_each(|(_, w)| *w = 0.0);
    let w = pack(device, n, k, format, n, &weights);
    let product = |m| {
        let mut x = normal(7, m * k);
        x.iter_mut().enumerate().filter(|(i, _)| large(i % k)).for_each(|(_, x)| *x = 100.0);
        matmul(device, &device.upload(&[m, k], x), &w, None)
    };
    vec![product(1), product(3), product(9)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rel_l2;

    /// Sums in f64 over dequantised weights.
    fn plain(x: &[f32], w: &Matrix) -> Vec<f32> {
        let mut row = vec![0.0; w.chunks() * CHUNK];
        let m = x.len() / w.columns;
        let mut y = vec![0.0; m * w.rows];
        for n in 0..w.rows {
            w.dequantise_row(n, &mut row);
            for i in 0..m {
                let x = &x[i * w.columns..(i + 1) * w.columns];
                let sum: f64 = x.iter().zip(&row).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
                y[i * w.rows + n] = sum as f32;
            }
        }
        y
    }

    #[test]
    fn both_cpu_paths_equal_plain_sums() {
        for format in formats() {
            for m in [1, 3, 9] {
                let x = normal(7, m * 168);
                for (device, tolerance) in [(Device::reference(), 1e-6), (Device::cpu(), 1e-4)] {
                    let w = sample_matrix(&device, 41, 168, format);
                    let y = matmul(&device, &device.upload(&[m, 168], x.clone()), &w, None);
                    let error = rel_l2(y.f32s(), &plain(&x, &w));
                    assert!(error < tolerance, "{format}, {m} rows, {device:?}: {error:.1e}");
                }
            }
        }
    }

    /// What quantisation costs a random matrix, against known figures: the uniform quantiser of
    /// least error for a Gaussian source has 0.1188 of its variance left at 2 bits, 0.0374 at 3 and
    /// 0.0115 at 4 (Max 1960); scales chosen for each group of 32 do better, the more so the more
    /// of the range a fixed scale would have kept for rare weights.
    #[test]
    fn quantised_weights_lose_what_theory_says() {
        for (bits, noise) in [(2u8, 0.1188f64), (3, 0.0374), (4, 0.0115)] {
            let device = Device::cpu();
            let format = Format::Grouped { bits, asymmetric: false, group: 32 };
            let w = sample_matrix(&device, 64, 256, format);
            let original = normal(5, 64 * 256);
            let mut values = vec![0.0; 64 * 256];
            for (n, row) in values.chunks_exact_mut(256).enumerate() {
                w.dequantise_row(n, row);
            }
            let ratio = rel_l2(&values, &original).powi(2) / noise;
            assert!((0.5..1.1).contains(&ratio), "{bits} bits: {ratio:.3} of the theory's noise");
        }
    }
}
