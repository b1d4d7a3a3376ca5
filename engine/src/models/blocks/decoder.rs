//! The text decoder that LLaMA made common: rotary positions, grouped queries, RMS norms before each
//! part of a layer and a gated feed-forward. Its families differ in what [`Spec`] says.

use crate::{
    device::Device,
    error::{Error, Result},
    kv::{CacheShape, KvCache},
    load::{Declaration, Linear, Slot, StackedLinear},
    models::{Config, Decoder, Inputs, Model, Outputs, Rows, State},
    ops::{self, Activation, Angles, Attention, Projection, RopeScaling},
    quant::Matrix,
    tensor::Tensor,
};
use record::{KvFormat, Window};

/// More layers than any published model has.
const MAX_LAYERS: usize = 1024;

/// What a configuration says of a decoder.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub vocabulary: usize,
    pub hidden: usize,
    /// Of the feed-forward.
    pub inner: usize,
    pub heads: usize,
    pub kv_heads: usize,
    /// Of one head.
    pub width: usize,
    pub eps: f32,
    pub activation: Activation,
    pub theta: f64,
    pub scaling: RopeScaling,
    pub positions: usize,
    /// Keys that a query sees, a layer each; all where there is none.
    pub windows: Vec<Option<usize>>,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Whether the output of attention has one.
    pub output_bias: bool,
    /// Whether the feed-forward has one.
    pub mlp_bias: bool,
    /// Whether the head uses the matrix of the words.
    pub tied: bool,
    /// Tokens that end a text.
    pub stop: Vec<u32>,
}

/// What a family's configuration class in transformers fills in where a field is absent.
pub(crate) struct Defaults {
    pub vocabulary: usize,
    pub hidden: usize,
    pub inner: usize,
    pub layers: usize,
    pub heads: usize,
    /// As many as heads where there is none.
    pub kv_heads: Option<usize>,
    pub positions: usize,
}

impl Spec {
    /// What families share; biases and windows are none.
    pub(crate) fn read(config: &Config, defaults: &Defaults) -> Result<Spec> {
        let size = |field, default| config.size_or(field, Some(default));
        let hidden = size("hidden_size", defaults.hidden)?;
        let heads = size("num_attention_heads", defaults.heads)?;
        let kv_heads = size("num_key_value_heads", defaults.kv_heads.unwrap_or(heads))?;
        let width = size("head_dim", (hidden / heads).max(1))?;
        if !heads.is_multiple_of(kv_heads) {
            let message = format!("{kv_heads} does not divide {heads} heads");
            return Err(Error::config("num_key_value_heads", message));
        }
        if !width.is_multiple_of(2) || width > ops::MAX_HEAD_WIDTH {
            let message = format!("{width}: use an even width up to {}", ops::MAX_HEAD_WIDTH);
            return Err(Error::config("head_dim", message));
        }
        let layers = size("num_hidden_layers", defaults.layers)?;
        if layers > MAX_LAYERS {
            let message = format!("{layers}: up to {MAX_LAYERS} are supported");
            return Err(Error::config("num_hidden_layers", message));
        }
        let positions = size("max_position_embeddings", defaults.positions)?;
        let (theta, scaling) = rope(config, width, positions)?;
        Ok(Spec {
            vocabulary: size("vocab_size", defaults.vocabulary)?,
            hidden,
            inner: size("intermediate_size", defaults.inner)?,
            heads,
            kv_heads,
            width,
            eps: config.number_or("rms_norm_eps", 1e-6)? as f32,
            activation: Activation::named("hidden_act", config.text_or("hidden_act", "silu")?)?,
            theta,
            scaling,
            positions,
            windows: vec![None; layers],
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            tied: config.flag_or("tie_word_embeddings", false)?,
            stop: config.stop_tokens(),
        })
    }
}

