//! T5 (Raffel et al. 2019): an encoder and a decoder of text that know positions only by a bias on
//! the scores of attention, learnt for buckets of distances. Version 1.1 has a gated feed-forward.

use super::{
    Config, Decoder, Inputs, Model, Outputs, Rows, State,
    blocks::{
        distance_bias::DistanceBias,
        encoder::{HeadShape, MultiHead},
    },
};
use crate::{
    device::Device,
    error::{Error, Result},
    kv::{CacheShape, KvCache},
    load::{Declaration, Linear, Slot, Step},
    ops::{self, Activation, Attention, KeysValues},
    quant::Matrix,
    tensor::Tensor,
};
use record::KvFormat;

pub(super) struct T5 {
    vocabulary: usize,
    encoder: Stack,
    decoder: Stack,
    head: Linear,
    heads: HeadShape,
    /// How keys and values of a text are stored.
    kv: KvFormat,
    stop: Vec<u32>,
}

struct Stack {
    words: Slot<Matrix>,
    bias: DistanceBias,
    layers: Vec<Layer>,
    norm: Slot<Tensor>,
    eps: f32,
}

struct Layer {
    own_norm: Slot<Tensor>,
    own: MultiHead,
    /// Only in a decoder.
    cross: Option<(Slot<Tensor>, MultiHead)>,
    inner_norm: Slot<Tensor>,
    inner: FeedForward,
}

struct FeedForward {
    /// Absent in version 1.0.
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    activation: Activation,
}

/// What both stacks share.
struct Sizes {
    vocabulary: usize,
    model: usize,
    heads: HeadShape,
    inner: usize,
    gated: bool,
    activation: Activation,
    eps: f32,
    /// On what the decoder gives its head.
    output_scale: f32,
}

impl T5 {
    pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<T5> {
        config.architecture_of(&["T5ForConditionalGeneration"])?;
        let sizes = Sizes::read(config)?;
        let layers = config.size_or("num_layers", Some(6))?;
        let decoder_layers = config.size_or("num_decoder_layers", Some(layers))?;

        // The words have up to four names, of which any may be the one that the file has.
        let names = ["shared", "encoder.embed_tokens", "decoder.embed_tokens", "lm_head"];
        let names = names.map(|name| format!("{name}.weight"));
        let source = names.iter().find(|name| weights.has(name)).unwrap_or(&names[0]);
        let words = weights.matrix(source, sizes.vocabulary, sizes.model)?;
        let mut tied = Vec::new();
        for name in &names[1..] {
            tied.push(match name == source {
                true => words.clone(),
                false => weights.tied(name, source, &words)?,
            });
        }
        let [encoder, decoder, head] = tied.try_into().expect("three names");

        let encoder = Stack::declare(config, weights, "encoder", layers, &sizes, encoder)?;
        let decoder = Stack::declare(config, weights, "decoder", decoder_layers, &sizes, decoder)?;
        let head = Linear { weight: head, bias: None };
        let (heads, kv, stop) = (sizes.heads, weights.kv_of_all_tokens()?, config.stop_tokens());
        let vocabulary = sizes.vocabulary;
        Ok(T5 { vocabulary, encoder, decoder, head, heads, kv, stop })
    }

    /// The encoder's last hidden state, and the padding of the text.
    fn encode(&self, device: &Device, inputs: &Inputs) -> Result<(Tensor, Option<Tensor>)> {
        let ids = inputs.ids("input_ids", self.encoder.words.rows)?;
        let mask = inputs.mask("attention_mask", ids.batch, ids.tokens)?;
        let mask = mask.map(|mask| device.upload(&[ids.batch, ids.tokens], mask));
        let bias = self.encoder.bias.table(device, ids.tokens, "input_ids")?;
        let mut x = self.encoder.embed(device, &ids.upload(device));
        for layer in &self.encoder.layers {
            let h = ops::rms_norm(device, &x, &layer.own_norm, self.encoder.eps);
            // Scores stay as they are: the initial spread of T5's weights makes up for it.
            let how = Attention {
                mask: mask.as_ref(),
                bias: Some(&bias),
                scale: 1.0,
                ..layer.own.plain()
            };
            let (k, v) = layer.own.keys_values(device, &h);
            let kv = KeysValues::Plain { k: &k, v: &v };
            x = ops::add(device, &layer.own.attend(device, &h, kv, how), &x);
            x = layer.feed(device, &x, self.encoder.eps);
        }
        Ok((ops::rms_norm(device, &x, &self.encoder.norm, self.encoder.eps), mask))
    }

