//! CLAP (Wu et al. 2023): sounds and texts as vectors that lie close where they belong together.
//!
//! Sounds are read by HTSAT, texts by RoBERTa (Liu et al. 2019), which counts positions from its
//! padding token on.

use super::{
    Config, Inputs, Model, Outputs,
    blocks::{bert_layer::BertLayer, htsat::Htsat},
};
use crate::{
    device::Device,
    error::{Error, Result},
    load::{Declaration, LayerNorm, Linear, Slot},
    ops::{self, Activation},
    quant::Matrix,
    tensor::Tensor,
};

pub(super) struct Clap {
    audio: Htsat,
    audio_head: Head,
    text: Text,
    text_head: Head,
    /// Factors on the cosines, as the audio and as the text side learned them.
    scales: [Slot<Vec<f32>>; 2],
}

/// A projection into the common space.
struct Head {
    up: Linear,
    activation: Activation,
    down: Linear,
}

struct Text {
    words: Slot<Matrix>,
    positions: Slot<Matrix>,
    types: Slot<Matrix>,
    norm: LayerNorm,
    layers: Vec<BertLayer>,
    pooler: Linear,
    padding: u32,
}

impl Clap {
    pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<Clap> {
        if config.architecture()? != "ClapModel" {
            let message = format!("{} is unknown; use ClapModel", config.architecture()?);
            return Err(Error::config("architectures", message));
        }
        let (audio, text) = (config.part("audio_config")?, config.part("text_config")?);
        let scale = |name: &str| weights.values(name, &[]);
        Ok(Clap {
            audio: Htsat::declare(&audio, weights, "audio_model.audio_encoder")?,
            audio_head: Head::declare(config, &audio, weights, "audio_projection")?,
            text: Text::declare(&text, weights, "text_model")?,
            text_head: Head::declare(config, &text, weights, "text_projection")?,
            scales: [scale("logit_scale_a")?, scale("logit_scale_t")?],
        })
    }
}

impl Model for Clap {
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let audio = self.audio_head.forward(device, &self.audio.forward(device, inputs)?);
        let text = self.text_head.forward(device, &self.text.forward(device, inputs)?);
        let [audio_scale, text_scale] = self.scales.each_ref().map(|scale| scale[0].exp());
        Ok(vec![
            ("logits_per_audio", ops::similarity(device, &audio, &text, audio_scale)),
            ("logits_per_text", ops::similarity(device, &text, &audio, text_scale)),
            ("audio_embeds", audio),
            ("text_embeds", text),
        ])
    }
}

impl Head {
    /// `config` is the model's own, `side` that of audio or text.
    fn declare(
        config: &Config,
        side: &Config,
        weights: &Declaration<'_>,
        root: &str,
    ) -> Result<Head> {
        let common = config.size_or("projection_dim", Some(512))?;
        let width = side.size_or("hidden_size", Some(768))?;
        let field = "projection_hidden_act";
        Ok(Head {
            up: weights.linear(&format!("{root}.linear1"), common, width, true)?,
            activation: Activation::named(field, config.text_or(field, "relu")?)?,
            down: weights.linear(&format!("{root}.linear2"), common, common, true)?,
        })
    }

    /// `[B, D]`, each row of length 1, from `x: [B, C]`.
    fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        let y = ops::activation(device, &self.up.forward(device, x), self.activation);
        ops::unit_rows(device, &self.down.forward(device, &y))
    }
}

impl Text {
    fn declare(config: &Config, weights: &Declaration<'_>, root: &str) -> Result<Text> {
        let width = config.size_or("hidden_size", Some(768))?;
        let eps = config.number_or("layer_norm_eps", 1e-12)? as f32;
        let embeddings = format!("{root}.embeddings");
        let table = |name: &str, field: &str, default: usize| {
            let name = format!("{embeddings}.{name}_embeddings.weight");
            weights.matrix(&name, config.size_or(field, Some(default))?, width)
        };
        let words = table("word", "vocab_size", 50265)?;
        let positions = table("position", "max_position_embeddings", 514)?;
        let types = table("token_type", "type_vocab_size", 1)?;
        // Buffers of 0, 1, 2, … and of zeros.
        weights.skip(&format!("{embeddings}.position_ids"));
        weights.skip(&format!("{embeddings}.token_type_ids"));
        Ok(Text {
            words,
            positions,
            types,
            norm: weights.layer_norm(&format!("{embeddings}.LayerNorm"), width, eps)?,
            layers: BertLayer::declare_all(config, weights, &format!("{root}.encoder."))?,
            pooler: weights.linear(&format!("{root}.pooler.dense"), width, width, true)?,
            padding: config.whole_or("pad_token_id", 1)? as u32,
        })
    }

    /// `[B, C]`: what the first token has become.
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Tensor> {
        let ids = inputs.ids("input_ids", self.words.rows)?;
        let (batch, tokens) = (ids.batch, ids.tokens);
        let places = match inputs.find_ids("position_ids", self.positions.rows)? {
            Some(places) if places.values.len() == batch * tokens => places.values,
            Some(_) => {
                return Err(Error::input("position_ids", "must have the shape of input_ids"));
            }
            None => self.places(&ids.values, tokens)?,
        };
        let mask = inputs.mask("attention_mask", batch, tokens)?;
        let mask = mask.map(|mask| device.upload(&[batch, tokens], mask));
        let look_up = |table: &Matrix, ids: Vec<u32>| {
            ops::embed(device, &device.upload_u32(&[ids.len()], ids), table)
        };
        let types = look_up(&self.types, vec![0; batch * tokens]);
        let x = ops::add(device, &look_up(&self.words, ids.values), &types);
        let x = ops::add(device, &x, &look_up(&self.positions, places));
        let mut x = self.norm.forward(device, &x).reshape(&[batch, tokens, self.words.columns]);
        for layer in &self.layers {
            x = layer.forward(device, &x, mask.as_ref());
        }
        let firsts = (0..batch).map(|b| (b * tokens) as u32).collect();
        let firsts = ops::gather_rows(device, &x, &device.upload_u32(&[batch], firsts));
        Ok(ops::activation(device, &self.pooler.forward(device, &firsts), Activation::Tanh))
    }

    /// Positions count the tokens that are not padding, from behind the padding token's own id.
    fn places(&self, ids: &[u32], tokens: usize) -> Result<Vec<u32>> {
        let mut places = Vec::with_capacity(ids.len());
        for text in ids.chunks_exact(tokens) {
            let mut place = self.padding;
            for id in text {
                place = place.saturating_add(u32::from(*id != self.padding));
                places.push(if *id == self.padding { self.padding } else { place });
            }
        }
        match places.iter().max() {
            Some(&most) if most as usize >= self.positions.rows => {
                let room = self.positions.rows.saturating_sub(self.padding as usize + 1);
                let message = format!("has {tokens} tokens, the model positions for {room}");
                Err(Error::input("input_ids", message))
            }
            _ => Ok(places),
        }
    }
}
