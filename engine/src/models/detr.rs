//! DETR (Carion et al. 2020): objects in images, found by a transformer behind a ResNet.
//!
//! `DetrForObjectDetection` gives logits over labels and boxes as centre, width and height for each
//! of its queries; `DetrModel` stops at hidden states. Positions of pixels are added to queries and
//! keys of every layer, not to values.

use super::{
    Config, Images, Inputs, Model, Outputs,
    blocks::{
        encoder::{Mlp, MultiHead, Sight, heads},
        resnet::{ResNet, Spec},
    },
};
use crate::{
    device::Device,
    error::{Error, Result},
    load::{Conv, ConvShape, LayerNorm, Linear, Loader},
    ops::{self, Activation, Window},
    quant::Matrix,
    tensor::Tensor,
};

/// transformers 5 and the names in files published before it.
const RENAMES: &[(&str, &str)] = &[
    ("backbone.model.", "backbone.conv_encoder.model."),
    ("o_proj.", "out_proj."),
    ("mlp.fc1", "fc1"),
    ("mlp.fc2", "fc2"),
    ("position_embedding.row_", "backbone.position_embedding.row_"),
    ("position_embedding.column_", "backbone.position_embedding.column_"),
];
/// Of all layer norms.
const EPS: f32 = 1e-5;
/// Rows and columns that learned positions know.
const LEARNED: usize = 50;

pub(super) struct Detr {
    backbone: ResNet,
    projection: Conv,
    positions: Positions,
    /// `[Q, C]`: what distinguishes one query from another.
    queries: Matrix,
    encoder: Vec<EncoderLayer>,
    decoder: Vec<DecoderLayer>,
    norm: LayerNorm,
    /// Models trained with a loss on every decoder layer normalise behind each of them.
    norm_always: bool,
    head: Option<Head>,
}

/// How the place of a pixel in the feature map is told.
enum Positions {
    Sine,
    /// Tables `[50, C / 2]` of rows and columns.
    Learned {
        rows: Vec<f32>,
        columns: Vec<f32>,
    },
}

struct EncoderLayer {
    attention: MultiHead,
    attention_norm: LayerNorm,
    mlp: Mlp,
    norm: LayerNorm,
}

struct DecoderLayer {
    attention: MultiHead,
    attention_norm: LayerNorm,
    across: MultiHead,
    across_norm: LayerNorm,
    mlp: Mlp,
    norm: LayerNorm,
}

struct Head {
    labels: Linear,
    boxes: [Linear; 3],
}

impl Detr {
    pub(super) async fn load(config: &Config, loader: &Loader<'_>) -> Result<Detr> {
        loader.rename(RENAMES);
        let (root, detects) = match config.architecture()? {
            "DetrForObjectDetection" => ("model.", true),
            "DetrModel" => ("", false),
            other => {
                let message =
                    format!("{other} is unknown; use DetrForObjectDetection or DetrModel");
                return Err(Error::config("architectures", message));
            }
        };
        let width = config.size_or("d_model", Some(256))?;
        if !width.is_multiple_of(4) {
            let message = format!("{width} is no multiple of 4: two axes have sines and cosines");
            return Err(Error::config("d_model", message));
        }
        let activation = config.text_or("activation_function", "relu")?;
        let activation = Activation::named("activation_function", activation)?;

        let backbone = format!("{root}backbone.model.");
        let backbone = ResNet::load(&backbone_spec(config)?, loader, &backbone).await?;
        let shape = ConvShape::plain(Window::square(1, 1, 0), true);
        let projection = format!("{root}input_projection");
        let projection = loader.conv(&projection, width, backbone.width(), shape).await?;
        let positions = Positions::load(config, loader, root, width).await?;
        let queries = config.size_or("num_queries", Some(100))?;
        let queries = loader
            .matrix(&format!("{root}query_position_embeddings.weight"), queries, width)
            .await?;

        let side = Side { loader, width, activation };
        let heads = |field| heads(config, field, width, Some(8));
        let (encoder_heads, decoder_heads) =
            (heads("encoder_attention_heads")?, heads("decoder_attention_heads")?);
        let mut encoder = Vec::new();
        let inner = config.size_or("encoder_ffn_dim", Some(2048))?;
        for i in 0..config.size_or("encoder_layers", Some(6))? {
            let name = format!("{root}encoder.layers.{i}");
            encoder.push(EncoderLayer {
                attention: side.attention(&format!("{name}.self_attn"), encoder_heads).await?,
                attention_norm: side.norm(&format!("{name}.self_attn_layer_norm")).await?,
                mlp: side.mlp(&name, inner).await?,
                norm: side.norm(&format!("{name}.final_layer_norm")).await?,
            });
        }
        let mut decoder = Vec::new();
        let inner = config.size_or("decoder_ffn_dim", Some(2048))?;
        for i in 0..config.size_or("decoder_layers", Some(6))? {
            let name = format!("{root}decoder.layers.{i}");
            decoder.push(DecoderLayer {
                attention: side.attention(&format!("{name}.self_attn"), decoder_heads).await?,
                attention_norm: side.norm(&format!("{name}.self_attn_layer_norm")).await?,
                across: side.attention(&format!("{name}.encoder_attn"), decoder_heads).await?,
                across_norm: side.norm(&format!("{name}.encoder_attn_layer_norm")).await?,
                mlp: side.mlp(&name, inner).await?,
                norm: side.norm(&format!("{name}.final_layer_norm")).await?,
            });
        }
        let norm = side.norm(&format!("{root}decoder.layernorm")).await?;
        let head = match detects {
            // One label more stands for no object.
            true => Some(Head::load(loader, width, config.labels()? + 1).await?),
            false => None,
        };
        let norm_always = config.flag_or("auxiliary_loss", false)?;
        Ok(Detr {
            backbone,
            projection,
            positions,
            queries,
            encoder,
            decoder,
            norm,
            norm_always,
            head,
        })
    }
}

