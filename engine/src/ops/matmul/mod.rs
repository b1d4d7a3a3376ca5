//! `y = x · wᵀ (+ bias)` with packed weights: the op that inference consists of.
//!
//! On a GPU few rows of `x` go to `matvec.wgsl` and many to `matmul.wgsl`. On the CPU grouped
//! weights meet activations rounded to 15 bits a chunk, see `cpu.rs`; everything else, and all of
//! the reference, multiplies in f32.

mod cpu;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod simd128;

use super::{Check, pad_columns};
use crate::{
    device::{Bind, Device, Gpu, grid},
    quant::{CHUNK, Format, Matrix, MatrixBuilder, RoundToNearest},
    tensor::Tensor,
    testing::normal,
};

/// Rows of `x` up to which each is treated on its own.
const FEW_ROWS: usize = 4;

/// `[.., N]` from `x: [.., K]`, `w: [N, K]` and `bias: [N]`.
pub fn matmul(device: &Device, x: &Tensor, w: &Matrix, bias: Option<&Tensor>) -> Tensor {
    assert_eq!(x.columns(), w.columns, "{:?} by {} × {}", x.shape(), w.rows, w.columns);
    assert!(bias.is_none_or(|bias| bias.count() == w.rows));
    let mut shape = x.shape().to_vec();
    *shape.last_mut().expect("x has an axis") = w.rows;
    let x = pad_columns(device, x, w.chunks() * CHUNK);
    match device {
        Device::Cpu(how) => {
            let bias = bias.map(Tensor::f32s);
            Tensor::from_f32(&shape, cpu::matmul(x.f32s(), w, bias, how.exact))
        }
        Device::Gpu(gpu) => gpu_matmul(gpu, &x, w, bias, &shape),
    }
}

fn gpu_matmul(gpu: &Gpu, x: &Tensor, w: &Matrix, bias: Option<&Tensor>, shape: &[usize]) -> Tensor {
    let y = gpu.alloc(shape);
    let m = x.rows();
    let variant = gpu.variant();
    let mut defines = w.format.defines();
    defines.push(("BIAS", u32::from(bias.is_some())));
    for shard in w.shards.iter() {
        let mut binds = vec![Bind::Read(1, x), Bind::Raw(2, shard.codes.gpu()), Bind::Write(3, &y)];
        if let Some(bias) = bias {
            binds.push(Bind::Read(4, bias));
        }
        if w.groups() > 0 {
            binds.push(Bind::Raw(5, shard.scales.gpu()));
        }
        let shape = [shard.rows, w.chunks(), w.groups(), w.rows, shard.first].map(|n| n as u32);
        if m <= FEW_ROWS {
            let defines = [&defines[..], &[("WG", 32), ("SUBGROUPS", variant.subgroups)]].concat();
            let [gx, gy, _] = grid(shard.rows.div_ceil(4));
            gpu.dispatch("matvec", &defines, &shape, &binds, [gx, gy, m as u32]);
        } else {
            let mut defines = defines.clone();
            if w.format == Format::F16 && variant.f16 != 0 {
                defines.push(("F16", 1));
            }
            let params = [&[m as u32], &shape[..]].concat();
            let groups = [shard.rows.div_ceil(32) as u32, m.div_ceil(32) as u32, 1];
            gpu.dispatch("matmul", &defines, &params, &binds, groups);
        }
    }
    y
}

/// Every format, for checks.
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
    let values = normal(5, rows * columns);
    let mut builder = MatrixBuilder::new(device, "sample", rows, columns, format);
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
            checks.push(Check::new(format!("matmul {format} {m}×{k}×{n}"), move |device| {
                let w = sample_matrix(device, n, k, format);
                let bias = device.upload(&[n], normal(6, n));
                let x = device.upload(&[m, k], normal(7, m * k));
                vec![matmul(device, &x, &w, with_bias.then_some(&bias))]
            }));
        }
    }
    checks
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
