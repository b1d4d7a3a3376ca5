//! `y = x · wᵀ (+ bias)` with packed weights: the op that inference consists of.
//!
//! On a GPU few rows of `x` go to `matvec_digits.wgsl`, in integers, or to `matvec.wgsl`; many go to
//! `matmul_slabs.wgsl`, or where that would leave the GPU idle to `matmul_teams.wgsl`, and on software adapters to
//! `matmul.wgsl`, unless a tuning says otherwise: see `kernels.rs`. On the CPU grouped weights meet activations
//! rounded to 15 bits a chunk (`rounded.rs`), and everything else, and all of the reference, is multiplied in f32:
//! see `cpu.rs`. Its innermost loops, `lanes`, are `simd128.rs` in a page and `scalar.rs` on the host.

mod checks;
mod cpu;
mod kernels;
#[cfg_attr(all(target_arch = "wasm32", target_feature = "simd128"), path = "simd128.rs")]
#[cfg_attr(not(all(target_arch = "wasm32", target_feature = "simd128")), path = "scalar.rs")]
mod lanes;
mod rounded;

#[cfg(test)]
pub(super) use checks::all_checks;
pub(super) use checks::{checks, formats, sample_in_shards, sample_matrix, shards};
pub(super) use kernels::choices;
pub(super) use lanes::dots;

use super::{
    host::{Input, on_host},
    pad_columns,
};
use crate::{
    device::{Analysis, Bind, Device, Gpu, Kernel},
    quant::{CHUNK, Format, Layout, Matrix, Shard},
    tensor::Tensor,
};
use kernels::{
    Product, ROUND, available, fused_kernels, is_for_few, kernels, leaving_kernels, left_kernels,
    team, team_outputs, wants_rounded, windowed_kernels,
};

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
    let padded = pad_columns(device, x, w.chunks() * CHUNK);
    // A call of its own, which is over by now.
    let shape = device.call("matmul", &[x.shape(), &w.shape()], analysis);
    let x = padded;
    match device {
        Device::Cpu(how) => {
            let bias = bias.map(Tensor::f32s);
            let y = match &how.products {
                Some(products) => biased(products.multiply(x.f32s(), w.id()), bias),
                None => cpu::matmul(x.f32s(), w, bias, how.exact),
            };
            let y = Tensor::from_f32(&shape, y);
            if let Some(tape) = device.tape()
                && let Some(products) = tape.products()
            {
                let id = w.id();
                tape.note(&y, move |dy, to| to.add(&x, products.multiply_back(x.f32s(), id, dy)));
            }
            y
        }
        Device::Gpu(gpu) => gpu_matmul(gpu, &x, w, bias, &shape),
    }
}

/// Rows of outputs and a bias.
fn biased(mut y: Vec<f32>, bias: Option<&[f32]>) -> Vec<f32> {
    if let Some(bias) = bias {
        for row in y.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
    }
    y
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
    let product = Product::of(false, false, [m, w.columns, w.rows], w.format);
    let kernels = available(gpu, kernels([m, w.columns, w.rows], w.format, gpu.wants_all()));
    let Some(kernel) = gpu.choose_for(&product, &kernels) else {
        let mut inputs = vec![Input::Floats(x), Input::Matrix(w)];
        inputs.extend(bias.map(Input::Floats));
        let shape = shape.to_vec();
        return on_host(gpu, "matmul", &inputs, y, move |_, x, w| {
            let bias = x.get(1).map(Tensor::f32s);
            Tensor::from_f32(&shape, cpu::matmul(x[0].f32s(), &w[0], bias, false))
        });
    };
    if is_for_few(&kernel) {
        let around = Around { bias, ..Around::default() };
        dispatch_few(gpu, &kernel, x, w, around, &y);
        return y;
    }
    dispatch_many(gpu, &kernel, x, w, bias, &[], &y);
    y
}

/// The kernel of a product whose rows of `x` are windows of an image that are laid out nowhere, for the call that is
/// noted next; none for few rows, whose kernels want them one behind the other.
pub(super) fn windowed_kernel(gpu: &Gpu, rows: usize, w: &Matrix) -> Option<Kernel> {
    let sizes = [rows, w.columns, w.rows];
    let product = Product { windows: true, ..Product::of(false, false, sizes, w.format) };
    gpu.choose_ahead(&product, &windowed_kernels(sizes, w.format, gpu.wants_all()))
}

