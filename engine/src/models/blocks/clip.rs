//! The two towers of CLIP (Radford et al. 2021), text and images, of layers that normalise first.
//! LLaVA takes hidden states of the image tower, X-CLIP its text tower.

use super::{
    encoder::{AttentionMask, Layer, Mlp, MultiHead, heads},
    patches::{Names, Patches},
};
use crate::{
    device::Device,
    error::{Error, Result},
    load::{Declaration, LayerNorm, Slot},
    models::{Config, Images, Inputs},
    ops::{self, Activation},
    quant::Matrix,
    tensor::Tensor,
};

/// The tower of images.
pub struct VisionTower {
    patches: Patches,
    pre_norm: LayerNorm,
    layers: Vec<Layer>,
    post_norm: LayerNorm,
}

/// The tower of text.
pub struct TextTower {
    words: Slot<Matrix>,
    positions: Slot<Matrix>,
    layers: Vec<Layer>,
    norm: LayerNorm,
    end: End,
    width: usize,
}

/// Which token of a text speaks for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// The first token with this id, or the first token where there is none.
    Id(u32),
    /// The first token with the largest id, as models do whose configuration says that texts end
    /// with 2 though their last token ends them.
    Largest,
}

/// A tower's output.
pub struct Encoded {
    /// `[B, T, C]`.
    pub hidden: Tensor,
    /// `[B, C]`.
    pub pooled: Tensor,
}

/// Defaults of a tower's configuration in transformers.
#[derive(Clone, Copy)]
pub struct Defaults {
    /// `hidden_size`.
    pub width: usize,
    /// `num_attention_heads`.
    pub heads: usize,
}

/// Of the tower of images.
pub const VISION: Defaults = Defaults { width: 768, heads: 12 };
/// Of the tower of text.
pub const TEXT: Defaults = Defaults { width: 512, heads: 8 };

impl Defaults {
    /// `hidden_size`.
    pub fn width(self, config: &Config) -> Result<usize> {
        config.size_or("hidden_size", Some(self.width))
    }

    /// `layer_norm_eps`.
    pub fn eps(self, config: &Config) -> Result<f32> {
        Ok(config.number_or("layer_norm_eps", 1e-5)? as f32)
    }

    /// The layers under `{root}.layers.`.
    fn layers(self, config: &Config, weights: &Declaration<'_>, root: &str) -> Result<Vec<Layer>> {
        let shape = LayerShape::read(config, self)?;
        let mut layers = Vec::new();
        for i in 0..config.size_or("num_hidden_layers", Some(12))? {
            layers.push(shape.declare(weights, &format!("{root}.layers.{i}"))?);
        }
        Ok(layers)
    }
}

/// Sizes of a layer.
#[derive(Clone, Copy)]
pub struct LayerShape {
    /// Of the layer's tokens.
    pub width: usize,
    /// Of the feed-forward.
    pub inner: usize,
    /// Of its attention.
    pub heads: usize,
    /// Of its norms.
    pub eps: f32,
    /// Of the feed-forward.
    pub activation: Activation,
}

impl LayerShape {
    /// What a tower's configuration says of its layers.
    pub fn read(config: &Config, defaults: Defaults) -> Result<LayerShape> {
        let width = defaults.width(config)?;
        let name = config.text_or("hidden_act", "quick_gelu")?;
        Ok(LayerShape {
            width,
            inner: config.size_or("intermediate_size", Some(4 * defaults.width))?,
            heads: heads(config, "num_attention_heads", width, Some(defaults.heads))?,
            eps: defaults.eps(config)?,
            activation: Activation::named("hidden_act", name)?,
        })
    }

    /// The layer called `name`.
    pub fn declare(&self, weights: &Declaration<'_>, name: &str) -> Result<Layer> {
        let LayerShape { width, inner, eps, activation, .. } = *self;
        let part = |part: &str| format!("{name}.{part}");
        Ok(Layer {
            attention_norm: weights.layer_norm(&part("layer_norm1"), width, eps)?,
            attention: self.attention(weights, &part("self_attn"))?,
            mlp_norm: weights.layer_norm(&part("layer_norm2"), width, eps)?,
            mlp: Mlp::declare(
                weights,
                [&part("mlp.fc1"), &part("mlp.fc2")],
                width,
                inner,
                activation,
            )?,
        })
    }

