//! Whisper (Radford et al. 2022): an encoder of log-mel spectra behind two convolutions, and a
//! decoder of text that attends to it.

use super::{
    Config, Decoder, Inputs, Model, Outputs, Rows, State,
    blocks::encoder::{AttentionMask, HeadShape, Layer, Mlp, MultiHead, heads},
};
use crate::{
    device::Device,
    error::{Error, Result},
    kv::{CacheShape, KvCache},
    load::{Conv, ConvShape, Declaration, LayerNorm, Linear, Slot},
    ops::{self, Activation, Attention, KeysValues, Window},
    quant::Matrix,
    tensor::Tensor,
};
use record::KvFormat;

/// Of every layer norm: the configuration has no field for it.
const EPS: f32 = 1e-5;

pub(super) struct Whisper {
    mel_bins: usize,
    convolutions: [Conv; 2],
    /// Sinusoids; what the file has is added as it is.
    source_positions: Slot<Tensor>,
    encoder: Vec<Layer>,
    encoder_norm: LayerNorm,

    vocabulary: usize,
    words: Slot<Matrix>,
    /// Tokens of a text, at most.
    targets: usize,
    target_positions: Slot<Tensor>,
    decoder: Vec<DecoderLayer>,
    decoder_norm: LayerNorm,
    head: Linear,
    shape: HeadShape,
    /// How keys and values of a text are stored.
    kv: KvFormat,
    stop: Vec<u32>,
}

struct DecoderLayer {
    /// All but attention to the encoder, which comes between the two.
    layer: Layer,
    cross_norm: LayerNorm,
    cross: MultiHead,
}

impl Whisper {
    pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<Whisper> {
        config.architecture_of(&["WhisperForConditionalGeneration"])?;
        let width = config.size_or("d_model", Some(384))?;
        let mel_bins = config.size_or("num_mel_bins", Some(80))?;
        let vocabulary = config.size_or("vocab_size", Some(51_865))?;
        let sources = config.size_or("max_source_positions", Some(1500))?;
        let targets = config.size_or("max_target_positions", Some(448))?;
        let field = "activation_function";
        let activation = Activation::named(field, config.text_or(field, "gelu")?)?;
        let shape =
            |field| Ok::<_, Error>(HeadShape::shared(heads(config, field, width, Some(6))?, width));

        let root = "model.encoder";
        let convolution = |i: usize, channels, stride| {
            let shape = ConvShape::plain(Window::line(3, stride, 1), true);
            weights.conv(&format!("{root}.conv{i}"), width, channels, shape)
        };
        let convolutions = [convolution(1, mel_bins, 1)?, convolution(2, width, 2)?];
        let source_positions =
            weights.tensor(&format!("{root}.embed_positions.weight"), &[sources, width])?;
        let inner = config.size_or("encoder_ffn_dim", Some(1536))?;
        let encoder_shape = shape("encoder_attention_heads")?;
        let mut encoder = Vec::new();
        for i in 0..config.size_or("encoder_layers", Some(4))? {
            let name = format!("{root}.layers.{i}");
            encoder.push(declare_layer(weights, &name, encoder_shape, inner, activation)?);
        }
        let encoder_norm = weights.layer_norm(&format!("{root}.layer_norm"), width, EPS)?;

        let root = "model.decoder";
        let source = format!("{root}.embed_tokens.weight");
        // transformers reads `scale_embedding` and leaves words as they are, as OpenAI does.
        let words = weights.matrix(&source, vocabulary, width)?;
        let target_positions =
            weights.tensor(&format!("{root}.embed_positions.weight"), &[targets, width])?;
        let inner = config.size_or("decoder_ffn_dim", Some(1536))?;
        let shape = shape("decoder_attention_heads")?;
        let mut decoder = Vec::new();
        for i in 0..config.size_or("decoder_layers", Some(4))? {
            let name = format!("{root}.layers.{i}");
            let cross = format!("{name}.encoder_attn");
            decoder.push(DecoderLayer {
                layer: declare_layer(weights, &name, shape, inner, activation)?,
                cross_norm: weights.layer_norm(&format!("{cross}_layer_norm"), width, EPS)?,
                cross: declare_attention(weights, &cross, shape)?,
            });
        }
        let decoder_norm = weights.layer_norm(&format!("{root}.layer_norm"), width, EPS)?;
        let weight = match config.flag_or("tie_word_embeddings", true)? {
            true => weights.tied("proj_out.weight", &source, &words)?,
            false => weights.matrix("proj_out.weight", vocabulary, width)?,
        };
        Ok(Whisper {
            mel_bins,
            convolutions,
            source_positions,
            encoder,
            encoder_norm,
            vocabulary,
            words,
            targets,
            target_positions,
            decoder,
            decoder_norm,
            head: Linear { weight, bias: None },
            shape,
            kv: weights.kv_of_all_tokens()?,
            stop: config.stop_tokens(),
        })
    }

    /// The encoder's last hidden state `[B, max_source_positions, C]`.
    fn encode(&self, device: &Device, inputs: &Inputs) -> Result<Tensor> {
        let (mels, sources) = (self.mel_bins, self.source_positions.rows());
        let (shape, values) = inputs.floats("input_features")?;
        let frames = 2 * sources;
        let batch = match *shape {
            [batch, m, f] if batch > 0 && [m, f] == [mels, frames] => batch,
            _ => {
                let message = format!("has shape {shape:?}, not [batch, {mels}, {frames}]: pad it");
                return Err(Error::input("input_features", message));
            }
        };
        let values = frames_first(values, mels, frames);
        let mut x = device.upload(&[batch, 1, frames, mels], values);
        for convolution in &self.convolutions {
            // Whatever the layers' activation is, this one is GELU.
            x = ops::activation(device, &convolution.forward(device, &x), Activation::Gelu);
        }
        let x = x.reshape(&[batch, sources, self.words.columns]);
        let mut x = ops::add(device, &x, &self.source_positions);
        for layer in &self.encoder {
            x = layer.forward(device, &x, AttentionMask::default());
        }
        Ok(self.encoder_norm.forward(device, &x))
    }

