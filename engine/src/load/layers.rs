//! Layers: what several tensors of a file compute together.

use super::Loader;
use crate::{
    device::Device,
    error::{Error, Result},
    ops::{self, Window},
    quant::Matrix,
    tensor::Tensor,
};

impl Loader<'_> {
    /// A linear layer: `{name}.weight`, and `{name}.bias` where `bias` says so.
    pub async fn linear(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
        bias: bool,
    ) -> Result<Linear> {
        let weight = self.matrix(&format!("{name}.weight"), rows, columns).await?;
        let bias = match bias {
            true => Some(self.vector(&format!("{name}.bias"), rows).await?),
            false => None,
        };
        Ok(Linear { weight, bias })
    }

    /// A layer norm: `{name}.weight` and `{name}.bias`.
    pub async fn layer_norm(&self, name: &str, width: usize, eps: f32) -> Result<LayerNorm> {
        // Checkpoints converted from TensorFlow call them gamma and beta.
        let old = self.has(&format!("{name}.gamma"));
        let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        Ok(LayerNorm {
            weight: self.vector(&format!("{name}.{weight}"), width).await?,
            bias: self.vector(&format!("{name}.{bias}"), width).await?,
            eps,
        })
    }

    /// A convolution of `{name}.weight: [O, C / groups, KY, KX]`, or `[O, C / groups, K]` for one
    /// along a line, and `{name}.bias` where `bias` says so. `norm` names a batch norm that follows
    /// with fixed statistics and the addend to its variances: it is folded into the kernel.
    pub async fn conv(
        &self,
        name: &str,
        outputs: usize,
        channels: usize,
        shape: ConvShape<'_>,
    ) -> Result<Conv> {
        let ConvShape { window, groups, bias, norm } = shape;
        let [ky, kx] = window.kernel;
        if !channels.is_multiple_of(groups) || !outputs.is_multiple_of(groups) {
            let message =
                format!("{groups} groups do not divide {channels} and {outputs} channels");
            return Err(Error::tensor(name, message));
        }
        let inner = channels / groups;
        let weight = format!("{name}.weight");
        let line = self.shape(&weight).is_some_and(|shape| shape.len() == 3) && ky == 1;
        let file_shape = [outputs, inner, ky, kx];
        let mut values = match line {
            true => self.values(&weight, &[outputs, inner, kx]).await?,
            false => self.values(&weight, &file_shape).await?,
        };
        let mut addend = match bias {
            true => Some(self.values(&format!("{name}.bias"), &[outputs]).await?),
            false => None,
        };
        if let Some((norm, eps)) = norm {
            let vector =
                async |part: &str| self.values(&format!("{norm}.{part}"), &[outputs]).await;
            let (gain, offset) = (vector("weight").await?, vector("bias").await?);
            let (mean, variance) = (vector("running_mean").await?, vector("running_var").await?);
            self.skip(&format!("{norm}.num_batches_tracked"));
            let addend = addend.get_or_insert_with(|| vec![0.0; outputs]);
            for (o, row) in values.chunks_exact_mut(inner * ky * kx).enumerate() {
                let scale = gain[o] / (variance[o] + eps).sqrt();
                row.iter_mut().for_each(|weight| *weight *= scale);
                addend[o] = (addend[o] - mean[o]) * scale + offset[o];
            }
        }
        let bias = addend.map(|values| self.keep(&[outputs], values));
        self.pack_conv(&weight, [outputs, inner], values, bias, (groups, window))
    }

    /// A convolution, from the numbers of its kernel `[O, C / groups, KY, KX]`.
    pub fn pack_conv(
        &self,
        name: &str,
        [outputs, inner]: [usize; 2],
        values: Vec<f32>,
        bias: Option<Tensor>,
        (groups, window): (usize, Window),
    ) -> Result<Conv> {
        let [ky, kx] = window.kernel;
        let values = channels_last(&values, inner, ky * kx);
        let (rows, columns) = (outputs / groups, inner * ky * kx);
        let groups = values
            .chunks_exact(rows * columns)
            .map(|values| self.pack(name, rows, columns, values))
            .collect::<Result<_>>()?;
        Ok(Conv { groups, bias, window })
    }
}

/// `y = x · weightᵀ + bias`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[N, K]`.
    pub weight: Matrix,
    /// `[N]`.
    pub bias: Option<Tensor>,
}

impl Linear {
    /// Applies the layer to the last axis of `x`.
    pub fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        ops::matmul(device, x, &self.weight, self.bias.as_ref())
    }
}

/// What a convolution is besides its name and channels.
#[derive(Clone, Copy, Debug)]
pub struct ConvShape<'a> {
    /// How the kernel moves.
    pub window: Window,
    /// Groups of channels that do not mix.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// A batch norm with fixed statistics that follows, and what is added to its variances.
    pub norm: Option<(&'a str, f32)>,
}

impl ConvShape<'_> {
    /// A convolution in one group, with a bias or without.
    pub fn plain(window: Window, bias: bool) -> ConvShape<'static> {
        ConvShape { window, groups: 1, bias, norm: None }
    }
}

/// Rows of `(c, ky, kx)`, as files have them, become rows of `(ky, kx, c)`, as images are read.
fn channels_last(values: &[f32], channels: usize, pixels: usize) -> Vec<f32> {
    let mut turned = vec![0.0; values.len()];
    let row = channels * pixels;
    for (from, to) in values.chunks_exact(row).zip(turned.chunks_exact_mut(row)) {
        for (at, value) in to.iter_mut().enumerate() {
            *value = from[at % channels * pixels + at / channels];
        }
    }
    turned
}

/// A convolution with its kernels.
#[derive(Clone, Debug)]
pub struct Conv {
    /// `[O / G, KY · KX · C / G]` for each of G groups.
    pub groups: Vec<Matrix>,
    /// `[O]`.
    pub bias: Option<Tensor>,
    /// How the kernel moves.
    pub window: Window,
}

impl Conv {
    /// `[B, H', W', O]` from `x: [B, H, W, C]`, which must hold a window.
    pub fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        ops::conv(device, x, &self.groups, self.bias.as_ref(), self.window)
    }
}

/// A layer norm with its parameters.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    /// Normalises the last axis of `x`.
    pub fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        ops::layer_norm(device, x, &self.weight, &self.bias, self.eps)
    }
}
