//! A packed matrix, built a few rows at a time.

use super::{CHUNK, Format, Layout, Moments, PackedRows, Quantiser, Subject, encode};
use crate::{
    device::{Buffer, Device, MatrixId},
    error::Result,
};
use std::rc::Rc;

/// Weights of `rows` outputs and `columns` inputs; cloning shares them.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// Outputs, N.
    pub rows: usize,
    /// Inputs, K.
    pub columns: usize,
    /// Which numbers they are.
    pub format: Format,
    /// Which words those are in.
    pub layout: Layout,
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
    /// Of the words of both that a GPU was given: what it gives back is held to them.
    pub(crate) sums: [WordSum; 2],
}

impl Shard {
    /// Bytes that were allocated.
    fn bytes(&self) -> u64 {
        self.codes.bytes() + self.scales.bytes()
    }
}

/// A sum that tells words, and their order: no secret, only whether a device still has what it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WordSum(u64);

impl WordSum {
    /// Of these words.
    pub(crate) fn of(words: &[u32]) -> WordSum {
        let mut sum = WordSum::default();
        sum.add(words);
        sum
    }

    /// Goes on with more words (FxHash's step, of Firefox).
    pub(crate) fn add(&mut self, words: &[u32]) {
        for word in words {
            self.0 = (self.0.rotate_left(5) ^ u64::from(*word)).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
    }
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

    /// Its buffer, if it has one.
    pub(crate) fn on_gpu(&self) -> Option<&Buffer> {
        match self {
            Words::Gpu(buffer) => Some(buffer),
            Words::Cpu(_) => None,
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
    /// Rows and columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }

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
        self.shards.iter().map(Shard::bytes).sum()
    }

    /// What tells it from all others in main memory, its clones apart.
    pub(crate) fn id(&self) -> MatrixId {
        MatrixId(Rc::as_ptr(&self.shards).addr())
    }

    /// The same matrix of other words: `words` gives them for the codes and the scales of each shard in turn.
    pub(crate) fn of_words(&self, mut words: impl FnMut(&Words) -> Words) -> Matrix {
        let shard = |shard: &Shard| Shard {
            first: shard.first,
            rows: shard.rows,
            codes: words(&shard.codes),
            scales: words(&shard.scales),
            sums: shard.sums,
        };
        Matrix { shards: Rc::new(self.shards.iter().map(shard).collect()), ..self.clone() }
    }
}

#[cfg(not(target_arch = "wasm32"))]
impl Matrix {
    /// The same codes on other lines: a scale and a minimum for each group of each row, of a matrix of groups in
    /// main memory.
    pub(crate) fn with_lines(&self, lines: &[[half::f16; 2]]) -> Matrix {
        let Format::Grouped { asymmetric, .. } = self.format else { panic!("{}", self.format) };
        let [shard] = &self.shards[..] else { panic!("matrices in main memory have one shard") };
        let half = |value: half::f16| u32::from(value.to_bits());
        let scales = match asymmetric {
            true => lines.iter().map(|[d, m]| half(*d) | half(*m) << 16).collect(),
            false => lines
                .chunks(2)
                .map(|pair| half(pair[0][0]) | pair.get(1).map_or(0, |line| half(line[0]) << 16))
                .collect::<Vec<u32>>(),
        };
        assert_eq!(scales.len(), shard.scales.cpu().len());
        let mut words = [shard.codes.cpu().to_vec(), scales].into_iter();
        self.of_words(|_| Words::Cpu(words.next().expect("codes, and then scales")))
    }
}

/// Builds a matrix from consecutive rows.
pub struct MatrixBuilder<'a> {
    device: &'a Device,
    name: &'a str,
    rows: usize,
    columns: usize,
    format: Format,
    layout: Layout,
    inputs: Option<&'a Moments>,
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
        let layout = Layout::Chunks;
        let chunks = columns.div_ceil(CHUNK);
        let row_bytes = layout.code_words(format, chunks) as u64 * 4;
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
                codes: words(layout.code_words(format, chunks) * count),
                scales: match layout.scale_words(format, format.groups(chunks) * count) {
                    0 => Words::Cpu(Vec::new()),
                    count => words(count),
                },
                sums: Default::default(),
            });
            first += count;
        }
        let (inputs, done) = (None, 0);
        MatrixBuilder {
            device,
            name,
            rows,
            columns,
            format,
            layout,
            inputs,
            shard_rows,
            done,
            shards,
        }
    }

    /// Tells the quantiser what the matrix is multiplied with.
    #[must_use]
    pub fn with_inputs(self, inputs: &'a Moments) -> MatrixBuilder<'a> {
        MatrixBuilder { inputs: Some(inputs), ..self }
    }

    /// Bytes that were allocated.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(Shard::bytes).sum()
    }

    /// Rows that one call should bring, so that pieces end where shards and scale words do.
    pub fn piece_rows(&self) -> usize {
        const PIECE_BYTES: usize = 4 << 20;
        let rows = (PIECE_BYTES / (self.columns * 4)).max(1).next_multiple_of(32);
        rows.min(self.shard_rows - self.done % self.shard_rows).min(self.rows - self.done)
    }

    /// Quantises and appends rows given as f32: as many as [`MatrixBuilder::piece_rows`] says, or all
    /// of them where the quantiser has to see them at once.
    pub fn push_f32(&mut self, values: &[f32], quantiser: &dyn Quantiser) -> Result<()> {
        let rows = encode::rows(&self.subject(), self.done, values, quantiser)?;
        self.push(&rows);
        Ok(())
    }

    /// Appends rows of GGUF blocks that have this format.
    pub fn push_blocks(&mut self, bytes: &[u8]) {
        self.push(&encode::blocks(self.format, bytes));
    }

    /// Appends rows of codes that fit this format, with scale and minimum of each group: codes of 8 bits are
    /// signed bytes, all others count from 0.
    pub fn push_codes(&mut self, codes: &[u8], lines: &[[f32; 2]]) -> Result<()> {
        let rows = encode::codes(&self.subject(), codes, lines)?;
        self.push(&rows);
        Ok(())
    }

    fn subject(&self) -> Subject<'a> {
        let MatrixBuilder { name, rows, columns, format, inputs, .. } = *self;
        Subject { name, rows, columns, format, inputs }
    }

    /// Appends packed rows. They may go on behind the end of a shard.
    pub fn push(&mut self, packed: &PackedRows) {
        let (format, layout) = (self.format, self.layout);
        let chunks = self.columns.div_ceil(CHUNK);
        let words = |rows: usize| {
            let scales = layout.scale_words(format, format.groups(chunks) * rows);
            (layout.code_words(format, chunks) * rows, scales)
        };
        let rows = packed.codes.len() / words(1).0;
        let room = self.shard_rows - self.done % self.shard_rows;
        assert!(
            rows <= room || self.shard_rows.is_multiple_of(32),
            "shards that a piece goes across end where words of scales do"
        );
        let mut row = 0;
        while row < rows {
            let count = (rows - row).min(self.shard_rows - self.done % self.shard_rows);
            let ((code, scale), (code_end, scale_end)) = (words(row), words(row + count));
            self.append(count, &packed.codes[code..code_end], &packed.scales[scale..scale_end]);
            row += count;
        }
    }

    fn append(&mut self, rows: usize, codes: &[u32], scales: &[u32]) {
        let chunks = self.columns.div_ceil(CHUNK);
        let shard = &mut self.shards[self.done / self.shard_rows];
        let row = self.done - shard.first;
        assert!(row + rows <= shard.rows, "a piece ends where its shard does");
        let code_at = row * self.layout.code_words(self.format, chunks);
        let scale_at = self.layout.scale_words(self.format, row * self.format.groups(chunks));
        let [code_sum, scale_sum] = &mut shard.sums;
        for (words, at, values, sum) in [
            (&mut shard.codes, code_at, codes, code_sum),
            (&mut shard.scales, scale_at, scales, scale_sum),
        ] {
            match (words, self.device) {
                (Words::Cpu(words), _) => words[at..at + values.len()].copy_from_slice(values),
                (Words::Gpu(buffer), Device::Gpu(gpu)) => {
                    sum.add(values);
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
            layout: self.layout,
            shards: Rc::new(self.shards),
        }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