    /// A state that attends to an encoded text.
    fn state(
        &self,
        device: &Device,
        (encoded, mask): (&Tensor, Option<Tensor>),
        capacity: usize,
    ) -> Result<State> {
        let (layers, shape) = self.cache(encoded.shape()[0], capacity);
        let cache = KvCache::new(device, layers, shape);
        let cross = self.decoder.layers.iter().filter_map(|layer| layer.cross.as_ref());
        Ok(State {
            cross: cross.map(|(_, cross)| cross.keys_values(device, encoded)).collect(),
            cross_mask: mask,
            bias: Some(self.decoder.bias.table(device, capacity, "decoder_input_ids")?),
            ..State::new(cache)
        })
    }
}

impl Sizes {
    fn read(config: &Config) -> Result<Sizes> {
        let heads = config.size_or("num_heads", Some(8))?;
        let width = config.size_or("d_kv", Some(64))?;
        if width > ops::MAX_HEAD_WIDTH {
            let message = format!("{width}: up to {} is supported", ops::MAX_HEAD_WIDTH);
            return Err(Error::config("d_kv", message));
        }
        let field = "feed_forward_proj";
        let text = config.text_or(field, "relu")?;
        let (gated, name) = match text.strip_prefix("gated-") {
            // The release that this names used the approximation by tanh.
            Some("gelu") => (true, "gelu_new"),
            Some(name) => (true, name),
            None => (false, text),
        };
        let model = config.size_or("d_model", Some(512))?;
        // The first release scales what goes to the head and ties that to the words; 1.1 does
        // neither. transformers 5 keeps the former in a field of its own.
        let tied = config.flag_or("tie_word_embeddings", true)?;
        let output_scale = match config.flag_or("scale_decoder_outputs", tied)? {
            true => 1.0 / (model as f32).sqrt(),
            false => 1.0,
        };
        Ok(Sizes {
            vocabulary: config.size_or("vocab_size", Some(32_128))?,
            model,
            heads: HeadShape {
                model,
                heads,
                width,
                bias: false,
                key_bias: false,
                output_bias: false,
            },
            inner: config.size_or("d_ff", Some(2048))?,
            gated,
            activation: Activation::named(field, name)?,
            eps: config.number_or("layer_norm_epsilon", 1e-6)? as f32,
            output_scale,
        })
    }
}

impl Stack {
    fn declare(
        config: &Config,
        weights: &Declaration<'_>,
        root: &str,
        layers: usize,
        sizes: &Sizes,
        words: Slot<Matrix>,
    ) -> Result<Stack> {
        let decoder = root == "decoder";
        let bias = DistanceBias::declare(config, weights, root, sizes.heads.heads)?;
        // Files of the first release carry a bias for cross-attention that no release ever read.
        let unread = "layer.1.EncDecAttention.relative_attention_bias.weight";
        weights.skip(&format!("decoder.block.0.{unread}"));
        let attention = |root: String| {
            let names = ["q", "k", "v", "o"].map(|part| format!("{root}.{part}"));
            MultiHead::declare_shape(weights, names.each_ref().map(String::as_str), sizes.heads)
        };
        let mut all = Vec::new();
        for i in 0..layers {
            let part = |part: usize| format!("{root}.block.{i}.layer.{part}");
            let norm =
                |part: String| weights.vector(&format!("{part}.layer_norm.weight"), sizes.model);
            let own = format!("{}.SelfAttention", part(0));
            let cross = format!("{}.EncDecAttention", part(1));
            let last = part(if decoder { 2 } else { 1 });
            all.push(Layer {
                own_norm: norm(part(0))?,
                own: attention(own)?,
                cross: match decoder {
                    true => {
                        let norm = norm(part(1))?;
                        Some((norm, attention(cross)?))
                    }
                    false => None,
                },
                inner_norm: norm(last.clone())?,
                inner: FeedForward::declare(weights, &format!("{last}.DenseReluDense"), sizes)?,
            });
        }
        // The last norm multiplies anyway: it takes the scale of the head's input along.
        let norm = format!("{root}.final_layer_norm.weight");
        let scale = decoder.then_some(Step::Scale { by: sizes.output_scale });
        let model = [sizes.model];
        let norm = weights.tensor_from(&norm, &model, &model, scale.into_iter().collect())?;
        Ok(Stack { words, bias, layers: all, norm, eps: sizes.eps })
    }

