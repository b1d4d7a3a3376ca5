//! How the keys, or the values, of a cache are stored: a row of words for a head of a token.
//!
//! At 16 bits two numbers share a word. At 8 and 4 bits a row has chunks of 32 codes in the words of
//! [`crate::quant`]'s table and, behind them all, an f16 scale a chunk, two to a word: the blocks of GGUF's Q8_0
//! and Q4_0, apart. A number is `d · code`, at 4 bits `d · (code − 8)`. Numbers of 4 bits were turned by
//! [`crate::ops::rotate`] before, so that a channel that dwarfs the others has its share in all of them.

use crate::quant::{CHUNK, pack, unpack};
use half::f16;
use record::KvFormat;
use std::array;

/// Rows of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rows {
    bits: u32,
    width: usize,
}

/// How far a device's number may be from another one's, in parts of the largest, to count as the same before it
/// was rounded.
const DRIFT: f32 = 2e-3;

impl Rows {
    /// Those of the keys and of the values of heads of `width`.
    pub(crate) fn of(format: KvFormat, width: usize) -> [Rows; 2] {
        let bits = match format {
            KvFormat::F32 => [32, 32],
            KvFormat::F16 => [16, 16],
            KvFormat::Q8 => [8, 8],
            KvFormat::K8V4 => [8, 4],
            KvFormat::Q4 => [4, 4],
        };
        bits.map(|bits| Rows { bits, width })
    }

    /// Bits of a number, scales apart.
    pub(crate) fn bits(self) -> u32 {
        self.bits
    }

    /// Whether numbers are turned before they are stored.
    pub(crate) fn is_rotated(self) -> bool {
        self.bits == 4
    }

    fn chunks(self) -> usize {
        self.width.div_ceil(CHUNK)
    }

    /// Words of the codes, or of the numbers, of a row.
    fn code_words(self) -> usize {
        match self.bits {
            32 => self.width,
            // Whole quads, as kernels read them.
            16 => self.width.div_ceil(4) * 2,
            bits => self.chunks() * bits as usize,
        }
    }

    /// Words of a row.
    pub(crate) fn words(self) -> usize {
        let scales = if self.bits < 16 { self.chunks().div_ceil(2) } else { 0 };
        self.code_words() + scales
    }

    /// Stores the numbers of a row.
    pub(crate) fn write(self, values: &[f32], words: &mut [u32]) {
        let (codes, scales) = words[..self.words()].split_at_mut(self.code_words());
        match self.bits {
            32 => codes.copy_from_slice(bytemuck::cast_slice(values)),
            16 => {
                let half = |at: usize| match values.get(at) {
                    Some(value) => u32::from(f16::from_f32(*value).to_bits()),
                    None => 0,
                };
                let words = codes.iter_mut().enumerate();
                words.for_each(|(at, word)| *word = half(2 * at) | half(2 * at + 1) << 16);
            }
            bits => {
                scales.fill(0);
                let chunks = values.chunks(CHUNK).zip(codes.chunks_exact_mut(bits as usize));
                for (at, (values, codes)) in chunks.enumerate() {
                    let d = scale(values, bits);
                    let chunk = array::from_fn(|i| {
                        code(values.get(i).copied().unwrap_or_default(), d.to_f32(), bits)
                    });
                    pack(bits, &chunk, codes);
                    scales[at / 2] |= u32::from(d.to_bits()) << (16 * (at % 2));
                }
            }
        }
    }

    /// The numbers of a row, turned if they are stored so.
    pub(crate) fn read(self, words: &[u32], values: &mut [f32]) {
        let (codes, scales) = words[..self.words()].split_at(self.code_words());
        match self.bits {
            32 => values.copy_from_slice(bytemuck::cast_slice(codes)),
            16 => {
                let halves: &[u16] = bytemuck::cast_slice(codes);
                let numbers = values.iter_mut().zip(halves);
                numbers.for_each(|(to, half)| *to = f16::from_bits(*half).to_f32());
            }
            bits => {
                let chunks = values.chunks_mut(CHUNK).zip(codes.chunks_exact(bits as usize));
                for (at, (values, codes)) in chunks.enumerate() {
                    let d = f16::from_bits((scales[at / 2] >> (16 * (at % 2))) as u16).to_f32();
                    let codes = match bits {
                        4 => unpack::<4>(codes).map(|code| code - 8),
                        _ => unpack::<8>(codes),
                    };
                    let numbers = values.iter_mut().zip(codes);
                    numbers.for_each(|(to, code)| *to = d * f32::from(code));
                }
            }
        }
    }

    /// Whether a row may have been stored by another device of the same numbers, each rounded to one of its neighbours.
    pub(crate) fn agrees(self, words: &[u32], values: &[f32]) -> bool {
        let mut stored = vec![0.0; values.len()];
        self.read(words, &mut stored);
        let pairs = values.chunks(CHUNK).zip(stored.chunks(CHUNK));
        pairs.into_iter().all(|(values, stored)| {
            let largest = values.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
            // What is beyond the last code, as the largest may be on one side, is a whole step away.
            let step = match self.bits {
                8 => largest / 127.0,
                4 => largest / 7.0,
                _ => 0.0,
            };
            let reach = 1.01 * step + DRIFT * largest + f32::MIN_POSITIVE;
            values.iter().zip(stored).all(|(value, stored)| (value - stored).abs() <= reach)
        })
    }
}

