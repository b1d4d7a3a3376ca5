//! wav2vec 2.0 (Baevski et al. 2020): letters from sound. Convolutions make a frame of each 20 ms, an
//! encoder that knows positions by one more convolution reads the frames, and a head names a letter
//! or a blank for each.

use super::{
    Config, Inputs, Model, Outputs,
    blocks::encoder::{AttentionMask, Mlp, MultiHead, heads},
};
use crate::{
    device::Device,
    error::{Error, Result},
    load::{Conv, ConvShape, Declaration, LayerNorm, Linear, Slot},
    ops::{self, Activation, Window},
    tensor::Tensor,
};

/// Of the norms that the configuration has no field for.
const EPS: f32 = 1e-5;

pub(super) struct Wav2Vec2 {
    extractor: Vec<Extract>,
    feature_norm: LayerNorm,
    projection: Linear,
    positions: Conv,
    /// Of the extractor and of the positions.
    activation: Activation,
    /// Before the layers, or behind them where they normalise first.
    norm: LayerNorm,
    layers: Vec<Layer>,
    stable: bool,
    head: Linear,
}

/// A convolution over samples or frames, and its norm.
struct Extract {
    convolution: Conv,
    norm: ExtractNorm,
}

enum ExtractNorm {
    None,
    /// Of each channel over time.
    Channels {
        weight: Slot<Tensor>,
        bias: Slot<Tensor>,
    },
    /// Of each frame over channels.
    Frames(LayerNorm),
}

struct Layer {
    attention: MultiHead,
    norm: LayerNorm,
    inner: Mlp,
    final_norm: LayerNorm,
    /// What a language adds to a layer.
    adapter: Option<(LayerNorm, Mlp)>,
}

impl Wav2Vec2 {
    pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<Wav2Vec2> {
        config.architecture_of(&["Wav2Vec2ForCTC"])?;
        if config.flag_or("add_adapter", false)? {
            let message = "an adapter behind the encoder is not supported; only false is";
            return Err(Error::config("add_adapter", message));
        }
        let width = config.size_or("hidden_size", Some(768))?;
        let eps = config.number_or("layer_norm_eps", 1e-5)? as f32;
        let named = |field| Activation::named(field, config.text_or(field, "gelu")?);
        let (activation, inner_activation) =
            (named("feat_extract_activation")?, named("hidden_act")?);
        let (extractor, channels) = declare_extractor(config, weights)?;

        let root = "wav2vec2";
        // The mask of training, which inference leaves off.
        weights.skip(&format!("{root}.masked_spec_embed"));
        let name = |part: &str| format!("{root}.feature_projection.{part}");
        let feature_norm = weights.layer_norm(&name("layer_norm"), channels, eps)?;
        let projection = weights.linear(&name("projection"), width, channels, true)?;

        let root = "wav2vec2.encoder";
        let stable = config.flag_or("do_stable_layer_norm", false)?;
        let heads = heads(config, "num_attention_heads", width, Some(12))?;
        let inner = config.size_or("intermediate_size", Some(3072))?;
        let adapter = match (stable, config.get("adapter_attn_dim")) {
            (true, Some(_)) => Some(config.size("adapter_attn_dim")?),
            _ => None,
        };
        let mut layers = Vec::new();
        for i in 0..config.size_or("num_hidden_layers", Some(12))? {
            let name = |part: &str| format!("{root}.layers.{i}.{part}");
            let attention = ["q_proj", "k_proj", "v_proj", "out_proj"];
            let attention = attention.map(|part| name(&format!("attention.{part}")));
            let attention = attention.each_ref().map(String::as_str);
            let feed = ["intermediate_dense", "output_dense"];
            let feed = feed.map(|part| name(&format!("feed_forward.{part}")));
            let feed = feed.each_ref().map(String::as_str);
            layers.push(Layer {
                attention: MultiHead::declare(weights, attention, width, heads, true)?,
                norm: weights.layer_norm(&name("layer_norm"), width, eps)?,
                inner: Mlp::declare(weights, feed, width, inner, inner_activation)?,
                final_norm: weights.layer_norm(&name("final_layer_norm"), width, eps)?,
                adapter: match adapter {
                    Some(inner) => {
                        let norm = name("adapter_layer.norm");
                        let feed = ["linear_1", "linear_2"];
                        let feed = feed.map(|part| name(&format!("adapter_layer.{part}")));
                        let feed = feed.each_ref().map(String::as_str);
                        Some((
                            weights.layer_norm(&norm, width, EPS)?,
                            Mlp::declare(weights, feed, width, inner, Activation::Relu)?,
                        ))
                    }
                    None => None,
                },
            });
        }
        let vocabulary = config.size_or("vocab_size", Some(32))?;
        Ok(Wav2Vec2 {
            extractor,
            feature_norm,
            projection,
            positions: declare_positions(config, weights, width)?,
            activation,
            norm: weights.layer_norm(&format!("{root}.layer_norm"), width, eps)?,
            layers,
            stable,
            head: weights.linear("lm_head", vocabulary, width, true)?,
        })
    }

