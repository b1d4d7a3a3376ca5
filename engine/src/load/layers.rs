//! Layers: what several tensors of a file compute together.

use super::{Declaration, Slot, Step};
use crate::{
    device::Device,
    error::{Error, Result},
    ops::{self, Activation, Projection, Window},
    quant::Matrix,
    tensor::Tensor,
};

impl Declaration<'_> {
    /// A linear layer: `{name}.weight`, and `{name}.bias` where `bias` says so.
    pub fn linear(&self, name: &str, rows: usize, columns: usize, bias: bool) -> Result<Linear> {
        let weight = self.matrix(&format!("{name}.weight"), rows, columns)?;
        let bias = match bias {
            true => Some(self.vector(&format!("{name}.bias"), rows)?),
            false => None,
        };
        Ok(Linear { weight, bias })
    }

    /// Linear layers over the same input: `{name}.weight` of each of `names`, with so many `rows`, and
    /// `{name}.bias` of each where `bias` says so.
    pub fn stacked_linear(
        &self,
        names: &[String],
        rows: &[usize],
        columns: usize,
        bias: bool,
    ) -> Result<StackedLinear> {
        let all =
            |part: &str| names.iter().map(|name| format!("{name}.{part}")).collect::<Vec<_>>();
        let parts = self.stacked(&all("weight"), rows, columns)?;
        let bias = match bias {
            true => {
                let sources = all("bias").into_iter().zip(rows);
                let sources = sources.map(|(name, rows)| self.expect(&name, &[*rows]));
                let sources: Vec<_> = sources.collect::<Result<_>>()?;
                let (name, shape) = (sources[0].name.clone(), [rows.iter().sum()]);
                Some(self.kept(name, &shape, sources, vec![Step::Stack])?)
            }
            false => None,
        };
        Ok(StackedLinear { parts, bias })
    }

    /// A layer norm: `{name}.weight` and `{name}.bias`.
    pub fn layer_norm(&self, name: &str, width: usize, eps: f32) -> Result<LayerNorm> {
        // Checkpoints converted from TensorFlow call them gamma and beta.
        let old = self.has(&format!("{name}.gamma"));
        let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        Ok(LayerNorm {
            weight: self.vector(&format!("{name}.{weight}"), width)?,
            bias: self.vector(&format!("{name}.{bias}"), width)?,
            eps,
        })
    }

    /// A convolution of `{name}.weight: [O, C / groups, KY, KX]`, or `[O, C / groups, K]` for one
    /// along a line, and `{name}.bias` where `bias` says so. `norm` names a batch norm that follows
    /// with fixed statistics and the addend to its variances: it is folded into the kernel.
    pub fn conv(
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
        let mut kernel = vec![match line {
            true => self.expect(&weight, &[outputs, inner, kx])?,
            false => self.expect(&weight, &[outputs, inner, ky, kx])?,
        }];
        let mut steps = Vec::new();
        let bias_name = format!("{name}.bias");
        let mut addend = match bias {
            true => vec![self.expect(&bias_name, &[outputs])?],
            false => vec![],
        };
        let mut bias_steps = Vec::new();
        if let Some((norm, eps)) = norm {
            let part = |part: &str| self.expect(&format!("{norm}.{part}"), &[outputs]);
            let (gain, offset) = (part("weight")?, part("bias")?);
            let (mean, variance) = (part("running_mean")?, part("running_var")?);
            self.skip(&format!("{norm}.num_batches_tracked"));
            kernel.extend([gain, variance]);
            steps.push(Step::FoldNorm { eps });
            addend.extend([gain, offset, mean, variance]);
            bias_steps.push(Step::FoldNormBias { eps });
        }
        let bias = match addend.is_empty() {
            true => None,
            false => Some(self.kept(bias_name, &[outputs], addend, bias_steps)?),
        };
        let shape = [groups, outputs / groups, inner * ky * kx];
        steps.extend(channels_last(inner, ky * kx));
        let groups = self.groups(shape, kernel, steps)?;
        Ok(Conv { groups, bias, window })
    }

    /// A convolution with a bias along a line, whose kernel the file keeps as `directions:
    /// [O, C / groups, K]` and `lengths: [1, 1, K]`.
    pub fn normed_conv(
        &self,
        [directions, lengths, bias]: [&str; 3],
        [outputs, channels]: [usize; 2],
        groups: usize,
        window: Window,
    ) -> Result<Conv> {
        let (inner, kernel) = (channels / groups, window.kernel[1]);
        let directions = self.expect(directions, &[outputs, inner, kernel])?;
        let lengths = self.expect(lengths, &[1, 1, kernel])?;
        let bias = Some(self.vector(bias, outputs)?);
        let steps = [Step::NormWeight].into_iter().chain(channels_last(inner, kernel));
        let shape = [groups, outputs / groups, inner * kernel];
        let groups = self.groups(shape, vec![directions, lengths], steps.collect())?;
        Ok(Conv { groups, bias, window })
    }
}

