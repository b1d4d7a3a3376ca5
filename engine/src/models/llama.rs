//! LLaMA (Touvron et al. 2023): a decoder of text with rotary positions, grouped queries and a
//! gated feed-forward.

use super::{Config, Decoder, Inputs, Model, Outputs, Rows, State};
use crate::{
    device::Device,
    error::{Error, Result},
    kv::KvCache,
    load::{Linear, Loader},
    ops::{self, Activation, Angles, Attention, KeysValues, RopeScaling},
    quant::Matrix,
    tensor::Tensor,
};

pub(super) struct Llama {
    words: Matrix,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Linear,
    shape: Shape,
    stop: Vec<u32>,
}

/// What every layer shares.
struct Shape {
    heads: usize,
    kv_heads: usize,
    /// Of one head.
    width: usize,
    eps: f32,
    activation: Activation,
    theta: f64,
    scaling: RopeScaling,
    positions: usize,
}

struct Layer {
    input_norm: Tensor,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    post_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Llama {
    pub(super) async fn load(config: &Config, loader: &Loader<'_>) -> Result<Llama> {
        if config.architecture()? != "LlamaForCausalLM" {
            let message = format!("{} is unknown; use LlamaForCausalLM", config.architecture()?);
            return Err(Error::config("architectures", message));
        }
        let hidden = config.size("hidden_size")?;
        let shape = Shape::read(config, hidden)?;
        let Shape { heads, kv_heads, width, .. } = shape;
        let vocabulary = config.size("vocab_size")?;
        let words = loader.matrix("model.embed_tokens.weight", vocabulary, hidden).await?;

        let inner = config.size("intermediate_size")?;
        let bias = config.flag_or("attention_bias", false)?;
        let mlp_bias = config.flag_or("mlp_bias", false)?;
        let mut layers = Vec::new();
        for i in 0..config.size("num_hidden_layers")? {
            let name = |part: &str| format!("model.layers.{i}.{part}");
            let (q, kv) = (heads * width, kv_heads * width);
            // A buffer of frequencies that old checkpoints carry; they follow from the config.
            loader.skip(&name("self_attn.rotary_emb.inv_freq"));
            layers.push(Layer {
                input_norm: loader.vector(&name("input_layernorm.weight"), hidden).await?,
                query: loader.linear(&name("self_attn.q_proj"), q, hidden, bias).await?,
                key: loader.linear(&name("self_attn.k_proj"), kv, hidden, bias).await?,
                value: loader.linear(&name("self_attn.v_proj"), kv, hidden, bias).await?,
                output: loader.linear(&name("self_attn.o_proj"), hidden, q, bias).await?,
                post_norm: loader.vector(&name("post_attention_layernorm.weight"), hidden).await?,
                gate: loader.linear(&name("mlp.gate_proj"), inner, hidden, mlp_bias).await?,
                up: loader.linear(&name("mlp.up_proj"), inner, hidden, mlp_bias).await?,
                down: loader.linear(&name("mlp.down_proj"), hidden, inner, mlp_bias).await?,
            });
        }
        let norm = loader.vector("model.norm.weight", hidden).await?;
        let head = match config.flag_or("tie_word_embeddings", false)? {
            true => {
                loader.skip("lm_head.weight");
                Linear { weight: words.clone(), bias: None }
            }
            false => loader.linear("lm_head", vocabulary, hidden, false).await?,
        };
        Ok(Llama { words, layers, norm, head, shape, stop: config.stop_tokens() })
    }

    /// A pass without a cache that outlives it.
    fn pass(&self, device: &Device, inputs: &Inputs) -> Result<Tensor> {
        let ids = inputs.ids("input_ids", self.words.rows)?;
        let mask = inputs.mask("attention_mask", ids.batch, ids.tokens)?;
        let mask = mask.map(|mask| device.upload(&[ids.batch, ids.tokens], mask));
        let state = self.begin(device, inputs, ids.tokens)?;
        let rows = Rows { last: false, mask: mask.as_ref() };
        Ok(self.step(device, &state, &ids.upload(device), rows))
    }
}

impl Shape {
    fn read(config: &Config, hidden: usize) -> Result<Shape> {
        let heads = config.size("num_attention_heads")?;
        let kv_heads = config.size_or("num_key_value_heads", Some(heads))?;
        let width = config.size_or("head_dim", Some((hidden / heads).max(1)))?;
        if !heads.is_multiple_of(kv_heads) {
            let message = format!("{kv_heads} does not divide {heads} heads");
            return Err(Error::config("num_key_value_heads", message));
        }
        if !width.is_multiple_of(2) || width > ops::MAX_HEAD_WIDTH {
            let message = format!("{width}: use an even width up to {}", ops::MAX_HEAD_WIDTH);
            return Err(Error::config("head_dim", message));
        }
        // transformers 5 keeps all of RoPE in `rope_parameters`, earlier versions in two fields.
        let rope = config.object("rope_parameters")?;
        let theta = match &rope {
            Some(rope) => rope.number_or("rope_theta", 10_000.0)?,
            None => config.number_or("rope_theta", 10_000.0)?,
        };
        let scaling = match rope {
            Some(rope) => Some(rope),
            None => config.object("rope_scaling")?,
        };
        Ok(Shape {
            heads,
            kv_heads,
            width,
            eps: config.number_or("rms_norm_eps", 1e-6)? as f32,
            activation: Activation::named("hidden_act", config.text_or("hidden_act", "silu")?)?,
            theta,
            scaling: scaling.map_or(Ok(RopeScaling::Default), |rope| rope_scaling(&rope))?,
            positions: config.size_or("max_position_embeddings", Some(2048))?,
        })
    }
}

fn rope_scaling(rope: &Config) -> Result<RopeScaling> {
    let kind = match rope.get("rope_type") {
        Some(_) => rope.text_or("rope_type", "default")?,
        None => rope.text_or("type", "default")?,
    };
    let number = |field| rope.number(field).map(|value| value as f32);
    match kind {
        "default" => Ok(RopeScaling::Default),
        "linear" => Ok(RopeScaling::Linear { factor: number("factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: number("factor")?,
            low: number("low_freq_factor")?,
            high: number("high_freq_factor")?,
            original: number("original_max_position_embeddings")?,
        }),
        other => {
            let message = format!("{other} is unknown; use default, linear or llama3");
            Err(Error::config("rope_type", message))
        }
    }
}

impl Model for Llama {
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        Ok(vec![("logits", self.pass(device, inputs)?)])
    }

    fn decoder(&self) -> Option<&dyn Decoder> {
        Some(self)
    }
}

impl Decoder for Llama {
    fn begin(&self, device: &Device, inputs: &Inputs, capacity: usize) -> Result<State> {
        let batch = inputs.ids("input_ids", self.words.rows)?.batch;
        let Shape { kv_heads, width, theta, scaling, positions, .. } = self.shape;
        if capacity > positions {
            let message = format!("{capacity} tokens, the model has {positions} positions");
            return Err(Error::input("input_ids", message));
        }
        let cache = KvCache::new(device, self.layers.len(), batch, kv_heads, width, capacity);
        let angles = Angles::new(device, capacity, width, theta, scaling);
        Ok(State { angles: Some(angles), ..State::new(cache) })
    }