/// Dispatches a kernel for many rows, or for as many windows, of which it is told more.
pub(super) fn dispatch_many(
    gpu: &Gpu,
    kernel: &Kernel,
    x: &Tensor,
    w: &Matrix,
    bias: Option<&Tensor>,
    windows: &[usize],
    y: &Tensor,
) {
    let m = y.rows();
    for shard in w.shards.iter() {
        let params = [m, shard.rows, w.chunks(), w.groups(), w.rows, shard.first];
        let params = params.into_iter().chain([usize::from(bias.is_some())]);
        let params: Vec<u32> = params.chain(windows.iter().copied()).map(|n| n as u32).collect();
        gpu.dispatch(kernel, &params, &binds(x, w, shard, bias, y), [shard.rows, m]);
    }
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
    if !w.columns.is_multiple_of(CHUNK) || (gated && w.shards.len() > 1) {
        return None;
    }
    let sizes = [x.rows(), w.columns, w.rows];
    let product = Product::of(true, gated, sizes, w.format);
    let kernels = fused_kernels(sizes, w.format, gated, gpu.wants_all());
    gpu.choose_ahead(&product, &available(gpu, kernels))
}

/// The kernel for a gated row of `x` that leaves its outputs rounded for the product with `next`; none where that
/// product would not have its row rounded, or no chunk would be whole.
pub(super) fn leaving_kernel(gpu: &Gpu, x: &Tensor, w: &Matrix, next: &Matrix) -> Option<Kernel> {
    let is_grouped = |w: &Matrix| matches!(w.format, Format::Grouped { .. });
    let are_whole = [w.columns, w.rows / 2].iter().all(|size| size.is_multiple_of(CHUNK));
    let fits = x.rows() == 1 && w.shards.len() == 1 && next.columns == w.rows / 2;
    if !(fits && are_whole && is_grouped(w) && is_grouped(next) && wants_rounded(next.columns)) {
        return None;
    }
    // Who asks for a kernel of a call that is not next would have it tuned with this one.
    gpu.choose(left_kernels(next.columns, next.rows, next.format))?;
    let product = Product::handed(true, [1, w.columns, w.rows], w.format);
    gpu.choose_ahead(&product, &available(gpu, leaving_kernels(w.columns, w.format)))
}

/// The kernel for a row that was left so.
pub(super) fn left_kernel(gpu: &Gpu, w: &Matrix) -> Option<Kernel> {
    let product = Product::handed(false, [1, w.columns, w.rows], w.format);
    gpu.choose_ahead(&product, &left_kernels(w.columns, w.rows, w.format))
}

/// A row of numbers as it is left rounded.
pub(super) fn rounded_row(gpu: &Gpu, columns: usize) -> Tensor {
    gpu.alloc(&[1, columns / CHUNK * ROUNDED_WORDS])
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
    let norm = around.norm.map(|norm| norm.0);
    match kernel.value("ROUNDED") {
        0 => dispatch_given(gpu, kernel, x, w, around, y),
        _ => dispatch_given(gpu, kernel, &round(gpu, x, norm), w, around, y),
    }
}

/// The same, of rows that are rounded if the kernel has them so.
pub(super) fn dispatch_given(
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
        if kernel.value("ROUNDED") == 0 {
            binds.push(Bind::Read(6, norm.map_or(x, |(weight, _)| weight)));
        }
        binds.push(Bind::Read(7, addend.unwrap_or(x)));
        let rows = shard.rows / halves;
        let team = team(w.chunks(), w.rows, kernel);
        let sizes = [rows, team, w.chunks(), w.groups(), w.rows / halves, shard.first, w.columns];
        let is_there = [norm.is_some(), bias.is_some(), addend.is_some()].map(u32::from);
        let eps = norm.map_or(0.0, |(_, eps)| eps).to_bits();
        let params = sizes.map(|n| n as u32).into_iter().chain(is_there);
        let params = params.chain([eps, x.rows() as u32]);
        let params: Vec<u32> = params.collect();
        let teams = rows.div_ceil(team_outputs(kernel));
        gpu.dispatch(kernel, &params, &binds, [teams * team, x.rows()]);
    }
}

/// Words of a chunk of rounded activations.
const ROUNDED_WORDS: usize = 20;

/// `x: [M, K]` for integer products, times the weight of a norm where there is one: what `round.wgsl`
/// says.
fn round(gpu: &Gpu, x: &Tensor, norm: Option<&Tensor>) -> Tensor {
    let (rows, chunks) = (x.rows(), x.columns() / CHUNK);
    let rounded = gpu.alloc(&[rows, chunks * ROUNDED_WORDS]);
    let params = [2 * rows * chunks, chunks, usize::from(norm.is_some())].map(|n| n as u32);
    let binds = [Bind::Read(1, x), Bind::Read(2, norm.unwrap_or(x)), Bind::Write(3, &rounded)];
    gpu.dispatch(&ROUND, &params, &binds, [2 * rows * chunks, 1]);
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{normal, rel_l2};

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