    /// The attention called `name`.
    pub fn attention(&self, weights: &Declaration<'_>, name: &str) -> Result<MultiHead> {
        let parts = ["q_proj", "k_proj", "v_proj", "out_proj"];
        let names = parts.map(|part| format!("{name}.{part}"));
        let names = names.each_ref().map(String::as_str);
        MultiHead::declare(weights, names, self.width, self.heads, true)
    }
}

impl VisionTower {
    /// The tower whose tensors are under `root`, which ends in a dot or is empty; `config` is the
    /// configuration of the tower alone.
    pub fn declare(config: &Config, weights: &Declaration<'_>, root: &str) -> Result<VisionTower> {
        let (width, eps) = (VISION.width(config)?, VISION.eps(config)?);
        let patches = vision_patches(config, weights, root, width)?;
        Ok(VisionTower {
            patches,
            // So it is called in every file.
            pre_norm: weights.layer_norm(&format!("{root}pre_layrnorm"), width, eps)?,
            layers: VISION.layers(config, weights, &format!("{root}encoder"))?,
            post_norm: weights.layer_norm(&format!("{root}post_layernorm"), width, eps)?,
        })
    }

    /// Width of its hidden states.
    pub fn width(&self) -> usize {
        self.patches.width()
    }

    /// Channels that images must have.
    pub fn channels(&self) -> usize {
        self.patches.channels()
    }

    /// Number of layers.
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// `[B, 1 + patches, C]` for each of `wanted`: 0 is what goes into the first layer, `i` what comes
    /// out of the `i`-th, as in the `hidden_states` of transformers. Others are not kept.
    pub fn hidden_states(
        &self,
        device: &Device,
        images: &Images,
        wanted: &[usize],
    ) -> Result<Vec<Tensor>> {
        let x = self.patches.forward(device, images)?;
        let mut x = self.pre_norm.forward(device, &x);
        let mut states = vec![x.clone(); wanted.len()];
        let last = wanted.iter().copied().max().unwrap_or(0);
        for (i, layer) in self.layers[..last].iter().enumerate() {
            x = layer.forward(device, &x, AttentionMask::default());
            for (state, _) in states.iter_mut().zip(wanted).filter(|(_, wanted)| **wanted == i + 1)
            {
                *state = x.clone();
            }
        }
        Ok(states)
    }

    /// The last hidden states, and the class token after a norm.
    pub fn forward(&self, device: &Device, images: &Images) -> Result<Encoded> {
        let hidden = self.hidden_states(device, images, &[self.depth()])?.remove(0);
        let class = ops::narrow(device, &hidden, 1, 0, 1);
        let class = class.reshape(&[images.count(), hidden.columns()]);
        Ok(Encoded { pooled: self.post_norm.forward(device, &class), hidden })
    }
}

/// The patch embedding of CLIP and X-CLIP.
pub fn vision_patches(
    config: &Config,
    weights: &Declaration<'_>,
    root: &str,
    width: usize,
) -> Result<Patches> {
    let names = Names {
        class: &format!("{root}embeddings.class_embedding"),
        conv: &format!("{root}embeddings.patch_embedding"),
        bias: false,
        positions: &format!("{root}embeddings.position_embedding.weight"),
    };
    // A buffer of 0, 1, 2, … that old checkpoints carry.
    weights.skip(&format!("{root}embeddings.position_ids"));
    Patches::declare(config, weights, names, width, 32)
}

