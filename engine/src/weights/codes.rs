//! Weights that a file holds as small integers: these integers, and what a step of them is worth.
//!
//! [`blocks`] multiplies out what a file holds; here codes stay codes, so that nobody has to choose
//! them anew. A weight is `d · code + m`, with a `d` and an `m` to each group of neighbours in a row.
//! What is found here is exact: [`blocks`] computes the same numbers from it, bit for bit. Types whose
//! groups are smaller than a chunk (Q2_K, Q3_K and Q6_K have 16 weights to a scale) are not found.

use super::{Dtype, blocks};

/// Which integers they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeType {
    /// Bits that hold every code: 8, 4, 3 or 2.
    pub bits: u8,
    /// Whether groups have a minimum. Without one a code counts from the zero that codes of so many bits have:
    /// 8 of 4 bits, 4 of 3 bits and 0 of 8.
    pub asymmetric: bool,
    /// Weights of a row that share a scale: 32, 64 or 128.
    pub group: u8,
}

/// Consecutive rows of a matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Codes {
    /// One a weight, row by row: of 8 bits signed bytes, of fewer bits counted from 0.
    pub codes: Vec<u8>,
    /// `d` and `m` of each group, row by row; the last group of a row may have fewer weights.
    pub lines: Vec<[f32; 2]>,
}

impl Codes {
    /// Appends the rows of another.
    pub fn extend(&mut self, more: Codes) {
        self.codes.extend(more.codes);
        self.lines.extend(more.lines);
    }
}

/// The codes that blocks of this type hold, where they have some.
pub(super) fn of(dtype: Dtype) -> Option<CodeType> {
    let (bits, asymmetric) = match dtype {
        Dtype::Q4_0 => (4, false),
        Dtype::Q4_1 | Dtype::Q4_K => (4, true),
        // There are no words of five bits, and none for sixteen levels that are not evenly apart.
        Dtype::Q8_0 | Dtype::Q5_0 | Dtype::IQ4_NL | Dtype::IQ4_XS => (8, false),
        Dtype::Q5_1 | Dtype::Q5_K => (8, true),
        _ => return None,
    };
    Some(CodeType { bits, asymmetric, group: 32 })
}

/// The codes of whole blocks; none of a type that has none.
pub(super) fn in_blocks(dtype: Dtype, bytes: &[u8]) -> Option<Codes> {
    of(dtype)?;
    let mut found = Codes::default();
    for block in bytes.chunks_exact(dtype.block_bytes()) {
        for group in 0..dtype.block_len() / 32 {
            found.lines.push(line(dtype, block, group));
            found.codes.extend((0..32).map(|i| code(dtype, block, 32 * group + i)));
        }
    }
    Some(found)
}

/// Scale and minimum of a group of a block.
fn line(dtype: Dtype, block: &[u8], group: usize) -> [f32; 2] {
    let half = |at| blocks::half_at(block, at);
    match dtype {
        Dtype::Q4_0 => [half(0), -8.0 * half(0)],
        Dtype::Q4_1 | Dtype::Q5_1 => [half(0), half(2)],
        Dtype::Q4_K | Dtype::Q5_K => {
            let (scale, minimum) = blocks::scale_and_minimum(&block[4..16], group);
            [half(0) * scale, -half(2) * minimum]
        }
        Dtype::IQ4_XS => [blocks::iq4_xs_scale(block, group), 0.0],
        _ => [half(0), 0.0],
    }
}

/// Code `i` of a block.
fn code(dtype: Dtype, block: &[u8], i: usize) -> u8 {
    match dtype {
        Dtype::Q4_0 => blocks::nibble(&block[2..], i),
        Dtype::Q4_1 => blocks::nibble(&block[4..], i),
        Dtype::Q5_0 => (blocks::five_bits(&block[2..], &block[6..], i) as i8 - 16) as u8,
        Dtype::Q5_1 => blocks::five_bits(&block[4..], &block[8..], i) as u8,
        Dtype::Q8_0 => block[2 + i],
        Dtype::Q4_K => blocks::nibble_of_64(&block[16..], i),
        Dtype::Q5_K => {
            let high = (block[16 + i % 32] >> (i / 32)) & 1;
            blocks::nibble_of_64(&block[48..], i) | (high << 4)
        }
        Dtype::IQ4_NL => blocks::level(&block[2..], i) as u8,
        Dtype::IQ4_XS => blocks::level(&block[8 + i / 32 * 16..], i % 32) as u8,
        _ => unreachable!("{dtype} has no codes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same test vectors as those of [`blocks`], whose values are the gguf package's.
    #[test]
    fn codes_and_lines_are_the_numbers_of_the_blocks() {
        let vectors: [(Dtype, &[u8]); 9] = [
            (Dtype::Q4_0, include_bytes!("vectors/Q4_0.bin")),
            (Dtype::Q4_1, include_bytes!("vectors/Q4_1.bin")),
            (Dtype::Q5_0, include_bytes!("vectors/Q5_0.bin")),
            (Dtype::Q5_1, include_bytes!("vectors/Q5_1.bin")),
            (Dtype::Q8_0, include_bytes!("vectors/Q8_0.bin")),
            (Dtype::Q4_K, include_bytes!("vectors/Q4_K.bin")),
            (Dtype::Q5_K, include_bytes!("vectors/Q5_K.bin")),
            (Dtype::IQ4_NL, include_bytes!("vectors/IQ4_NL.bin")),
            (Dtype::IQ4_XS, include_bytes!("vectors/IQ4_XS.bin")),
        ];
        for (dtype, vector) in vectors {
            let both = dtype.block_bytes() + dtype.block_len() * 4;
            let (stored, values) = vector.split_at(vector.len() / both * dtype.block_bytes());
            let Codes { codes, lines } = in_blocks(dtype, stored).unwrap();
            let wide = of(dtype).unwrap().bits == 8;
            for (i, (value, code)) in values.as_chunks().0.iter().zip(&codes).enumerate() {
                let [d, m] = lines[i / 32];
                let code = if wide { f32::from(*code as i8) } else { f32::from(*code) };
                assert_eq!(f32::from_le_bytes(*value), d * code + m, "{dtype}[{i}]");
            }
            assert_eq!(codes.len() * 4, values.len());
        }
        assert_eq!(of(Dtype::Q6_K), None);
        assert_eq!(in_blocks(Dtype::F32, &[0; 4]), None);
    }
}
