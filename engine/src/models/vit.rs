//! ViT (Dosovitskiy et al. 2021): an encoder of images as patches.
//!
//! `ViTModel` gives hidden states and, where the file has a pooler, the pooled class token;
//! `ViTForImageClassification` gives a logit for each label.

use super::{
    Config, Inputs, Model, Outputs,
    blocks::{
        encoder::{AttentionMask, Layer, Mlp, MultiHead, heads},
        patches::{Names, Patches},
    },
};
use crate::{
    device::Device,
    error::{Error, Result},
    load::{Declaration, LayerNorm, Linear},
    ops::{self, Activation},
};

/// transformers 5 and the names in files published before it.
const RENAMES: &[(&str, &str)] = &[
    ("layers.", "encoder.layer."),
    ("attention.q_proj", "attention.attention.query"),
    ("attention.k_proj", "attention.attention.key"),
    ("attention.v_proj", "attention.attention.value"),
    ("attention.o_proj", "attention.output.dense"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
];

pub(super) struct Vit {
    patches: Patches,
    layers: Vec<Layer>,
    norm: LayerNorm,
    head: Head,
}

enum Head {
    Hidden { pooler: Option<(Linear, Activation)> },
    Labels(Linear),
}

impl Vit {
    pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<Vit> {
        weights.rename(RENAMES);
        let width = config.size_or("hidden_size", Some(768))?;
        let inner = config.size_or("intermediate_size", Some(3072))?;
        let heads = heads(config, "num_attention_heads", width, Some(12))?;
        let eps = config.number_or("layer_norm_eps", 1e-12)? as f32;
        let activation = Activation::named("hidden_act", config.text_or("hidden_act", "gelu")?)?;
        let bias = config.flag_or("qkv_bias", true)?;

        // Heads keep the encoder under `vit.`; a bare ViTModel has no prefix.
        let root = if weights.has("vit.embeddings.cls_token") { "vit." } else { "" };
        let names = Names {
            class: &format!("{root}embeddings.cls_token"),
            conv: &format!("{root}embeddings.patch_embeddings.projection"),
            bias: true,
            positions: &format!("{root}embeddings.position_embeddings"),
        };
        let patches = Patches::declare(config, weights, names, width, 16)?;
        // Stands for hidden patches in training.
        weights.skip(&format!("{root}embeddings.mask_token"));
        let mut layers = Vec::new();
        for i in 0..config.size_or("num_hidden_layers", Some(12))? {
            let name = |part: &str| format!("{root}layers.{i}.{part}");
            let parts = ["q_proj", "k_proj", "v_proj", "o_proj"];
            let projections = parts.map(|part| name(&format!("attention.{part}")));
            let projections = projections.each_ref().map(String::as_str);
            layers.push(Layer {
                attention_norm: weights.layer_norm(&name("layernorm_before"), width, eps)?,
                attention: MultiHead::declare(weights, projections, width, heads, bias)?,
                mlp_norm: weights.layer_norm(&name("layernorm_after"), width, eps)?,
                mlp: Mlp::declare(
                    weights,
                    [&name("mlp.fc1"), &name("mlp.fc2")],
                    width,
                    inner,
                    activation,
                )?,
            });
        }
        let norm = weights.layer_norm(&format!("{root}layernorm"), width, eps)?;

        let pooler = format!("{root}pooler.dense");
        let has_pooler = weights.has(&format!("{pooler}.weight"));
        let head = match config.architecture()? {
            "ViTModel" if has_pooler => {
                let size = config.size_or("pooler_output_size", Some(width))?;
                let name = config.text_or("pooler_act", "tanh")?;
                let activation = Activation::named("pooler_act", name)?;
                Head::Hidden {
                    pooler: Some((weights.linear(&pooler, size, width, true)?, activation)),
                }
            }
            "ViTModel" => Head::Hidden { pooler: None },
            "ViTForImageClassification" => {
                let labels = config.labels()?;
                Head::Labels(weights.linear("classifier", labels, width, true)?)
            }
            other => {
                let message =
                    format!("{other} is unknown; use ViTModel or ViTForImageClassification");
                return Err(Error::config("architectures", message));
            }
        };
        Ok(Vit { patches, layers, norm, head })
    }
}

impl Model for Vit {
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let images = inputs.images("pixel_values", 1, self.patches.channels())?;
        if inputs.ints.contains_key("bool_masked_pos") {
            let message = "hides patches in training and is not supported; leave it out";
            return Err(Error::input("bool_masked_pos", message));
        }
        let mut x = self.patches.forward(device, &images)?;
        let [batch, tokens, _] = x.shape()[..] else { panic!("three axes wanted") };
        let mask = inputs.mask("attention_mask", batch, tokens)?;
        let mask = mask.map(|mask| device.upload(&[batch, tokens], mask));
        for layer in &self.layers {
            x = layer.forward(device, &x, AttentionMask { causal: false, mask: mask.as_ref() });
        }
        let x = self.norm.forward(device, &x);
        let class = ops::narrow(device, &x, 1, 0, 1).reshape(&[batch, x.columns()]);
        match &self.head {
            Head::Hidden { pooler } => {
                let mut outputs = vec![("last_hidden_state", x)];
                if let Some((dense, activation)) = pooler {
                    let pooled = dense.forward(device, &class);
                    outputs.push(("pooler_output", ops::activation(device, &pooled, *activation)));
                }
                Ok(outputs)
            }
            Head::Labels(classifier) => Ok(vec![("logits", classifier.forward(device, &class))]),
        }
    }
}