/// Which ResNet a configuration asks for: one of its own, or by default one of timm.
fn backbone_spec(config: &Config) -> Result<Spec> {
    let inner = config.object("backbone_config")?;
    let timm = match &inner {
        Some(inner) => match inner.text_or("model_type", "resnet")? {
            "resnet" => false,
            "timm_backbone" => true,
            other => {
                let message = format!("{other} is unknown; use resnet or timm_backbone");
                return Err(Error::config("backbone_config.model_type", message));
            }
        },
        None => config.flag_or("use_timm_backbone", true)?,
    };
    if !timm {
        return Spec::transformers(&inner.map_or_else(|| Config::new(serde_json::json!({})), Ok)?);
    }
    let outer = inner.as_ref().unwrap_or(config);
    let stride = if config.flag_or("dilation", false)? { 16 } else { 32 };
    Spec::timm(outer, stride)
}

/// Reads what the layers of both sides have in common.
struct Side<'a> {
    loader: &'a Loader<'a>,
    width: usize,
    activation: Activation,
}

impl Side<'_> {
    async fn attention(&self, name: &str, heads: usize) -> Result<MultiHead> {
        let names = ["q_proj", "k_proj", "v_proj", "o_proj"].map(|part| format!("{name}.{part}"));
        let names = names.each_ref().map(String::as_str);
        MultiHead::load(self.loader, names, self.width, heads, true).await
    }

    async fn norm(&self, name: &str) -> Result<LayerNorm> {
        self.loader.layer_norm(name, self.width, EPS).await
    }

    async fn mlp(&self, name: &str, inner: usize) -> Result<Mlp> {
        let names = [&*format!("{name}.mlp.fc1"), &format!("{name}.mlp.fc2")];
        Mlp::load(self.loader, names, self.width, inner, self.activation).await
    }
}

impl Head {
    async fn load(loader: &Loader<'_>, width: usize, labels: usize) -> Result<Head> {
        let layer = async |i: usize, rows| {
            loader.linear(&format!("bbox_predictor.layers.{i}"), rows, width, true).await
        };
        Ok(Head {
            labels: loader.linear("class_labels_classifier", labels, width, true).await?,
            boxes: [layer(0, width).await?, layer(1, width).await?, layer(2, 4).await?],
        })
    }

    fn forward(&self, device: &Device, x: &Tensor) -> Outputs {
        let [first, second, last] = &self.boxes;
        let relu = |x: Tensor| ops::activation(device, &x, Activation::Relu);
        let y = relu(first.forward(device, x));
        let y = last.forward(device, &relu(second.forward(device, &y)));
        let boxes = ops::activation(device, &y, Activation::Sigmoid);
        vec![("logits", self.labels.forward(device, x)), ("pred_boxes", boxes)]
    }
}

