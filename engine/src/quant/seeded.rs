//! Matrices of random words: what they hold is valid and of an ordinary size, and nobody quantised it.
//!
//! How fast a product is does not depend on what its weights say, and to quantise those of a large model
//! takes minutes. Every word is a function of a seed, its row and its place in it, so any row can be made
//! again without the others.

use super::{CHUNK, Format, Layout, PackedRows};
use half::f16;

impl PackedRows {
    /// These rows of a matrix of random weights, of which each is about `1 / √columns` in size.
    pub fn seeded(
        format: Format,
        columns: usize,
        seed: u64,
        rows: impl ExactSizeIterator<Item = usize>,
    ) -> PackedRows {
        let mut packed = PackedRows::zeros(format, rows.len(), columns);
        let chunks = columns.div_ceil(CHUNK);
        let row_words = Layout::Chunks.code_words(format, chunks);
        let groups = format.groups(chunks);
        let size = 1.0 / (columns as f32).sqrt();
        let word = words(format, size);
        let codes = packed.codes.chunks_exact_mut(row_words);
        let mut scales = Vec::with_capacity(rows.len() * groups);
        for (codes, row) in codes.zip(rows) {
            let key = mix(seed ^ mix(row as u64 + 1));
            for (at, pair) in codes.chunks_mut(2).enumerate() {
                let random = mix(key.wrapping_add(at as u64));
                pair[0] = word(random as u32);
                if let [_, second] = pair {
                    *second = word((random >> 32) as u32);
                }
            }
            scales.extend((0..groups).map(|group| mix(!key.wrapping_add(group as u64)) as u16));
        }
        for (at, random) in scales.into_iter().enumerate() {
            let (d, m) = scale(format, size, random);
            packed.put_scale(format, at, d, m);
        }
        packed
    }
}

/// What makes a valid word of a random one: numbers keep their sign and fraction, codes are as they come.
fn words(format: Format, size: f32) -> impl Fn(u32) -> u32 {
    let half = u32::from(f16::from_f32(size).to_bits() & 0x7C00);
    let (keep, put) = match format {
        Format::F32 => (0x807F_FFFF, size.to_bits() & 0x7F80_0000),
        Format::F16 => (0x83FF_83FF, half | half << 16),
        // Quantisers leave −128 out.
        Format::Grouped { bits: 8, .. } => (u32::MAX, 0x0101_0101),
        Format::Grouped { .. } => (u32::MAX, 0),
    };
    move |word| word & keep | put
}

/// A scale of up to twice the size that makes its codes spread as far as weights do, and a minimum that
/// has the middle code mean nothing.
fn scale(format: Format, size: f32, random: u16) -> (f16, f16) {
    let levels = (1u32 << format.bits().min(8)) as f32;
    // Of numbers that are uniform over so many levels.
    let spread = levels / 12f32.sqrt();
    let d = size / spread * (0.5 + f32::from(random) / 65_536.0);
    let middle = if format.bits() == 8 { 0.0 } else { (levels - 1.0) / 2.0 };
    let d = f16::from_f32(d);
    (d, f16::from_f32(-middle * d.to_f32()))
}

/// The last step of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::Device, quant::MatrixBuilder};

    fn values(format: Format, rows: &[usize], columns: usize) -> Vec<f32> {
        let device = Device::cpu();
        let mut builder = MatrixBuilder::new(&device, "w", rows.len(), columns, format);
        builder.push(&PackedRows::seeded(format, columns, 3, rows.iter().copied()));
        let matrix = builder.finish();
        let mut row = vec![0.0; matrix.chunks() * CHUNK];
        let mut all = Vec::new();
        for n in 0..rows.len() {
            matrix.dequantise_row(n, &mut row);
            all.extend_from_slice(&row[..columns]);
        }
        all
    }

    /// 72 columns are three chunks and a half-used word of scales.
    #[test]
    fn weights_are_of_an_ordinary_size_and_any_row_can_be_made_alone() {
        for format in Format::all() {
            let all: Vec<usize> = (0..64).collect();
            let whole = values(format, &all, 72);
            let squares: f32 = whole.iter().map(|x| x * x).sum();
            let size = (squares / whole.len() as f32 * 72.0).sqrt();
            assert!((0.5..2.0).contains(&size), "{format}: {size}");
            let mean = whole.iter().sum::<f32>() / whole.len() as f32;
            // The middle of eight positive and eight negative codes is half a code off zero.
            let off = match format {
                Format::Grouped { bits: 3 | 4, asymmetric: false, .. } => 0.3,
                _ => 0.1,
            };
            assert!(mean.abs() * 72f32.sqrt() < off, "{format}: {mean}");
            assert_eq!(values(format, &[5], 72), whole[5 * 72..6 * 72], "{format}");
            assert_ne!(whole[..72], whole[72..144], "{format}");
        }
    }
}
