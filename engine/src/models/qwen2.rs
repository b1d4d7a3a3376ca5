//! Qwen2 (Yang et al. 2024): a LLaMA whose queries, keys and values have a bias, and whose later
//! layers may look through a window.

use super::{
    Config,
    blocks::decoder::{Defaults, Spec, TextDecoder},
};
use crate::{
    error::{Error, Result},
    load::Declaration,
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

pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<TextDecoder> {
    config.architecture_of(&["Qwen2ForCausalLM"])?;
    TextDecoder::declare(weights, spec(config)?, "model.", "lm_head")
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn windows(fields: Value) -> Result<Vec<Option<usize>>> {
        let mut config = json!({"num_hidden_layers": 3, "sliding_window": 8});
        config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        Ok(spec(&Config::new(config)?)?.windows)
    }

    #[test]
    fn windows_follow_number_or_name() {
        assert_eq!(windows(json!({})), Ok(vec![None; 3]));
        let first = |first| json!({"use_sliding_window": true, "max_window_layers": first});
        assert_eq!(windows(first(0)), Ok(vec![Some(8); 3]));
        assert_eq!(windows(first(2)), Ok(vec![None, None, Some(8)]));
        assert_eq!(windows(first(9)), Ok(vec![None; 3]));
        let kinds = ["sliding_attention", "full_attention", "sliding_attention"];
        let named = windows(json!({"use_sliding_window": true, "layer_types": kinds}));
        assert_eq!(named, Ok(vec![Some(8), None, Some(8)]));
    }

    #[test]
    fn layers_that_cannot_slide_are_refused() {
        for fields in [
            json!({"layer_types": ["full_attention", "full_attention", "sliding_attention"]}),
            json!({"layer_types": ["full_attention"]}),
            json!({"layer_types": ["full_attention", "full_attention", "linear_attention"]}),
            json!({"layer_types": "full_attention"}),
            json!({"num_hidden_layers": 1 << 24}),
        ] {
            let field = fields.as_object().unwrap().keys().next().unwrap().clone();
            let message = windows(fields).unwrap_err().to_string();
            assert!(message.starts_with(&format!("config.json, {field}: ")), "{message}");
        }
    }
}