/// Base and scaling of the rotary frequencies.
fn rope(config: &Config, width: usize, positions: usize) -> Result<(f64, RopeScaling)> {
    // transformers 5 keeps all of RoPE in `rope_parameters`, earlier versions in two fields.
    let rope = match config.object("rope_scaling")? {
        Some(rope) => Some(rope),
        None => config.object("rope_parameters")?,
    };
    let base = positive("rope_theta", config.number_or("rope_theta", 10_000.0)?)?;
    let Some(rope) = rope else { return Ok((base, RopeScaling::Default)) };
    let theta = positive("rope_theta", rope.number_or("rope_theta", base)?)?;
    if rope.number_or("partial_rotary_factor", 1.0)? != 1.0 {
        return Err(Error::config("partial_rotary_factor", "only 1 is supported"));
    }
    let number = |field| positive(field, rope.number(field)?);
    let field = "original_max_position_embeddings";
    let original = positive(field, rope.number_or(field, positions as f64)?)?;
    let kind = match rope.get("rope_type") {
        Some(_) => rope.text_or("rope_type", "default")?,
        None => rope.text_or("type", "default")?,
    };
    let scaling = match kind {
        "default" => RopeScaling::Default,
        // Dynamic scaling begins beyond the positions that a state has room for.
        "dynamic" => RopeScaling::Default,
        "linear" => RopeScaling::Linear { factor: number("factor")? as f32 },
        "llama3" => RopeScaling::Llama3 {
            factor: number("factor")? as f32,
            low: number("low_freq_factor")? as f32,
            high: number("high_freq_factor")? as f32,
            original: original as f32,
        },
        "yarn" => {
            let or = |field, default| positive(field, rope.number_or(field, default)?);
            let factor = or("factor", positions as f64 / original)?;
            let turns = (or("beta_fast", 32.0)?, or("beta_slow", 1.0)?);
            let scale = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
            let (above, below) =
                (rope.number_or("mscale", 0.0)?, rope.number_or("mscale_all_dim", 0.0)?);
            let stretch = match above != 0.0 && below != 0.0 {
                true => scale(above) / scale(below),
                false => scale(1.0),
            };
            let stretch = rope.number_or("attention_factor", stretch)?;
            let truncate = rope.flag_or("truncate", true)?;
            RopeScaling::yarn(factor, turns, truncate, stretch, (theta, width, original))
        }
        other => {
            let message =
                format!("{other} is unknown; use default, linear, dynamic, yarn or llama3");
            return Err(Error::config("rope_type", message));
        }
    };
    Ok((theta, scaling))
}

fn positive(field: &str, value: f64) -> Result<f64> {
    match value > 0.0 && value < 1e12 {
        true => Ok(value),
        false => Err(Error::config(field, format!("{value}: use a positive number"))),
    }
}

/// Tokens of a text whose cache drops old ones: their angles are in a table.
const MOST_POSITIONS: usize = 1 << 20;

/// Whether a cache may keep these tokens alone.
fn can_keep(window: Window, spec: &Spec) -> Result<()> {
    let kept = window.tokens();
    if kept > spec.positions {
        let message = format!(
            "a cache of {kept} tokens, the model has {} positions: use a smaller --window",
            spec.positions
        );
        return Err(Error::unsupported(message));
    }
    match spec.windows.iter().flatten().min() {
        Some(own) if *own < kept => Err(Error::unsupported(format!(
            "a cache of {kept} tokens, the model's own layers see {own}: use a smaller --window"
        ))),
        _ => Ok(()),
    }
}

/// A decoder with its head. As a model it reads text alone; models that read more put their
/// own rows between [`TextDecoder::embed`] and [`TextDecoder::logits`].
pub(crate) struct TextDecoder {
    words: Slot<Matrix>,
    layers: Vec<Layer>,
    norm: Slot<Tensor>,
    head: Slot<Matrix>,
    spec: Spec,
    /// How keys and values are stored.
    kv: KvFormat,
    /// Which tokens a cache keeps, all where there is none.
    window: Option<Window>,
}

struct Layer {
    input_norm: Slot<Tensor>,
    /// Queries, keys and values.
    qkv: StackedLinear,
    output: Linear,
    post_norm: Slot<Tensor>,
    /// The gate, and what it lets through.
    gate_up: StackedLinear,
    down: Linear,
    window: Option<usize>,
}

impl TextDecoder {
    /// The decoder whose tensors are under `root`, which is `model.` in a model of text alone, and the head
    /// `{head}.weight`.
    pub(crate) fn declare(
        weights: &Declaration<'_>,
        spec: Spec,
        root: &str,
        head: &str,
    ) -> Result<TextDecoder> {
        let Spec { vocabulary, hidden, inner, heads, kv_heads, width, .. } = spec;
        let source = format!("{root}embed_tokens.weight");
        let words = weights.matrix(&source, vocabulary, hidden)?;
        let mut layers = Vec::new();
        for (i, &window) in spec.windows.iter().enumerate() {
            let name = |part: &str| format!("{root}layers.{i}.{part}");
            let (q, kv) = (heads * width, kv_heads * width);
            let linear = |part: &str, rows, columns, bias| {
                let name = name(part);
                weights.linear(&name, rows, columns, bias)
            };
            let stacked = |parts: &[&str], rows: &[usize], bias| {
                let names: Vec<String> = parts.iter().map(|part| name(part)).collect();
                weights.stacked_linear(&names, rows, hidden, bias)
            };
            // A buffer of frequencies that old checkpoints carry; they follow from the config.
            weights.skip(&name("self_attn.rotary_emb.inv_freq"));
            layers.push(Layer {
                input_norm: weights.vector(&name("input_layernorm.weight"), hidden)?,
                qkv: stacked(
                    &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
                    &[q, kv, kv],
                    spec.qkv_bias,
                )?,
                output: linear("self_attn.o_proj", hidden, q, spec.output_bias)?,
                post_norm: weights.vector(&name("post_attention_layernorm.weight"), hidden)?,
                gate_up: stacked(
                    &["mlp.gate_proj", "mlp.up_proj"],
                    &[inner, inner],
                    spec.mlp_bias,
                )?,
                down: linear("mlp.down_proj", hidden, inner, spec.mlp_bias)?,
                window,
            });
        }
        let norm = weights.vector(&format!("{root}norm.weight"), hidden)?;
        let head = format!("{head}.weight");
        let head = match spec.tied {
            true => weights.tied(&head, &source, &words)?,
            false => weights.matrix(&head, vocabulary, hidden)?,
        };
        let (kv, window) = weights.kv();
        if let Some(window) = window {
            can_keep(window, &spec)?;
        }
        Ok(TextDecoder { words, layers, norm, head, spec, kv, window })
    }

