//! A packed matrix, built a few rows at a time.

use super::{CHUNK, Format, Quantiser, chunk_words, pack, unpack};
use crate::{
    device::{Buffer, Device},
    error::{Error, Result},
};
use half::f16;
use std::rc::Rc;

/// Weights of `rows` outputs and `columns` inputs; cloning shares them.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Outputs, N.
    pub rows: usize,
    /// Inputs, K.
    pub columns: usize,
    /// How they are stored.
    pub format: Format,
    /// Consecutive rows: one shard, or several where one would be larger than a binding may be.
    pub shards: Rc<Vec<Shard>>,
}

/// Consecutive rows of a matrix.
#[derive(Debug)]
pub struct Shard {
    /// First row.
    pub first: usize,
    /// Rows there are.
    pub rows: usize,
    /// Packed codes.
    pub codes: Words,
    /// Scales and minimums, where the format has groups.
    pub scales: Words,
}

/// Words in main memory or on the GPU.
#[derive(Debug)]
pub enum Words {
    /// In main memory.
    Cpu(Vec<u32>),
    /// On the GPU.
    Gpu(Buffer),
}

impl Words {
    /// Bytes that were allocated.
    pub fn bytes(&self) -> u64 {
        match self {
            Words::Cpu(words) => words.capacity() as u64 * 4,
            Words::Gpu(buffer) => buffer.capacity(),
        }
    }

    pub(crate) fn cpu(&self) -> &[u32] {
        match self {
            Words::Cpu(words) => words,
            Words::Gpu(_) => panic!("weights in main memory wanted"),
        }
    }

    pub(crate) fn gpu(&self) -> &Buffer {
        match self {
            Words::Gpu(buffer) => buffer,
            Words::Cpu(_) => panic!("weights on the GPU wanted"),
        }
    }
}

impl Matrix {
    /// Chunks in a row.
    pub fn chunks(&self) -> usize {
        self.columns.div_ceil(CHUNK)
    }

    /// Groups in a row.
    pub fn groups(&self) -> usize {
        self.format.groups(self.chunks())
    }

    /// Weights there are, padding apart.
    pub fn weights(&self) -> u64 {
        self.rows as u64 * self.columns as u64
    }

    /// Bytes that were allocated.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.codes.bytes() + shard.scales.bytes()).sum()
    }

    /// The shard that holds a row, and the row's number in it.
    pub(crate) fn locate(&self, row: usize) -> (&Shard, usize) {
        let shard = self.shards.iter().rfind(|shard| shard.first <= row).expect("row 0 exists");
        (shard, row - shard.first)
    }

    /// Dequantises one row of a matrix in main memory into `chunks() · 32` values; padding is 0.
    pub fn dequantise_row(&self, row: usize, out: &mut [f32]) {
        let (shard, row) = self.locate(row);
        let codes = shard.codes.cpu();
        let words = self.format.code_words(self.chunks());
        let codes = &codes[row * words..(row + 1) * words];
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
                    let (d, m) = self.affine(shard, row, chunk);
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

    /// Scale and offset of a chunk, `row` counted in its shard.
    pub(crate) fn affine(&self, shard: &Shard, row: usize, chunk: usize) -> (f32, f32) {
        let Format::Grouped { asymmetric, group, .. } = self.format else { return (1.0, 0.0) };
        let at = row * self.groups() + chunk / (usize::from(group) / CHUNK);
        let scales = shard.scales.cpu();
        let half = |bits: u32| f16::from_bits(bits as u16).to_f32();
        if asymmetric {
            (half(scales[at]), half(scales[at] >> 16))
        } else {
            let d = half(scales[at / 2] >> (16 * (at % 2)));
            (d, -self.format.zero() * d)
        }
    }
}

/// Builds a matrix from consecutive rows.
pub struct MatrixBuilder<'a> {
    device: &'a Device,
    name: &'a str,
    rows: usize,
    columns: usize,
    format: Format,
    /// Rows of every shard but the last.
    shard_rows: usize,
    done: usize,
    shards: Vec<Shard>,
}