    fn embed(&self, device: &Device, ids: &Tensor) -> Tensor {
        let [batch, tokens] = ids.shape()[..] else { panic!("two axes wanted") };
        ops::embed(device, ids, &self.words).reshape(&[batch, tokens, self.words.columns])
    }
}

impl FeedForward {
    fn declare(weights: &Declaration<'_>, root: &str, sizes: &Sizes) -> Result<FeedForward> {
        let Sizes { model, inner, gated, activation, .. } = *sizes;
        let up = |part: &str| {
            let name = format!("{root}.{part}");
            weights.linear(&name, inner, model, false)
        };
        Ok(FeedForward {
            gate: if gated { Some(up("wi_0")?) } else { None },
            up: up(if gated { "wi_1" } else { "wi" })?,
            down: weights.linear(&format!("{root}.wo"), model, inner, false)?,
            activation,
        })
    }

    fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        let up = self.up.forward(device, x);
        let y = match &self.gate {
            Some(gate) => ops::gated(device, &gate.forward(device, x), &up, self.activation),
            None => ops::activation(device, &up, self.activation),
        };
        self.down.forward(device, &y)
    }
}

impl Layer {
    fn feed(&self, device: &Device, x: &Tensor, eps: f32) -> Tensor {
        let h = ops::rms_norm(device, x, &self.inner_norm, eps);
        ops::add(device, &self.inner.forward(device, &h), x)
    }
}

impl Model for T5 {
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let ids = inputs.ids("decoder_input_ids", self.decoder.words.rows)?;
        let mask = inputs.mask("decoder_attention_mask", ids.batch, ids.tokens)?;
        let mask = mask.map(|mask| device.upload(&[ids.batch, ids.tokens], mask));
        let (encoded, padding) = self.encode(device, inputs)?;
        if encoded.shape()[0] != ids.batch {
            let message = format!("has {} rows, input_ids {}", ids.batch, encoded.shape()[0]);
            return Err(Error::input("decoder_input_ids", message));
        }
        let state = self.state(device, (&encoded, padding), ids.tokens)?;
        let rows = Rows { last: false, mask: mask.as_ref() };
        let logits = self.step(device, &state, &ids.upload(device), rows);
        Ok(vec![("logits", logits), ("encoder_last_hidden_state", encoded)])
    }

    fn decoder(&self) -> Option<&dyn Decoder> {
        Some(self)
    }
}

impl Decoder for T5 {
    fn prompt_input(&self) -> &'static str {
        "decoder_input_ids"
    }

    fn begin(&self, device: &Device, inputs: &Inputs, capacity: usize) -> Result<State> {
        let (encoded, mask) = self.encode(device, inputs)?;
        self.state(device, (&encoded, mask), capacity)
    }

    fn cache(&self, batch: usize, capacity: usize) -> (usize, CacheShape) {
        let HeadShape { heads, width, .. } = self.heads;
        (self.decoder.layers.len(), CacheShape { format: self.kv, batch, heads, width, capacity })
    }

    fn step(&self, device: &Device, state: &State, ids: &Tensor, rows: Rows<'_>) -> Tensor {
        let eps = self.decoder.eps;
        let mut x = self.decoder.embed(device, ids);
        for (i, layer) in self.decoder.layers.iter().enumerate() {
            let h = ops::rms_norm(device, &x, &layer.own_norm, eps);
            let (k, v) = layer.own.keys_values(device, &h);
            ops::kv_append(device, &state.cache, i, &k, &v);
            let how = Attention {
                causal: true,
                mask: rows.mask,
                bias: state.bias.as_ref(),
                scale: 1.0,
                ..layer.own.plain()
            };
            let kv = KeysValues::Cached(&state.cache, i);
            x = ops::add(device, &layer.own.attend(device, &h, kv, how), &x);

            let (norm, cross) = layer.cross.as_ref().expect("a decoder's layer");
            let h = ops::rms_norm(device, &x, norm, eps);
            let (k, v) = &state.cross[i];
            let how = Attention { mask: state.cross_mask.as_ref(), scale: 1.0, ..cross.plain() };
            let kv = KeysValues::Plain { k, v };
            x = ops::add(device, &cross.attend(device, &h, kv, how), &x);
            x = layer.feed(device, &x, eps);
        }
        let x = ops::rms_norm(device, &rows.pick(device, x), &self.decoder.norm, eps);
        self.head.forward(device, &x)
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn stop_tokens(&self) -> &[u32] {
        &self.stop
    }
}
