//! X-CLIP (Ni et al. 2022): CLIP for videos.
//!
//! Frames pass through CLIP's image tower, in each layer of which they exchange a message token; a
//! small transformer over frames (MIT) makes one vector of a video; and prompts made from what is
//! seen shift the vectors of the texts, which therefore differ from video to video.

use super::{
    Config, Inputs, Model, Outputs,
    blocks::{
        clip::{self, End, LayerShape, TextTower, VISION, tower_config},
        encoder::{Layer, Mlp, MultiHead, Sight, heads},
        patches::Patches,
    },
};
use crate::{
    device::Device,
    error::{Error, Result},
    load::{LayerNorm, Linear, Loader},
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
    scale: f32,
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
    positions: Tensor,
    layers: Vec<Layer>,
}

/// The prompt generator, and what it sees of the frames.
struct Prompts {
    seen_norm: LayerNorm,
    seen: Matrix,
    norm: LayerNorm,
    layers: Vec<PromptLayer>,
    alpha: Tensor,
}

struct PromptLayer {
    attention_norm: LayerNorm,
    attention: MultiHead,
    mlp_norm: LayerNorm,
    mlp: Mlp,
}

impl XClip {
    pub(super) async fn load(config: &Config, loader: &Loader<'_>) -> Result<XClip> {
        if config.architecture()? != "XCLIPModel" {
            let message = format!("{} is unknown; use XCLIPModel", config.architecture()?);
            return Err(Error::config("architectures", message));
        }
        let text_config = tower_config(config, "text_config")?;
        let vision_config = tower_config(config, "vision_config")?;
        let width = config.size_or("projection_dim", Some(512))?;

        // Whatever the configuration says of the end of texts, transformers takes the largest id.
        let text = TextTower::load(&text_config, loader, "text_model.", End::Largest).await?;
        let text_projection = loader.linear("text_projection", width, text.width(), false).await?;
        let vision = Vision::load(&vision_config, loader).await?;
        let vision_width = vision.patches.width();
        let vision_projection =
            loader.linear("visual_projection", width, vision_width, false).await?;
        let frames = Frames::load(&vision_config, loader, width).await?;
        let prompts =
            Prompts::load(config, [&text_config, &vision_config], loader, width, vision_width);
        Ok(XClip {
            text,
            text_projection,
            vision,
            vision_projection,
            frames,
            prompts: prompts.await?,
            scale: loader.values("logit_scale", &[]).await?[0].exp(),
        })
    }
}

impl Vision {
    async fn load(config: &Config, loader: &Loader<'_>) -> Result<Vision> {
        let root = "vision_model.";
        let shape = LayerShape::read(config, VISION)?;
        let LayerShape { width, eps, .. } = shape;
        let patches = clip::vision_patches(config, loader, root, width).await?;
        let mut layers = Vec::new();
        for i in 0..config.size_or("num_hidden_layers", Some(12))? {
            let name = format!("{root}encoder.layers.{i}");
            let part = |part: &str| format!("{name}.{part}");
            layers.push(VisionLayer {
                message: loader.linear(&part("message_fc"), width, width, true).await?,
                message_norm: loader.layer_norm(&part("message_ln"), width, eps).await?,
                message_attention: shape.attention(loader, &part("message_attn")).await?,
                layer: shape.load(loader, &name).await?,
            });
        }
        Ok(Vision {
            patches,
            pre_norm: loader.layer_norm(&format!("{root}pre_layernorm"), width, eps).await?,
            layers,
            post_norm: loader.layer_norm(&format!("{root}post_layernorm"), width, eps).await?,
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
        let heard = self.message_attention.forward(device, [&heard; 3], Sight::default());
        let message = ops::add(device, &message, &heard).reshape(&[count, 1, width]);
        let x = ops::concat(device, &[x, &message], 1);
        let x = self.layer.attend(device, &x, Sight::default());
        // The message has been read.
        self.layer.feed(device, &ops::narrow(device, &x, 1, 0, tokens))
    }
}

impl Frames {
    async fn load(config: &Config, loader: &Loader<'_>, width: usize) -> Result<Frames> {
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
        let positions = loader.values("mit.position_embedding", &[1, count, width]).await?;
        let mut layers = Vec::new();
        for i in 0..config.size_or("mit_num_hidden_layers", Some(1))? {
            layers.push(shape.load(loader, &format!("mit.encoder.layers.{i}")).await?);
        }
        Ok(Frames { positions: loader.keep(&[count, width], positions), layers })
    }

    /// `[B, C]` from `x: [B, T, C]`.
    fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        let mut y = ops::add(device, x, &self.positions);
        for layer in &self.layers {
            y = layer.forward(device, &y, Sight::default());
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
    async fn load(
        config: &Config,
        [text, vision]: [&Config; 2],
        loader: &Loader<'_>,
        width: usize,
        vision_width: usize,
    ) -> Result<Prompts> {
        let eps = |config: &Config| VISION.eps(config);
        let heads = heads(config, "prompt_num_attention_heads", width, Some(8))?;
        let activation = config.text_or("prompt_hidden_act", "quick_gelu")?;
        let activation = Activation::named("prompt_hidden_act", activation)?;
        // It is multiplied from the right, unlike all other matrices.
        let name = "prompts_visual_projection";
        let values = loader.values(name, &[vision_width, width]).await?;
        let turned: Vec<f32> = (0..width * vision_width)
            .map(|at| values[at % vision_width * width + at / vision_width])
            .collect();
        let mut layers = Vec::new();
        for i in 0..config.size_or("prompt_layers", Some(2))? {
            let name = |part: &str| format!("prompts_generator.decoder.{i}.{part}");
            let parts = ["q_proj", "k_proj", "v_proj", "proj"];
            let projections = parts.map(|part| name(&format!("cross_attn.{part}")));
            let projections = projections.each_ref().map(String::as_str);
            let mlp = [&*name("mlp.0"), &name("mlp.3")];
            layers.push(PromptLayer {
                attention_norm: loader.layer_norm(&name("norm1"), width, eps(text)?).await?,
                attention: MultiHead::load(loader, projections, width, heads, false).await?,
                mlp_norm: loader.layer_norm(&name("norm3"), width, eps(text)?).await?,
                mlp: Mlp::load(loader, mlp, width, 4 * width, activation).await?,
            });
        }
        let seen_norm = "prompts_visual_layernorm";
        Ok(Prompts {
            seen_norm: loader.layer_norm(seen_norm, vision_width, eps(vision)?).await?,
            seen: loader.pack(name, width, vision_width, &turned)?,
            norm: loader.layer_norm("prompts_generator.layernorm", width, eps(vision)?).await?,
            layers,
            alpha: loader.vector("prompts_generator.alpha", width).await?,
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
            let h = layer.attention.forward(device, [&h, &seen, &seen], Sight::default());
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
        let per_video = ops::similarity(device, &queries, &text, self.scale);
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
