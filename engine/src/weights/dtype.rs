//! How the elements of a tensor are stored.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How the elements of a tensor are stored. The names are safetensors' and GGUF's own.
#[allow(missing_docs, non_camel_case_types, reason = "the names are the formats' and say it all")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    BOOL,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
}

impl Dtype {
    /// Elements that are stored together: 1 for plain numbers, 32 or 256 for quantised blocks.
    pub const fn block_len(self) -> usize {
        use Dtype::*;
        match self {
            F64 | F32 | F16 | BF16 | I64 | I32 | I16 | I8 | U8 | BOOL => 1,
            Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | IQ4_NL => 32,
            Q2_K | Q3_K | Q4_K | Q5_K | Q6_K | IQ4_XS => 256,
        }
    }

    /// Bytes of one block; [`crate::weights::blocks`] describes what is in them.
    pub const fn block_bytes(self) -> usize {
        use Dtype::*;
        match self {
            I8 | U8 | BOOL => 1,
            F16 | BF16 | I16 => 2,
            F32 | I32 => 4,
            F64 | I64 => 8,
            Q4_0 | IQ4_NL => 18,
            Q4_1 => 20,
            Q5_0 => 22,
            Q5_1 => 24,
            Q8_0 => 34,
            Q2_K => 84,
            Q3_K => 110,
            Q4_K => 144,
            Q5_K => 176,
            Q6_K => 210,
            IQ4_XS => 136,
        }
    }

    /// Whether elements are stored in blocks with scales of their own.
    pub const fn is_quantised(self) -> bool {
        self.block_len() > 1
    }

    /// Whether elements are integers or booleans.
    pub const fn is_integer(self) -> bool {
        use Dtype::*;
        matches!(self, I64 | I32 | I16 | I8 | U8 | BOOL)
    }

    /// The type that safetensors calls by this name.
    pub fn from_safetensors(name: &str) -> Option<Dtype> {
        use Dtype::*;
        [F64, F32, F16, BF16, I64, I32, I16, I8, U8, BOOL]
            .into_iter()
            .find(|dtype| dtype.to_string() == name)
    }

    /// The type that GGUF calls by this number (`ggml_type`).
    pub fn from_ggml(number: u32) -> Option<Dtype> {
        use Dtype::*;
        Some(match number {
            0 => F32,
            1 => F16,
            2 => Q4_0,
            3 => Q4_1,
            6 => Q5_0,
            7 => Q5_1,
            8 => Q8_0,
            10 => Q2_K,
            11 => Q3_K,
            12 => Q4_K,
            13 => Q5_K,
            14 => Q6_K,
            20 => IQ4_NL,
            23 => IQ4_XS,
            24 => I8,
            25 => I16,
            26 => I32,
            27 => I64,
            28 => F64,
            30 => BF16,
            _ => return None,
        })
    }

    /// Where the f16 scales and minima of a block lie, in bytes from its start.
    const fn scales(self) -> &'static [usize] {
        use Dtype::*;
        match self {
            Q4_0 | Q5_0 | Q8_0 | IQ4_NL | IQ4_XS => &[0],
            Q4_1 | Q5_1 | Q4_K | Q5_K => &[0, 2],
            Q2_K => &[80, 82],
            Q3_K => &[108],
            Q6_K => &[208],
            _ => &[],
        }
    }

    /// Index of the first element that is, or may be computed from, a NaN or an infinity: in
    /// quantised blocks it is the first one of a block with such a scale.
    pub fn first_not_finite(self, bytes: &[u8]) -> Option<usize> {
        fn find<const N: usize>(bytes: &[u8], finite: fn([u8; N]) -> bool) -> Option<usize> {
            bytes.as_chunks::<N>().0.iter().position(|element| !finite(*element))
        }
        match self {
            Dtype::F64 => find(bytes, |b| f64::from_le_bytes(b).is_finite()),
            Dtype::F32 => find(bytes, |b| f32::from_le_bytes(b).is_finite()),
            Dtype::F16 => find(bytes, |b| f16::from_le_bytes(b).is_finite()),
            Dtype::BF16 => find(bytes, |b| bf16::from_le_bytes(b).is_finite()),
            _ if self.is_quantised() => bytes
                .chunks_exact(self.block_bytes())
                .position(|block| {
                    let scale = |&at: &usize| f16::from_le_bytes([block[at], block[at + 1]]);
                    !self.scales().iter().map(scale).all(f16::is_finite)
                })
                .map(|block| block * self.block_len()),
            _ => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