    /// Room for `batch` sequences of up to `capacity` tokens.
    pub(crate) fn state(&self, device: &Device, batch: usize, capacity: usize) -> Result<State> {
        let Spec { width, theta, scaling, .. } = self.spec;
        let positions = self.positions();
        if capacity > positions {
            let message = format!("{capacity} tokens, the model has {positions} positions");
            return Err(Error::input("input_ids", message));
        }
        let (layers, shape) = self.cache(batch, capacity);
        let mut cache = KvCache::new(device, layers, shape);
        // Also where all of a text has room, so that long and short ones are computed by the same kernels.
        if let Some(window) = self.window {
            cache = cache.into_ring((window.sinks as usize).min(shape.capacity - 1));
        }
        let angles = Angles::new(device, capacity, width, theta, scaling);
        Ok(State { angles: Some(angles), ..State::new(cache) })
    }

    /// The words `[B, T, hidden]` of `ids: [B, T]`.
    pub(crate) fn embed(&self, device: &Device, ids: &Tensor) -> Tensor {
        let [batch, tokens] = ids.shape()[..] else { panic!("two axes wanted") };
        let words = ops::embed(device, ids, &self.words);
        words.reshape(&[batch, tokens, self.spec.hidden])
    }

    /// Logits of `x: [B, T, hidden]` behind what `state` holds, as [`Decoder::step`] gives them.
    pub(crate) fn logits(
        &self,
        device: &Device,
        state: &State,
        mut x: Tensor,
        rows: Rows<'_>,
    ) -> Tensor {
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(device, &x, &self.spec, state, i, rows.mask);
        }
        let x = rows.pick(device, x);
        let how = Projection { norm: Some((&self.norm, self.spec.eps)), ..Projection::default() };
        ops::project(device, &x, &self.head, how)
    }
}

impl Model for TextDecoder {
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let ids = inputs.ids("input_ids", self.words.rows)?;
        let mask = inputs.mask("attention_mask", ids.batch, ids.tokens)?;
        let mask = mask.map(|mask| device.upload(&[ids.batch, ids.tokens], mask));
        let state = self.begin(device, inputs, ids.tokens)?;
        let rows = Rows { last: false, mask: mask.as_ref() };
        Ok(vec![("logits", self.step(device, &state, &ids.upload(device), rows))])
    }

    fn decoder(&self) -> Option<&dyn Decoder> {
        Some(self)
    }
}

impl Decoder for TextDecoder {
    fn begin(&self, device: &Device, inputs: &Inputs, capacity: usize) -> Result<State> {
        let batch = inputs.ids("input_ids", self.words.rows)?.batch;
        self.state(device, batch, capacity)
    }

    fn cache(&self, batch: usize, capacity: usize) -> (usize, CacheShape) {
        let Spec { kv_heads: heads, width, .. } = self.spec;
        let capacity = self.kept().map_or(capacity, |kept| kept.min(capacity));
        (self.layers.len(), CacheShape { format: self.kv, batch, heads, width, capacity })
    }

    fn step(&self, device: &Device, state: &State, ids: &Tensor, rows: Rows<'_>) -> Tensor {
        self.logits(device, state, self.embed(device, ids), rows)
    }

    fn kept(&self) -> Option<usize> {
        self.window.map(Window::tokens)
    }

    /// Where old tokens make room a text never ends: distances in the cache are those that were trained.
    fn positions(&self) -> usize {
        if self.window.is_some() {
            MOST_POSITIONS.max(self.spec.positions)
        } else {
            self.spec.positions
        }
    }

    fn vocabulary(&self) -> usize {
        self.spec.vocabulary
    }

    fn stop_tokens(&self) -> &[u32] {
        &self.spec.stop
    }
}

impl Layer {
    fn forward(
        &self,
        device: &Device,
        x: &Tensor,
        spec: &Spec,
        state: &State,
        index: usize,
        mask: Option<&Tensor>,
    ) -> Tensor {
        let angles = state.angles.as_ref().expect("begin made them");
        let qkv = self.qkv.forward(device, x, (&self.input_norm, spec.eps), None);
        let how = Attention {
            kv_heads: spec.kv_heads,
            causal: true,
            mask,
            window: self.window,
            ..Attention::new(spec.heads, spec.width)
        };
        let y = ops::self_attention(device, &qkv, angles, (&state.cache, index), how);
        let x = self.output.forward_onto(device, &y, x);

        let norm = (&*self.post_norm, spec.eps);
        self.gate_up.feed_forward(device, &x, norm, spec.activation, &self.down)
    }
}
