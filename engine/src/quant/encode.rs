//! Packs consecutive rows of a matrix into the words of [`super::Layout::Chunks`].

use super::{CHUNK, Format, GroupCodes, Layout, Quantiser, Span, Subject, chunk_words, pack};
use crate::{
    error::{Error, Result},
    threads,
};
use half::f16;

/// What a weight takes at least, in multiplications and additions.
const OPERATIONS: usize = 8;

/// Consecutive rows of a matrix as words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedRows {
    /// Codes.
    pub codes: Vec<u32>,
    /// Scales and minimums, where the format has groups. The first one begins a word.
    pub scales: Vec<u32>,
}

impl PackedRows {
    pub(super) fn zeros(format: Format, rows: usize, columns: usize) -> PackedRows {
        let (layout, chunks) = (Layout::Chunks, columns.div_ceil(CHUNK));
        PackedRows {
            codes: vec![0; layout.code_words(format, chunks) * rows],
            scales: vec![0; layout.scale_words(format, format.groups(chunks) * rows)],
        }
    }

    /// These rows and, behind them, those.
    fn with(mut self, those: PackedRows) -> PackedRows {
        self.codes.extend(those.codes);
        self.scales.extend(those.scales);
        self
    }

    pub(super) fn put_scale(&mut self, format: Format, at: usize, d: f16, m: f16) {
        match format {
            Format::Grouped { asymmetric: true, .. } => {
                self.scales[at] = u32::from(d.to_bits()) | u32::from(m.to_bits()) << 16;
            }
            _ => self.scales[at / 2] |= u32::from(d.to_bits()) << (16 * (at % 2)),
        }
    }
}

/// Packs `weights: [rows, columns]`, which begin at row `first` of the matrix.
pub(super) fn rows(
    matrix: &Subject<'_>,
    first: usize,
    weights: &[f32],
    quantiser: &dyn Quantiser,
) -> Result<PackedRows> {
    let columns = matrix.columns;
    assert_eq!(weights.len() % columns, 0);
    // Scales of two rows may share a word.
    let pairs = (weights.len() / columns).div_ceil(2);
    let parts = match quantiser.span() {
        Span::Rows => threads::map(pairs, 2 * columns * OPERATIONS, |pairs| {
            let [from, to] = [pairs.start, pairs.end].map(|pair| 2 * pair * columns);
            let weights = &weights[from..to.min(weights.len())];
            slice(matrix, first + 2 * pairs.start, weights, quantiser)
        }),
        Span::Matrix => vec![slice(matrix, first, weights, quantiser)],
    };
    let parts = parts.into_iter().reduce(|before, after| Ok(before?.with(after?)));
    parts.unwrap_or_else(|| Ok(PackedRows::default()))
}

fn slice(
    matrix: &Subject<'_>,
    first: usize,
    weights: &[f32],
    quantiser: &dyn Quantiser,
) -> Result<PackedRows> {
    let Subject { name, columns, format, .. } = *matrix;
    let mut packed = PackedRows::zeros(format, weights.len() / columns, columns);
    let chunks = columns.div_ceil(CHUNK);
    let row_words = Layout::Chunks.code_words(format, chunks);
    let codes = packed.codes.chunks_exact_mut(row_words);
    let by_row = codes.zip(weights.chunks_exact(columns));
    match format {
        Format::F32 => {
            for (codes, weights) in by_row {
                codes.iter_mut().zip(weights).for_each(|(word, weight)| *word = weight.to_bits());
            }
        }
        Format::F16 => {
            for (codes, weights) in by_row {
                for (i, weight) in weights.iter().enumerate() {
                    let half = f16::from_f32(*weight);
                    if half.is_infinite() {
                        let message = format!("{weight} does not fit 16 bits; use --bits 32");
                        return Err(Error::tensor(name, message));
                    }
                    codes[i / 2] |= u32::from(half.to_bits()) << (16 * (i % 2));
                }
            }
        }
        Format::Grouped { group, .. } => {
            let (group, groups) = (usize::from(group), format.groups(chunks));
            let words = chunk_words(format.bits());
            let mut give = |[row, at]: [usize; 2], chosen: &GroupCodes| {
                if chosen.d.is_infinite() || chosen.m.is_infinite() {
                    let message = "weights this large have no 16-bit scale; use --bits 32";
                    return Err(Error::tensor(name, message));
                }
                packed.put_scale(format, row * groups + at, chosen.d, chosen.m);
                for (j, chunk) in chosen.codes[..group].as_chunks::<CHUNK>().0.iter().enumerate() {
                    let chunk_at = at * (group / CHUNK) + j;
                    if chunk_at < chunks {
                        let word = row * row_words + chunk_at * words;
                        pack(format.bits(), chunk, &mut packed.codes[word..]);
                    }
                }
                Ok(())
            };
            quantiser.quantise(matrix, first, weights, &mut give)?;
        }
    }
    Ok(packed)
}

