//! ResNet (He et al. 2016) as a backbone: feature maps of an image, with batch norms that are fixed
//! and folded into their convolutions.
//!
//! Files name its tensors as the `resnet` of transformers does, or as that of timm does.

use crate::{
    device::Device,
    error::{Error, Result},
    load::{Conv, ConvShape, Declaration},
    models::{Config, Images},
    ops::{self, Activation, Window},
    tensor::Tensor,
};

/// Added to the variances of batch norms.
const EPS: f32 = 1e-5;
/// A bottleneck is narrower than its stage by this.
const REDUCTION: usize = 4;

/// The backbone up to the last stage that is wanted.
pub struct ResNet {
    stem: Conv,
    stages: Vec<Vec<Block>>,
    activation: Activation,
    channels: usize,
    width: usize,
}

/// `activation(convolutions(x) + shortcut(x))`, with ReLU between convolutions.
struct Block {
    convolutions: Vec<Conv>,
    shortcut: Option<Conv>,
}

/// What a configuration says of a backbone.
pub struct Spec {
    channels: usize,
    stem: usize,
    widths: Vec<usize>,
    depths: Vec<usize>,
    bottleneck: bool,
    activation: Activation,
    /// Whether the first stage halves its input.
    first_halves: bool,
    /// Whether the first convolution of a bottleneck halves, rather than the second.
    early: bool,
    /// By how much the image may shrink; later stages dilate their kernels instead.
    output_stride: usize,
    /// The last stage that is wanted, from 1.
    last: usize,
    timm: bool,
}

impl Spec {
    /// A backbone of transformers, from its own configuration.
    pub fn transformers(config: &Config) -> Result<Spec> {
        let list = |field: &str, default: [usize; 4]| -> Result<Vec<usize>> {
            Ok(config.sizes(field)?.unwrap_or_else(|| default.to_vec()))
        };
        let widths = list("hidden_sizes", [256, 512, 1024, 2048])?;
        let depths = list("depths", [3, 4, 6, 3])?;
        if widths.len() != depths.len() || widths.is_empty() {
            return Err(Error::config("depths", "and hidden_sizes must have one entry a stage"));
        }
        let bottleneck = match config.text_or("layer_type", "bottleneck")? {
            "bottleneck" => true,
            "basic" => false,
            other => {
                let message = format!("{other} is unknown; use basic or bottleneck");
                return Err(Error::config("layer_type", message));
            }
        };
        if let Some(width) = widths.iter().find(|width| bottleneck && **width < REDUCTION) {
            let message = format!("{width} leaves nothing of a bottleneck");
            return Err(Error::config("hidden_sizes", message));
        }
        Ok(Spec {
            channels: config.size_or("num_channels", Some(3))?,
            stem: config.size_or("embedding_size", Some(64))?,
            bottleneck,
            activation: Activation::named("hidden_act", config.text_or("hidden_act", "relu")?)?,
            first_halves: config.flag_or("downsample_in_first_stage", false)?,
            early: config.flag_or("downsample_in_bottleneck", false)?,
            output_stride: usize::MAX,
            last: last_stage(config, depths.len())?,
            timm: false,
            widths,
            depths,
        })
    }

