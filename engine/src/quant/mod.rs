//! How weights are stored.
//!
//! A matrix has rows along N and columns along K. Columns are padded to a multiple of 32 and stored
//! in chunks of 32 weights; at 8 bits and fewer, `group` neighbouring weights of a row share a scale
//! `d`, and with the asymmetric scheme a minimum `m`, as f16. A weight is `d · code + m`; the
//! symmetric scheme has `m = −zero · d`.
//!
//! | bits | a chunk of 32 codes in 32-bit words | zero |
//! |---|---|---|
//! | 32, 16 | one, two to a word | – |
//! | 8 | 8 words, four signed bytes each | 0 |
//! | 4 | 4 words: byte `j` of the 16 holds weight `j` low and weight `16 + j` high | 8 |
//! | 3 | 2 words as at 2 bits, then one word of high bits: bit `p` of byte `l` belongs to weight `8·(p mod 4) + 4·(p div 4) + l` | 4 |
//! | 2 | 2 words: byte `j` of the 8 holds weights `j`, `8 + j`, `16 + j`, `24 + j` from its low bits up | 1.5 |
//!
//! So one shift and one mask of a word give four neighbours, one in each byte, to a GPU, and
//! sixteen neighbours to SIMD. The 4-bit layout is that of GGUF's Q4_0 and Q4_1 and the 8-bit layout
//! that of Q8_0, so those blocks are stored as they are. Two bits have no code for zero: the four
//! levels ±0.5 and ±1.5 serve bell-shaped weights better than a zero and a lopsided pair.
//!
//! `codes.rs` packs and unpacks, `round.rs` chooses codes, `matrix.rs` holds the packed result.

mod codes;
mod matrix;
mod round;

pub use codes::{chunk_words, pack, unpack};
pub use matrix::{Matrix, MatrixBuilder, Shard, Words};
pub use round::{GroupCodes, Quantiser, RoundToNearest};

use crate::{
    device::Kernel,
    error::{Error, Result},
};
use record::{Bits, Precision, Scheme};
use std::fmt;

/// Weights of a row that are stored together.
pub const CHUNK: usize = 32;

/// How one matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// One weight a word.
    F32,
    /// Two weights a word.
    F16,
    /// Small integers in groups.
    Grouped {
        /// 8, 4, 3 or 2.
        bits: u8,
        /// Whether groups have a minimum.
        asymmetric: bool,
        /// Weights that share a scale: 32, 64 or 128.
        group: u8,
    },
}

impl Format {
    /// The format of a matrix that is quantised by us.
    pub fn of(precision: &Precision) -> Result<Format> {
        if !Precision::GROUPS.contains(&precision.group_size) {
            let group = precision.group_size;
            return Err(Error::unsupported(format!(
                "group size {group}: use 32, 64 or 128 (--group-size)"
            )));
        }
        match precision.bits {
            Bits::Fixed(32) => Ok(Format::F32),
            Bits::Fixed(16) => Ok(Format::F16),
            Bits::Fixed(bits @ (8 | 4 | 3 | 2)) => {
                let asymmetric = precision.scheme == Scheme::Asymmetric;
                Ok(Format::Grouped { bits, asymmetric, group: precision.group_size as u8 })
            }
            other => {
                Err(Error::unsupported(format!("{other}-bit weights: use 32, 16, 8, 4, 3, 2")))
            }
        }
    }

    /// Bits of one stored weight, scales apart.
    pub fn bits(self) -> u32 {
        match self {
            Format::F32 => 32,
            Format::F16 => 16,
            Format::Grouped { bits, .. } => bits.into(),
        }
    }

    /// The code that stands for zero in the symmetric scheme.
    pub fn zero(self) -> f32 {
        match self.bits() {
            4 => 8.0,
            3 => 4.0,
            2 => 1.5,
            _ => 0.0,
        }
    }

    /// Words of the codes of `chunks` chunks.
    pub fn code_words(self, chunks: usize) -> usize {
        chunks * self.bits() as usize
    }

    /// Groups in a row of `chunks` chunks.
    pub fn groups(self, chunks: usize) -> usize {
        match self {
            Format::Grouped { group, .. } => chunks.div_ceil(usize::from(group) / CHUNK),
            _ => 0,
        }
    }

    /// Words of the scales of `groups` groups.
    pub fn scale_words(self, groups: usize) -> usize {
        match self {
            Format::Grouped { asymmetric: true, .. } => groups,
            Format::Grouped { asymmetric: false, .. } => groups.div_ceil(2),
            _ => 0,
        }
    }

    /// Bytes of a matrix, scales and padding included.
    pub fn bytes(self, rows: usize, columns: usize) -> u64 {
        let chunks = columns.div_ceil(CHUNK);
        let codes = self.code_words(chunks) as u64 * rows as u64;
        (codes + self.scale_words(self.groups(chunks) * rows) as u64) * 4
    }

    /// The variant of a kernel that reads this format.
    pub fn define(self, kernel: Kernel) -> Kernel {
        match self {
            Format::Grouped { bits, asymmetric, group } => kernel
                .with("BITS", bits.into())
                .with("GROUP", group.into())
                .with("ASYM", asymmetric.into()),
            // `weights.wgsl` divides by the group, even where nothing is grouped.
            _ => kernel.with("BITS", self.bits()).with("GROUP", 32),
        }
    }

    /// Every way in which weights can be stored.
    pub fn all() -> Vec<Format> {
        let mut formats = vec![Format::F32, Format::F16];
        for bits in [8, 4, 3, 2] {
            for group in [32, 64, 128] {
                for asymmetric in [false, true] {
                    formats.push(Format::Grouped { bits, asymmetric, group });
                }
            }
        }
        formats
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::F32 => f.write_str("f32"),
            Format::F16 => f.write_str("f16"),
            Format::Grouped { bits, asymmetric, group } => {
                let scheme = if *asymmetric { "asymmetric" } else { "symmetric" };
                write!(f, "q{bits} {scheme} g{group}")
            }
        }
    }
}