/// The number with the largest distance from zero.
fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, value| if value.abs() > most.abs() { *value } else { most })
}

/// What a step is worth: at 4 bits the extreme has the code that is farthest from zero.
fn scale(values: &[f32], bits: u32) -> f16 {
    let extreme = extreme(values);
    f16::from_f32(if bits == 4 { extreme / -8.0 } else { extreme.abs() / 127.0 })
}

fn code(value: f32, d: f32, bits: u32) -> u8 {
    let steps = if d == 0.0 { 0.0 } else { value / d };
    match bits {
        4 => (steps + 8.5).floor().clamp(0.0, 15.0) as u8,
        _ => (steps + 0.5).floor().clamp(-127.0, 127.0) as i8 as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::normal;

    const FORMATS: [(KvFormat, [f32; 2]); 5] = [
        (KvFormat::F32, [0.0, 0.0]),
        (KvFormat::F16, [6e-4, 6e-4]),
        (KvFormat::Q8, [5e-3, 5e-3]),
        (KvFormat::K8V4, [5e-3, 0.13]),
        (KvFormat::Q4, [0.13, 0.13]),
    ];

    /// Widths of whole chunks and of parts, which are filled up.
    #[test]
    fn rows_come_back_within_a_step() {
        for width in [5, 24, 32, 64, 80] {
            let values = normal(1, width);
            let largest = values.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
            for (format, bounds) in FORMATS {
                for (rows, bound) in Rows::of(format, width).into_iter().zip(bounds) {
                    let mut words = vec![u32::MAX; rows.words() + 1];
                    rows.write(&values, &mut words);
                    assert_eq!(words.pop(), Some(u32::MAX), "a row ends where the next begins");
                    let mut back = vec![0.0; width];
                    rows.read(&words, &mut back);
                    for (value, back) in values.iter().zip(&back) {
                        assert!((value - back).abs() <= bound * largest, "{rows:?} {value} {back}");
                    }
                    assert!(rows.agrees(&words, &values));
                }
            }
        }
    }

    /// 64 numbers and two scales at 4 bits: 3.56 times as many as of 16 bits.
    #[test]
    fn words_of_a_row() {
        let words = |format, width| Rows::of(format, width).map(Rows::words);
        assert_eq!(words(KvFormat::F32, 64), [64, 64]);
        assert_eq!(words(KvFormat::F16, 64), [32, 32]);
        assert_eq!(words(KvFormat::Q8, 64), [17, 17]);
        assert_eq!(words(KvFormat::K8V4, 64), [17, 9]);
        assert_eq!(words(KvFormat::Q4, 96), [14, 14]);
        assert_eq!(words(KvFormat::Q4, 5), [5, 5]);
        assert_eq!(words(KvFormat::F16, 5), [4, 4]);
    }

    /// GGUF's Q8_0 and Q4_0 of the same numbers, as `ggml-quants.c` makes them: d is the extreme over −8, or its
    /// size over 127.
    #[test]
    fn codes_are_those_of_gguf() {
        let mut values = [0.0f32; 32];
        (values[0], values[1], values[17], values[31]) = (-4.0, 2.0, 0.5, 3.9);
        let [eight, _] = Rows::of(KvFormat::Q8, 32);
        let mut words = vec![0; eight.words()];
        eight.write(&values, &mut words);
        let d = f16::from_f32(4.0 / 127.0);
        let bytes: &[u8] = bytemuck::cast_slice(&words[..8]);
        assert_eq!([bytes[0] as i8, bytes[1] as i8, bytes[17] as i8], [-127, 64, 16]);
        assert_eq!(words[8], u32::from(d.to_bits()));
        let [four, _] = Rows::of(KvFormat::Q4, 32);
        let mut words = vec![0; four.words()];
        four.write(&values, &mut words);
        let bytes: &[u8] = bytemuck::cast_slice(&words[..4]);
        assert_eq!([bytes[0], bytes[1], bytes[15]], [0x80, 0x9c, 0xf8]);
        assert_eq!(words[4], u32::from(f16::from_f32(0.5).to_bits()));
    }

    #[test]
    fn another_device_may_be_a_step_away_and_no_more() {
        let values = normal(2, 64);
        for format in [KvFormat::Q8, KvFormat::Q4] {
            let [rows, _] = Rows::of(format, 64);
            let mut words = vec![0; rows.words()];
            rows.write(&values, &mut words);
            assert!(rows.agrees(&words, &values.iter().map(|v| v * 1.001).collect::<Vec<_>>()));
            let other: Vec<f32> = values.iter().map(|value| value * 1.6).collect();
            assert!(!rows.agrees(&words, &other));
            assert!(!rows.agrees(&vec![0; rows.words()], &values));
        }
    }

    #[test]
    fn nothing_is_stored_as_nothing() {
        for (format, _) in FORMATS {
            let [rows, _] = Rows::of(format, 32);
            let mut words = vec![0; rows.words()];
            rows.write(&[0.0; 32], &mut words);
            let mut back = [1.0; 32];
            rows.read(&words, &mut back);
            assert_eq!(back, [0.0; 32]);
            assert!(rows.agrees(&words, &[0.0; 32]));
        }
    }
}