impl Positions {
    async fn load(
        config: &Config,
        loader: &Loader<'_>,
        root: &str,
        width: usize,
    ) -> Result<Positions> {
        match config.text_or("position_embedding_type", "sine")? {
            "sine" => Ok(Positions::Sine),
            "learned" => {
                let table = async |axis: &str| {
                    let name = format!("{root}position_embedding.{axis}_embeddings.weight");
                    loader.values(&name, &[LEARNED, width / 2]).await
                };
                Ok(Positions::Learned {
                    rows: table("row").await?,
                    columns: table("column").await?,
                })
            }
            other => {
                let message = format!("{other} is unknown; use sine or learned");
                Err(Error::config("position_embedding_type", message))
            }
        }
    }

    /// `[B, H · W, width]` for the `seen` pixels `[B, H, W]` of a feature map.
    fn of(&self, seen: &[f32], [height, width]: [usize; 2], channels: usize) -> Result<Vec<f32>> {
        let half = channels / 2;
        match self {
            Positions::Sine => Ok(sines(seen, [height, width], half)),
            Positions::Learned { rows, columns } => {
                if height.max(width) > LEARNED {
                    let message = format!(
                        "leads to {height} × {width} features, the model knows {LEARNED} × {LEARNED}"
                    );
                    return Err(Error::input("pixel_values", message));
                }
                let part = |table: &[f32], at: usize| table[at * half..(at + 1) * half].to_vec();
                let pixel = |at: usize| {
                    [part(columns, at % width), part(rows, at / width % height)].concat()
                };
                Ok((0..seen.len()).flat_map(pixel).collect())
            }
        }
    }
}

/// Sines and cosines of how many seen pixels lie above and to the left, as shares of 2π, at `half`
/// frequencies each; rows before columns.
fn sines(seen: &[f32], [height, width]: [usize; 2], half: usize) -> Vec<f32> {
    let exponent = |i: usize| (2 * (i / 2)) as f32 / half as f32;
    let scales: Vec<f32> = (0..half).map(|i| 10_000f32.powf(exponent(i))).collect();
    let waves = |count: f32, all: f32| {
        let place = count / (all + 1e-6) * std::f32::consts::TAU;
        let wave = move |(i, scale): (usize, &f32)| match i % 2 {
            0 => (place / scale).sin(),
            _ => (place / scale).cos(),
        };
        scales.iter().enumerate().map(wave).collect::<Vec<_>>()
    };
    let mut out = Vec::with_capacity(seen.len() * half * 2);
    for image in seen.chunks_exact(height * width) {
        let above = |y: usize, x: usize| (0..=y).map(|y| image[y * width + x]).sum::<f32>();
        let left = |y: usize, x: usize| image[y * width..=y * width + x].iter().sum::<f32>();
        for y in 0..height {
            for x in 0..width {
                out.extend(waves(above(y, x), above(height - 1, x)));
                out.extend(waves(left(y, x), left(y, width - 1)));
            }
        }
    }
    out
}

/// `pixel_mask: [B, H, W]` at the pixels of a feature map: the nearest above and to the left, as
/// torch's `interpolate(mode="nearest")`. Ones where there is no mask.
fn shrink_mask(inputs: &Inputs, images: &Images, [height, width]: [usize; 2]) -> Result<Vec<f32>> {
    let name = "pixel_mask";
    let (shape, values) = match (inputs.ints.get(name), inputs.floats.get(name)) {
        (Some((shape, values)), _) => (shape, values.iter().map(|value| *value as f32).collect()),
        (None, Some((shape, values))) => (shape, values.clone()),
        (None, None) => return Ok(vec![1.0; images.count() * height * width]),
    };
    let wanted = [images.count(), images.height, images.width];
    if *shape != wanted {
        return Err(Error::input(name, format!("has shape {shape:?}, the images have {wanted:?}")));
    }
    let nearest = |at: usize, from: usize, to: usize| {
        ((at as f32 * (from as f32 / to as f32)).floor() as usize).min(from - 1)
    };
    let pixel = |at: usize| {
        let (x, y, b) = (at % width, at / width % height, at / (width * height));
        let y = nearest(y, images.height, height);
        let x = nearest(x, images.width, width);
        f32::from(u8::from(values[(b * images.height + y) * images.width + x] != 0.0))
    };
    Ok((0..images.count() * height * width).map(pixel).collect())
}