/// What turns a kernel, if it has something to turn: without it, rows can be read a few at a time.
fn channels_last(channels: usize, pixels: usize) -> Option<Step> {
    (channels > 1 && pixels > 1).then_some(Step::ChannelsLast { channels })
}

/// `y = x · weightᵀ + bias`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[N, K]`.
    pub weight: Slot<Matrix>,
    /// `[N]`.
    pub bias: Option<Slot<Tensor>>,
}

impl Linear {
    /// Applies the layer to the last axis of `x`.
    pub fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        ops::matmul(device, x, &self.weight, self.bias.as_deref())
    }

    /// The same, added to `addend`.
    pub fn forward_onto(&self, device: &Device, x: &Tensor, addend: &Tensor) -> Tensor {
        let how = Projection {
            bias: self.bias.as_deref(),
            addend: Some(addend),
            ..Projection::default()
        };
        ops::project(device, x, &self.weight, how)
    }
}

/// Linear layers over the same input, whose outputs lie side by side.
#[derive(Clone, Debug)]
pub struct StackedLinear {
    /// One matrix, or several where they are kept in blocks of different kinds.
    parts: Vec<Slot<Matrix>>,
    /// Of all layers.
    bias: Option<Slot<Tensor>>,
}

impl StackedLinear {
    /// Applies the layers to the last axis of `x` behind an RMS norm; with a gate, the outputs are those
    /// of the gate and then as many others that it lets through.
    pub fn forward(
        &self,
        device: &Device,
        x: &Tensor,
        norm: (&Tensor, f32),
        gate: Option<Activation>,
    ) -> Tensor {
        let bias = self.bias.as_deref();
        if let [whole] = &self.parts[..] {
            let how = Projection { norm: Some(norm), bias, gate, addend: None };
            return ops::project(device, x, whole, how);
        }
        let x = ops::rms_norm(device, x, norm.0, norm.1);
        let outputs: Vec<Tensor> =
            self.parts.iter().map(|part| ops::matmul(device, &x, part, None)).collect();
        let outputs: Vec<&Tensor> = outputs.iter().collect();
        let mut y = ops::concat(device, &outputs, x.shape().len() - 1);
        if let Some(bias) = bias {
            y = ops::add(device, &y, bias);
        }
        match gate {
            Some(gate) => ops::gate_halves(device, &y, gate),
            None => y,
        }
    }

    /// A feed-forward: what the layers let through goes through `down` onto `x`.
    pub fn feed_forward(
        &self,
        device: &Device,
        x: &Tensor,
        norm: (&Tensor, f32),
        gate: Activation,
        down: &Linear,
    ) -> Tensor {
        let [whole] = &self.parts[..] else {
            return down.forward_onto(device, &self.forward(device, x, norm, Some(gate)), x);
        };
        let bias = self.bias.as_deref();
        let how = Projection { norm: Some(norm), bias, gate: Some(gate), addend: None };
        let then =
            Projection { bias: down.bias.as_deref(), addend: Some(x), ..Projection::default() };
        ops::feed_forward(device, x, (whole, how), (&down.weight, then))
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

/// A convolution with its kernels.
#[derive(Clone, Debug)]
pub struct Conv {
    /// `[O / G, KY · KX · C / G]` for each of G groups.
    pub groups: Slot<Vec<Matrix>>,
    /// `[O]`.
    pub bias: Option<Slot<Tensor>>,
    /// How the kernel moves.
    pub window: Window,
}

impl Conv {
    /// `[B, H', W', O]` from `x: [B, H, W, C]`, which must hold a window.
    pub fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        ops::conv(device, x, &self.groups, self.bias.as_deref(), self.window)
    }
}

/// A layer norm with its parameters.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Slot<Tensor>,
    bias: Slot<Tensor>,
    eps: f32,
}

impl LayerNorm {
    /// Normalises the last axis of `x`.
    pub fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        ops::layer_norm(device, x, &self.weight, &self.bias, self.eps)
    }
}
