//! How far a model is from another on the same inputs, whatever its class is.
//!
//! What is compared depends on the kind of output and not on the class. A model that writes reads what its reference
//! has written, and is judged by what both expect behind each token, as it is on a text; of others the outputs of a pass
//! are compared (`outputs.rs`, `things.rs`). Where words were to be written down, it also counts which are wrong
//! (`words.rs`), and where answers are known, which are right (`answers.rs`). `sample.rs` makes inputs of what a person
//! has. A reference is asked once, whatever
//! number of models is held to it.
//!
//! Products are computed in floats with dequantised weights, so kernels have no part in it.

mod answers;
mod outputs;
mod sample;
mod things;
mod words;

pub use sample::{Sample, Samples, own_inputs, own_samples};

use crate::{
    answers::{Counted, right_outputs, right_text},
    calibrate::{Heard, Opened, Text, Token, Writer, summed, use_all_processors},
    error::{Error, Result},
    infer::{Values, transcript},
    packing::Weights,
    preprocess::Processor,
    published::Published,
};
use outputs::Pair;
use pollster::block_on;
use record::{Answers, Bits, Class, Fidelity, Likeness, Precision, Words};

/// What was found of one model.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Of a model that writes: what it expects behind the tokens that the reference has written.
    pub fidelity: Option<Fidelity>,
    /// Of another: what its outputs have in common with those of the reference.
    pub likeness: Option<Likeness>,
    /// Words that it writes down wrongly.
    pub words: Option<Words>,
    /// Answers that are right, where samples have labels.
    pub answers: Option<Answers>,
    /// Bytes of the key-value cache a token.
    pub token_bytes: u64,
}

/// What a reference answers to all samples.
pub struct Asked<'a> {
    published: &'a Published,
    processor: Processor,
    samples: &'a [Sample],
    /// Tokens that are written at most.
    most: usize,
    answers: Vec<Answer>,
}

/// What a model makes of one sample.
enum Answer {
    Texts(Vec<Text>),
    Outputs(Values),
}

impl<'a> Asked<'a> {
    /// Asks a model in f32, which writes `most` tokens at most. `heard` is told how many samples are done.
    ///
    /// # Errors
    /// When weights cannot be read, or the model does not take a sample.
    pub fn of(
        reference: &'a Weights,
        samples: &'a [Sample],
        most: usize,
        heard: &Heard,
    ) -> Result<Asked<'a>> {
        use_all_processors();
        let Weights { published, folder, .. } = reference;
        let processor = block_on(Processor::of(published, folder))?;
        let opened = Opened::of((reference, &Precision::of(Bits::Fixed(32))))?;
        let mut asked = Asked { published, processor, samples, most, answers: Vec::new() };
        for sample in samples {
            asked.answers.push(match opened.decoder() {
                Some(_) => {
                    let writers = asked.writers(&opened, sample)?;
                    Answer::Texts(writers.map(|it| it?.write()).collect::<Result<_>>()?)
                }
                None => Answer::Outputs(outputs::of(&opened, &sample.inputs)?),
            });
            heard(asked.answers.len() as u64);
        }
        Ok(asked)
    }

    /// Asks another one, in `precision`, and compares.
    ///
    /// # Errors
    /// As [`Asked::of`], and when the two models are not of one kind.
    pub fn compare(&self, model: &Weights, precision: &Precision, heard: &Heard) -> Result<Found> {
        if model.published.class != self.published.class {
            let (own, other) = (model.published.class, self.published.class);
            let message = format!("the model is of the class {own}, its reference of {other}");
            return Err(Error::config("architectures", message));
        }
        let opened = Opened::of((model, precision))?;
        let (mut tokens, mut pairs, mut texts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut answers, mut token_bytes) = (Vec::new(), 0);
        for (at, (sample, answer)) in self.samples.iter().zip(&self.answers).enumerate() {
            match answer {
                Answer::Texts(written) => {
                    for (writer, text) in self.writers(&opened, sample)?.zip(written) {
                        let writer = writer?;
                        tokens.extend(text.compared(&writer.forced(text)?));
                        token_bytes = writer.token_bytes();
                        if !self.hears() && sample.right.is_none() {
                            continue;
                        }
                        let own = writer.write()?;
                        let both = [text.ids(), own.ids()];
                        let right = sample.right.as_ref();
                        answers.extend(right.map(|right| Counted {
                            all: right.count(),
                            of: both.map(|ids| right_text(right, ids)),
                        }));
                        if self.hears() {
                            texts.push(both.map(|ids| self.processor.decode(ids)));
                        }
                    }
                }
                Answer::Outputs(reference) => {
                    let own = outputs::of(&opened, &sample.inputs)?;
                    let Published { config, .. } = self.published;
                    if let Some(right) = &sample.right {
                        let count = |values: &Values| {
                            right_outputs(right, &|name| values.get(name), config)
                        };
                        let of = [count(reference)?, count(&own)?];
                        answers.push(Counted { all: right.count(), of });
                    }
                    if self.hears() {
                        let written = |values| transcript(values, config, &self.processor);
                        texts.push([written(reference)?, written(&own)?]);
                    }
                    pairs.push(Pair { reference, own, inputs: &sample.inputs });
                }
            }
            heard(at as u64 + 1);
        }
        Ok(Found {
            fidelity: summed_up(&tokens),
            likeness: match pairs.is_empty() {
                true => None,
                false => Some(outputs::likeness(&pairs)?),
            },
            words: self.words(&texts),
            answers: answers::summed(&answers),
            token_bytes,
        })
    }

    /// The model before each sequence of a sample; a case may have several.
    fn writers<'b>(
        &'b self,
        opened: &'b Opened,
        sample: &Sample,
    ) -> Result<impl Iterator<Item = Result<Writer<'b>>>> {
        Writer::each(opened, &sample.inputs, &self.published.generation, self.most)
    }

    /// Whether the class writes down what is said: other texts may differ and both be right.
    fn hears(&self) -> bool {
        matches!(self.published.class, Class::Whisper | Class::Wav2vec2)
    }

    /// Words that are wrong in what the reference and the model have written, against what is known to be said, if it is
    /// of all samples.
    fn words(&self, texts: &[[String; 2]]) -> Option<Words> {
        let said: Option<Vec<&str>> = self.samples.iter().map(|it| it.said.as_deref()).collect();
        let said = said.filter(|said| said.len() == texts.len());
        let are_known = said.is_some();
        let heard = texts.iter().enumerate().map(|(at, [reference, own])| {
            let truth = said.as_ref().map_or(reference.as_str(), |said| said[at]);
            words::counted(truth, reference, own)
        });
        words::summed(&heard.collect::<Vec<_>>(), are_known)
    }
}

/// The figures of all tokens; where they stand in their texts says nothing.
fn summed_up(tokens: &[Token]) -> Option<Fidelity> {
    let all = || Fidelity { by_position: Vec::new(), ..summed(tokens, tokens.len()) };
    (!tokens.is_empty()).then(all)
}

#[cfg(test)]
mod tests;
