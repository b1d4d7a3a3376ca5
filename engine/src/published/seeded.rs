//! Inputs for a model that says nothing of how they are prepared: seeded numbers in the shapes that
//! its configuration gives.

use super::{Config, Published, tiling::Tiling};
use crate::error::Result;
use record::{Class, SeededInput};
use std::collections::BTreeMap;

/// Tokens of a text, where the model has positions for as many.
const TOKENS: usize = 32;
/// Samples of a second, at the rate of every class that hears.
const SECOND: usize = 16_000;
/// Height and width of an image for models that take any.
const IMAGE: [usize; 2] = [224, 320];

/// What goes into the model, by the names of its class's `forward()`.
///
/// # Errors
/// When a field of the configuration that a shape depends on is wrong.
pub(crate) fn inputs(published: &Published) -> Result<BTreeMap<String, SeededInput>> {
    let config = &published.config;
    let mut inputs = BTreeMap::new();
    let mut put = |name: &str, input| {
        inputs.insert(name.to_owned(), input);
    };
    match published.class {
        Class::Bert => put("input_ids", ids(config, 512, 30_522)?),
        Class::Llama => put("input_ids", ids(config, 2048, 32_000)?),
        Class::Qwen2 => put("input_ids", ids(config, 32_768, 151_936)?),
        Class::T5 => {
            put("input_ids", ids(config, 512, 32_128)?);
            put("decoder_input_ids", start(config, 0)?);
        }
        Class::Whisper => {
            let mels = config.size_or("num_mel_bins", Some(80))?;
            let frames = 2 * config.size_or("max_source_positions", Some(1500))?;
            put("input_features", SeededInput::Normal(vec![1, mels, frames]));
            put("decoder_input_ids", start(config, 50_257)?);
        }
        Class::Wav2vec2 => put("input_values", SeededInput::Normal(vec![1, SECOND])),
        Class::Clap => {
            let audio = config.part("audio_config")?;
            let (side, mels) =
                (audio.size_or("spec_size", Some(256))?, audio.size_or("num_mel_bins", Some(64))?);
            let is_fused = audio.flag_or("enable_fusion", false)?;
            let channels = match is_fused {
                true => 4,
                false => audio.size_or("patch_embed_input_channels", Some(1))?,
            };
            let frames = side * (side / mels).max(1);
            put("input_features", SeededInput::Normal(vec![1, channels, frames, mels]));
            put("is_longer", SeededInput::Runs(vec![(i64::from(is_fused), 1)]));
            put("input_ids", ids(&config.part("text_config")?, 512, 50_265)?);
        }
        Class::Vit => put("pixel_values", pixels(config, &[1])?),
        Class::Detr => {
            let channels = config.size_or("num_channels", Some(3))?;
            put("pixel_values", SeededInput::Normal([&[1, channels][..], &IMAGE].concat()));
        }
        Class::Clip => {
            let side = |part| Ok(config.object(part)?.unwrap_or_else(|| config.clone()));
            let name = config.architecture()?;
            if !name.starts_with("CLIPVision") && name != "CLIPForImageClassification" {
                put("input_ids", ids(&side("text_config")?, 77, 49_408)?);
            }
            if !name.starts_with("CLIPText") {
                put("pixel_values", pixels(&side("vision_config")?, &[1])?);
            }
        }
        Class::Xclip => {
            let vision = config.part("vision_config")?;
            let frames = vision.size_or("num_frames", Some(8))?;
            put("input_ids", ids(&config.part("text_config")?, 77, 49_408)?);
            put("pixel_values", pixels(&vision, &[1, frames])?);
        }
        Class::Llava => {
            let vision = config.part("vision_config")?;
            let [height, width] = vision.pair_or("image_size", 224)?;
            let [down, across] = vision.pair_or("patch_size", 32)?;
            let keeps_class =
                config.text_or("vision_feature_select_strategy", "default")? == "full";
            let tokens = height / down * (width / across) + usize::from(keeps_class);
            put("pixel_values", pixels(&vision, &[1])?);
            put("input_ids", around_image(config, tokens)?);
        }
        Class::LlavaNext => {
            let vision = config.part("vision_config")?;
            let tiling = Tiling::read(config, &vision)?;
            let channels = vision.size_or("num_channels", Some(3))?;
            let tiles = 1 + tiling.best(IMAGE).iter().product::<usize>();
            let shape = vec![1, tiles, channels, tiling.side, tiling.side];
            put("pixel_values", SeededInput::Normal(shape));
            let sizes = IMAGE.map(|side| (side as i64, 1));
            put("image_sizes", SeededInput::Runs(sizes.to_vec()));
            put("input_ids", around_image(config, tiling.tokens(IMAGE))?);
        }
    }
    Ok(inputs)
}

/// A text of ids that mean nothing; `positions` and `vocabulary` where the configuration does not say
/// how many there are. Half of the positions are left for what is generated.
fn ids(config: &Config, positions: usize, vocabulary: usize) -> Result<SeededInput> {
    let positions = config.size_or("max_position_embeddings", Some(positions))?;
    let vocabulary = config.size_or("vocab_size", Some(vocabulary))?;
    let shape = vec![1, TOKENS.min(positions / 2).max(1)];
    Ok(SeededInput::Ids { shape, below: vocabulary as u32 })
}

/// The token that a text begins with behind an encoder.
fn start(config: &Config, default: usize) -> Result<SeededInput> {
    let token = config.whole_or("decoder_start_token_id", default)?;
    Ok(SeededInput::Runs(vec![(token as i64, 1)]))
}

/// Images of the size that the model's positions are for.
fn pixels(config: &Config, lead: &[usize]) -> Result<SeededInput> {
    let channels = config.size_or("num_channels", Some(3))?;
    let size = config.pair_or("image_size", 224)?;
    Ok(SeededInput::Normal([lead, &[channels], &size].concat()))
}

/// A text with the `tokens` that stand for one image, and a few that mean nothing.
fn around_image(config: &Config, tokens: usize) -> Result<SeededInput> {
    let image = match config.get("image_token_index") {
        Some(_) => config.whole_or("image_token_index", 0)?,
        None => config.whole_or("image_token_id", 32_000)?,
    };
    // Any but the one that stands for images.
    let word = |at: i64| at + i64::from(at >= image as i64);
    let words = |from: i64| (from..from + 4).map(move |at| (word(at), 1));
    let runs = words(1).chain([(image as i64, tokens)]).chain(words(5));
    Ok(SeededInput::Runs(runs.collect()))
}
