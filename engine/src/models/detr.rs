//! DETR (Carion et al. 2020): objects in images, found by a transformer behind a ResNet.
//!
//! `DetrForObjectDetection` gives logits over labels and boxes as centre, width and height for each
//! of its queries; `DetrModel` stops at hidden states. Positions of pixels are added to queries and
//! keys of every layer, not to values.

use super::{
    Config, Inputs, Model, Outputs,
    blocks::{
        encoder::{AttentionMask, Mlp, MultiHead, heads},
        pixel_positions::{PixelPositions, shrink_mask},
        resnet::{ResNet, Spec},
    },
};
use crate::{
    device::Device,
    error::{Error, Result},
    load::{Conv, ConvShape, Declaration, LayerNorm, Linear, Slot},
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

pub(super) struct Detr {
    backbone: ResNet,
    projection: Conv,
    positions: PixelPositions,
    /// `[Q, C]`: what distinguishes one query from another.
    queries: Slot<Matrix>,
    encoder: Vec<EncoderLayer>,
    decoder: Vec<DecoderLayer>,
    norm: LayerNorm,
    /// Models trained with a loss on every decoder layer normalise behind each of them.
    norm_always: bool,
    head: Option<Head>,
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
    pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<Detr> {
        weights.rename(RENAMES);
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
        let backbone = ResNet::declare(&backbone_spec(config)?, weights, &backbone)?;
        let shape = ConvShape::plain(Window::square(1, 1, 0), true);
        let projection = format!("{root}input_projection");
        let projection = weights.conv(&projection, width, backbone.width(), shape)?;
        let positions = PixelPositions::declare(config, weights, root, width)?;
        let queries = config.size_or("num_queries", Some(100))?;
        let queries =
            weights.matrix(&format!("{root}query_position_embeddings.weight"), queries, width)?;

        let side = Side { weights, width, activation };
        let heads = |field| heads(config, field, width, Some(8));
        let (encoder_heads, decoder_heads) =
            (heads("encoder_attention_heads")?, heads("decoder_attention_heads")?);
        let mut encoder = Vec::new();
        let inner = config.size_or("encoder_ffn_dim", Some(2048))?;
        for i in 0..config.size_or("encoder_layers", Some(6))? {
            let name = format!("{root}encoder.layers.{i}");
            encoder.push(EncoderLayer {
                attention: side.attention(&format!("{name}.self_attn"), encoder_heads)?,
                attention_norm: side.norm(&format!("{name}.self_attn_layer_norm"))?,
                mlp: side.mlp(&name, inner)?,
                norm: side.norm(&format!("{name}.final_layer_norm"))?,
            });
        }
        let mut decoder = Vec::new();
        let inner = config.size_or("decoder_ffn_dim", Some(2048))?;
        for i in 0..config.size_or("decoder_layers", Some(6))? {
            let name = format!("{root}decoder.layers.{i}");
            decoder.push(DecoderLayer {
                attention: side.attention(&format!("{name}.self_attn"), decoder_heads)?,
                attention_norm: side.norm(&format!("{name}.self_attn_layer_norm"))?,
                across: side.attention(&format!("{name}.encoder_attn"), decoder_heads)?,
                across_norm: side.norm(&format!("{name}.encoder_attn_layer_norm"))?,
                mlp: side.mlp(&name, inner)?,
                norm: side.norm(&format!("{name}.final_layer_norm"))?,
            });
        }
        let norm = side.norm(&format!("{root}decoder.layernorm"))?;
        let head = match detects {
            // One label more stands for no object.
            true => Some(Head::declare(weights, width, config.labels()? + 1)?),
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
    weights: &'a Declaration<'a>,
    width: usize,
    activation: Activation,
}

impl Side<'_> {
    fn attention(&self, name: &str, heads: usize) -> Result<MultiHead> {
        let names = ["q_proj", "k_proj", "v_proj", "o_proj"].map(|part| format!("{name}.{part}"));
        let names = names.each_ref().map(String::as_str);
        MultiHead::declare(self.weights, names, self.width, heads, true)
    }

    fn norm(&self, name: &str) -> Result<LayerNorm> {
        self.weights.layer_norm(name, self.width, EPS)
    }

    fn mlp(&self, name: &str, inner: usize) -> Result<Mlp> {
        let names = [&*format!("{name}.mlp.fc1"), &format!("{name}.mlp.fc2")];
        Mlp::declare(self.weights, names, self.width, inner, self.activation)
    }
}

impl Head {
    fn declare(weights: &Declaration<'_>, width: usize, labels: usize) -> Result<Head> {
        let layer = |i: usize, rows| {
            weights.linear(&format!("bbox_predictor.layers.{i}"), rows, width, true)
        };
        Ok(Head {
            labels: weights.linear("class_labels_classifier", labels, width, true)?,
            boxes: [layer(0, width)?, layer(1, width)?, layer(2, 4)?],
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
        let mask = AttentionMask { causal: false, mask: mask.as_ref() };

        let mut memory = x.reshape(&[batch, pixels, channels]);
        for layer in &self.encoder {
            memory = layer.forward(device, &memory, &positions, mask);
        }
        let keys = ops::add(device, &memory, &positions);

        let queries = self.queries.rows;
        let all = device.upload_u32(&[queries], (0..queries as u32).collect());
        let places = ops::embed(device, &all, &self.queries);
        let own = inputs.mask("decoder_attention_mask", batch, queries)?;
        let own = own.map(|own| device.upload(&[batch, queries], own));
        let own = AttentionMask { causal: false, mask: own.as_ref() };
        let count = batch * queries * channels;
        let mut x = device.upload(&[batch, queries, channels], vec![0.0; count]);
        let mut steps = Vec::new();
        for layer in &self.decoder {
            x = layer.forward(device, &x, &places, own, [&keys, &memory], mask);
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
    fn forward(
        &self,
        device: &Device,
        x: &Tensor,
        positions: &Tensor,
        mask: AttentionMask<'_>,
    ) -> Tensor {
        let placed = ops::add(device, x, positions);
        let y = self.attention.forward(device, [&placed, &placed, x], mask);
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
        own: AttentionMask<'_>,
        [keys, values]: [&Tensor; 2],
        mask: AttentionMask<'_>,
    ) -> Tensor {
        let placed = ops::add(device, x, places);
        let y = self.attention.forward(device, [&placed, &placed, x], own);
        let x = self.attention_norm.forward(device, &ops::add(device, x, &y));
        let placed = ops::add(device, &x, places);
        let y = self.across.forward(device, [&placed, keys, values], mask);
        let x = self.across_norm.forward(device, &ops::add(device, &x, &y));
        let y = self.mlp.forward(device, &x);
        self.norm.forward(device, &ops::add(device, &x, &y))
    }
}