    /// A backbone of timm by its name, as `config` says of it.
    pub fn timm(config: &Config, output_stride: usize) -> Result<Spec> {
        let name = config.text_or("backbone", "resnet50")?;
        let (bottleneck, depths) = match name.split('.').next().unwrap_or_default() {
            "resnet18" => (false, [2, 2, 2, 2]),
            "resnet34" => (false, [3, 4, 6, 3]),
            "resnet26" => (true, [2, 2, 2, 2]),
            "resnet50" => (true, [3, 4, 6, 3]),
            "resnet101" => (true, [3, 4, 23, 3]),
            "resnet152" => (true, [3, 8, 36, 3]),
            _ => {
                let message = format!("{name} is unknown; use resnet18, 26, 34, 50, 101 or 152");
                return Err(Error::config("backbone", message));
            }
        };
        let wide = if bottleneck { REDUCTION } else { 1 };
        // Files of timm lack the stages behind the last one that is wanted.
        let last = match last_index(config, depths.len())?.unwrap_or(depths.len()) {
            0 => return Err(Error::config("out_indices", "ends at the stem; use 1 to 4")),
            last => last,
        };
        Ok(Spec {
            channels: config.size_or("num_channels", Some(3))?,
            stem: 64,
            widths: [64, 128, 256, 512][..last].iter().map(|width| width * wide).collect(),
            depths: depths[..last].to_vec(),
            bottleneck,
            activation: Activation::Relu,
            first_halves: false,
            early: false,
            output_stride: config.size_or("output_stride", Some(output_stride))?,
            last,
            timm: true,
        })
    }
}

/// The last of `out_features` or `out_indices`: 0 is the stem, 1 the first stage.
fn last_stage(config: &Config, stages: usize) -> Result<usize> {
    if let Some(features) = config.get("out_features").and_then(|value| value.as_array()) {
        let stage = |name: &str| match name {
            "stem" => Some(0),
            name => name.strip_prefix("stage")?.parse().ok().filter(|stage| *stage <= stages),
        };
        let found = features.iter().map(|name| name.as_str().and_then(stage));
        return found
            .max()
            .flatten()
            .ok_or_else(|| Error::config("out_features", format!("names no stage of {stages}")));
    }
    Ok(last_index(config, stages)?.unwrap_or(stages))
}

/// The last of `out_indices`, where they are there; negative ones count from the end.
fn last_index(config: &Config, stages: usize) -> Result<Option<usize>> {
    let Some(indices) = config.get("out_indices").and_then(|value| value.as_array()) else {
        return Ok(None);
    };
    let count = stages as i64 + 1;
    let stage = |index: i64| if index < 0 { index + count } else { index };
    let last = indices.iter().map(|index| index.as_i64().map(stage)).max().flatten();
    match last.filter(|stage| (0..count).contains(stage)) {
        Some(last) => Ok(Some(last as usize)),
        None => Err(Error::config("out_indices", format!("names no stage of {stages}"))),
    }
}

/// Names of a convolution and of the batch norm behind it.
type Names = (String, String);

impl ResNet {
    /// The backbone whose tensors are under `root`, which ends in a dot.
    pub fn declare(spec: &Spec, weights: &Declaration<'_>, root: &str) -> Result<ResNet> {
        let (conv, norm) = match spec.timm {
            true => ("conv1", "bn1"),
            false => ("embedder.embedder.convolution", "embedder.embedder.normalization"),
        };
        let names = (format!("{root}{conv}"), format!("{root}{norm}"));
        let window = Window::square(7, 2, 3);
        let stem = convolution(weights, &names, spec.stem, spec.channels, window)?;
        let (mut inputs, mut shrunk, mut dilation) = (spec.stem, 4, 1);
        let mut stages = Vec::new();
        for (s, (&width, &depth)) in spec.widths.iter().zip(&spec.depths).enumerate() {
            let mut stride = if s > 0 || spec.first_halves { 2 } else { 1 };
            // The first block still has the dilation of the stage before.
            let mut first_dilation = dilation;
            if shrunk >= spec.output_stride {
                dilation *= stride;
                stride = 1;
            }
            shrunk *= stride;
            let mut blocks = Vec::new();
            for b in 0..depth {
                let stride = if b == 0 { stride } else { 1 };
                let shape = BlockShape { inputs, width, stride, first_dilation, dilation };
                blocks.push(Block::declare(spec, weights, root, [s, b], shape)?);
                (inputs, first_dilation) = (width, dilation);
            }
            stages.push(blocks);
        }
        // A file has all stages, though the last ones may serve nobody.
        stages.truncate(spec.last);
        let width = if spec.last == 0 { spec.stem } else { spec.widths[spec.last - 1] };
        Ok(ResNet { stem, stages, activation: spec.activation, channels: spec.channels, width })
    }