impl TextTower {
    /// The tower whose tensors are under `root`, which ends in a dot or is empty; `config` is the
    /// configuration of the tower alone.
    pub fn declare(
        config: &Config,
        weights: &Declaration<'_>,
        root: &str,
        end: End,
    ) -> Result<TextTower> {
        let (width, eps) = (TEXT.width(config)?, TEXT.eps(config)?);
        let words = config.size_or("vocab_size", Some(49_408))?;
        let positions = config.size_or("max_position_embeddings", Some(77))?;
        let table = |name: &str| format!("{root}embeddings.{name}_embedding.weight");
        weights.skip(&format!("{root}embeddings.position_ids"));
        Ok(TextTower {
            words: weights.matrix(&table("token"), words, width)?,
            positions: weights.matrix(&table("position"), positions, width)?,
            layers: TEXT.layers(config, weights, &format!("{root}encoder"))?,
            norm: weights.layer_norm(&format!("{root}final_layer_norm"), width, eps)?,
            end,
            width,
        })
    }

    /// Width of its hidden states.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Hidden states after a norm of `input_ids: [B, T]`, and those of the tokens that end texts.
    pub fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Encoded> {
        let ids = inputs.ids("input_ids", self.words.rows)?;
        let (batch, tokens) = (ids.batch, ids.tokens);
        let limit = self.positions.rows;
        if tokens > limit {
            let message = format!("has {tokens} tokens, the model {limit} positions");
            return Err(Error::input("input_ids", message));
        }
        let places = inputs.find_ids("position_ids", limit)?;
        let places = places.map_or((0..tokens as u32).collect(), |places| places.values);
        if !(batch * tokens).is_multiple_of(places.len()) || places.len() < tokens {
            return Err(Error::input("position_ids", "must fit input_ids"));
        }
        let mask = inputs.mask("attention_mask", batch, tokens)?;
        let mask = mask.map(|mask| device.upload(&[batch, tokens], mask));
        let ends = ids.values.chunks_exact(tokens).enumerate();
        let ends = ends.map(|(b, row)| (b * tokens + self.end.of(row)) as u32).collect();

        let places = device.upload_u32(&[places.len()], places);
        let x = ops::embed(device, &ids.upload(device), &self.words);
        let x = ops::add(device, &x, &ops::embed(device, &places, &self.positions));
        let mut x = x.reshape(&[batch, tokens, self.words.columns]);
        for layer in &self.layers {
            x = layer.forward(device, &x, AttentionMask { causal: true, mask: mask.as_ref() });
        }
        let hidden = self.norm.forward(device, &x);
        let pooled = ops::gather_rows(device, &hidden, &device.upload_u32(&[batch], ends));
        Ok(Encoded { hidden, pooled })
    }
}

impl End {
    /// What `eos_token_id` means; absent, it is that of CLIP's own tokenizer.
    pub fn read(config: &Config) -> Result<End> {
        match config.get("eos_token_id") {
            None => Ok(End::Id(49_407)),
            Some(id) => match id.as_u64().and_then(|id| u32::try_from(id).ok()) {
                Some(2) => Ok(End::Largest),
                Some(id) => Ok(End::Id(id)),
                None => Err(Error::config("eos_token_id", format!("{id} is not one token"))),
            },
        }
    }

    fn of(self, ids: &[u32]) -> usize {
        let found = match self {
            End::Id(end) => ids.iter().position(|id| *id == end),
            End::Largest => ids.iter().position(|id| Some(id) == ids.iter().max()),
        };
        found.unwrap_or(0)
    }
}

/// A configuration inside that of a model of two towers. Early files say `{field}_dict` as well,
/// which counts where it is there; without any, the defaults hold.
pub fn tower_config(config: &Config, field: &str) -> Result<Config> {
    let inner = match config.object(&format!("{field}_dict"))? {
        Some(inner) => Some(inner),
        None => config.object(field)?,
    };
    inner.map_or_else(|| Config::new(serde_json::json!({})), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_where_their_configuration_says() {
        assert_eq!(End::Id(7).of(&[1, 7, 9, 7]), 1);
        assert_eq!(End::Id(5).of(&[1, 7, 9, 7]), 0);
        assert_eq!(End::Largest.of(&[1, 9, 3, 9]), 1);
    }
}
