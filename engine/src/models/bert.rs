//! BERT (Devlin et al. 2018): an encoder of text.
//!
//! `BertModel` gives hidden states, the pooled first token and a sentence embedding pooled as
//! sentence-transformers does; `BertForMaskedLM` gives logits over the vocabulary.

use super::{Config, Inputs, Model, Outputs, blocks::bert_layer::BertLayer};
use crate::{
    device::Device,
    error::{Error, Result},
    load::{Declaration, LayerNorm, Linear, Slot},
    ops::{self, Activation},
    quant::Matrix,
};

pub(super) struct Bert {
    words: Slot<Matrix>,
    positions: Slot<Matrix>,
    types: Slot<Matrix>,
    norm: LayerNorm,
    layers: Vec<BertLayer>,
    head: Head,
}

enum Head {
    Hidden { pooler: Option<Linear> },
    MaskedLm { dense: Linear, activation: Activation, norm: LayerNorm, decoder: Linear },
}

impl Bert {
    pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<Bert> {
        let width = config.size("hidden_size")?;
        let eps = config.number_or("layer_norm_eps", 1e-12)? as f32;
        let activation = Activation::named("hidden_act", config.text_or("hidden_act", "gelu")?)?;
        if config.text_or("position_embedding_type", "absolute")? != "absolute" {
            return Err(Error::config("position_embedding_type", "only absolute is supported"));
        }
        if config.flag_or("is_decoder", false)? {
            return Err(Error::config("is_decoder", "BERT is supported as an encoder only"));
        }
        // Heads keep the encoder under `bert.`; a bare BertModel has no prefix.
        let nested = weights.has("bert.embeddings.word_embeddings.weight");
        let root = if nested { "bert." } else { "" };

        let vocabulary = config.size("vocab_size")?;
        let embeddings = format!("{root}embeddings");
        let table = |name: &str| format!("{embeddings}.{name}_embeddings.weight");
        let words = weights.matrix(&table("word"), vocabulary, width)?;
        let positions = config.size("max_position_embeddings")?;
        let positions = weights.matrix(&table("position"), positions, width)?;
        let types = config.size_or("type_vocab_size", Some(2))?;
        let types = weights.matrix(&table("token_type"), types, width)?;
        // A buffer of 0, 1, 2, … that old checkpoints carry.
        weights.skip(&format!("{embeddings}.position_ids"));
        let norm = weights.layer_norm(&format!("{embeddings}.LayerNorm"), width, eps)?;

        let layers = BertLayer::declare_all(config, weights, &format!("{root}encoder."))?;

        let pooler = format!("{root}pooler.dense");
        let has_pooler = weights.has(&format!("{pooler}.weight"));
        let head = match config.architecture()? {
            "BertModel" => Head::Hidden {
                pooler: match has_pooler {
                    true => Some(weights.linear(&pooler, width, width, true)?),
                    false => None,
                },
            },
            "BertForMaskedLM" | "BertForPreTraining" => {
                if has_pooler {
                    // Trained for next-sentence prediction, which is not an output here.
                    weights.skip(&format!("{pooler}.weight"));
                    weights.skip(&format!("{pooler}.bias"));
                    weights.skip("cls.seq_relationship.weight");
                    weights.skip("cls.seq_relationship.bias");
                }
                let transform = "cls.predictions.transform";
                let dense = weights.linear(&format!("{transform}.dense"), width, width, true)?;
                let norm = weights.layer_norm(&format!("{transform}.LayerNorm"), width, eps)?;
                let decoder = "cls.predictions.decoder";
                let tied = config.flag_or("tie_word_embeddings", true)?;
                let name = format!("{decoder}.weight");
                let weight = match tied {
                    true => weights.same(&name, &table("word"), &words)?,
                    false => weights.matrix(&name, vocabulary, width)?,
                };
                // The decoder's own bias is a copy of the other one, unless nothing is tied: then
                // it is the one that counts.
                let (mut bias, mut copy) =
                    ("cls.predictions.bias".to_owned(), format!("{decoder}.bias"));
                if weights.has(&copy) && (!tied || !weights.has(&bias)) {
                    std::mem::swap(&mut bias, &mut copy);
                }
                weights.skip(&copy);
                let bias = Some(weights.vector(&bias, vocabulary)?);
                let decoder = Linear { weight, bias };
                Head::MaskedLm { dense, activation, norm, decoder }
            }
            other => {
                let message = format!("{other} is unknown; use BertModel or BertForMaskedLM");
                return Err(Error::config("architectures", message));
            }
        };
        Ok(Bert { words, positions, types, norm, layers, head })
    }
}

impl Model for Bert {
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let ids = inputs.ids("input_ids", self.words.rows)?;
        let (batch, tokens) = (ids.batch, ids.tokens);
        if tokens > self.positions.rows {
            let message =
                format!("has {tokens} tokens, the model {} positions", self.positions.rows);
            return Err(Error::input("input_ids", message));
        }
        let types = inputs.find_ids("token_type_ids", self.types.rows)?;
        let types = types.map_or(vec![0; batch * tokens], |types| types.values);
        let places = inputs.find_ids("position_ids", self.positions.rows)?;
        let places = places.map_or((0..tokens as u32).collect(), |places| places.values);
        if types.len() != batch * tokens || !(batch * tokens).is_multiple_of(places.len()) {
            return Err(Error::input("token_type_ids", "and position_ids must fit input_ids"));
        }
        let mask = inputs.mask("attention_mask", batch, tokens)?;
        let mask = mask.map(|mask| device.upload(&[batch, tokens], mask));

        let look_up = |table: &Matrix, ids: Vec<u32>| {
            ops::embed(device, &device.upload_u32(&[ids.len()], ids), table)
        };
        let words = look_up(&self.words, ids.values);
        let x = ops::add(device, &words, &look_up(&self.types, types));
        let x = ops::add(device, &x, &look_up(&self.positions, places));
        let mut x = self.norm.forward(device, &x).reshape(&[batch, tokens, self.words.columns]);
        for layer in &self.layers {
            x = layer.forward(device, &x, mask.as_ref());
        }

        match &self.head {
            Head::Hidden { pooler } => {
                let all = device.upload(&[batch, tokens], vec![1.0; batch * tokens]);
                let mask = mask.as_ref().unwrap_or(&all);
                let mut outputs = vec![
                    ("last_hidden_state", x.clone()),
                    ("sentence_embedding", ops::mean_pool(device, &x, mask, true)),
                ];
                if let Some(pooler) = pooler {
                    let firsts = (0..batch).map(|b| (b * tokens) as u32).collect();
                    let firsts = device.upload_u32(&[batch], firsts);
                    let pooled = pooler.forward(device, &ops::gather_rows(device, &x, &firsts));
                    let pooled = ops::activation(device, &pooled, Activation::Tanh);
                    outputs.push(("pooler_output", pooled));
                }
                Ok(outputs)
            }
            Head::MaskedLm { dense, activation, norm, decoder } => {
                let x = ops::activation(device, &dense.forward(device, &x), *activation);
                let logits = decoder.forward(device, &norm.forward(device, &x));
                Ok(vec![("logits", logits)])
            }
        }
    }
}
