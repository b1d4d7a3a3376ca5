//! From stored bytes to f32, exactly as the `gguf` Python package's numpy reference computes it.
//!
//! GGUF stores quantised tensors as blocks along the fastest axis. `d` is a scale and `m` a minimum,
//! both little endian f16; everything else is bytes:
//!
//! ```text
//! Q4_0  18 bytes, 32 values   d, qs[16]           (q - 8) * d
//! Q4_1  20 bytes, 32 values   d, m, qs[16]        q * d + m
//! Q5_0  22 bytes, 32 values   d, qh[4], qs[16]    (q - 16) * d     bit i of qh is bit 4 of value i
//! Q5_1  24 bytes, 32 values   d, m, qh[4], qs[16] q * d + m
//! Q8_0  34 bytes, 32 values   d, qs[32]           q * d            qs are i8
//! IQ4_NL 18 bytes, 32 values  d, qs[16]           LEVELS[q] * d
//! ```
//! In all but Q8_0, byte i of `qs` holds value i in its low half and value i + 16 in its high half.
//!
//! The other types hold 256 values in sub-blocks of 16 or 32, whose scales are integers of their own:
//!
//! ```text
//! Q2_K   84 bytes  scales[16] (4 bit scale, 4 bit minimum), qs[64], d, m
//! Q3_K  110 bytes  hmask[32], qs[64], scales[12] (16 of 6 bits, less 32), d
//! Q4_K  144 bytes  d, m, scales[12] (8 scales and 8 minima of 6 bits), qs[128]
//! Q5_K  176 bytes  d, m, scales[12], qh[32], qs[128]
//! Q6_K  210 bytes  ql[128], qh[64], scales[16] (i8), d
//! IQ4_XS 136 bytes d, high[2], low[4] (8 scales of 6 bits, less 32), qs[128] as in IQ4_NL
//! ```
//! Formulas: `ggml-quants.c` of llama.cpp and `gguf/quants.py`.

use super::Dtype;
use half::{bf16, f16};

/// Appends the values of whole blocks to `out`; none when `dtype` holds integers. Bytes after the
/// last whole block are left alone.
pub fn to_f32(dtype: Dtype, bytes: &[u8], out: &mut Vec<f32>) -> Option<()> {
    match dtype {
        Dtype::F64 => plain(bytes, out, |b| f64::from_le_bytes(b) as f32),
        Dtype::F32 => plain(bytes, out, f32::from_le_bytes),
        Dtype::F16 => plain(bytes, out, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => plain(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::Q4_0 => blocks(bytes, out, q4_0),
        Dtype::Q4_1 => blocks(bytes, out, q4_1),
        Dtype::Q5_0 => blocks(bytes, out, q5_0),
        Dtype::Q5_1 => blocks(bytes, out, q5_1),
        Dtype::Q8_0 => blocks(bytes, out, q8_0),
        Dtype::Q2_K => blocks(bytes, out, q2_k),
        Dtype::Q3_K => blocks(bytes, out, q3_k),
        Dtype::Q4_K => blocks(bytes, out, q4_k),
        Dtype::Q5_K => blocks(bytes, out, q5_k),
        Dtype::Q6_K => blocks(bytes, out, q6_k),
        Dtype::IQ4_NL => blocks(bytes, out, iq4_nl),
        Dtype::IQ4_XS => blocks(bytes, out, iq4_xs),
        Dtype::I64 | Dtype::I32 | Dtype::I16 | Dtype::I8 | Dtype::U8 | Dtype::BOOL => return None,
    }
    Some(())
}

/// Appends integers to `out`, booleans as 0 and 1; none when `dtype` holds anything else.
pub fn to_i64(dtype: Dtype, bytes: &[u8], out: &mut Vec<i64>) -> Option<()> {
    match dtype {
        Dtype::I64 => plain(bytes, out, i64::from_le_bytes),
        Dtype::I32 => plain(bytes, out, |b| i32::from_le_bytes(b).into()),
        Dtype::I16 => plain(bytes, out, |b| i16::from_le_bytes(b).into()),
        Dtype::I8 => plain(bytes, out, |b| i8::from_le_bytes(b).into()),
        Dtype::U8 => plain(bytes, out, |b: [u8; 1]| b[0].into()),
        Dtype::BOOL => plain(bytes, out, |b: [u8; 1]| (b[0] != 0).into()),
        _ => return None,
    }
    Some(())
}

fn plain<const B: usize, T>(bytes: &[u8], out: &mut Vec<T>, value: impl Fn([u8; B]) -> T) {
    out.extend(bytes.as_chunks::<B>().0.iter().map(|element| value(*element)));
}

fn blocks<const B: usize, const N: usize>(
    bytes: &[u8],
    out: &mut Vec<f32>,
    block: fn(&[u8; B], &mut [f32; N]),
) {
    let blocks = bytes.as_chunks::<B>().0;
    let start = out.len();
    out.resize(start + blocks.len() * N, 0.0);
    for (from, to) in blocks.iter().zip(out[start..].as_chunks_mut::<N>().0) {
        block(from, to);
    }
}

/// The f16 at this byte.
pub(super) fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Value `i` of 32 half bytes: the low halves come first.
pub(super) fn nibble(qs: &[u8], i: usize) -> u8 {
    (qs[i % 16] >> (i / 16 * 4)) & 15
}

fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * (f32::from(nibble(&block[2..], i)) - 8.0);
    }
}

fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(nibble(&block[4..], i)) + m;
    }
}

/// Value `i` of 32 five-bit values.
pub(super) fn five_bits(qh: &[u8], qs: &[u8], i: usize) -> f32 {
    let high = (qh[i / 8] >> (i % 8)) & 1;
    f32::from(nibble(qs, i) | (high << 4))
}

fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * (five_bits(&block[2..], &block[6..], i) - 16.0);
    }
}

fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * five_bits(&block[4..], &block[8..], i) + m;
    }
}

fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (out, q) in out.iter_mut().zip(&block[2..]) {
        *out = d * f32::from(*q as i8);
    }
}

/// Value `i` of 128 two-bit values in 32 bytes, or of the next 128 in the next 32.
fn crumb(qs: &[u8], i: usize) -> u8 {
    (qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3
}

fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scales, qs) = (&block[..16], &block[16..80]);
    let (d, m) = (half_at(block, 80), half_at(block, 82));
    for (i, out) in out.iter_mut().enumerate() {
        let scale = scales[i / 16];
        let (d, m) = (d * f32::from(scale & 15), m * f32::from(scale >> 4));
        *out = d * f32::from(crumb(qs, i)) - m;
    }
}

fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let (hmask, qs, scales) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half_at(block, 108);
    for (i, out) in out.iter_mut().enumerate() {
        let j = i / 16;
        let low = (scales[j % 8] >> (j / 8 * 4)) & 15;
        let high = (scales[8 + j % 4] >> (j / 4 * 2)) & 3;
        let scale = f32::from((low | (high << 4)) as i8 - 32);
        // A clear bit of the mask subtracts four: the mask says which values need no offset.
        let offset = if (hmask[i % 32] >> (i / 32)) & 1 == 1 { 0 } else { 4 };
        *out = d * scale * f32::from(crumb(qs, i) as i8 - offset);
    }
}

/// Scale and minimum `j` of the eight that Q4_K and Q5_K pack into 12 bytes at 6 bits each.
pub(super) fn scale_and_minimum(scales: &[u8], j: usize) -> (f32, f32) {
    let (scale, minimum) = if j < 4 {
        (scales[j] & 63, scales[j + 4] & 63)
    } else {
        let low = scales[j + 4];
        ((low & 15) | ((scales[j - 4] >> 2) & 48), (low >> 4) | ((scales[j] >> 2) & 48))
    };
    (f32::from(scale), f32::from(minimum))
}

/// Value `i` of 64 half bytes in 32 bytes, or of the next 64 in the next 32.
pub(super) fn nibble_of_64(qs: &[u8], i: usize) -> u8 {
    (qs[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4)) & 15
}

fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scales, qs) = (&block[4..16], &block[16..]);
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, out) in out.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(scales, i / 32);
        *out = d * scale * f32::from(nibble_of_64(qs, i)) - m * minimum;
    }
}

fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (scales, qh, qs) = (&block[4..16], &block[16..48], &block[48..]);
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, out) in out.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(scales, i / 32);
        let high = (qh[i % 32] >> (i / 32)) & 1;
        *out = d * scale * f32::from(nibble_of_64(qs, i) | (high << 4)) - m * minimum;
    }
}

fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let (ql, qh, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half_at(block, 208);
    for (i, out) in out.iter_mut().enumerate() {
        let low = (ql[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4)) & 15;
        let q = (low | (crumb(qh, i) << 4)) as i8 - 32;
        *out = d * f32::from(scales[i / 16] as i8) * f32::from(q);
    }
}

/// What the sixteen codes of IQ4 stand for: levels that lie closer to each other around zero.
const LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Level `i` of 32 in 16 bytes.
pub(super) fn level(qs: &[u8], i: usize) -> i8 {
    LEVELS[usize::from(nibble(qs, i))]
}

fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(block, 0);
    for (i, out) in out.iter_mut().enumerate() {
        *out = d * f32::from(level(&block[2..], i));
    }
}

/// Scale `j` of the eight of a block of IQ4_XS.
pub(super) fn iq4_xs_scale(block: &[u8], j: usize) -> f32 {
    let low = (block[4 + j / 2] >> (j % 2 * 4)) & 15;
    let high = (block[2 + j / 4] >> (j % 4 * 2)) & 3;
    half_at(block, 0) * f32::from((low | (high << 4)) as i8 - 32)
}

fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    for (i, out) in out.iter_mut().enumerate() {
        let (j, i) = (i / 32, i % 32);
        *out = iq4_xs_scale(block, j) * f32::from(level(&block[8 + 16 * j..], i));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `vectors/make.py` wrote blocks and then the f32 that the gguf package makes of them; equality
    /// is bit for bit.
    #[test]
    fn every_block_type_matches_the_reference_bit_for_bit() {
        let vectors: [(Dtype, &[u8]); 12] = [
            (Dtype::Q4_0, include_bytes!("vectors/Q4_0.bin")),
            (Dtype::Q4_1, include_bytes!("vectors/Q4_1.bin")),
            (Dtype::Q5_0, include_bytes!("vectors/Q5_0.bin")),
            (Dtype::Q5_1, include_bytes!("vectors/Q5_1.bin")),
            (Dtype::Q8_0, include_bytes!("vectors/Q8_0.bin")),
            (Dtype::Q2_K, include_bytes!("vectors/Q2_K.bin")),
            (Dtype::Q3_K, include_bytes!("vectors/Q3_K.bin")),
            (Dtype::Q4_K, include_bytes!("vectors/Q4_K.bin")),
            (Dtype::Q5_K, include_bytes!("vectors/Q5_K.bin")),
            (Dtype::Q6_K, include_bytes!("vectors/Q6_K.bin")),
            (Dtype::IQ4_NL, include_bytes!("vectors/IQ4_NL.bin")),
            (Dtype::IQ4_XS, include_bytes!("vectors/IQ4_XS.bin")),
        ];
        for (dtype, vector) in vectors {
            let both = dtype.block_bytes() + dtype.block_len() * 4;
            let count = vector.len() / both;
            assert!(count > 0 && vector.len() % both == 0, "{dtype}: {} bytes", vector.len());
            let (stored, expected) = vector.split_at(count * dtype.block_bytes());
            let mut values = Vec::new();
            to_f32(dtype, stored, &mut values).unwrap();
            let expected = expected.as_chunks::<4>().0;
            assert_eq!(values.len(), expected.len());
            for (i, (value, expected)) in values.iter().zip(expected).enumerate() {
                let expected = f32::from_le_bytes(*expected);
                assert_eq!(value.to_bits(), expected.to_bits(), "{dtype}[{i}]: {value} {expected}");
            }
        }
    }

    #[test]
    fn scales_that_are_not_finite_are_found_in_every_block_type() {
        use Dtype::*;
        let scales: [(Dtype, &[usize]); 12] = [
            (Q4_0, &[0]),
            (Q4_1, &[0, 2]),
            (Q5_0, &[0]),
            (Q5_1, &[0, 2]),
            (Q8_0, &[0]),
            (Q2_K, &[80, 82]),
            (Q3_K, &[108]),
            (Q4_K, &[0, 2]),
            (Q5_K, &[0, 2]),
            (Q6_K, &[208]),
            (IQ4_NL, &[0]),
            (IQ4_XS, &[0]),
        ];
        for (dtype, places) in scales {
            let good = vec![0x11; dtype.block_bytes() * 2];
            assert_eq!(dtype.first_not_finite(&good), None);
            for place in places {
                for bad in [f16::NAN, f16::INFINITY, f16::NEG_INFINITY] {
                    let mut bytes = good.clone();
                    let at = dtype.block_bytes() + place;
                    bytes[at..at + 2].copy_from_slice(&bad.to_le_bytes());
                    assert_eq!(dtype.first_not_finite(&bytes), Some(dtype.block_len()), "{dtype}");
                    // The place is right when the value that comes out is not finite either.
                    let mut values = Vec::new();
                    to_f32(dtype, &bytes, &mut values).unwrap();
                    assert!(values.iter().any(|v| !v.is_finite()), "{dtype} at {place}");
                }
            }
        }
        assert_eq!(F32.first_not_finite(&f32::NAN.to_le_bytes()), Some(0));
        assert_eq!(BF16.first_not_finite(&[0, 0, 0x80, 0x7f]), Some(1));
    }

    #[test]
    fn integers_keep_their_signs_and_floats_are_not_integers() {
        let mut values = Vec::new();
        to_i64(Dtype::I8, &[0xff, 1], &mut values).unwrap();
        to_i64(Dtype::U8, &[0xff], &mut values).unwrap();
        to_i64(Dtype::BOOL, &[0, 1], &mut values).unwrap();
        to_i64(Dtype::I64, &(-7i64).to_le_bytes(), &mut values).unwrap();
        assert_eq!(values, [-1, 1, 255, 0, 1, -7]);
        assert_eq!(to_i64(Dtype::F32, &[0; 4], &mut values), None);
        assert_eq!(to_f32(Dtype::I64, &[0; 8], &mut Vec::new()), None);
    }
}
