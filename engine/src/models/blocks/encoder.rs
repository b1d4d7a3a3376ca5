//! A transformer layer that normalises before it attends and before it feeds forward, as ViT and
//! CLIP have it, and its two halves for those who combine them otherwise.

use crate::{
    device::Device,
    error::{Error, Result},
    load::{LayerNorm, Linear, Loader},
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
pub struct Sight<'a> {
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

impl MultiHead {
    /// Reads the projections of queries, keys, values and the output from four names; `bias` is
    /// that of the first three.
    pub async fn load(
        loader: &Loader<'_>,
        names: [&str; 4],
        width: usize,
        heads: usize,
        bias: bool,
    ) -> Result<MultiHead> {
        let [query, key, value, output] = names;
        Ok(MultiHead {
            query: loader.linear(query, width, width, bias).await?,
            key: loader.linear(key, width, width, bias).await?,
            value: loader.linear(value, width, width, bias).await?,
            output: loader.linear(output, width, width, true).await?,
            heads,
        })
    }

    /// `[B, T, C]` from queries made of `q: [B, T, C]`, keys of `k: [B, S, C]`, values of `v`.
    pub fn forward(&self, device: &Device, [q, k, v]: [&Tensor; 3], sight: Sight<'_>) -> Tensor {
        let q = self.query.forward(device, q);
        let (k, v) = (self.key.forward(device, k), self.value.forward(device, v));
        let how = Attention {
            causal: sight.causal,
            mask: sight.mask,
            ..Attention::new(self.heads, q.columns() / self.heads)
        };
        let y = ops::attention(device, &q, KeysValues::Plain { k: &k, v: &v }, how);
        self.output.forward(device, &y)
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
    pub async fn load(
        loader: &Loader<'_>,
        [up, down]: [&str; 2],
        width: usize,
        inner: usize,
        activation: Activation,
    ) -> Result<Mlp> {
        Ok(Mlp {
            up: loader.linear(up, inner, width, true).await?,
            activation,
            down: loader.linear(down, width, inner, true).await?,
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
    pub fn forward(&self, device: &Device, x: &Tensor, sight: Sight<'_>) -> Tensor {
        self.feed(device, &self.attend(device, x, sight))
    }

    /// The first half.
    pub fn attend(&self, device: &Device, x: &Tensor, sight: Sight<'_>) -> Tensor {
        let h = self.attention_norm.forward(device, x);
        ops::add(device, &self.attention.forward(device, [&h; 3], sight), x)
    }

    /// The second half.
    pub fn feed(&self, device: &Device, x: &Tensor) -> Tensor {
        let h = self.mlp_norm.forward(device, x);
        ops::add(device, &self.mlp.forward(device, &h), x)
    }
}