/// Takes rows of GGUF blocks of this format as they are: Q4_0 and Q8_0 are a scale and codes, Q4_1 a
/// scale, a minimum and codes. Either way two halves make a word.
pub(super) fn blocks(format: Format, bytes: &[u8]) -> PackedRows {
    let head = if matches!(format, Format::Grouped { asymmetric: true, .. }) { 4 } else { 2 };
    let block = head + chunk_words(format.bits()) * 4;
    let (mut codes, mut halves) = (Vec::new(), Vec::new());
    for block in bytes.chunks_exact(block) {
        let (scales, words) = block.split_at(head);
        halves.extend(scales.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes)));
        codes.extend(words.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)));
    }
    let word = |pair: &[u16]| pair.iter().rev().fold(0, |word, half| word << 16 | u32::from(*half));
    PackedRows { codes, scales: halves.chunks(2).map(word).collect() }
}

/// Packs rows of codes that somebody else has chosen, and rounds scale and minimum of each group to f16.
pub(super) fn codes(matrix: &Subject<'_>, codes: &[u8], lines: &[[f32; 2]]) -> Result<PackedRows> {
    let Subject { name, columns, format, .. } = *matrix;
    let (bits, chunks) = (format.bits(), columns.div_ceil(CHUNK));
    let rows = codes.len() / columns;
    assert_eq!(lines.len(), rows * format.groups(chunks), "{name}: a line for each group");
    let mut packed = PackedRows::zeros(format, rows, columns);
    let chunks = codes.chunks_exact(columns).flat_map(|row| row.chunks(CHUNK));
    for (codes, words) in chunks.zip(packed.codes.chunks_exact_mut(chunk_words(bits))) {
        let mut chunk = [0; CHUNK];
        chunk[..codes.len()].copy_from_slice(codes);
        pack(bits, &chunk, words);
    }
    let has_minimum = matches!(format, Format::Grouped { asymmetric: true, .. });
    for (at, [d, m]) in lines.iter().enumerate() {
        let [d, m] = [*d, if has_minimum { *m } else { 0.0 }].map(f16::from_f32);
        if d.is_infinite() || m.is_infinite() {
            let message = "scales this large do not fit 16 bits; use --bits 32";
            return Err(Error::tensor(name, message));
        }
        packed.put_scale(format, at, d, m);
    }
    Ok(packed)
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{
        device::Device,
        quant::{MatrixBuilder, RoundToNearest},
        testing::normal,
        threads::tests::over,
    };

    fn grouped(bits: u8, asymmetric: bool) -> Format {
        Format::Grouped { bits, asymmetric, group: 32 }
    }

    /// ggml-quants.c: Q8_0 is a scale and signed bytes, Q4_0 a scale and codes about 8, Q4_1 a scale, a
    /// minimum and codes; byte `j` of 4 bits holds weight `j` low and weight `j + 16` high.
    #[test]
    fn blocks_of_gguf_are_the_numbers_that_they_stand_for() {
        let half = |value: f32| f16::from_f32(value).to_le_bytes();
        for format in [grouped(8, false), grouped(4, false), grouped(4, true)] {
            let Format::Grouped { asymmetric, .. } = format else { unreachable!() };
            let (mut bytes, mut wanted) = (Vec::new(), Vec::new());
            // Three rows of three blocks, so that a word of scales belongs to two rows.
            for block in 0..9 {
                let (d, m) = (0.25 + 0.5 * block as f32, block as f32 - 3.0);
                bytes.extend(half(d));
                if asymmetric {
                    bytes.extend(half(m));
                }
                let code = |i: usize| ((7 * i + block) % 16) as u8;
                if format.bits() == 8 {
                    bytes.extend((0..32).map(|i| code(i).wrapping_sub(9)));
                    wanted.extend((0..32).map(|i| d * (f32::from(code(i)) - 9.0)));
                } else {
                    bytes.extend((0..16).map(|i| code(i) | code(i + 16) << 4));
                    let m = if asymmetric { m } else { -8.0 * d };
                    wanted.extend((0..32).map(|i| d * f32::from(code(i)) + m));
                }
            }
            let device = Device::cpu();
            let mut builder = MatrixBuilder::new(&device, "w", 3, 96, format);
            builder.push_blocks(&bytes);
            let matrix = builder.finish();
            let mut found = vec![0.0; 3 * 96];
            for (row, values) in found.chunks_exact_mut(96).enumerate() {
                matrix.dequantise_row(row, values);
            }
            assert_eq!(found, wanted, "{format}");
        }
    }

    /// Codes stay as they are, in a last chunk that is not full as well; a scale and a minimum move by 1 in
    /// 2048 at most, and by half the smallest f16 where they are that small.
    #[test]
    fn codes_of_others_are_packed_as_they_are() {
        for format in Format::all().into_iter().filter(|format| format.bits() < 16) {
            let Format::Grouped { bits, asymmetric, group } = format else { unreachable!() };
            let (rows, columns, group) = (3usize, 200usize, usize::from(group));
            let codes: Vec<u8> =
                (0..rows * columns).map(|i| (i * 37 % 256) as u8 >> (8 - bits)).collect();
            let groups = columns.div_ceil(group);
            let scale = |at: usize| [1e-9, 1e-6, 0.012_345, 3.3][at % 4] * (1.0 + at as f32 / 7.0);
            let lines: Vec<[f32; 2]> =
                (0..rows * groups).map(|at| [scale(at), -7.0 * scale(at)]).collect();
            let device = Device::cpu();
            let mut builder = MatrixBuilder::new(&device, "w", rows, columns, format);
            builder.push_codes(&codes, &lines).unwrap();
            let matrix = builder.finish();
            for row in 0..rows {
                let mut found = vec![0.0; columns.next_multiple_of(CHUNK)];
                matrix.dequantise_row(row, &mut found);
                for (at, found) in found[..columns].iter().enumerate() {
                    let code = codes[row * columns + at];
                    let code = if bits == 8 { f32::from(code as i8) } else { f32::from(code) };
                    let [d, m] = lines[row * groups + at / group];
                    let m = if asymmetric { m } else { -format.zero() * d };
                    let near = |x: f32| x.abs() / 2048.0 + 2f32.powi(-25);
                    let bound = (near(d) * code.abs() + near(m)) * 1.001;
                    let bound = if asymmetric { bound } else { near(d) * 128.0 };
                    assert!((found - (d * code + m)).abs() <= bound, "{format} {row} {at}");
                }
            }
        }
    }

    /// Of an odd number of rows, whose scales share words.
    #[test]
    fn threads_pack_the_words_of_one_thread() {
        for format in Format::all() {
            let subject = Subject { name: "w", rows: 7, columns: 100, format, inputs: None };
            let weights = normal(1, 700);
            let pack = || rows(&subject, 0, &weights, &RoundToNearest).unwrap();
            let alone = pack();
            assert_eq!(alone, slice(&subject, 0, &weights, &RoundToNearest).unwrap());
            for threads in [2, 3, 5] {
                assert_eq!(over(threads, pack), alone, "{format} on {threads} threads");
            }
        }
    }

    #[test]
    fn what_no_half_can_hold_is_refused() {
        let refusal = |format, weights: &[f32]| {
            let device = Device::cpu();
            let mut builder = MatrixBuilder::new(&device, "w", 1, weights.len(), format);
            builder.push_f32(weights, &RoundToNearest).err().map(|error| error.to_string())
        };
        let apart = [1e6, -1e6, 0.0, 0.0];
        // The steps of these are small, but where they begin is too far away.
        let away = [1e6, 1e6 + 1.0, 1e6, 1e6];
        for (format, weights) in [
            (Format::F16, apart),
            (grouped(2, false), apart),
            (grouped(2, true), apart),
            (grouped(2, true), away),
        ] {
            let error = refusal(format, &weights).expect("it is refused");
            assert!(error.contains("use --bits 32"), "{error}");
        }
        assert_eq!(refusal(Format::F32, &apart), None);
        assert_eq!(refusal(grouped(8, false), &[6e4, -6e4]), None);
    }
}