impl<'a> MatrixBuilder<'a> {
    /// Allocates a matrix on the device, in as few shards as its kernels can bind.
    pub fn new(
        device: &'a Device,
        name: &'a str,
        rows: usize,
        columns: usize,
        format: Format,
    ) -> MatrixBuilder<'a> {
        let limit = match device {
            Device::Cpu(_) => u64::MAX,
            Device::Gpu(gpu) => gpu.max_binding_bytes(),
        };
        MatrixBuilder::in_shards(device, name, rows, columns, format, limit)
    }

    /// Allocates a matrix in shards whose codes take at most `limit` bytes. A shard has a multiple of
    /// 32 rows, or a single one, which keeps the scales of each piece in whole words.
    pub fn in_shards(
        device: &'a Device,
        name: &'a str,
        rows: usize,
        columns: usize,
        format: Format,
        limit: u64,
    ) -> MatrixBuilder<'a> {
        let chunks = columns.div_ceil(CHUNK);
        let row_bytes = format.code_words(chunks) as u64 * 4;
        let fit = (limit / row_bytes).min(rows as u64) as usize;
        let shard_rows = if fit < rows { (fit / 32 * 32).max(1) } else { rows };
        let mut shards = Vec::new();
        let mut first = 0;
        while first < rows {
            let count = shard_rows.min(rows - first);
            let words = |count: usize| match device {
                Device::Cpu(_) => Words::Cpu(vec![0; count]),
                Device::Gpu(gpu) => Words::Gpu(gpu.dedicated(count as u64 * 4)),
            };
            shards.push(Shard {
                first,
                rows: count,
                codes: words(format.code_words(chunks) * count),
                scales: match format.scale_words(format.groups(chunks) * count) {
                    0 => Words::Cpu(Vec::new()),
                    count => words(count),
                },
            });
            first += count;
        }
        MatrixBuilder { device, name, rows, columns, format, shard_rows, done: 0, shards }
    }

    /// Rows that one call should bring, so that pieces end where shards and scale words do.
    pub fn piece_rows(&self) -> usize {
        const PIECE_BYTES: usize = 4 << 20;
        let rows = (PIECE_BYTES / (self.columns * 4)).max(1).next_multiple_of(32);
        rows.min(self.shard_rows - self.done % self.shard_rows).min(self.rows - self.done)
    }

    /// Quantises and appends rows given as f32.
    pub fn push_f32(&mut self, values: &[f32], quantiser: &dyn Quantiser) -> Result<()> {
        assert_eq!(values.len() % self.columns, 0);
        let rows = values.len() / self.columns;
        let chunks = self.columns.div_ceil(CHUNK);
        let mut codes = vec![0u32; self.format.code_words(chunks) * rows];
        let mut scales = vec![0u32; self.format.scale_words(self.format.groups(chunks) * rows)];
        let row_words = self.format.code_words(chunks);
        for (row, weights) in values.chunks_exact(self.columns).enumerate() {
            let codes = &mut codes[row * row_words..(row + 1) * row_words];
            match self.format {
                Format::F32 => {
                    for (word, weight) in codes.iter_mut().zip(weights) {
                        *word = weight.to_bits();
                    }
                }
                Format::F16 => {
                    for (i, weight) in weights.iter().enumerate() {
                        let half = f16::from_f32(*weight);
                        if half.is_infinite() {
                            return Err(Error::tensor(
                                self.name,
                                format!("{weight} does not fit 16 bits; use --bits 32"),
                            ));
                        }
                        codes[i / 2] |= u32::from(half.to_bits()) << (16 * (i % 2));
                    }
                }
                Format::Grouped { group, .. } => {
                    let group = usize::from(group);
                    for (i, weights) in weights.chunks(group).enumerate() {
                        let quantised = quantiser.group(weights, self.format);
                        if quantised.d.is_infinite() || quantised.m.is_infinite() {
                            return Err(Error::tensor(
                                self.name,
                                "weights this large have no 16-bit scale; use --bits 32",
                            ));
                        }
                        let at = row * self.format.groups(chunks) + i;
                        self.put_scale(&mut scales, at, quantised.d, quantised.m);
                        let words = chunk_words(self.format.bits());
                        for (j, chunk) in quantised.codes[..group].chunks_exact(CHUNK).enumerate() {
                            let chunk_at = i * (group / CHUNK) + j;
                            if chunk_at < chunks {
                                let chunk = chunk.try_into().expect("32 codes");
                                pack(self.format.bits(), chunk, &mut codes[chunk_at * words..]);
                            }
                        }
                    }
                }
            }
        }
        self.append(rows, &codes, &scales);
        Ok(())
    }

    /// Appends rows of GGUF blocks that have this format: Q4_0 and Q8_0 are a scale and codes, Q4_1
    /// a scale, a minimum and codes.
    pub fn push_blocks(&mut self, bytes: &[u8]) -> Result<()> {
        let chunks = self.columns / CHUNK;
        let words = chunk_words(self.format.bits());
        let asymmetric = matches!(self.format, Format::Grouped { asymmetric: true, .. });
        let head = if asymmetric { 4 } else { 2 };
        let block = head + words * 4;
        let rows = bytes.len() / (block * chunks);
        let mut codes = Vec::with_capacity(words * chunks * rows);
        let mut scales = vec![0u32; self.format.scale_words(chunks * rows)];
        for (at, block) in bytes.chunks_exact(block).enumerate() {
            let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]);
            let m = if asymmetric { half(2) } else { f16::ZERO };
            self.put_scale(&mut scales, at, half(0), m);
            codes.extend(
                block[head..].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            );
        }
        self.append(rows, &codes, &scales);
        Ok(())
    }

    fn put_scale(&self, scales: &mut [u32], at: usize, d: f16, m: f16) {
        match self.format {
            Format::Grouped { asymmetric: true, .. } => {
                scales[at] = u32::from(d.to_bits()) | u32::from(m.to_bits()) << 16;
            }
            _ => scales[at / 2] |= u32::from(d.to_bits()) << (16 * (at % 2)),
        }
    }

    fn append(&mut self, rows: usize, codes: &[u32], scales: &[u32]) {
        let chunks = self.columns.div_ceil(CHUNK);
        let shard = &mut self.shards[self.done / self.shard_rows];
        let row = self.done - shard.first;
        assert!(row + rows <= shard.rows, "a piece ends where its shard does");
        let code_at = row * self.format.code_words(chunks);
        let scale_at = self.format.scale_words(row * self.format.groups(chunks));
        for (words, at, values) in
            [(&mut shard.codes, code_at, codes), (&mut shard.scales, scale_at, scales)]
        {
            match (words, self.device) {
                (Words::Cpu(words), _) => words[at..at + values.len()].copy_from_slice(values),
                (Words::Gpu(buffer), Device::Gpu(gpu)) => {
                    gpu.write(buffer, at as u64 * 4, bytemuck::cast_slice(values));
                }
                (Words::Gpu(_), Device::Cpu(_)) => unreachable!("the device made the words"),
            }
        }
        self.done += rows;
    }

    /// The finished matrix.
    pub fn finish(self) -> Matrix {
        assert_eq!(self.done, self.rows, "{}: every row was given", self.name);
        Matrix {
            rows: self.rows,
            columns: self.columns,
            format: self.format,
            shards: Rc::new(self.shards),
        }
    }
}
