//! HTSAT (Chen et al. 2022), the audio side of CLAP: a log-mel spectrogram folded into a square
//! image, embedded in patches and read by a Swin transformer.
//!
//! The spectrogram comes from the host, so its normalisation, stretching and folding are done there.
//! A fused model sees a whole recording in one channel and three of its parts, closer, in others;
//! for recordings longer than a window these are joined by attentional feature fusion (Dai et al.
//! 2021).

use super::{
    gather,
    strips::fold,
    swin::{self, Swin},
};
use crate::{
    device::Device,
    error::{Error, Result},
    load::{Conv, ConvShape, Declaration, LayerNorm, Slot},
    models::{Config, Inputs},
    ops::{self, Activation, Window},
    tensor::Tensor,
};

/// Largest side of the image: published models have 256.
const MAX_SIDE: usize = 2048;
/// Stages, each of which halves the image; published models have 4.
const MAX_STAGES: usize = 16;
/// Addend to variances and eps of the norms that a configuration does not set.
const EPS: f32 = 1e-5;

/// The audio encoder.
pub(in crate::models) struct Htsat {
    norm: MelNorm,
    side: usize,
    /// Strips of time that the image stacks.
    strips: usize,
    channels: usize,
    project: Conv,
    fusion: Option<Fusion>,
    patch_norm: Option<LayerNorm>,
    swin: Swin,
    last_norm: LayerNorm,
}

/// The batch norm over mel bins.
struct MelNorm {
    gain: Slot<Vec<f32>>,
    offset: Slot<Vec<f32>>,
    mean: Slot<Vec<f32>>,
    variance: Slot<Vec<f32>>,
}

/// Joins a recording with its parts.
struct Fusion {
    parts: Conv,
    /// Of each patch.
    local: [Conv; 2],
    /// Of all patches.
    global: [Conv; 2],
}

impl Htsat {
    /// What lies under `{root}.`; `config` is `audio_config`.
    pub(in crate::models) fn declare(
        config: &Config,
        weights: &Declaration<'_>,
        root: &str,
    ) -> Result<Htsat> {
        let side = config.size_or("spec_size", Some(256))?;
        let mels = config.size_or("num_mel_bins", Some(64))?;
        if side > MAX_SIDE || mels > side || !side.is_multiple_of(side / mels) {
            let message = format!("{side} with {mels} mel bins; use a multiple up to {MAX_SIDE}");
            return Err(Error::config("spec_size", message));
        }
        let width = config.size_or("patch_embeds_hidden_size", Some(96))?;
        let fused = config.flag_or("enable_fusion", false)?;
        let channels = config.size_or("patch_embed_input_channels", Some(1))?;
        if fused && (channels != 1 || config.text_or("fusion_type", "")? == "channel_map") {
            return Err(Error::config(
                "fusion_type",
                "only attentional fusion of one channel is supported",
            ));
        }
        if !config.flag_or("flatten_patch_embeds", true)? {
            return Err(Error::config("flatten_patch_embeds", "only true is supported"));
        }

        let patch = config.pair_or("patch_size", 4)?;
        let stride = config.pair_or("patch_stride", 4)?;
        let padding = [0, 1].map(|axis| patch[axis].saturating_sub(stride[axis]) / 2);
        let window = Window { kernel: patch, stride, padding, dilation: [1; 2] };
        let grid = stride.map(|stride| side / stride);
        if window.output([side; 2]) != Some(grid) {
            let message =
                format!("{patch:?} at a stride of {stride:?} does not cover {side} × {side}");
            return Err(Error::config("patch_size", message));
        }
        let embed = format!("{root}.patch_embed");
        let shape = ConvShape::plain(window, true);
        let project = weights.conv(&format!("{embed}.proj"), width, channels, shape)?;
        let fusion = match fused {
            true => Some(Fusion::declare(config, weights, &embed, width, window, side)?),
            false => None,
        };
        let patch_norm = match config.flag_or("enable_patch_layer_norm", true)? {
            true => Some(weights.layer_norm(&format!("{embed}.norm"), width, EPS)?),
            false => None,
        };

        let depths = config.sizes("depths")?.unwrap_or_else(|| vec![2, 2, 6, 2]);
        let heads = config.sizes("num_attention_heads")?.unwrap_or_else(|| vec![4, 8, 16, 32]);
        if depths.is_empty() || depths.len() > MAX_STAGES || heads.len() < depths.len() {
            let message =
                format!("must name 1 to {MAX_STAGES} stages, num_attention_heads as many");
            return Err(Error::config("depths", message));
        }
        let wide = width << (depths.len() - 1);
        if config.size_or("hidden_size", Some(768))? != wide {
            let message = format!("must be patch_embeds_hidden_size doubled each stage, {wide}");
            return Err(Error::config("hidden_size", message));
        }
        let activation = Activation::named("hidden_act", config.text_or("hidden_act", "gelu")?)?;
        let spec = swin::Spec {
            grid,
            width,
            stages: depths.into_iter().zip(heads).collect(),
            window: config.size_or("window_size", Some(8))?,
            qkv_bias: config.flag_or("qkv_bias", true)?,
            ratio: config.number_or("mlp_ratio", 4.0)?,
            activation,
            eps: config.number_or("layer_norm_eps", 1e-5)? as f32,
        };
        let swin = Swin::declare(weights, &format!("{root}.layers"), &spec)?;
        let last_norm = weights.layer_norm(&format!("{root}.norm"), wide, EPS)?;
        let norm = MelNorm::declare(weights, &format!("{root}.batch_norm"), mels)?;
        let strips = side / mels;
        Ok(Htsat { norm, side, strips, channels, project, fusion, patch_norm, swin, last_norm })
    }

