//! Whisper's half minutes (`WhisperFeatureExtractor` in transformers) and the tokens that its texts
//! begin with.

use super::{Audio, Tokenizer, settings::Section};
use crate::{
    error::{Error, Result},
    mel::{Mel, MelShape, Scale},
    published::{Config, Inputs},
};
use serde_json::Value;

/// Longest recording a configuration may ask for, in samples: Whisper's has 480,000.
const MAX_SAMPLES: usize = 1 << 24;
/// What the loudest power may be above the quietest, in log10.
const RANGE: f32 = 8.0;
/// Token ids of the first multilingual model: models with fewer know English alone.
const MULTILINGUAL: usize = 51_865;

/// How recordings are prepared.
#[derive(Debug)]
pub(super) struct Features {
    mel: Mel,
    samples: usize,
    padding: f32,
}

impl Features {
    pub(super) fn read(section: &Section, model: &Config) -> Result<Features> {
        let bins = model.size_or("num_mel_bins", Some(80))?;
        section.read(|config| {
            let rate = config.size_or("sampling_rate", Some(16_000))?;
            let hop = config.size_or("hop_length", Some(160))?;
            let seconds = config.size_or("chunk_length", Some(30))?;
            let samples = seconds.saturating_mul(rate);
            if samples > MAX_SAMPLES {
                let message = format!("{seconds} s at {rate} samples a second are too many");
                return Err(Error::config("chunk_length", message));
            }
            if config.number_or("dither", 0.0)? != 0.0 {
                return Err(Error::config("dither", "is random; set it to 0"));
            }
            let mel = Mel::new(MelShape {
                rate,
                window: config.size_or("n_fft", Some(400))?,
                hop,
                bins: config.size_or("feature_size", Some(bins))?,
                range: [0.0, 8000.0],
                scale: Scale::Slaney,
                factor: 1.0,
            })?;
            Ok(Features { mel, samples, padding: config.number_or("padding_value", 0.0)? as f32 })
        })
    }

    /// `input_features: [B, bins, frames]` of recordings that are cut or padded to one length.
    pub(super) fn put(&self, audio: &[Audio], inputs: &mut Inputs) -> Result<()> {
        let (bins, frames) = (self.mel.shape.bins, self.samples / self.mel.shape.hop);
        let mut values = Vec::with_capacity(audio.len() * bins * frames);
        for audio in audio {
            let mut samples = audio.at(self.mel.shape.rate as u32)?.samples;
            samples.resize(self.samples, self.padding);
            let mut spectrum = self.mel.log(&samples);
            // The last frame is centred on the end and left out.
            spectrum.truncate(frames * bins);
            let loudest = spectrum.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let scaled = |x: f32| (x.max(loudest - RANGE) + 4.0) / 4.0;
            for bin in 0..bins {
                values.extend((0..frames).map(|frame| scaled(spectrum[frame * bins + bin])));
            }
        }
        let shape = vec![audio.len(), bins, frames];
        inputs.floats.insert("input_features".to_owned(), (shape, values));
        Ok(())
    }
}

/// The tokens that a text begins with: the start, the language and the task where the model knows
/// several, and that no times are wanted. `generation_config.json` says which, newer files by
/// `lang_to_id`, `task_to_id` and `no_timestamps_token_id`, older ones by `forced_decoder_ids`; what no
/// file says, the vocabulary does.
///
/// transformers finds the language by listening first. Here it is `language`, a code like `de`, or
/// the file's, or English.
pub(super) fn prompt(
    model: &Config,
    generation: &Section,
    tokenizer: Option<&Tokenizer>,
    language: Option<&str>,
) -> Result<Vec<u32>> {
    let start = model.whole_or("decoder_start_token_id", 50_257)?;
    let start = generation.read(|config| config.whole_or("decoder_start_token_id", start))?;
    let mut prompt = vec![start as u32];

    let text = |field| generation.read(|config| Ok(config.text_or(field, "")?.to_owned()));
    let (own_language, own_task) = (text("language")?, text("task")?);
    let language = language.unwrap_or(&own_language).trim_matches(['<', '|', '>']).to_lowercase();
    // As in transformers, either field puts the older way of saying it out of force.
    let forced = match language.is_empty() && own_task.is_empty() {
        true => generation.read(forced)?.or(forced(model)?).unwrap_or_default(),
        false => Vec::new(),
    };
    let vocabulary = model.size_or("vocab_size", Some(MULTILINGUAL))?;
    let multilingual = generation.has("lang_to_id") || vocabulary >= MULTILINGUAL;
    let multilingual = generation.read(|config| config.flag_or("is_multilingual", multilingual))?;

    let find = |table: &str, name: String, place: u64| -> Result<Option<u32>> {
        if let Some((_, id)) = forced.iter().find(|(forced, _)| *forced == place) {
            return Ok(Some(*id));
        }
        let listed = generation.read(|config| match config.part(table)?.get(&name) {
            Some(id) => token_id(table, id).map(Some),
            None => Ok(None),
        })?;
        Ok(listed.or_else(|| tokenizer?.id(&name)))
    };
    // Without a word on tokens there is only the start; a model alone does not name its languages.
    let told = tokenizer.is_some() || generation.has("lang_to_id") || !forced.is_empty();
    if multilingual && (told || !language.is_empty()) {
        let code = if language.is_empty() { "en" } else { &*language };
        let task = if own_task.is_empty() { "transcribe" } else { &*own_task };
        let unknown = |what: &str, name: &str, hint: &str| {
            Error::input(what, format!("{name:?} is not one that the model knows{hint}"))
        };
        let id = find("lang_to_id", format!("<|{code}|>"), 1)?;
        prompt.push(id.ok_or_else(|| unknown("language", code, "; give a code like en"))?);
        let id = match find("task_to_id", task.to_owned(), 2)? {
            None => tokenizer.and_then(|tokenizer| tokenizer.id(&format!("<|{task}|>"))),
            id => id,
        };
        prompt.push(id.ok_or_else(|| unknown("task", task, ""))?);
    } else if !multilingual && !["", "en"].contains(&&*language) {
        let message = format!("{language:?} is not English, which is all that the model knows");
        return Err(Error::input("language", message));
    }
    let place = prompt.len() as u64;
    let untimed = generation.read(|config| match config.get("no_timestamps_token_id") {
        Some(id) => token_id("no_timestamps_token_id", id).map(Some),
        None => Ok(None),
    })?;
    let untimed = match untimed {
        None => find("", "<|notimestamps|>".to_owned(), place)?,
        id => id,
    };
    prompt.extend(untimed);
    Ok(prompt)
}

/// `forced_decoder_ids`: places in the prompt and their tokens, without those left open.
fn forced(config: &Config) -> Result<Option<Vec<(u64, u32)>>> {
    let field = "forced_decoder_ids";
    let Some(value) = config.get(field) else { return Ok(None) };
    let pairs: Vec<(u64, Option<u32>)> = serde_json::from_value(value.clone())
        .map_err(|_| Error::config(field, format!("{value} is not a list of places and tokens")))?;
    Ok(Some(pairs.into_iter().filter_map(|(place, id)| Some((place, id?))).collect()))
}

fn token_id(field: &str, value: &Value) -> Result<u32> {
    let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| Error::config(field, format!("{value} is not a token's id")))
}
