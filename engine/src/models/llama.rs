//! LLaMA (Touvron et al. 2023) and Mistral (Jiang et al. 2023): decoders of text.

use super::{
    Config,
    blocks::decoder::{Defaults, Spec, TextDecoder},
};
use crate::{error::Result, load::Declaration};

/// `LlamaConfig` of transformers 5.23.
const LLAMA: Defaults = Defaults {
    vocabulary: 32_000,
    hidden: 4096,
    inner: 11_008,
    layers: 32,
    heads: 32,
    kv_heads: None,
    positions: 2048,
};

/// `MistralConfig` of transformers 5.23.
const MISTRAL: Defaults =
    Defaults { inner: 14_336, kv_heads: Some(8), positions: 32 * 4096, ..LLAMA };

pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<TextDecoder> {
    let spec = match config.architecture_of(&["LlamaForCausalLM", "MistralForCausalLM"])? {
        "MistralForCausalLM" => mistral_spec(config)?,
        _ => spec(config)?,
    };
    TextDecoder::declare(weights, spec, "model.", "lm_head")
}

/// A LLaMA has biases where its configuration says so.
pub(super) fn spec(config: &Config) -> Result<Spec> {
    let bias = config.flag_or("attention_bias", false)?;
    Ok(Spec {
        qkv_bias: bias,
        output_bias: bias,
        mlp_bias: config.flag_or("mlp_bias", false)?,
        ..Spec::read(config, &LLAMA)?
    })
}

/// Every layer of a Mistral looks through the same window, if there is one.
pub(super) fn mistral_spec(config: &Config) -> Result<Spec> {
    let mut spec = Spec::read(config, &MISTRAL)?;
    let window = match config.is_null("sliding_window") {
        true => None,
        false => Some(config.size_or("sliding_window", Some(4096))?),
    };
    spec.windows.fill(window);
    Ok(spec)
}
