//! A layer of BERT (Devlin et al. 2018), which RoBERTa and the text side of CLAP share: attention
//! both ways and a feed-forward, each with a layer norm behind its residual.

use crate::{
    device::Device,
    error::{Error, Result},
    load::{Declaration, LayerNorm, Linear},
    models::Config,
    ops::{self, Activation, Attention, KeysValues},
    tensor::Tensor,
};

pub(in crate::models) struct BertLayer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    output_norm: LayerNorm,
    up: Linear,
    activation: Activation,
    down: Linear,
    down_norm: LayerNorm,
    heads: usize,
}

impl BertLayer {
    /// All layers under `{root}layer.`, sized as `config` says.
    pub(in crate::models) fn declare_all(
        config: &Config,
        weights: &Declaration<'_>,
        root: &str,
    ) -> Result<Vec<BertLayer>> {
        let width = config.size_or("hidden_size", Some(768))?;
        let heads = config.size_or("num_attention_heads", Some(12))?;
        let inner = config.size_or("intermediate_size", Some(3072))?;
        let eps = config.number_or("layer_norm_eps", 1e-12)? as f32;
        let activation = Activation::named("hidden_act", config.text_or("hidden_act", "gelu")?)?;
        if !width.is_multiple_of(heads) || width / heads > ops::MAX_HEAD_WIDTH {
            let message = format!("{heads} heads do not divide hidden_size {width}");
            return Err(Error::config("num_attention_heads", message));
        }
        let mut layers = Vec::new();
        for i in 0..config.size_or("num_hidden_layers", Some(12))? {
            let name = |part: &str| format!("{root}layer.{i}.{part}");
            layers.push(BertLayer {
                query: weights.linear(&name("attention.self.query"), width, width, true)?,
                key: weights.linear(&name("attention.self.key"), width, width, true)?,
                value: weights.linear(&name("attention.self.value"), width, width, true)?,
                output: weights.linear(&name("attention.output.dense"), width, width, true)?,
                output_norm: weights.layer_norm(&name("attention.output.LayerNorm"), width, eps)?,
                up: weights.linear(&name("intermediate.dense"), inner, width, true)?,
                activation,
                down: weights.linear(&name("output.dense"), width, inner, true)?,
                down_norm: weights.layer_norm(&name("output.LayerNorm"), width, eps)?,
                heads,
            });
        }
        Ok(layers)
    }

    /// `[B, T, C]` from `x: [B, T, C]`, where zeros of `mask: [B, T]` are padding.
    pub(in crate::models) fn forward(
        &self,
        device: &Device,
        x: &Tensor,
        mask: Option<&Tensor>,
    ) -> Tensor {
        let width = x.columns() / self.heads;
        let how = Attention { mask, ..Attention::new(self.heads, width) };
        let q = self.query.forward(device, x);
        let (k, v) = (self.key.forward(device, x), self.value.forward(device, x));
        let y = ops::attention(device, &q, KeysValues::Plain { k: &k, v: &v }, how);
        let y = ops::add(device, &self.output.forward(device, &y), x);
        let x = self.output_norm.forward(device, &y);
        let y = ops::activation(device, &self.up.forward(device, &x), self.activation);
        let y = ops::add(device, &self.down.forward(device, &y), &x);
        self.down_norm.forward(device, &y)
    }
}
