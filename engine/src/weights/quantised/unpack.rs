//! The integers, zeros and scales of a layer, read from its parts.

use super::{
    super::{Dtype, Source, TensorInfo, blocks},
    config::Method,
    layer::Parts,
};
use crate::error::Result;

/// Where AWQ puts each of eight neighbours.
const PLACES: [usize; 8] = [0, 4, 1, 5, 2, 6, 3, 7];
/// Outputs that are unpacked side by side: the words of so many lie in one line of a cache.
const ABREAST: usize = 16;

/// The parts themselves.
pub(super) struct Unpacked<'a> {
    parts: &'a Parts,
    /// Words of codes, or bytes, one a word.
    words: Vec<u32>,
    /// As they lie.
    pub(super) zeros: Vec<f32>,
    /// As they lie.
    pub(super) scales: Vec<f32>,
    /// The group of each input.
    groups: Vec<usize>,
}

impl<'a> Unpacked<'a> {
    pub(super) async fn read(parts: &'a Parts, source: &dyn Source) -> Result<Unpacked<'a>> {
        let [outputs, inputs] = parts.shape;
        let groups = match &parts.groups {
            None => (0..inputs).map(|input| input / parts.group).collect(),
            Some(part) => {
                let there_are = parts.scales.rows();
                let group = |word: u32| match (word as usize) < there_are {
                    true => Ok(word as usize),
                    false => Err(part.refuse(format!("names group {word} of {there_are}"))),
                };
                words(part, source).await?.into_iter().map(group).collect::<Result<_>>()?
            }
        };
        let zeros = match parts.method {
            Method::Hqq => floats(&parts.zeros, source).await?,
            _ => {
                let packed = words(&parts.zeros, source).await?;
                let (bits, row) = (usize::from(parts.bits), parts.zeros.row_len());
                let zero = |at: usize| {
                    let (group, output) = (at / outputs, at % outputs);
                    let stored = integer(&packed[group * row..], 1, bits, place(parts, output));
                    match parts.method {
                        // As AutoGPTQ reads it, what would not fit the bits is 0 again.
                        Method::Gptq => ((stored + 1) % (1 << bits)) as f32,
                        _ => stored as f32,
                    }
                };
                (0..parts.scales.len()).map(zero).collect()
            }
        };
        let scales = floats(&parts.scales, source).await?;
        Ok(Unpacked { parts, words: words(&parts.codes, source).await?, zeros, scales, groups })
    }

    /// Whether groups are of neighbours.
    pub(super) fn is_in_order(&self) -> bool {
        let mut groups = self.groups.iter().enumerate();
        groups.all(|(input, group)| *group == input / self.parts.group)
    }

    /// Which zero and scale a code has.
    pub(super) fn line(&self, output: usize, input: usize) -> usize {
        let [outputs, inputs] = self.parts.shape;
        match self.parts.method {
            Method::Hqq => {
                let at = output * inputs + input;
                let is_row = self.parts.scales.row_len() == 1;
                if is_row { at / self.parts.group } else { at % self.parts.group }
            }
            _ => self.groups[input] * outputs + output,
        }
    }

    /// Hands out every code with its output and its input.
    pub(super) fn each(&self, mut take: impl FnMut(usize, usize, u32)) {
        let [outputs, inputs] = self.parts.shape;
        for first in (0..outputs).step_by(ABREAST) {
            for input in 0..inputs {
                for output in first..(first + ABREAST).min(outputs) {
                    take(output, input, self.code(output, input));
                }
            }
        }
    }

    fn code(&self, output: usize, input: usize) -> u32 {
        let Parts { method, bits, codes, shape, group, .. } = self.parts;
        let (bits, row) = (usize::from(*bits), codes.row_len());
        match method {
            Method::Awq => integer(&self.words[input * row..], 1, bits, place(self.parts, output)),
            Method::Gptq | Method::GptqV2 => integer(&self.words[output..], row, bits, input),
            Method::Hqq => {
                let at = output * shape[1] + input;
                let (line, column) = (at / group, at % group);
                // The first part of all lines has the highest bits.
                let parts = if bits == 3 { 10 } else { 8 / bits };
                let (part, line) = (line / codes.rows(), line % codes.rows());
                let shifted = self.words[line * group + column] >> (bits * (parts - 1 - part));
                shifted & ((1 << bits) - 1)
            }
        }
    }
}

/// Where an output is among those that are packed along N.
fn place(parts: &Parts, output: usize) -> usize {
    match parts.method {
        Method::Awq => output / 8 * 8 + PLACES[output % 8],
        _ => output,
    }
}

/// Integer `at` of a stream of words, each `stride` words behind the one before.
fn integer(words: &[u32], stride: usize, bits: usize, at: usize) -> u32 {
    let (word, shift) = (at * bits / 32, at * bits % 32);
    let mut found = words[word * stride] >> shift;
    if shift + bits > 32 {
        found |= words[(word + 1) * stride] << (32 - shift);
    }
    found & ((1 << bits) - 1)
}

/// A tensor of integers as words.
async fn words(part: &TensorInfo, source: &dyn Source) -> Result<Vec<u32>> {
    let bytes = part.read(source, 0..part.rows()).await?;
    Ok(match part.dtype {
        Dtype::U8 => bytes.into_iter().map(u32::from).collect(),
        _ => bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect(),
    })
}

async fn floats(part: &TensorInfo, source: &dyn Source) -> Result<Vec<f32>> {
    let bytes = part.read(source, 0..part.rows()).await?;
    let mut numbers = Vec::new();
    blocks::to_f32(part.dtype, &bytes, &mut numbers).expect("they were checked to be floats");
    Ok(numbers)
}
