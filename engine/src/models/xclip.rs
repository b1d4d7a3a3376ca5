//! X-CLIP (Ni et al. 2022): CLIP for videos.
//!
//! Frames pass through CLIP's image tower, in each layer of which they exchange a message token; a
//! small transformer over frames (MIT) makes one vector of a video; and prompts made from what is
//! seen shift the vectors of the texts, which therefore differ from video to video.

use super::{
    Config, Inputs, Model, Outputs,
    blocks::{
        clip::{self, End, LayerShape, TextTower, VISION, tower_config},
        encoder::{AttentionMask, Layer, Mlp, MultiHead, heads},
        patches::Patches,
    },
};
use crate::{
    device::Device,
    error::{Error, Result},
    load::{Declaration, LayerNorm, Linear, Slot},
    ops::{self, Activation},
    quant::Matrix,
    tensor::Tensor,
};

pub(super) struct XClip {
    text: TextTower,
    text_projection: Linear,
    vision: Vision,
    vision_projection: Linear,
    frames: Frames,
    prompts: Prompts,
    scale: Slot<Vec<f32>>,
}

/// The image tower whose frames exchange messages.
struct Vision {
    patches: Patches,
    pre_norm: LayerNorm,
    layers: Vec<VisionLayer>,
    post_norm: LayerNorm,
}

struct VisionLayer {
    message: Linear,
    message_norm: LayerNorm,
    message_attention: MultiHead,
    layer: Layer,
}

/// The transformer over the frames of a video.
struct Frames {
    /// `[T, C]`.
    positions: Slot<Tensor>,
    layers: Vec<Layer>,
}

/// The prompt generator, and what it sees of the frames.
struct Prompts {
    seen_norm: LayerNorm,
    seen: Slot<Matrix>,
    norm: LayerNorm,
    layers: Vec<PromptLayer>,
    alpha: Slot<Tensor>,
}

struct PromptLayer {
    attention_norm: LayerNorm,
    attention: MultiHead,
    mlp_norm: LayerNorm,
    mlp: Mlp,
}

impl XClip {
    pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<XClip> {
        if config.architecture()? != "XCLIPModel" {
            let message = format!("{} is unknown; use XCLIPModel", config.architecture()?);
            return Err(Error::config("architectures", message));
        }
        let text_config = tower_config(config, "text_config")?;
        let vision_config = tower_config(config, "vision_config")?;
        let width = config.size_or("projection_dim", Some(512))?;

        // Whatever the configuration says of the end of texts, transformers takes the largest id.
        let text = TextTower::declare(&text_config, weights, "text_model.", End::Largest)?;
        let text_projection = weights.linear("text_projection", width, text.width(), false)?;
        let vision = Vision::declare(&vision_config, weights)?;
        let vision_width = vision.patches.width();
        let vision_projection = weights.linear("visual_projection", width, vision_width, false)?;
        let frames = Frames::declare(&vision_config, weights, width)?;
        let prompts =
            Prompts::declare(config, [&text_config, &vision_config], weights, width, vision_width);
        Ok(XClip {
            text,
            text_projection,
            vision,
            vision_projection,
            frames,
            prompts: prompts?,
            scale: weights.values("logit_scale", &[])?,
        })
    }
}

impl Vision {
    fn declare(config: &Config, weights: &Declaration<'_>) -> Result<Vision> {
        let root = "vision_model.";
        let shape = LayerShape::read(config, VISION)?;
        let LayerShape { width, eps, .. } = shape;
        let patches = clip::vision_patches(config, weights, root, width)?;
        let mut layers = Vec::new();
        for i in 0..config.size_or("num_hidden_layers", Some(12))? {
            let name = format!("{root}encoder.layers.{i}");
            let part = |part: &str| format!("{name}.{part}");
            layers.push(VisionLayer {
                message: weights.linear(&part("message_fc"), width, width, true)?,
                message_norm: weights.layer_norm(&part("message_ln"), width, eps)?,
                message_attention: shape.attention(weights, &part("message_attn"))?,
                layer: shape.declare(weights, &name)?,
            });
        }
        Ok(Vision {
            patches,
            pre_norm: weights.layer_norm(&format!("{root}pre_layernorm"), width, eps)?,
            layers,
            post_norm: weights.layer_norm(&format!("{root}post_layernorm"), width, eps)?,
        })
    }
}