    /// Frames that `samples` make; none where they are too few for one.
    fn frames(&self, samples: usize) -> Option<usize> {
        let line = |len, layer: &Extract| Some(layer.convolution.window.output([1, len])?[1]);
        self.extractor.iter().try_fold(samples, line)
    }

    /// Frames of each sequence, of which `mask` says how many samples it has.
    fn lengths(&self, mask: &[f32], samples: usize) -> Result<Vec<usize>> {
        let length = |row: &[f32]| {
            let kept = row.iter().filter(|keep| **keep > 0.5).count();
            self.frames(kept).ok_or_else(|| {
                let message = format!("keeps {kept} samples: too few for a frame");
                Error::input("attention_mask", message)
            })
        };
        mask.chunks_exact(samples).map(length).collect()
    }
}

/// The convolutions of the extractor, and the channels of the last one.
fn declare_extractor(config: &Config, weights: &Declaration<'_>) -> Result<(Vec<Extract>, usize)> {
    let list = |field, default: [usize; 7]| {
        config.sizes(field).map(|sizes| sizes.unwrap_or(default.to_vec()))
    };
    let widths = list("conv_dim", [512; 7])?;
    let strides = list("conv_stride", [5, 2, 2, 2, 2, 2, 2])?;
    let kernels = list("conv_kernel", [10, 3, 3, 3, 3, 2, 2])?;
    if widths.is_empty() || (strides.len(), kernels.len()) != (widths.len(), widths.len()) {
        let message = "conv_dim, conv_stride and conv_kernel are not of one length";
        return Err(Error::config("conv_dim", message));
    }
    let field = "feat_extract_norm";
    let every = match config.text_or(field, "group")? {
        "group" => false,
        "layer" => true,
        other => {
            return Err(Error::config(field, format!("{other} is unknown; use group or layer")));
        }
    };
    let bias = config.flag_or("conv_bias", false)?;
    let mut layers = Vec::new();
    let mut channels = 1;
    for (i, &width) in widths.iter().enumerate() {
        let name = |part: &str| format!("wav2vec2.feature_extractor.conv_layers.{i}.{part}");
        let shape = ConvShape::plain(Window::line(kernels[i], strides[i], 0), bias);
        let convolution = weights.conv(&name("conv"), width, channels, shape)?;
        let norm = match (every, i) {
            (true, _) => {
                ExtractNorm::Frames(weights.layer_norm(&name("layer_norm"), width, EPS)?)
            }
            (false, 0) => ExtractNorm::Channels {
                weight: weights.vector(&name("layer_norm.weight"), width)?,
                bias: weights.vector(&name("layer_norm.bias"), width)?,
            },
            (false, _) => ExtractNorm::None,
        };
        layers.push(Extract { convolution, norm });
        channels = width;
    }
    Ok((layers, channels))
}

/// The convolution that tells positions. Files keep directions and, an element of the kernel each,
/// lengths of its weights (Salimans and Kingma 2016), under old names or new ones.
fn declare_positions(config: &Config, weights: &Declaration<'_>, width: usize) -> Result<Conv> {
    let kernel = config.size_or("num_conv_pos_embeddings", Some(128))?;
    let field = "num_conv_pos_embedding_groups";
    let groups = config.size_or(field, Some(16))?;
    if !width.is_multiple_of(groups) {
        let message = format!("{groups} groups do not divide hidden_size {width}");
        return Err(Error::config(field, message));
    }
    let root = "wav2vec2.encoder.pos_conv_embed.conv";
    let (old_lengths, old) = (format!("{root}.weight_g"), format!("{root}.weight_v"));
    let new = format!("{root}.parametrizations.weight");
    let (lengths, directions) = match weights.has(&old) {
        true => (old_lengths, old),
        false => (format!("{new}.original0"), format!("{new}.original1")),
    };
    let window = Window::line(kernel, 1, kernel / 2);
    let names = [directions.as_str(), &lengths, &format!("{root}.bias")];
    weights.normed_conv(names, [width, width], groups, window)
}