    /// A state that attends to encoded sound.
    fn state(&self, device: &Device, encoded: &Tensor, capacity: usize) -> Result<State> {
        if capacity > self.targets {
            let positions = self.targets;
            let message = format!("{capacity} tokens, the model has {positions} positions");
            return Err(Error::input("decoder_input_ids", message));
        }
        let (layers, shape) = self.cache(encoded.shape()[0], capacity);
        let cache = KvCache::new(device, layers, shape);
        let cross = self.decoder.iter().map(|layer| layer.cross.keys_values(device, encoded));
        Ok(State { cross: cross.collect(), ..State::new(cache) })
    }
}

/// `[B, T, C]` from `[B, C, T]`.
fn frames_first(values: &[f32], channels: usize, frames: usize) -> Vec<f32> {
    let mut turned = Vec::with_capacity(values.len());
    for image in values.chunks_exact(channels * frames) {
        for frame in 0..frames {
            turned.extend((0..channels).map(|channel| image[channel * frames + frame]));
        }
    }
    turned
}

/// Attention under `root`. A bias on keys moves all scores of a query alike, so there is none.
fn declare_attention(weights: &Declaration<'_>, root: &str, shape: HeadShape) -> Result<MultiHead> {
    let names = ["q_proj", "k_proj", "v_proj", "out_proj"].map(|part| format!("{root}.{part}"));
    let shape = HeadShape { key_bias: false, ..shape };
    MultiHead::declare_shape(weights, names.each_ref().map(String::as_str), shape)
}

/// All of a layer but attention to the encoder.
fn declare_layer(
    weights: &Declaration<'_>,
    root: &str,
    shape: HeadShape,
    inner: usize,
    activation: Activation,
) -> Result<Layer> {
    let width = shape.model;
    let name = |part: &str| format!("{root}.{part}");
    let fc = [&*name("fc1"), &name("fc2")];
    Ok(Layer {
        attention_norm: weights.layer_norm(&name("self_attn_layer_norm"), width, EPS)?,
        attention: declare_attention(weights, &name("self_attn"), shape)?,
        mlp_norm: weights.layer_norm(&name("final_layer_norm"), width, EPS)?,
        mlp: Mlp::declare(weights, fc, width, inner, activation)?,
    })
}

impl Model for Whisper {
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let ids = inputs.ids("decoder_input_ids", self.words.rows)?;
        let mask = inputs.mask("decoder_attention_mask", ids.batch, ids.tokens)?;
        let mask = mask.map(|mask| device.upload(&[ids.batch, ids.tokens], mask));
        let encoded = self.encode(device, inputs)?;
        if encoded.shape()[0] != ids.batch {
            let message = format!("has {} rows, input_features {}", ids.batch, encoded.shape()[0]);
            return Err(Error::input("decoder_input_ids", message));
        }
        let state = self.state(device, &encoded, ids.tokens)?;
        let rows = Rows { last: false, mask: mask.as_ref() };
        let logits = self.step(device, &state, &ids.upload(device), rows);
        Ok(vec![("logits", logits), ("encoder_last_hidden_state", encoded)])
    }

    fn decoder(&self) -> Option<&dyn Decoder> {
        Some(self)
    }
}

impl Decoder for Whisper {
    fn prompt_input(&self) -> &'static str {
        "decoder_input_ids"
    }

    fn begin(&self, device: &Device, inputs: &Inputs, capacity: usize) -> Result<State> {
        let encoded = self.encode(device, inputs)?;
        self.state(device, &encoded, capacity)
    }

    fn cache(&self, batch: usize, capacity: usize) -> (usize, CacheShape) {
        let HeadShape { heads, width, .. } = self.shape;
        (self.decoder.len(), CacheShape { format: self.kv, batch, heads, width, capacity })
    }

    fn step(&self, device: &Device, state: &State, ids: &Tensor, rows: Rows<'_>) -> Tensor {
        let [batch, tokens] = ids.shape()[..] else { panic!("two axes wanted") };
        let (step, table) = (state.cache.step(), &self.target_positions);
        let x = ops::embed(device, ids, &self.words);
        let x = x.reshape(&[batch, tokens, self.words.columns]);
        let mut x = ops::add_positions(device, &x, table, step);
        for (i, DecoderLayer { layer, cross_norm, cross }) in self.decoder.iter().enumerate() {
            let h = layer.attention_norm.forward(device, &x);
            let own = &layer.attention;
            let (k, v) = own.keys_values(device, &h);
            ops::kv_append(device, &state.cache, i, &k, &v);
            let how = Attention { causal: true, mask: rows.mask, ..own.plain() };
            let kv = KeysValues::Cached(&state.cache, i);
            x = ops::add(device, &own.attend(device, &h, kv, how), &x);

            let h = cross_norm.forward(device, &x);
            let (k, v) = &state.cross[i];
            let y = cross.attend(device, &h, KeysValues::Plain { k, v }, cross.plain());
            x = ops::add(device, &y, &x);
            x = layer.feed(device, &x);
        }
        let x = self.decoder_norm.forward(device, &rows.pick(device, x));
        self.head.forward(device, &x)
    }

    fn positions(&self) -> usize {
        self.targets
    }

    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn stop_tokens(&self) -> &[u32] {
        &self.stop
    }
}
