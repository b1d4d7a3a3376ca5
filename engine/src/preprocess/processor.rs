//! One door for all classes: what a person gives, as the inputs of a class.

use super::{
    Given, Tokenizer, clap,
    given::taken,
    letters::Letters,
    pictures::Pictures,
    settings::{Section, Settings},
    tiles::Placeholders,
    wav2vec2::Waves,
    whisper,
};
use crate::{
    error::{Error, Result},
    published::{Config, Inputs, Published, whole},
    weights::Source,
};
use record::Class;

/// Makes the inputs of one model.
#[derive(Debug)]
pub struct Processor {
    class: Class,
    tokenizer: Option<Tokenizer>,
    letters: Option<Letters>,
    /// The token that batches are padded with, and whether on the left.
    padding: (Option<String>, bool),
    /// Whether texts have `token_type_ids`.
    types: bool,
    sounds: Option<Sounds>,
    pictures: Option<Pictures>,
    /// What the decoder's text begins with, where a class has an encoder too.
    prompt: Vec<u32>,
    /// The first of the tokens that are times.
    times: Option<u32>,
    model: Config,
    generation: Section,
}

/// How sounds are prepared.
#[derive(Debug)]
enum Sounds {
    Clap(clap::Features),
    Whisper(whisper::Features),
    Wav2vec2(Waves),
}

impl Processor {
    /// Reads what the files of a model say; what they leave out is as the class has it by default.
    ///
    /// # Errors
    /// When a file is malformed, or asks for something that is not known here.
    pub async fn open(class: Class, config: &Config, source: &dyn Source) -> Result<Processor> {
        let settings = Settings::read(source).await?;
        let tokenizer = match whole(source, "tokenizer.json").await? {
            Some(bytes) => Some(Tokenizer::from_json(&bytes)?),
            None => None,
        };
        let letters = match class {
            Class::Wav2vec2 => Letters::read(source, &settings.tokenizer).await?,
            _ => None,
        };
        let named = settings.tokenizer.read(|config| {
            Ok(config.texts("model_input_names")?.map(|names| names.contains(&"token_type_ids")))
        })?;
        let sounds = match class {
            Class::Whisper => {
                Some(Sounds::Whisper(whisper::Features::read(&settings.audio, config)?))
            }
            Class::Clap => Some(Sounds::Clap(clap::Features::read(&settings.audio)?)),
            Class::Wav2vec2 => Some(Sounds::Wav2vec2(Waves::read(&settings.audio)?)),
            _ => None,
        };
        let pictures = match class {
            Class::Vit
            | Class::Detr
            | Class::Clip
            | Class::Llava
            | Class::LlavaNext
            | Class::Xclip => Some(Pictures::read(class, config, &settings)?),
            _ => None,
        };
        let mut processor = Processor {
            class,
            tokenizer: None,
            letters,
            padding: padding(class, &settings)?,
            types: class == Class::Bert && named.unwrap_or(true),
            sounds,
            pictures,
            prompt: Vec::new(),
            times: None,
            model: config.clone(),
            generation: settings.generation,
        };
        if class == Class::T5 {
            processor.prompt = vec![config.whole_or("decoder_start_token_id", 0)? as u32];
        }
        match tokenizer {
            Some(tokenizer) => processor.with_tokenizer(tokenizer),
            None => processor.prompted(None),
        }
    }

    /// Reads the same of a model that was opened. A GGUF file carries its tokenizer.
    ///
    /// # Errors
    /// As [`Processor::open`], or when the tokenizer of the GGUF file is malformed.
    pub async fn of(published: &Published, source: &dyn Source) -> Result<Processor> {
        let processor = Processor::open(published.class, &published.config, source).await?;
        match (processor.tokenizer(), &published.checkpoint.metadata) {
            (None, Some(metadata)) if metadata.get("tokenizer.ggml.tokens").is_some() => {
                processor.with_tokenizer(Tokenizer::from_gguf(metadata)?)
            }
            _ => Ok(processor),
        }
    }

    /// Takes another tokenizer, like the one that a GGUF file carries.
    ///
    /// # Errors
    /// When a token that the files name is not in its vocabulary.
    pub fn with_tokenizer(mut self, tokenizer: Tokenizer) -> Result<Processor> {
        let (pad, on_the_left) = &self.padding;
        let tokenizer = tokenizer.with_padding(pad.as_deref(), *on_the_left)?;
        self.times = tokenizer.id("<|notimestamps|>").map(|id| id + 1);
        self.tokenizer = Some(tokenizer);
        self.prompted(None)
    }

    /// Makes a multilingual Whisper write down this language, given as a code like `de`.
    ///
    /// # Errors
    /// When the class has no languages or the model does not know this one.
    pub fn with_language(self, language: &str) -> Result<Processor> {
        if self.class != Class::Whisper {
            let message = format!("{} has none to choose", self.class);
            return Err(Error::input("language", message));
        }
        self.prompted(Some(language))
    }

    fn prompted(mut self, language: Option<&str>) -> Result<Processor> {
        if self.class == Class::Whisper {
            let tokenizer = self.tokenizer.as_ref();
            self.prompt = whisper::prompt(&self.model, &self.generation, tokenizer, language)?;
        }
        Ok(self)
    }

