//! A text as a batch of sequences of one length, or other inputs with what the model writes about them.

use super::{Heard, Opened, Writer, use_all_processors};
use crate::{
    error::{Error, Result},
    packing::Weights,
    preprocess::{Given, Processor},
    published::Inputs,
};
use pollster::block_on;
use record::{Bits, Class, Precision};

/// Sequences of one length, cut out of a text or with what else a model is given.
#[derive(Clone, Debug)]
pub struct Windows {
    /// How many there are.
    pub count: usize,
    /// Tokens of each; 0 where there are none.
    pub length: usize,
    /// `[count, length]`.
    ids: Vec<u32>,
    inputs: Inputs,
}

/// Cuts up to `tokens` tokens of `text`, as the model's own tokenizer makes them, into sequences of `length`.
///
/// # Errors
/// When the model reads more than text, has no tokenizer, or the text is shorter than a sequence.
pub fn windows(weights: &Weights, text: &str, tokens: usize, length: usize) -> Result<Windows> {
    let class = weights.published.class;
    if !matches!(class, Class::Llama | Class::Qwen2 | Class::Bert) {
        let message =
            format!("{class} reads more than text; a text can be read by llama, qwen2 and bert");
        return Err(Error::unsupported(message));
    }
    let processor = block_on(Processor::of(&weights.published, &weights.folder))?;
    let given = Given { texts: vec![text.to_owned()], ..Given::default() };
    let (_, ids) = processor
        .inputs(&given)?
        .ints
        .remove("input_ids")
        .ok_or_else(|| Error::input("input_ids", "the model's tokenizer gives none"))?;
    let ids: Vec<u32> = ids.into_iter().map(|id| id as u32).collect();
    let windows = match class {
        // What such a model reads begins and ends with a token of its own.
        Class::Bert => {
            let [first, middle @ .., last] = &ids[..] else {
                return Err(too_short(ids.len(), length));
            };
            let around = |middle: &[u32]| [&[*first], middle, &[*last]].concat();
            middle.chunks_exact(length.saturating_sub(2).max(1)).map(around).collect::<Vec<_>>()
        }
        _ => ids.chunks_exact(length).map(<[u32]>::to_vec).collect(),
    };
    Windows::of(&windows[..windows.len().min((tokens / length).max(1))], length)
        .ok_or_else(|| too_short(ids.len(), length))
}

/// Inputs of any class with the answers that the model itself writes, of `most` tokens at most, if it does. Answers are
/// cut to the shortest: a batch has one length. `heard` is told how many sequences are written.
///
/// # Errors
/// When weights cannot be read, or the model does not take the inputs.
pub fn answered(
    weights: &Weights,
    mut inputs: Inputs,
    most: usize,
    heard: &Heard,
) -> Result<Windows> {
    use_all_processors();
    let opened = Opened::of((weights, &Precision::of(Bits::Fixed(32))))?;
    let Some(decoder) = opened.decoder() else {
        let batch = |shape: &[usize]| shape.first().copied().unwrap_or(1);
        let ints = inputs.ints.values().map(|(shape, _)| batch(shape));
        let count = inputs.floats.values().map(|(shape, _)| batch(shape)).chain(ints).max();
        let ids = inputs.ints.get("input_ids").map_or(&[][..], |(_, ids)| ids);
        let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
        let count = count.unwrap_or(1).max(1);
        return Ok(Windows { count, length: ids.len() / count, ids, inputs });
    };
    let mut texts = Vec::new();
    for writer in Writer::each(&opened, &inputs, &weights.published.generation, most)? {
        let writer = writer?;
        texts.push(writer.whole(&writer.write()?));
        heard(texts.len() as u64);
    }
    let length = texts.iter().map(Vec::len).min().unwrap_or(0);
    let ids: Vec<u32> = texts.iter().flat_map(|text| &text[..length]).copied().collect();
    let values = ids.iter().map(|id| i64::from(*id)).collect();
    if decoder.prompt_input() == "input_ids" {
        // It marks the padding of prompts, which texts begin without.
        inputs.ints.remove("attention_mask");
    }
    inputs.ints.insert(decoder.prompt_input().to_owned(), (vec![texts.len(), length], values));
    Ok(Windows { count: texts.len(), length, ids, inputs })
}

fn too_short(tokens: usize, length: usize) -> Error {
    let message = format!(
        "the text has {tokens} tokens, and at least {length} are wanted: take a longer one"
    );
    Error::input("text", message)
}

impl Windows {
    /// Of sequences of this length; none where there are none.
    pub(super) fn of(sequences: &[Vec<u32>], length: usize) -> Option<Windows> {
        let (count, ids) = (sequences.len(), sequences.concat());
        let mut inputs = Inputs::default();
        let values = ids.iter().map(|id| i64::from(*id)).collect();
        inputs.ints.insert("input_ids".to_owned(), (vec![count, length], values));
        (count > 0).then_some(Windows { count, length, ids, inputs })
    }

    /// What a model is given of it.
    pub fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Some of its sequences, with all that belongs to them.
    fn some(&self, rows: &[usize]) -> Windows {
        let ids = rows.iter().flat_map(|row| &self.ids[row * self.length..(row + 1) * self.length]);
        Windows {
            count: rows.len(),
            length: self.length,
            ids: ids.copied().collect(),
            inputs: self.inputs.rows(rows, self.count),
        }
    }

    /// The same in parts of so many sequences.
    pub(super) fn parts(&self, sequences: usize) -> impl Iterator<Item = Windows> {
        let all: Vec<usize> = (0..self.count).collect();
        let parts: Vec<Windows> = all.chunks(sequences).map(|rows| self.some(rows)).collect();
        parts.into_iter()
    }

    /// The first `sequences` of it, and the others; where there are no others, all of it twice.
    pub fn split(&self, sequences: usize) -> [Windows; 2] {
        if self.count <= sequences {
            return [self.clone(), self.clone()];
        }
        let all: Vec<usize> = (0..self.count).collect();
        let (first, rest) = all.split_at(sequences);
        [self.some(first), self.some(rest)]
    }

    /// At most so many of its sequences, at equal distances.
    #[must_use]
    pub fn spread(&self, sequences: usize) -> Windows {
        let wanted = sequences.clamp(1, self.count);
        self.some(&(0..wanted).map(|at| at * self.count / wanted).collect::<Vec<_>>())
    }

    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }
}