    /// `[B, C]`: the mean over all places of what the encoder hears in `input_features`.
    pub(in crate::models) fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Tensor> {
        let (shape, values) = inputs.floats("input_features")?;
        let [batch, channels, frames, mels] = shape[..] else {
            let message = format!("has shape {shape:?}, not [batch, channels, frames, mel bins]");
            return Err(Error::input("input_features", message));
        };
        // A fused model takes the whole and at least one part.
        let fits = match &self.fusion {
            Some(_) => channels > 1,
            None => channels == self.channels,
        };
        if !fits || mels != self.norm.gain.len() || values.is_empty() {
            let message = format!("has shape {shape:?}, which the model does not read");
            return Err(Error::input("input_features", message));
        }
        let images: Vec<Vec<f32>> = values
            .chunks_exact(frames * mels)
            .map(|spectrogram| self.image(spectrogram, frames))
            .collect::<Result<_>>()?;

        let side = self.side;
        let x = match &self.fusion {
            None => {
                let images: Vec<&[Vec<f32>]> = images.chunks(channels).collect();
                let pixels = images.iter().flat_map(|image| {
                    (0..side * side).flat_map(move |at| image.iter().map(move |x| x[at]))
                });
                let shape = [batch, side, side, channels];
                self.project.forward(device, &device.upload(&shape, pixels.collect()))
            }
            Some(fusion) => {
                let longer = longer(inputs, batch)?;
                let wholes = images.iter().step_by(channels).flatten().copied().collect();
                let wholes = device.upload(&[batch, side, side, 1], wholes);
                let x = self.project.forward(device, &wholes);
                let parts =
                    longer.iter().flat_map(|b| &images[b * channels + 1..(b + 1) * channels]);
                let parts: Vec<f32> = parts.flatten().copied().collect();
                match longer.is_empty() {
                    true => x,
                    false => {
                        let count = longer.len() * (channels - 1);
                        let parts = device.upload(&[count, side, side, 1], parts);
                        fusion.forward(device, &x, &longer, &parts)
                    }
                }
            }
        };
        let [_, height, columns, width] = x.shape()[..] else { unreachable!("an image") };
        let mut x = x.reshape(&[batch, height * columns, width]);
        if let Some(norm) = &self.patch_norm {
            x = norm.forward(device, &x);
        }
        let x = self.last_norm.forward(device, &self.swin.forward(device, &x));
        Ok(mean(device, &x))
    }

    /// `[side, side]` from one channel `[frames, mels]`: normalised, stretched to all the frames that
    /// there is room for, and cut into strips that are stacked with mel bins downwards.
    fn image(&self, spectrogram: &[f32], frames: usize) -> Result<Vec<f32>> {
        let (side, strips, mels) = (self.side, self.strips, self.norm.gain.len());
        let (room, height) = (side * strips, side / strips);
        // Where frames are stretched, transformers stretches mel bins from too few of them.
        if frames > room || (frames < room && mels < height) {
            let message = format!("has {frames} frames, the model reads {room}");
            return Err(Error::input("input_features", message));
        }
        let bins = self.norm.bins();
        let normed = spectrogram.iter().zip(bins.iter().cycle());
        let normed: Vec<f32> = normed.map(|(x, (scale, shift))| x * scale + shift).collect();
        Ok(fold(&normed, mels, side, strips))
    }
}

impl Fusion {
    fn declare(
        config: &Config,
        weights: &Declaration<'_>,
        root: &str,
        width: usize,
        window: Window,
        side: usize,
    ) -> Result<Fusion> {
        let wide = Window {
            kernel: [window.kernel[0], 3 * window.kernel[1]],
            stride: [window.stride[0], 3 * window.stride[1]],
            ..window
        };
        if wide.output([side; 2]).is_none() {
            let message = format!("{:?} is too wide for parts of {side}", wide.kernel);
            return Err(Error::config("patch_size", message));
        }
        let name = format!("{root}.mel_conv2d");
        let parts = weights.conv(&name, width, 1, ConvShape::plain(wide, true))?;
        let narrow = (width / config.size_or("aff_block_r", Some(4))?).max(1);
        let pixel = |part: &str, at: usize, outputs, inputs| {
            let name = format!("{root}.fusion_model.{part}_att.{at}");
            let norm = format!("{root}.fusion_model.{part}_att.{}", at + 1);
            {
                let shape = ConvShape::plain(Window::square(1, 1, 0), true);
                let shape = ConvShape { norm: Some((&norm, EPS)), ..shape };
                weights.conv(&name, outputs, inputs, shape)
            }
        };
        // Numbers are places in a torch Sequential, which pooling and norms take too.
        let local = [pixel("local", 0, narrow, width)?, pixel("local", 3, width, narrow)?];
        let global = [pixel("global", 1, narrow, width)?, pixel("global", 4, width, narrow)?];
        Ok(Fusion { parts, local, global })
    }