    fn step(&self, device: &Device, state: &State, ids: &Tensor, rows: Rows<'_>) -> Tensor {
        let [batch, tokens] = ids.shape()[..] else { panic!("two axes wanted") };
        let hidden = self.words.columns;
        let mut x = ops::embed(device, ids, &self.words).reshape(&[batch, tokens, hidden]);
        for (i, layer) in self.layers.iter().enumerate() {
            x = layer.forward(device, &x, &self.shape, state, i, rows.mask);
        }
        if rows.last && tokens > 1 {
            let lasts = (1..=batch).map(|b| (b * tokens - 1) as u32).collect();
            let lasts = device.upload_u32(&[batch], lasts);
            x = ops::gather_rows(device, &x, &lasts).reshape(&[batch, 1, hidden]);
        }
        let x = ops::rms_norm(device, &x, &self.norm, self.shape.eps);
        self.head.forward(device, &x)
    }

    fn vocabulary(&self) -> usize {
        self.words.rows
    }

    fn stop_tokens(&self) -> &[u32] {
        &self.stop
    }
}

impl Layer {
    fn forward(
        &self,
        device: &Device,
        x: &Tensor,
        shape: &Shape,
        state: &State,
        index: usize,
        mask: Option<&Tensor>,
    ) -> Tensor {
        let step = state.cache.step();
        let h = ops::rms_norm(device, x, &self.input_norm, shape.eps);
        let angles = state.angles.as_ref().expect("begin made them");
        let q = ops::rope(device, &self.query.forward(device, &h), angles, step);
        let k = ops::rope(device, &self.key.forward(device, &h), angles, step);
        state.cache.append(device, index, &k, &self.value.forward(device, &h));
        let how = Attention {
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            scale: 1.0 / (shape.width as f32).sqrt(),
            causal: true,
            mask,
            bias: None,
        };
        let y = ops::attention(device, &q, KeysValues::Cached(&state.cache, index), how);
        let x = ops::add(device, &self.output.forward(device, &y), x);

        let h = ops::rms_norm(device, &x, &self.post_norm, shape.eps);
        let (gate, up) = (self.gate.forward(device, &h), self.up.forward(device, &h));
        let y = ops::gated(device, &gate, &up, shape.activation);
        ops::add(device, &self.down.forward(device, &y), &x)
    }
}
