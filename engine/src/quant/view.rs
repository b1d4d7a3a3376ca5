//! A matrix in main memory as threads share it: its words, without the counts of who owns them.

use super::{CHUNK, Format, Layout, Matrix, Shard, chunk_words, unpack};
use half::f16;

/// What a [`Matrix`] in main memory holds.
#[derive(Clone, Debug)]
pub(crate) struct View<'a> {
    pub rows: usize,
    pub columns: usize,
    pub format: Format,
    layout: Layout,
    shards: Vec<ShardView<'a>>,
}

/// Consecutive rows.
#[derive(Clone, Copy, Debug)]
struct ShardView<'a> {
    first: usize,
    codes: &'a [u32],
    scales: &'a [u32],
}

impl<'a> ShardView<'a> {
    fn of(shard: &'a Shard) -> ShardView<'a> {
        let Shard { first, codes, scales, .. } = shard;
        ShardView { first: *first, codes: codes.cpu(), scales: scales.cpu() }
    }
}

impl Matrix {
    /// The words of a matrix in main memory.
    pub(crate) fn view(&self) -> View<'_> {
        View {
            rows: self.rows,
            columns: self.columns,
            format: self.format,
            layout: self.layout,
            shards: self.shards.iter().map(ShardView::of).collect(),
        }
    }

    /// Dequantises one row of a matrix in main memory into `chunks() · 32` values; padding is 0.
    pub fn dequantise_row(&self, row: usize, out: &mut [f32]) {
        self.view().dequantise_row(row, out);
    }
}

impl<'a> View<'a> {
    /// Chunks in a row.
    pub fn chunks(&self) -> usize {
        self.columns.div_ceil(CHUNK)
    }

    /// Groups in a row.
    pub fn groups(&self) -> usize {
        self.format.groups(self.chunks())
    }

    /// The shard that holds a row, and the row's number in it.
    fn locate(&self, row: usize) -> (ShardView<'a>, usize) {
        let shard = self.shards.iter().rfind(|shard| shard.first <= row).expect("row 0 exists");
        (*shard, row - shard.first)
    }

    /// The codes of a row.
    pub fn codes(&self, row: usize) -> &'a [u32] {
        let (shard, row) = self.locate(row);
        let words = self.layout.code_words(self.format, self.chunks());
        &shard.codes[row * words..(row + 1) * words]
    }

    /// Scales of all rows that lie together with those of a row, and the number of the row's first.
    pub fn scales(&self, row: usize) -> (&'a [u32], usize) {
        let (shard, row) = self.locate(row);
        (shard.scales, row * self.groups())
    }

    /// Dequantises one row into `chunks() · 32` values; padding is 0.
    pub fn dequantise_row(&self, row: usize, out: &mut [f32]) {
        let codes = self.codes(row);
        match self.format {
            Format::F32 => {
                for (value, word) in out.iter_mut().zip(codes) {
                    *value = f32::from_bits(*word);
                }
            }
            Format::F16 => {
                for (pair, word) in out.chunks_exact_mut(2).zip(codes) {
                    pair[0] = f16::from_bits(*word as u16).to_f32();
                    pair[1] = f16::from_bits((*word >> 16) as u16).to_f32();
                }
            }
            Format::Grouped { bits, .. } => {
                for chunk in 0..self.chunks() {
                    let (d, m) = self.affine(row, chunk);
                    let words = chunk_words(bits.into());
                    let words = &codes[chunk * words..(chunk + 1) * words];
                    let values = match bits {
                        8 => unpack::<8>(words),
                        4 => unpack::<4>(words),
                        3 => unpack::<3>(words),
                        _ => unpack::<2>(words),
                    };
                    for (value, code) in out[chunk * CHUNK..].iter_mut().zip(values) {
                        *value = d * f32::from(code) + m;
                    }
                }
            }
        }
        out[self.columns..].fill(0.0);
    }

    /// The codes of a row of groups, padding included.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn unpack_row(&self, row: usize, out: &mut [i8]) {
        let bits = self.format.bits();
        let words = self.codes(row).chunks_exact(chunk_words(bits));
        for (out, words) in out.chunks_exact_mut(CHUNK).zip(words) {
            let codes = match bits {
                8 => unpack::<8>(words),
                4 => unpack::<4>(words),
                3 => unpack::<3>(words),
                _ => unpack::<2>(words),
            };
            out.iter_mut().zip(codes).for_each(|(out, code)| *out = code as i8);
        }
    }

    /// Scale and minimum of a group of a row, which in the symmetric scheme follows from the scale.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn line(&self, row: usize, group: usize) -> [f32; 2] {
        let Format::Grouped { group: size, .. } = self.format else { return [1.0, 0.0] };
        self.affine(row, group * usize::from(size) / CHUNK).into()
    }

    /// Scale and offset of a chunk.
    fn affine(&self, row: usize, chunk: usize) -> (f32, f32) {
        let Format::Grouped { asymmetric, group, .. } = self.format else { return (1.0, 0.0) };
        let (scales, first) = self.scales(row);
        let at = first + chunk / (usize::from(group) / CHUNK);
        let half = |bits: u32| f16::from_bits(bits as u16).to_f32();
        if asymmetric {
            (half(scales[at]), half(scales[at] >> 16))
        } else {
            let d = half(scales[at / 2] >> (16 * (at % 2)));
            (d, -self.format.zero() * d)
        }
    }
}