    /// `x: [B, H, W, C]` where the recordings `longer` are joined with their `parts`.
    fn forward(&self, device: &Device, x: &Tensor, longer: &[usize], parts: &Tensor) -> Tensor {
        let [batch, height, columns, width] = x.shape()[..] else { panic!("four axes wanted") };
        let parts = self.parts.forward(device, parts);
        let (part_columns, each) = (parts.shape()[2], parts.shape()[0] / longer.len());
        // Parts lie side by side; what they leave of the width is zero, from a row behind them.
        let zeros = device.upload(&[1, width], vec![0.0; width]);
        let nothing = parts.rows();
        let parts = ops::concat(device, &[&parts.reshape(&[nothing, width]), &zeros], 0);
        let places = (0..longer.len() * height * columns).map(|at| {
            let (l, y, x) = (at / (height * columns), at / columns % height, at % columns);
            match x / part_columns {
                part if part < each => {
                    ((l * each + part) * height + y) * part_columns + x % part_columns
                }
                _ => nothing,
            }
        });
        let shape = [longer.len(), height, columns, width];
        let parts = gather(device, &parts, places).reshape(&shape);
        let pixels = height * columns;
        let wholes = longer.iter().flat_map(|b| b * pixels..(b + 1) * pixels);
        let wholes = gather(device, x, wholes).reshape(&shape);

        let both = ops::add(device, &wholes, &parts);
        let attend = |[narrow, wide]: &[Conv; 2], x: &Tensor| {
            let y = ops::activation(device, &narrow.forward(device, x), Activation::Relu);
            wide.forward(device, &y)
        };
        let mean = mean(device, &both.reshape(&[longer.len(), pixels, width]));
        let global = attend(&self.global, &mean.reshape(&[longer.len(), 1, 1, width]));
        let global = gather(device, &global, (0..longer.len() * pixels).map(|at| at / pixels));
        let gate = ops::add(device, &attend(&self.local, &both), &global.reshape(&shape));
        let y = ops::blend(device, &wholes, &parts, &gate);
        let y = ops::add(device, &y, &y);

        let rows = batch * pixels;
        let all = [x.reshape(&[rows, width]), y.reshape(&[longer.len() * pixels, width])];
        let all = ops::concat(device, &[&all[0], &all[1]], 0);
        let joined = (0..rows).map(|at| match longer.iter().position(|b| *b == at / pixels) {
            Some(l) => rows + l * pixels + at % pixels,
            None => at,
        });
        gather(device, &all, joined).reshape(x.shape())
    }
}

/// Recordings that are longer than the model's window.
fn longer(inputs: &Inputs, batch: usize) -> Result<Vec<usize>> {
    let Some((_, values)) = inputs.ints.get("is_longer").filter(|(_, v)| v.len() == batch) else {
        return Err(Error::input(
            "is_longer",
            format!("must say so of each of {batch} recordings"),
        ));
    };
    Ok((0..batch).filter(|b| values[*b] == 1).collect())
}

/// `[B, C]` from `x: [B, T, C]`.
fn mean(device: &Device, x: &Tensor) -> Tensor {
    let [batch, tokens, _] = x.shape()[..] else { panic!("three axes wanted") };
    ops::mean_pool(device, x, &device.upload(&[batch, tokens], vec![1.0; batch * tokens]), false)
}

impl MelNorm {
    fn declare(weights: &Declaration<'_>, root: &str, mels: usize) -> Result<MelNorm> {
        let part = |part: &str| weights.values(&format!("{root}.{part}"), &[mels]);
        weights.skip(&format!("{root}.num_batches_tracked"));
        Ok(MelNorm {
            gain: part("weight")?,
            offset: part("bias")?,
            mean: part("running_mean")?,
            variance: part("running_var")?,
        })
    }

    /// Factor and addend of each mel bin.
    fn bins(&self) -> Vec<(f32, f32)> {
        let bin = |bin: usize| {
            let scale = self.gain[bin] / (self.variance[bin] + EPS).sqrt();
            (scale, self.offset[bin] - self.mean[bin] * scale)
        };
        (0..self.gain.len()).map(bin).collect()
    }
}