impl Extract {
    /// Frames `[B, 1, T', C']` from `x: [B, 1, T, C]`.
    fn forward(&self, device: &Device, x: &Tensor, activation: Activation) -> Tensor {
        let x = self.convolution.forward(device, x);
        let x = match &self.norm {
            ExtractNorm::None => x,
            ExtractNorm::Frames(norm) => norm.forward(device, &x),
            ExtractNorm::Channels { weight, bias } => {
                let [batch, _, tokens, channels] = x.shape()[..] else { panic!("four axes") };
                let frames = x.reshape(&[batch, tokens, channels]);
                ops::group_norm(device, &frames, channels, weight, bias, EPS).reshape(x.shape())
            }
        };
        ops::activation(device, &x, activation)
    }
}

impl Layer {
    fn forward(&self, device: &Device, x: &Tensor, stable: bool, mask: Option<&Tensor>) -> Tensor {
        let mask = AttentionMask { causal: false, mask };
        if !stable {
            let x = ops::add(device, &self.attention.forward(device, [x; 3], mask), x);
            let x = self.norm.forward(device, &x);
            let x = ops::add(device, &self.inner.forward(device, &x), &x);
            return self.final_norm.forward(device, &x);
        }
        let h = self.norm.forward(device, x);
        let x = ops::add(device, &self.attention.forward(device, [&h; 3], mask), x);
        let h = self.final_norm.forward(device, &x);
        let x = ops::add(device, &self.inner.forward(device, &h), &x);
        match &self.adapter {
            Some((norm, inner)) => {
                let h = norm.forward(device, &x);
                ops::add(device, &inner.forward(device, &h), &x)
            }
            None => x,
        }
    }
}

impl Model for Wav2Vec2 {
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let field = "input_values";
        let (shape, values) = inputs.floats(field)?;
        let [batch, samples] = shape[..] else {
            return Err(Error::input(field, format!("has shape {shape:?}, not [batch, samples]")));
        };
        let frames = self.frames(samples).filter(|_| batch > 0).ok_or_else(|| {
            Error::input(field, format!("has shape {shape:?}: too short for a frame"))
        })?;
        let mask = inputs.mask("attention_mask", batch, samples)?;
        let lengths = mask.map(|mask| self.lengths(&mask, samples)).transpose()?;

        let mut x = device.upload(&[batch, 1, samples, 1], values.to_vec());
        for layer in &self.extractor {
            x = layer.forward(device, &x, self.activation);
        }
        let x = x.reshape(&[batch, frames, x.columns()]);
        let mut x = self.projection.forward(device, &self.feature_norm.forward(device, &x));
        let mask = lengths.map(|lengths| {
            x = cut(device, &x, &lengths);
            let kept = |at: usize| f32::from(u8::from(at % frames < lengths[at / frames]));
            device.upload(&[batch, frames], (0..batch * frames).map(kept).collect())
        });

        let line = x.reshape(&[batch, 1, frames, x.columns()]);
        let positions = self.positions.forward(device, &line);
        // An even kernel gives one more than there are frames.
        let positions = ops::narrow(device, &positions, 2, 0, frames).reshape(x.shape());
        let positions = ops::activation(device, &positions, self.activation);
        x = ops::add(device, &x, &positions);
        if !self.stable {
            x = self.norm.forward(device, &x);
        }
        for layer in &self.layers {
            x = layer.forward(device, &x, self.stable, mask.as_ref());
        }
        if self.stable {
            x = self.norm.forward(device, &x);
        }
        Ok(vec![("logits", self.head.forward(device, &x))])
    }
}

/// `x: [B, T, C]` with zeros behind the first `lengths` tokens.
fn cut(device: &Device, x: &Tensor, lengths: &[usize]) -> Tensor {
    let [batch, tokens, columns] = x.shape()[..] else { panic!("three axes wanted") };
    let rows = x.reshape(&[batch * tokens, columns]);
    let zeros = device.upload(&[1, columns], vec![0.0; columns]);
    let table = ops::concat(device, &[&rows, &zeros], 0);
    let id = |at: usize| match at % tokens < lengths[at / tokens] {
        true => at as u32,
        false => (batch * tokens) as u32,
    };
    let ids = device.upload_u32(&[batch * tokens], (0..batch * tokens).map(id).collect());
    ops::gather_rows(device, &table, &ids).reshape(x.shape())
}
