//! A transformer layer that normalises before it attends and before it feeds forward, as ViT and
//! CLIP have it, and its two halves for those who combine them otherwise.

use crate::{
    device::Device,
    error::{Error, Result},
    load::{Declaration, LayerNorm, Linear},
    models::Config,
    ops::{self, Activation, Attention, KeysValues},
    tensor::Tensor,
};

/// Attention with its four projections.
pub struct MultiHead {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
}

/// What a query sees besides what the weights say.
#[derive(Clone, Copy, Default)]
pub struct AttentionMask<'a> {
    /// Whether later keys are hidden.
    pub causal: bool,
    /// `[B, S]`: keys at zeros are hidden.
    pub mask: Option<&'a Tensor>,
}

/// Number of heads, checked against the width that they share.
pub fn heads(config: &Config, field: &str, width: usize, default: Option<usize>) -> Result<usize> {
    let heads = config.size_or(field, default)?;
    if !width.is_multiple_of(heads) || width / heads > ops::MAX_HEAD_WIDTH {
        let most = ops::MAX_HEAD_WIDTH;
        let message = format!("{heads} heads do not divide {width} into widths up to {most}");
        return Err(Error::config(field, message));
    }
    Ok(heads)
}

/// What [`MultiHead`] has besides its names.
#[derive(Clone, Copy)]
pub struct HeadShape {
    /// Width of the tokens.
    pub model: usize,
    /// How many there are.
    pub heads: usize,
    /// Width of one.
    pub width: usize,
    /// Whether projections of queries and values have a bias.
    pub bias: bool,
    /// Whether those of keys have one.
    pub key_bias: bool,
    /// Whether that of the output has one.
    pub output_bias: bool,
}

impl HeadShape {
    /// Heads that share the width of the tokens, with all biases.
    pub fn shared(heads: usize, model: usize) -> HeadShape {
        let width = model / heads;
        HeadShape { model, heads, width, bias: true, key_bias: true, output_bias: true }
    }
}

impl MultiHead {
    /// Reads the projections of queries, keys, values and the output from four names; `bias` is
    /// that of the first three.
    pub fn declare(
        weights: &Declaration<'_>,
        names: [&str; 4],
        width: usize,
        heads: usize,
        bias: bool,
    ) -> Result<MultiHead> {
        let shape = HeadShape { bias, key_bias: bias, ..HeadShape::shared(heads, width) };
        MultiHead::declare_shape(weights, names, shape)
    }

    /// The same for heads of any shape.
    pub fn declare_shape(
        weights: &Declaration<'_>,
        [query, key, value, output]: [&str; 4],
        shape: HeadShape,
    ) -> Result<MultiHead> {
        let HeadShape { model, heads, width, bias, key_bias, output_bias } = shape;
        let inner = heads * width;
        Ok(MultiHead {
            query: weights.linear(query, inner, model, bias)?,
            key: weights.linear(key, inner, model, key_bias)?,
            value: weights.linear(value, inner, model, bias)?,
            output: weights.linear(output, model, inner, output_bias)?,
            heads,
        })
    }

    /// Plain attention of these heads, for [`MultiHead::attend`].
    pub fn plain(&self) -> Attention<'static> {
        Attention::new(self.heads, self.query.weight.rows / self.heads)
    }

    /// Keys and values `[B, S, H · D]` of `x: [B, S, C]`, which can be kept.
    pub fn keys_values(&self, device: &Device, x: &Tensor) -> (Tensor, Tensor) {
        (self.key.forward(device, x), self.value.forward(device, x))
    }

    /// `[B, T, C]`: what the tokens `x: [B, T, C]` see of keys and values.
    pub fn attend(
        &self,
        device: &Device,
        x: &Tensor,
        kv: KeysValues<'_>,
        how: Attention<'_>,
    ) -> Tensor {
        let q = self.query.forward(device, x);
        self.output.forward(device, &ops::attention(device, &q, kv, how))
    }

    /// `[B, T, C]` from queries made of `q: [B, T, C]`, keys of `k: [B, S, C]`, values of `v`.
    pub fn forward(
        &self,
        device: &Device,
        [q, k, v]: [&Tensor; 3],
        mask: AttentionMask<'_>,
    ) -> Tensor {
        let (k, v) = (self.key.forward(device, k), self.value.forward(device, v));
        let how = Attention { causal: mask.causal, mask: mask.mask, ..self.plain() };
        self.attend(device, q, KeysValues::Plain { k: &k, v: &v }, how)
    }
}

/// Two linear layers with an activation between them.
pub struct Mlp {
    /// Into the inner width.
    pub up: Linear,
    /// Between the two.
    pub activation: Activation,
    /// Back to the outer width.
    pub down: Linear,
}

impl Mlp {
    /// Reads both layers.
    pub fn declare(
        weights: &Declaration<'_>,
        [up, down]: [&str; 2],
        width: usize,
        inner: usize,
        activation: Activation,
    ) -> Result<Mlp> {
        Ok(Mlp {
            up: weights.linear(up, inner, width, true)?,
            activation,
            down: weights.linear(down, width, inner, true)?,
        })
    }

    /// Applies the layers to the last axis of `x`.
    pub fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        let y = ops::activation(device, &self.up.forward(device, x), self.activation);
        self.down.forward(device, &y)
    }
}

/// `x += attention(norm(x))`, then `x += mlp(norm(x))`.
pub struct Layer {
    /// Before attention.
    pub attention_norm: LayerNorm,
    /// Of the layer's tokens among themselves.
    pub attention: MultiHead,
    /// Before the feed-forward.
    pub mlp_norm: LayerNorm,
    /// The feed-forward.
    pub mlp: Mlp,
}

impl Layer {
    /// `[B, T, C]` from `x: [B, T, C]`.
    pub fn forward(&self, device: &Device, x: &Tensor, mask: AttentionMask<'_>) -> Tensor {
        self.feed(device, &self.attend(device, x, mask))
    }

    /// The first half.
    pub fn attend(&self, device: &Device, x: &Tensor, mask: AttentionMask<'_>) -> Tensor {
        let h = self.attention_norm.forward(device, x);
        ops::add(device, &self.attention.forward(device, [&h; 3], mask), x)
    }

    /// The second half.
    pub fn feed(&self, device: &Device, x: &Tensor) -> Tensor {
        let h = self.mlp_norm.forward(device, x);
        ops::add(device, &self.mlp.forward(device, &h), x)
    }
}
