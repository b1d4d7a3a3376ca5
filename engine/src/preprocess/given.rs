//! What a person gives to a model, read from the files that it is in.

use super::{Audio, Image};
use crate::{
    error::{Error, Result},
    weights::Source,
};
use record::{Class, Question};

/// Largest input file: an hour of sound, or any photograph.
const MAX_INPUT_BYTES: u64 = 512 << 20;

/// What a person gives to a model.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Texts, one a row of the batch.
    pub texts: Vec<String>,
    /// Whether they spell out the special tokens that a tokenizer would put around them.
    pub has_special_tokens: bool,
    /// Images, in the order in which texts name them.
    pub images: Vec<Image>,
    /// Recordings.
    pub audio: Vec<Audio>,
    /// The frames of one video.
    pub frames: Vec<Image>,
}

impl Given {
    /// Reads and decodes the files of a question.
    ///
    /// # Errors
    /// When one is missing, too large, or of no kind that is read.
    pub async fn read(class: Class, question: &Question, source: &dyn Source) -> Result<Given> {
        let mut given = Given { texts: question.texts.clone(), ..Given::default() };
        let read = async |file: &String| match source.size(file) {
            Some(size) if size <= MAX_INPUT_BYTES => source.read(file, 0..size).await,
            Some(size) => Err(Error::malformed(file, format!("{size} bytes are too many"))),
            None => Err(Error::Read { file: file.clone(), message: "is not there".to_owned() }),
        };
        for file in &question.images {
            let image = Image::decode(&read(file).await?)?;
            match class {
                Class::Xclip => given.frames.push(image),
                _ => given.images.push(image),
            }
        }
        for file in &question.audio {
            given.audio.push(Audio::decode(&read(file).await?)?);
        }
        Ok(given)
    }
}

/// The kinds of things that a class takes, as the fields of [`Given`] are called.
pub fn taken(class: Class) -> &'static [&'static str] {
    match class {
        Class::Bert | Class::T5 | Class::Llama | Class::Qwen2 => &["texts"],
        Class::Whisper | Class::Wav2vec2 => &["audio"],
        Class::Clap => &["texts", "audio"],
        Class::Vit | Class::Detr => &["images"],
        Class::Clip | Class::Llava | Class::LlavaNext => &["texts", "images"],
        Class::Xclip => &["texts", "frames"],
    }
}
