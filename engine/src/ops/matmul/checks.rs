//! What a device is asked to multiply before it is trusted.

use super::matmul;
use crate::{
    device::Device,
    ops::Check,
    quant::{CHUNK, Format, Layout, Matrix, MatrixBuilder, RoundToNearest},
    tensor::Tensor,
    testing::normal,
};

/// The formats that a device is checked with: every one of its own, and what stands for the others.
pub(in crate::ops) fn formats() -> Vec<Format> {
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
pub(in crate::ops) fn sample_matrix(
    device: &Device,
    rows: usize,
    columns: usize,
    format: Format,
) -> Matrix {
    sample_in_shards(device, rows, columns, format, rows)
}

/// A matrix of repeatable numbers in shards of `shard_rows`, a multiple of 32 or 1: what is large enough
/// for more than one shard on a real device is too large for a check.
pub(in crate::ops) fn sample_in_shards(
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

pub(in crate::ops) fn checks() -> Vec<Check> {
    let mut checks = Vec::new();
    for format in formats() {
        // One row, of an odd and of an even number of chunks, few rows with a bias, several, and more than one
        // tile of rows; 72 and 40 are no multiples of a chunk, a group or a tile.
        for (m, n, k, with_bias) in [
            (1, 40, 160, false),
            (1, 41, 192, true),
            (3, 41, 72, true),
            (6, 9, 72, true),
            (69, 40, 96, true),
        ] {
            checks.push(check(format, [m, n, k], with_bias));
        }
    }
    // More chunks in a row than a workgroup has invocations, and than a team of usual size adds up well.
    checks.push(check(Format::F16, [1, 5, 1064], false));
    checks.push(check(
        Format::Grouped { bits: 4, asymmetric: false, group: 32 },
        [1, 5, 16_420],
        false,
    ));
    // So many outputs that activations are rounded once and for all.
    for bits in [8, 4, 3, 2] {
        let format = Format::Grouped { bits, asymmetric: bits == 4, group: 32 };
        checks.push(check(format, [2, 8_203, 72], true));
    }
    // Enough for large tiles, and no multiple of one.
    let grouped = |bits, asymmetric, group| Format::Grouped { bits, asymmetric, group };
    let few_bits = [grouped(8, false, 32), grouped(4, true, 64), grouped(3, false, 128)];
    for format in few_bits.into_iter().chain([Format::F32, Format::F16, grouped(2, false, 32)]) {
        checks.push(check(format, [69, 4_059, 168], true));
    }
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
            vec![product(1), product(69)]
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
pub(in crate::ops) fn all_checks() -> Vec<Check> {
    let sizes = [
        [1, 41, 200],
        [1, 41, 250],
        [1, 9, 32 * 130],
        [6, 41, 200],
        [69, 41, 200],
        [66, 4_059, 40],
    ];
    let checks =
        Format::all().into_iter().flat_map(|format| sizes.map(|size| check(format, size, true)));
    // Three groups a row, so that two rows would share a word of scales.
    let by_row = shards().map(|(format, _)| {
        Check::new(format!("matmul {format} in shards of one row"), move |device| {
            let w = sample_in_shards(device, 5, 72, format, 1);
            assert_eq!(w.shards.len(), 5);
            let product = |m| matmul(device, &device.upload(&[m, 72], normal(7, m * 72)), &w, None);
            vec![product(1), product(9), product(69)]
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
pub(in crate::ops) fn shards() -> impl Iterator<Item = (Format, usize)> {
    let grouped = |bits, asymmetric| Format::Grouped { bits, asymmetric, group: 32 };
    let formats = [Format::F16, grouped(8, false), grouped(4, true), grouped(3, false)];
    formats.into_iter().zip([2, 3].into_iter().cycle())
}

/// Products in which one activation of a chunk is a hundred times the others and meets a weight of
/// zero: what is left comes from the others, for which a single digit of 15 bits is too coarse.
fn outliers(device: &Device, bits: u8) -> Vec<Tensor> {
    // An odd and an even number of chunks; the first and, of two that are taken at once, a second one. One row that is
    // so long that it is rounded before.
    [(96, &[1, 3, 69][..]), (128, &[1, 3, 69]), (4096, &[1])]
        .into_iter()
        .flat_map(|(k, rows)| outliers_in(device, bits, k, rows))
        .collect()
}

fn outliers_in(device: &Device, bits: u8, k: usize, rows: &[usize]) -> Vec<Tensor> {
    let n = 40;
    let format = Format::Grouped { bits, asymmetric: false, group: 32 };
    let large = |column: usize| [17, 70].contains(&(column % 96));
    let mut weights = normal(5, n * k);
    weights.iter_mut().enumerate().filter(|(i, _)| large(i % k)).for_each(|(_, w)| *w = 0.0);
    let w = pack(device, n, k, format, n, &weights);
    let product = |m| {
        let mut x = normal(7, m * k);
        x.iter_mut().enumerate().filter(|(i, _)| large(i % k)).for_each(|(_, x)| *x = 100.0);
        matmul(device, &device.upload(&[m, k], x), &w, None)
    };
    rows.iter().map(|m| product(*m)).collect()
}
