//! Packs and unpacks one chunk of 32 codes; `mod.rs` has the layouts.

use super::CHUNK;
use std::array;

/// Words of one chunk.
pub const fn chunk_words(bits: u32) -> usize {
    bits as usize
}

/// Packs 32 codes. Codes of 8 bits are signed bytes, all others count from 0.
pub fn pack(bits: u32, codes: &[u8; CHUNK], words: &mut [u32]) {
    // Of eight columns of codes, so many bits of each of the four rows side by side.
    let rows = |j: usize| [codes[j], codes[8 + j], codes[16 + j], codes[24 + j]];
    let low = |j| {
        let [a, b, c, d] = rows(j).map(|code| code & 3);
        a | b << 2 | c << 4 | d << 6
    };
    let high = |j| {
        let [a, b, c, d] = rows(j).map(|code| code >> 2 & 1);
        a | b << 1 | c << 2 | d << 3
    };
    match bits {
        8 => put(codes, words),
        4 => put::<16>(&array::from_fn(|j| codes[j] & 15 | codes[16 + j] << 4), words),
        _ => {
            put::<8>(&array::from_fn(low), words);
            if bits == 3 {
                put::<4>(&array::from_fn(|j| high(j) | high(4 + j) << 4), &mut words[2..]);
            }
        }
    }
}

/// The first words are these bytes.
#[inline(always)]
fn put<const BYTES: usize>(bytes: &[u8; BYTES], words: &mut [u32]) {
    let words = &mut words[..BYTES / 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
}

/// Unpacks 32 codes; those of 8 bits come back signed, all others count from 0.
#[inline(always)]
pub fn unpack<const BITS: u32>(words: &[u32]) -> [i16; CHUNK] {
    let mut codes = [0i16; CHUNK];
    match BITS {
        8 => {
            for (i, code) in codes.iter_mut().enumerate() {
                *code = i16::from((words[i / 4] >> (8 * (i % 4))) as i8);
            }
        }
        4 => {
            for j in 0..16 {
                let byte = words[j / 4] >> (8 * (j % 4));
                codes[j] = (byte & 15) as i16;
                codes[16 + j] = (byte >> 4 & 15) as i16;
            }
        }
        3 | 2 => {
            for j in 0..8 {
                let byte = words[j / 4] >> (8 * (j % 4));
                for s in 0..4 {
                    codes[8 * s + j] = (byte >> (2 * s) & 3) as i16;
                }
                if BITS == 3 {
                    let high = words[2] >> (8 * (j % 4) + 4 * (j / 4));
                    for s in 0..4 {
                        codes[8 * s + j] |= ((high >> s & 1) << 2) as i16;
                    }
                }
            }
        }
        _ => unreachable!("{BITS} bits are not packed in codes"),
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<const BITS: u32>() {
        let codes: [u8; CHUNK] = std::array::from_fn(|i| (i * 37 + 11) as u8 & (255 >> (8 - BITS)));
        let mut words = [u32::MAX; 8];
        pack(BITS, &codes, &mut words);
        let expected: [i16; CHUNK] = std::array::from_fn(|i| match BITS {
            8 => i16::from(codes[i] as i8),
            _ => i16::from(codes[i]),
        });
        assert_eq!(unpack::<BITS>(&words), expected, "{BITS} bits");
        assert!(words[BITS as usize..].iter().all(|word| *word == u32::MAX), "{BITS} bits overran");
    }

    #[test]
    fn codes_survive_packing() {
        round_trip::<8>();
        round_trip::<4>();
        round_trip::<3>();
        round_trip::<2>();
    }

    #[test]
    fn four_bits_are_laid_out_as_in_gguf() {
        // ggml-quants.c, dequantize_row_q4_0: byte j holds x[j] low and x[j + 16] high.
        let codes: [u8; CHUNK] = std::array::from_fn(|i| (i % 16) as u8);
        let mut words = [0; 4];
        pack(4, &codes, &mut words);
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let expected: Vec<u8> = (0..16).map(|j| j | j << 4).collect();
        assert_eq!(bytes, expected);
    }
}
