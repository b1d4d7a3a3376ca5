//! Qwen2 (Yang et al. 2024): a LLaMA whose queries, keys and values have a bias, and whose later
//! layers may look through a window.

use super::{
    Config,
    blocks::decoder::{Defaults, Spec, TextDecoder},
};
use crate::{
    error::{Error, Result},
    load::Loader,
};

/// `Qwen2Config` of transformers 5.23.
const QWEN2: Defaults = Defaults {
    vocabulary: 151_936,
    hidden: 4096,
    inner: 22_016,
    layers: 32,
    heads: 32,
    kv_heads: None,
    positions: 32_768,
};

pub(super) async fn load(config: &Config, loader: &Loader<'_>) -> Result<TextDecoder> {
    config.architecture_of(&["Qwen2ForCausalLM"])?;
    TextDecoder::load(loader, spec(config)?, "model.", "lm_head").await
}

pub(super) fn spec(config: &Config) -> Result<Spec> {
    let mut spec = Spec { qkv_bias: true, ..Spec::read(config, &QWEN2)? };
    let window = match config.flag_or("use_sliding_window", false)? {
        true if config.is_null("sliding_window") => None,
        true => Some(config.size_or("sliding_window", Some(4096))?),
        false => None,
    };
    let layers = spec.windows.len();
    match config.texts("layer_types")? {
        Some(kinds) if kinds.len() != layers => {
            let message = format!("names {} layers of {layers}", kinds.len());
            return Err(Error::config("layer_types", message));
        }
        Some(kinds) => {
            for (slot, kind) in spec.windows.iter_mut().zip(kinds) {
                *slot = match (kind, window) {
                    ("full_attention", _) => None,
                    ("sliding_attention", Some(window)) => Some(window),
                    ("sliding_attention", None) => {
                        let message = "a layer slides, but use_sliding_window or sliding_window \
                                       says that none does";
                        return Err(Error::config("layer_types", message));
                    }
                    (other, _) => {
                        let message =
                            format!("{other} is unknown; use full_attention or sliding_attention");
                        return Err(Error::config("layer_types", message));
                    }
                };
            }
        }
        None => {
            // The first of the layers with a window; there may be none.
            let first = config.whole_or("max_window_layers", 28)?.min(layers);
            spec.windows[first..].fill(window);
        }
    }
    Ok(spec)
}