impl Model for Detr {
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let images = inputs.images("pixel_values", 1, self.backbone.channels())?;
        let batch = images.count();
        let x = self.projection.forward(device, &self.backbone.forward(device, &images));
        let [_, height, width, channels] = x.shape()[..] else { panic!("four axes wanted") };
        let pixels = height * width;
        let seen = shrink_mask(inputs, &images, [height, width])?;
        let positions = self.positions.of(&seen, [height, width], channels)?;
        let positions = device.upload(&[batch, pixels, channels], positions);
        let hides = seen.contains(&0.0);
        let mask = hides.then(|| device.upload(&[batch, pixels], seen));
        let sight = Sight { causal: false, mask: mask.as_ref() };

        let mut memory = x.reshape(&[batch, pixels, channels]);
        for layer in &self.encoder {
            memory = layer.forward(device, &memory, &positions, sight);
        }
        let keys = ops::add(device, &memory, &positions);

        let queries = self.queries.rows;
        let all = device.upload_u32(&[queries], (0..queries as u32).collect());
        let places = ops::embed(device, &all, &self.queries);
        let own = inputs.mask("decoder_attention_mask", batch, queries)?;
        let own = own.map(|own| device.upload(&[batch, queries], own));
        let own = Sight { causal: false, mask: own.as_ref() };
        let count = batch * queries * channels;
        let mut x = device.upload(&[batch, queries, channels], vec![0.0; count]);
        let mut steps = Vec::new();
        for layer in &self.decoder {
            x = layer.forward(device, &x, &places, own, [&keys, &memory], sight);
            if self.norm_always {
                x = self.norm.forward(device, &x);
                steps.push(x.clone());
            }
        }
        let x = self.norm.forward(device, &x);
        let mut outputs = match &self.head {
            Some(head) => head.forward(device, &x),
            None if steps.is_empty() => Vec::new(),
            None => {
                let shape = [steps.len(), batch, queries, channels];
                let all = ops::concat(device, &steps.iter().collect::<Vec<_>>(), 0);
                vec![("intermediate_hidden_states", all.reshape(&shape))]
            }
        };
        outputs.push(("last_hidden_state", x));
        outputs.push(("encoder_last_hidden_state", memory));
        Ok(outputs)
    }
}

impl EncoderLayer {
    fn forward(&self, device: &Device, x: &Tensor, positions: &Tensor, sight: Sight<'_>) -> Tensor {
        let placed = ops::add(device, x, positions);
        let y = self.attention.forward(device, [&placed, &placed, x], sight);
        let x = self.attention_norm.forward(device, &ops::add(device, x, &y));
        let y = self.mlp.forward(device, &x);
        self.norm.forward(device, &ops::add(device, &x, &y))
    }
}

impl DecoderLayer {
    fn forward(
        &self,
        device: &Device,
        x: &Tensor,
        places: &Tensor,
        own: Sight<'_>,
        [keys, values]: [&Tensor; 2],
        sight: Sight<'_>,
    ) -> Tensor {
        let placed = ops::add(device, x, places);
        let y = self.attention.forward(device, [&placed, &placed, x], own);
        let x = self.attention_norm.forward(device, &ops::add(device, x, &y));
        let placed = ops::add(device, &x, places);
        let y = self.across.forward(device, [&placed, keys, values], sight);
        let x = self.across_norm.forward(device, &ops::add(device, &x, &y));
        let y = self.mlp.forward(device, &x);
        self.norm.forward(device, &ops::add(device, &x, &y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two seen pixels of three in a row: half of 2π, all of it, and all of it again.
    #[test]
    fn positions_count_what_is_seen() {
        let got = sines(&[1.0, 1.0, 0.0], [1, 3], 2);
        let all = std::f32::consts::TAU;
        let want = [(all, all / 2.0), (all, all), (0.0, all)];
        for (pixel, (y, x)) in got.chunks_exact(4).zip(want) {
            for (got, want) in pixel.iter().zip([y.sin(), y.cos(), x.sin(), x.cos()]) {
                assert!((got - want).abs() < 1e-5, "{pixel:?}");
            }
        }
    }
}