    /// Channels that images must have.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Channels of the feature map.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The last feature map, `[B, H', W', C]`.
    pub fn forward(&self, device: &Device, images: &Images) -> Tensor {
        // Assigned and not bound anew: of a photograph, each of these takes 55 MB.
        let mut x = self.stem.forward(device, &images.upload(device));
        x = ops::activation(device, &x, self.activation);
        x = ops::max_pool(device, &x, Window::square(3, 2, 1));
        for block in self.stages.iter().flatten() {
            x = block.forward(device, &x, self.activation);
        }
        x
    }
}

fn convolution(
    weights: &Declaration<'_>,
    (conv, norm): &Names,
    outputs: usize,
    inputs: usize,
    window: Window,
) -> Result<Conv> {
    let shape = ConvShape { window, groups: 1, bias: false, norm: Some((norm.as_str(), EPS)) };
    weights.conv(conv, outputs, inputs, shape)
}

struct BlockShape {
    inputs: usize,
    width: usize,
    stride: usize,
    first_dilation: usize,
    dilation: usize,
}

impl Block {
    fn declare(
        spec: &Spec,
        weights: &Declaration<'_>,
        root: &str,
        [stage, block]: [usize; 2],
        shape: BlockShape,
    ) -> Result<Block> {
        let BlockShape { inputs, width, stride, first_dilation, dilation } = shape;
        let name = match spec.timm {
            true => format!("{root}layer{}.{block}", stage + 1),
            false => format!("{root}encoder.stages.{stage}.layers.{block}"),
        };
        let part = |i: usize| match spec.timm {
            true => (format!("{name}.conv{}", i + 1), format!("{name}.bn{}", i + 1)),
            false => {
                (format!("{name}.layer.{i}.convolution"), format!("{name}.layer.{i}.normalization"))
            }
        };
        let wide = |stride, dilation| Window {
            padding: [dilation; 2],
            dilation: [dilation; 2],
            ..Window::square(3, stride, 0)
        };
        let pixel = |stride| Window::square(1, stride, 0);
        let narrow = width / REDUCTION;
        let parts = if spec.bottleneck {
            let (first, second) = if spec.early { (stride, 1) } else { (1, stride) };
            vec![
                (inputs, narrow, pixel(first)),
                (narrow, narrow, wide(second, first_dilation)),
                (narrow, width, pixel(1)),
            ]
        } else {
            vec![(inputs, width, wide(stride, first_dilation)), (width, width, wide(1, dilation))]
        };
        let mut convolutions = Vec::new();
        for (i, (inputs, outputs, window)) in parts.into_iter().enumerate() {
            convolutions.push(convolution(weights, &part(i), outputs, inputs, window)?);
        }
        let names = match spec.timm {
            true => (format!("{name}.downsample.0"), format!("{name}.downsample.1")),
            false => {
                (format!("{name}.shortcut.convolution"), format!("{name}.shortcut.normalization"))
            }
        };
        let shortcut = match inputs != width || stride != 1 {
            true => Some(convolution(weights, &names, width, inputs, pixel(stride))?),
            false => None,
        };
        Ok(Block { convolutions, shortcut })
    }

    fn forward(&self, device: &Device, x: &Tensor, activation: Activation) -> Tensor {
        let mut y = x.clone();
        for (i, convolution) in self.convolutions.iter().enumerate() {
            y = convolution.forward(device, &y);
            if i + 1 < self.convolutions.len() {
                y = ops::activation(device, &y, Activation::Relu);
            }
        }
        let short = self.shortcut.as_ref().map(|shortcut| shortcut.forward(device, x));
        ops::activation(device, &ops::add(device, &y, short.as_ref().unwrap_or(x)), activation)
    }
}