    /// The inputs of one pass, named as the class's `forward()` names them.
    ///
    /// # Errors
    /// When something is given that the class does not take, nothing is given, or what is given
    /// cannot be used.
    pub fn inputs(&self, given: &Given) -> Result<Inputs> {
        let mut inputs = Inputs::default();
        let kinds = [
            ("texts", given.texts.len()),
            ("images", given.images.len()),
            ("audio", given.audio.len()),
            ("frames", given.frames.len()),
        ];
        let taken = taken(self.class);
        if kinds.iter().all(|(_, count)| *count == 0) {
            let message = format!("nothing is given: {} takes {}", self.class, taken.join(" and "));
            return Err(Error::input(taken[0], message));
        }
        let strange = kinds.iter().find(|(kind, count)| *count > 0 && !taken.contains(kind));
        if let Some((kind, _)) = strange {
            let message =
                format!("{} does not take them, it takes {}", self.class, taken.join(" and "));
            return Err(Error::input(*kind, message));
        }
        let texts = match &self.pictures {
            Some(pictures) => pictures.put(given, &mut inputs)?,
            None => given.texts.clone(),
        };
        match &self.sounds {
            _ if given.audio.is_empty() => {}
            Some(Sounds::Clap(features)) => features.put(&given.audio, &mut inputs)?,
            Some(Sounds::Whisper(features)) => features.put(&given.audio, &mut inputs)?,
            Some(Sounds::Wav2vec2(waves)) => waves.put(&given.audio, &mut inputs)?,
            None => {}
        }
        if !texts.is_empty() {
            self.put_texts(&texts, !given.has_special_tokens, &mut inputs)?;
        }
        if !self.prompt.is_empty() {
            let rows = given.texts.len().max(given.audio.len());
            let ids = self.prompt.iter().map(|id| i64::from(*id));
            let shape = vec![rows, self.prompt.len()];
            let ids = (0..rows).flat_map(|_| ids.clone()).collect();
            inputs.ints.insert("decoder_input_ids".to_owned(), (shape, ids));
        }
        Ok(inputs)
    }

    /// What stands for an image in the texts of a class that reads images among words.
    pub fn image_token(&self) -> Option<&str> {
        self.pictures.as_ref()?.placeholders().map(Placeholders::token)
    }

    /// The tokenizer, where the model has one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref()
    }

    /// The text of token ids, without special tokens and times. Ids of a CTC model are those that
    /// [`crate::ctc::greedy`] gives. What has no text is left out.
    pub fn decode(&self, ids: &[u32]) -> String {
        if let Some(letters) = &self.letters {
            return letters.decode(ids);
        }
        let Some(tokenizer) = &self.tokenizer else { return String::new() };
        let is_text = |id: &u32| {
            (*id as usize) < tokenizer.vocab_size() && self.times.is_none_or(|times| *id < times)
        };
        let ids: Vec<u32> = ids.iter().copied().filter(is_text).collect();
        tokenizer.decode(&ids, true).unwrap_or_default()
    }

    fn put_texts(&self, texts: &[String], add_special: bool, inputs: &mut Inputs) -> Result<()> {
        let tokenizer = self.tokenizer.as_ref().ok_or_else(|| Error::Read {
            file: "tokenizer.json".to_owned(),
            message: "texts need it, and it is not there; transformers writes it with \
                      AutoTokenizer.from_pretrained(…).save_pretrained(…)"
                .to_owned(),
        })?;
        if let Some(placeholders) = self.pictures.as_ref().and_then(Pictures::placeholders) {
            placeholders.check(tokenizer)?;
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let batch = tokenizer.encode_batch(&texts, add_special)?;
        let shape = vec![batch.rows, batch.len];
        let mut put = |name: &str, values: Vec<i64>| {
            inputs.ints.insert(name.to_owned(), (shape.clone(), values));
        };
        if self.types {
            put("token_type_ids", vec![0; batch.ids.len()]);
        }
        put("input_ids", batch.ids.into_iter().map(i64::from).collect());
        put("attention_mask", batch.mask.into_iter().map(i64::from).collect());
        Ok(())
    }
}

/// The token that batches are padded with, and whether on the left.
fn padding(class: Class, settings: &Settings) -> Result<(Option<String>, bool)> {
    let left = settings.tokenizer.read(|config| {
        // Of the tokenizers of these classes, Llama's alone pads on the left unless told otherwise.
        let usual = match class {
            Class::Llama | Class::Llava | Class::LlavaNext => "LlamaTokenizer",
            _ => "",
        };
        let llama = config.text_or("tokenizer_class", usual)?.starts_with("Llama");
        match config.text_or("padding_side", if llama { "left" } else { "right" })? {
            "left" => Ok(true),
            "right" => Ok(false),
            other => Err(Error::config("padding_side", format!("{other:?} is neither side"))),
        }
    })?;
    let token = settings.tokenizer.token("pad_token")?;
    Ok((token.map_or_else(|| settings.special.token("pad_token"), |t| Ok(Some(t)))?, left))
}
