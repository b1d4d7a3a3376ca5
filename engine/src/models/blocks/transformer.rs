//! The two parts that layers of encoders and decoders are made of, apart from their norms: attention
//! with its projections, where keys and values can be kept, and a feed-forward.

use crate::{
    device::Device,
    error::{Error, Result},
    load::{Linear, Loader},
    models::Config,
    ops::{self, Activation, Attention, KeysValues},
    tensor::Tensor,
};

/// Attention with its four projections.
pub(crate) struct MultiHead {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    heads: usize,
}

/// What [`MultiHead`] has besides its name.
#[derive(Clone, Copy)]
pub(crate) struct HeadShape {
    /// Of the tokens.
    pub model: usize,
    pub heads: usize,
    /// Of one head.
    pub width: usize,
    /// Whether projections have a bias, those of keys apart.
    pub bias: bool,
    /// Whether those of keys have one.
    pub key_bias: bool,
}

impl HeadShape {
    /// Heads that share the width of the tokens, their number in `field`, with biases everywhere.
    pub(crate) fn read(
        config: &Config,
        field: &str,
        default: usize,
        model: usize,
    ) -> Result<HeadShape> {
        let heads = config.size_or(field, Some(default))?;
        if !model.is_multiple_of(heads) || model / heads > ops::MAX_HEAD_WIDTH {
            let most = ops::MAX_HEAD_WIDTH;
            let message = format!("{heads} heads do not divide {model} into widths up to {most}");
            return Err(Error::config(field, message));
        }
        Ok(HeadShape { model, heads, width: model / heads, bias: true, key_bias: true })
    }
}

impl MultiHead {
    /// Loads projections of queries, keys and values and of the output, `parts` under `root`.
    pub(crate) async fn load(
        loader: &Loader<'_>,
        root: &str,
        parts: [&str; 4],
        shape: HeadShape,
    ) -> Result<MultiHead> {
        let HeadShape { model, heads, width, bias, key_bias } = shape;
        let [query, key, value, output] = parts.map(|part| format!("{root}.{part}"));
        let inner = heads * width;
        Ok(MultiHead {
            query: loader.linear(&query, inner, model, bias).await?,
            key: loader.linear(&key, inner, model, key_bias).await?,
            value: loader.linear(&value, inner, model, bias).await?,
            output: loader.linear(&output, model, inner, bias).await?,
            heads,
        })
    }

    /// Plain attention of these heads.
    pub(crate) fn how(&self) -> Attention<'static> {
        Attention::new(self.heads, self.query.weight.rows / self.heads)
    }

    /// Keys and values `[B, S, H · D]` of `x: [B, S, C]`.
    pub(crate) fn keys_values(&self, device: &Device, x: &Tensor) -> (Tensor, Tensor) {
        (self.key.forward(device, x), self.value.forward(device, x))
    }

    /// What the tokens `x: [B, T, C]` see of keys and values.
    pub(crate) fn attend(
        &self,
        device: &Device,
        x: &Tensor,
        kv: KeysValues<'_>,
        how: Attention<'_>,
    ) -> Tensor {
        let q = self.query.forward(device, x);
        self.output.forward(device, &ops::attention(device, &q, kv, how))
    }

    /// What the tokens `x: [B, T, C]` see of one another.
    pub(crate) fn among(&self, device: &Device, x: &Tensor, how: Attention<'_>) -> Tensor {
        let (k, v) = self.keys_values(device, x);
        self.attend(device, x, KeysValues::Plain { k: &k, v: &v }, how)
    }
}

/// Two linear layers with an activation between them.
pub(crate) struct FeedForward {
    up: Linear,
    activation: Activation,
    down: Linear,
}

impl FeedForward {
    /// Loads the layers into the `inner` width and back.
    pub(crate) async fn load(
        loader: &Loader<'_>,
        [up, down]: [&str; 2],
        model: usize,
        inner: usize,
        activation: Activation,
    ) -> Result<FeedForward> {
        Ok(FeedForward {
            up: loader.linear(up, inner, model, true).await?,
            activation,
            down: loader.linear(down, model, inner, true).await?,
        })
    }

    /// Applies the layers to the last axis of `x`.
    pub(crate) fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        let y = ops::activation(device, &self.up.forward(device, x), self.activation);
        self.down.forward(device, &y)
    }
}