impl VisionLayer {
    /// `[B · T, N, C]` from `x: [B · T, N, C]`, the `frames` T of a video behind one another.
    fn forward(&self, device: &Device, x: &Tensor, frames: usize) -> Tensor {
        let [count, tokens, width] = x.shape()[..] else { panic!("three axes wanted") };
        let class = ops::narrow(device, x, 1, 0, 1).reshape(&[count / frames, frames, width]);
        let message = self.message.forward(device, &class);
        let heard = self.message_norm.forward(device, &message);
        let heard = self.message_attention.forward(device, [&heard; 3], AttentionMask::default());
        let message = ops::add(device, &message, &heard).reshape(&[count, 1, width]);
        let x = ops::concat(device, &[x, &message], 1);
        let x = self.layer.attend(device, &x, AttentionMask::default());
        // The message has been read.
        self.layer.feed(device, &ops::narrow(device, &x, 1, 0, tokens))
    }
}

impl Frames {
    fn declare(config: &Config, weights: &Declaration<'_>, width: usize) -> Result<Frames> {
        let hidden = config.size_or("mit_hidden_size", Some(512))?;
        if hidden != width {
            let message = format!("{hidden} differs from projection_dim {width}");
            return Err(Error::config("mit_hidden_size", message));
        }
        let shape = LayerShape {
            width,
            inner: config.size_or("mit_intermediate_size", Some(2048))?,
            heads: heads(config, "mit_num_attention_heads", width, Some(8))?,
            ..LayerShape::read(config, VISION)?
        };
        let count = config.size_or("num_frames", Some(8))?;
        let name = "mit.position_embedding";
        let positions = weights.tensor_from(name, &[1, count, width], &[count, width], vec![])?;
        let mut layers = Vec::new();
        for i in 0..config.size_or("mit_num_hidden_layers", Some(1))? {
            layers.push(shape.declare(weights, &format!("mit.encoder.layers.{i}"))?);
        }
        Ok(Frames { positions, layers })
    }

    /// `[B, C]` from `x: [B, T, C]`.
    fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        let mut y = ops::add(device, x, &self.positions);
        for layer in &self.layers {
            y = layer.forward(device, &y, AttentionMask::default());
        }
        mean(device, &ops::add(device, &y, x))
    }
}

/// `[B, ..]` from `x: [B, T, ..]`.
fn mean(device: &Device, x: &Tensor) -> Tensor {
    let (batch, frames) = (x.shape()[0], x.shape()[1]);
    let ones = device.upload(&[batch, frames], vec![1.0; batch * frames]);
    let flat = x.reshape(&[batch, frames, x.count() / (batch * frames)]);
    let shape = [&[batch], &x.shape()[2..]].concat();
    ops::mean_pool(device, &flat, &ones, false).reshape(&shape)
}

impl Prompts {
    fn declare(
        config: &Config,
        [text, vision]: [&Config; 2],
        weights: &Declaration<'_>,
        width: usize,
        vision_width: usize,
    ) -> Result<Prompts> {
        let eps = |config: &Config| VISION.eps(config);
        let heads = heads(config, "prompt_num_attention_heads", width, Some(8))?;
        let activation = config.text_or("prompt_hidden_act", "quick_gelu")?;
        let activation = Activation::named("prompt_hidden_act", activation)?;
        // It is multiplied from the right, unlike all other matrices.
        let name = "prompts_visual_projection";
        let seen = weights.transposed(name, width, vision_width)?;
        let mut layers = Vec::new();
        for i in 0..config.size_or("prompt_layers", Some(2))? {
            let name = |part: &str| format!("prompts_generator.decoder.{i}.{part}");
            let parts = ["q_proj", "k_proj", "v_proj", "proj"];
            let projections = parts.map(|part| name(&format!("cross_attn.{part}")));
            let projections = projections.each_ref().map(String::as_str);
            let mlp = [&*name("mlp.0"), &name("mlp.3")];
            layers.push(PromptLayer {
                attention_norm: weights.layer_norm(&name("norm1"), width, eps(text)?)?,
                attention: MultiHead::declare(weights, projections, width, heads, false)?,
                mlp_norm: weights.layer_norm(&name("norm3"), width, eps(text)?)?,
                mlp: Mlp::declare(weights, mlp, width, 4 * width, activation)?,
            });
        }
        let seen_norm = "prompts_visual_layernorm";
        Ok(Prompts {
            seen_norm: weights.layer_norm(seen_norm, vision_width, eps(vision)?)?,
            seen,
            norm: weights.layer_norm("prompts_generator.layernorm", width, eps(vision)?)?,
            layers,
            alpha: weights.vector("prompts_generator.alpha", width)?,
        })
    }

