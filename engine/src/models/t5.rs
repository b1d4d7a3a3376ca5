//! T5 (Raffel et al. 2019): an encoder and a decoder of text that know positions only by a bias on
//! the scores of attention, learnt for buckets of distances. Version 1.1 has a gated feed-forward.

use super::{
    Config, Decoder, Inputs, Model, Outputs, Rows, State,
    blocks::encoder::{HeadShape, MultiHead},
};
use crate::{
    device::Device,
    error::{Error, Result},
    kv::KvCache,
    load::{Linear, Loader},
    ops::{self, Activation, Attention, KeysValues},
    quant::Matrix,
    tensor::Tensor,
};

/// Most elements of a table of biases, which grows with the square of the length.
const MAX_BIAS: usize = 1 << 25;

pub(super) struct T5 {
    encoder: Stack,
    decoder: Stack,
    head: Linear,
    heads: HeadShape,
    stop: Vec<u32>,
}

struct Stack {
    words: Matrix,
    bias: PositionBias,
    layers: Vec<Layer>,
    norm: Tensor,
    eps: f32,
}

struct Layer {
    own_norm: Tensor,
    own: MultiHead,
    /// Only in a decoder.
    cross: Option<(Tensor, MultiHead)>,
    inner_norm: Tensor,
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
    pub(super) async fn load(config: &Config, loader: &Loader<'_>) -> Result<T5> {
        config.architecture_of(&["T5ForConditionalGeneration"])?;
        let sizes = Sizes::read(config)?;
        let layers = config.size_or("num_layers", Some(6))?;
        let decoder_layers = config.size_or("num_decoder_layers", Some(layers))?;

        // The words have up to four names, of which any may be the one that the file has.
        let names = ["shared", "encoder.embed_tokens", "decoder.embed_tokens", "lm_head"];
        let names = names.map(|name| format!("{name}.weight"));
        let source = names.iter().find(|name| loader.has(name)).unwrap_or(&names[0]);
        let words = loader.matrix(source, sizes.vocabulary, sizes.model).await?;
        let mut tied = Vec::new();
        for name in &names[1..] {
            tied.push(match name == source {
                true => words.clone(),
                false => loader.tied(name, source, &words).await?,
            });
        }
        let [encoder, decoder, head] = tied.try_into().expect("three names");

        let encoder = Stack::load(config, loader, "encoder", layers, &sizes, encoder).await?;
        let decoder =
            Stack::load(config, loader, "decoder", decoder_layers, &sizes, decoder).await?;
        let head = Linear { weight: head, bias: None };
        Ok(T5 { encoder, decoder, head, heads: sizes.heads, stop: config.stop_tokens() })
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
        let batch = encoded.shape()[0];
        let layers = &self.decoder.layers;
        let HeadShape { heads, width, .. } = self.heads;
        let cache = KvCache::new(device, layers.len(), batch, heads, width, capacity);
        let cross = layers.iter().filter_map(|layer| layer.cross.as_ref());
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
    async fn load(
        config: &Config,
        loader: &Loader<'_>,
        root: &str,
        layers: usize,
        sizes: &Sizes,
        words: Matrix,
    ) -> Result<Stack> {
        let decoder = root == "decoder";
        let bias = PositionBias::load(config, loader, root, sizes.heads.heads).await?;
        // Files of the first release carry a bias for cross-attention that no release ever read.
        let unread = "layer.1.EncDecAttention.relative_attention_bias.weight";
        loader.skip(&format!("decoder.block.0.{unread}"));
        let attention = |root: String| async move {
            let names = ["q", "k", "v", "o"].map(|part| format!("{root}.{part}"));
            MultiHead::load_shape(loader, names.each_ref().map(String::as_str), sizes.heads).await
        };
        let mut all = Vec::new();
        for i in 0..layers {
            let part = |part: usize| format!("{root}.block.{i}.layer.{part}");
            let norm = |part: String| async move {
                loader.vector(&format!("{part}.layer_norm.weight"), sizes.model).await
            };
            let own = format!("{}.SelfAttention", part(0));
            let cross = format!("{}.EncDecAttention", part(1));
            let last = part(if decoder { 2 } else { 1 });
            all.push(Layer {
                own_norm: norm(part(0)).await?,
                own: attention(own).await?,
                cross: match decoder {
                    true => {
                        let norm = norm(part(1)).await?;
                        Some((norm, attention(cross).await?))
                    }
                    false => None,
                },
                inner_norm: norm(last.clone()).await?,
                inner: FeedForward::load(loader, &format!("{last}.DenseReluDense"), sizes).await?,
            });
        }
        // The last norm multiplies anyway: it takes the scale of the head's input along.
        let norm = format!("{root}.final_layer_norm.weight");
        let mut norm = loader.values(&norm, &[sizes.model]).await?;
        if decoder {
            norm.iter_mut().for_each(|weight| *weight *= sizes.output_scale);
        }
        let norm = loader.keep(&[sizes.model], norm);
        Ok(Stack { words, bias, layers: all, norm, eps: sizes.eps })
    }

    fn embed(&self, device: &Device, ids: &Tensor) -> Tensor {
        let [batch, tokens] = ids.shape()[..] else { panic!("two axes wanted") };
        ops::embed(device, ids, &self.words).reshape(&[batch, tokens, self.words.columns])
    }
}

impl FeedForward {
    async fn load(loader: &Loader<'_>, root: &str, sizes: &Sizes) -> Result<FeedForward> {
        let Sizes { model, inner, gated, activation, .. } = *sizes;
        let up = |part: &str| {
            let name = format!("{root}.{part}");
            async move { loader.linear(&name, inner, model, false).await }
        };
        Ok(FeedForward {
            gate: if gated { Some(up("wi_0").await?) } else { None },
            up: up(if gated { "wi_1" } else { "wi" }).await?,
            down: loader.linear(&format!("{root}.wo"), model, inner, false).await?,
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
        self.decoder.words.rows
    }

    fn stop_tokens(&self) -> &[u32] {
        &self.stop
    }
}

/// Addends on scores by the distance of a key from a query, `[buckets, H]`.
struct PositionBias {
    values: Vec<f32>,
    heads: usize,
    buckets: Buckets,
}

impl PositionBias {
    async fn load(
        config: &Config,
        loader: &Loader<'_>,
        root: &str,
        heads: usize,
    ) -> Result<PositionBias> {
        let count = config.size_or("relative_attention_num_buckets", Some(32))?;
        let farthest = config.size_or("relative_attention_max_distance", Some(128))?;
        let buckets = Buckets { count, farthest, both_ways: root == "encoder" };
        if buckets.exact() == 0 || farthest <= buckets.exact() {
            let message = format!("{farthest} is too near for {count} buckets");
            return Err(Error::config("relative_attention_max_distance", message));
        }
        let name = format!("{root}.block.0.layer.0.SelfAttention.relative_attention_bias.weight");
        Ok(PositionBias { values: loader.values(&name, &[count, heads]).await?, heads, buckets })
    }

    /// `[1, H, length, length]` for [`Attention::bias`].
    fn table(&self, device: &Device, length: usize, input: &str) -> Result<Tensor> {
        let count = self.heads.saturating_mul(length).saturating_mul(length);
        if count > MAX_BIAS {
            let message = format!("{length} tokens need {count} biases, {MAX_BIAS} are supported");
            return Err(Error::input(input, message));
        }
        let mut table = Vec::with_capacity(count);
        for head in 0..self.heads {
            for query in 0..length {
                let bucket = |key| self.buckets.of(key as i64 - query as i64);
                table.extend((0..length).map(|key| self.values[bucket(key) * self.heads + head]));
            }
        }
        Ok(device.upload(&[1, self.heads, length, length], table))
    }
}

/// How distances are put into buckets: near ones into their own, far ones by their logarithm.
#[derive(Clone, Copy)]
struct Buckets {
    count: usize,
    /// From here on all distances share the last bucket.
    farthest: usize,
    /// Whether keys behind the query have buckets of their own.
    both_ways: bool,
}

impl Buckets {
    /// Buckets of one direction.
    fn side(self) -> usize {
        if self.both_ways { self.count / 2 } else { self.count }
    }

    /// Distances that have a bucket of their own.
    fn exact(self) -> usize {
        self.side() / 2
    }

    /// `T5Attention._relative_position_bucket` in transformers, rounded where it rounds.
    fn of(self, distance: i64) -> usize {
        let behind = if self.both_ways && distance > 0 { self.side() } else { 0 };
        let far = match self.both_ways {
            true => distance.unsigned_abs() as usize,
            false => (-distance).max(0) as usize,
        };
        let exact = self.exact();
        if far < exact {
            return behind + far;
        }
        let whole = (self.farthest as f64 / exact as f64).ln() as f32;
        let share = f64::from(far as f32 / exact as f32).ln() as f32 / whole;
        let bucket = exact + (share * (self.side() - exact) as f32) as usize;
        behind + bucket.min(self.side() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `T5Attention._relative_position_bucket` of transformers 5.23.
    #[test]
    fn distances_fall_into_the_buckets_of_transformers() {
        let distances = [-200, -128, -127, -33, -16, -15, -8, -7, -1, 0, 1, 7, 8, 16, 33, 200];
        let both = Buckets { count: 32, farthest: 128, both_ways: true };
        let expected = [15, 15, 15, 12, 10, 9, 8, 7, 1, 0, 17, 23, 24, 26, 28, 31];
        assert_eq!(distances.map(|distance| both.of(distance)), expected);
        let back = Buckets { both_ways: false, ..both };
        let expected = [31, 31, 31, 21, 16, 15, 8, 7, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(distances.map(|distance| back.of(distance)), expected);
    }
}