    /// `[B, K, C]`, what to add to the `texts: [B, K, C]` that go with `hidden: [B · T, 1 + N, C']`.
    fn forward(&self, device: &Device, texts: &Tensor, hidden: &Tensor) -> Tensor {
        let batch = texts.shape()[0];
        let [frames, tokens, _] = hidden.shape()[..] else { panic!("three axes wanted") };
        let patches = ops::narrow(device, hidden, 1, 1, tokens - 1);
        let seen = self.seen_norm.forward(device, &patches);
        let seen = ops::matmul(device, &seen, &self.seen, None);
        let seen = seen.reshape(&[batch, frames / batch, tokens - 1, texts.columns()]);
        let seen = self.norm.forward(device, &mean(device, &seen));
        let mut x = texts.clone();
        for layer in &self.layers {
            let h = layer.attention_norm.forward(device, &x);
            let h = layer.attention.forward(device, [&h, &seen, &seen], AttentionMask::default());
            x = ops::add(device, &x, &h);
            let h = layer.mlp.forward(device, &layer.mlp_norm.forward(device, &x));
            x = ops::add(device, &x, &h);
        }
        ops::multiply(device, &x, &self.alpha)
    }
}

impl Model for XClip {
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let videos = inputs.images("pixel_values", 2, self.vision.patches.channels())?;
        let (batch, frames) = (videos.lead[0], videos.lead[1]);
        let known = self.frames.positions.rows();
        if frames != known {
            let message = format!("has {frames} frames a video, the model {known} (num_frames)");
            return Err(Error::input("pixel_values", message));
        }
        let x = self.vision.patches.forward(device, &videos)?;
        let mut x = self.vision.pre_norm.forward(device, &x);
        for layer in &self.vision.layers {
            x = layer.forward(device, &x, frames);
        }
        let class = self.vision.post_norm.forward(device, &ops::narrow(device, &x, 1, 0, 1));
        let class = self.vision_projection.forward(device, &class);
        let class = class.reshape(&[batch, frames, class.columns()]);
        let video = ops::unit_rows(device, &self.frames.forward(device, &class));

        let text = self.text.forward(device, inputs)?.pooled;
        let text = self.text_projection.forward(device, &text);
        let (texts, width) = (text.rows(), text.columns());
        let text = text.reshape(&[1, texts, width]);
        let text = ops::concat(device, &vec![&text; batch], 0);
        let text = ops::add(device, &text, &self.prompts.forward(device, &text, &x));
        let text = ops::unit_rows(device, &text);

        let queries = video.reshape(&[batch, 1, width]);
        let per_video = ops::similarity(device, &queries, &text, self.scale[0].exp());
        let per_video = per_video.reshape(&[batch, texts]);
        let columns: Vec<Tensor> = (0..batch)
            .map(|b| ops::narrow(device, &per_video, 0, b, 1).reshape(&[texts, 1]))
            .collect();
        let per_text = ops::concat(device, &columns.iter().collect::<Vec<_>>(), 1);
        Ok(vec![
            ("logits_per_video", per_video),
            ("logits_per_text", per_text),
            ("text_embeds", text),
            ("video_embeds", video),
        ])
    }
}
