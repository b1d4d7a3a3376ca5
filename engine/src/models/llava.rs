//! LLaVA (Liu et al. 2023): a decoder of text that reads images as words.
//!
//! CLIP's tower looks at an image; hidden states of one or more of its layers, projected, take the
//! places of the image's tokens among the words. LLaVA-NeXT, which looks at an image in tiles, is the
//! same model with `Tiles` in between.

use super::{
    Config, Decoder, Images, Inputs, Model, Outputs, Rows, State,
    blocks::{
        clip::VisionTower,
        decoder::{Spec, TextDecoder},
        tiles::Tiles,
    },
    llama, qwen2,
};
use crate::{
    device::Device,
    error::{Error, Result},
    kv::CacheShape,
    load::{Declaration, Linear},
    ops::{self, Activation},
    tensor::Tensor,
};
use serde_json::{Value, json};
use std::ops::Range;

pub(super) struct Llava {
    tower: VisionTower,
    /// Which hidden states the tower's features are: 0 is what its first layer reads.
    layers: Vec<usize>,
    /// Whether the class token is a feature too.
    class: bool,
    up: Linear,
    activation: Activation,
    down: Linear,
    decoder: TextDecoder,
    /// The token that images take the places of.
    token: u32,
    tiles: Option<Tiles>,
    width: usize,
}

/// Where tensors lie: as transformers 5 names them, then as files were published before it.
const TEXT: [&str; 2] = ["model.language_model.", "language_model.model."];
const HEAD: [&str; 2] = ["lm_head", "language_model.lm_head"];
const PROJECTOR: [&str; 2] = ["model.multi_modal_projector", "multi_modal_projector"];
const TOWER: [&str; 4] = [
    "model.vision_tower.",
    "model.vision_tower.vision_model.",
    "vision_tower.",
    "vision_tower.vision_model.",
];

pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<Llava> {
    config.architecture_of(&["LlavaForConditionalGeneration"])?;
    Llava::declare(config, weights)
}

impl Llava {
    pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<Llava> {
        let vision = vision_config(config)?;
        let root = first_of(weights, &TOWER, "embeddings.class_embedding");
        let tower = VisionTower::declare(&vision, weights, root)?;
        let layers = feature_layers(config, tower.depth())?;
        let class = match config.text_or("vision_feature_select_strategy", "default")? {
            "default" => false,
            "full" => true,
            other => {
                let message = format!("{other} is unknown; use default or full");
                return Err(Error::config("vision_feature_select_strategy", message));
            }
        };

        let text = config.part("text_config")?;
        let mut spec = text_spec(&text)?;
        spec.tied |= config.flag_or("tie_word_embeddings", false)?;
        let hidden = spec.hidden;
        let bias = config.flag_or("multimodal_projector_bias", true)?;
        let root = first_of(weights, &PROJECTOR, ".linear_1.weight");
        let linear =
            |part: &str, columns| weights.linear(&format!("{root}.{part}"), hidden, columns, bias);
        let (up, down) =
            (linear("linear_1", tower.width() * layers.len())?, linear("linear_2", hidden)?);
        let activation = config.text_or("projector_hidden_act", "gelu")?;
        let activation = Activation::named("projector_hidden_act", activation)?;

        let root = first_of(weights, &TEXT, "embed_tokens.weight");
        let head = first_of(weights, &HEAD, ".weight");
        let decoder = TextDecoder::declare(weights, spec, root, head)?;
        let token = match config.get("image_token_index") {
            Some(_) => config.whole_or("image_token_index", 0)?,
            None => config.whole_or("image_token_id", 32_000)?,
        };
        let token = token as u32;
        Ok(Llava {
            tower,
            layers,
            class,
            up,
            activation,
            down,
            decoder,
            token,
            tiles: None,
            width: hidden,
        })
    }

    /// Whether the class token is a feature too.
    pub(super) fn keeps_class(&self) -> bool {
        self.class
    }

    /// Numbers of a word.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// The same model, which looks at an image in tiles as well.
    pub(super) fn with_tiles(self, tiles: Tiles) -> Llava {
        Llava { tiles: Some(tiles), ..self }
    }

    /// What the model sees in the images of `inputs`: a row `[C]` for each token that stands for
    /// them, or nothing where there are no images.
    fn features(&self, device: &Device, inputs: &Inputs) -> Result<Option<Tensor>> {
        if !inputs.floats.contains_key("pixel_values") {
            return Ok(None);
        }
        let features = match &self.tiles {
            None => {
                let images = inputs.images("pixel_values", 1, self.tower.channels())?;
                self.project(device, &images)?
            }
            Some(tiles) => {
                let images = tiles.choose(inputs, self.tower.channels())?;
                tiles.pack(device, &self.project(device, &images.tiles)?, &images.sizes)
            }
        };
        let features = features.reshape(&[features.rows(), features.columns()]);
        let ids = inputs.ids("input_ids", self.decoder.vocabulary())?;
        let tokens = ids.values.iter().filter(|id| **id == self.token).count();
        if tokens != features.rows() {
            let message = format!(
                "has {tokens} tokens for images ({}), the images have {} features",
                self.token,
                features.rows()
            );
            return Err(Error::input("input_ids", message));
        }
        Ok(Some(features))
    }

    /// The images of one text, among those of all, and their places in the first axis of
    /// `pixel_values`: a text may have several or none.
    fn images_of(&self, inputs: &Inputs, row: usize) -> Result<[Range<usize>; 2]> {
        let ids = inputs.ids("input_ids", self.decoder.vocabulary())?;
        let (shape, _) = inputs.floats("pixel_values")?;
        let count = |ids: &[u32]| ids.iter().filter(|id| **id == self.token).count();
        // Of each image the tokens that stand for it, and what it takes of the first axis.
        let images = match &self.tiles {
            Some(tiles) => tiles.extents(inputs)?,
            None => vec![(count(&ids.values) / shape[0].max(1), 1); shape[0]],
        };
        let (before, rest) = ids.values.split_at(row * ids.tokens);
        let (before, own) = (count(before), count(&rest[..ids.tokens]));
        let mut ends = vec![(0, 0)];
        for (tokens, places) in images {
            let (all, at) = ends[ends.len() - 1];
            ends.push((all + tokens, at + places));
        }
        let image = |tokens: usize| {
            ends.iter().position(|(all, _)| *all == tokens).ok_or_else(|| {
                Error::input("input_ids", format!("text {row} has tokens for part of an image"))
            })
        };
        let (first, end) = (image(before)?, image(before + own)?);
        Ok([first..end, ends[first].1..ends[end].1])
    }

    /// Logits of `ids: [B, T]` with features in the places of the images.
    fn read(
        &self,
        device: &Device,
        state: &State,
        ids: &Tensor,
        features: Option<&Tensor>,
        rows: Rows<'_>,
    ) -> Tensor {
        let mut x = self.decoder.embed(device, ids);
        if let Some(features) = features {
            x = ops::place_rows(device, &x, ids, self.token, features);
        }
        self.decoder.logits(device, state, x, rows)
    }

    /// `[N, T, C]`: features of N images, in the decoder's words.
    fn project(&self, device: &Device, images: &Images) -> Result<Tensor> {
        let states = self.tower.hidden_states(device, images, &self.layers)?;
        let mut x = ops::concat(device, &states.iter().collect::<Vec<_>>(), 2);
        if !self.class {
            x = ops::narrow(device, &x, 1, 1, x.shape()[1] - 1);
        }
        let x = ops::activation(device, &self.up.forward(device, &x), self.activation);
        Ok(self.down.forward(device, &x))
    }
}

impl Model for Llava {
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let ids = inputs.ids("input_ids", self.decoder.vocabulary())?;
        let mask = inputs.mask("attention_mask", ids.batch, ids.tokens)?;
        let mask = mask.map(|mask| device.upload(&[ids.batch, ids.tokens], mask));
        let state = self.begin(device, inputs, ids.tokens)?;
        let rows = Rows { last: false, mask: mask.as_ref() };
        let features = self.features(device, inputs)?;
        let logits = self.read(device, &state, &ids.upload(device), features.as_ref(), rows);
        let features = features.map(|features| ("image_hidden_states", features));
        Ok([("logits", logits)].into_iter().chain(features).collect())
    }

    fn decoder(&self) -> Option<&dyn Decoder> {
        Some(self)
    }
}

impl Decoder for Llava {
    fn row(&self, inputs: &Inputs, row: usize, batch: usize) -> Inputs {
        let mut own = inputs.row(row, batch);
        // What cannot be told apart is left as it is, to be refused when it is read.
        if let Ok([images, places]) = self.images_of(inputs, row) {
            for (name, part) in [("image_sizes", images), ("pixel_values", places)] {
                if let Some(ints) = inputs.ints.get(name) {
                    own.ints.insert(name.to_owned(), ints.clone());
                }
                if let Some(floats) = inputs.floats.get(name) {
                    own.floats.insert(name.to_owned(), floats.clone());
                }
                own.keep(name, part);
            }
        }
        own
    }

    fn begin(&self, device: &Device, inputs: &Inputs, capacity: usize) -> Result<State> {
        self.decoder.begin(device, inputs, capacity)
    }

    fn cache(&self, batch: usize, capacity: usize) -> (usize, CacheShape) {
        self.decoder.cache(batch, capacity)
    }

    fn prefill(
        &self,
        device: &Device,
        state: &State,
        inputs: &Inputs,
        ids: &Tensor,
        rows: Rows<'_>,
    ) -> Result<Tensor> {
        let features = self.features(device, inputs)?;
        Ok(self.read(device, state, ids, features.as_ref(), rows))
    }

    fn step(&self, device: &Device, state: &State, ids: &Tensor, rows: Rows<'_>) -> Tensor {
        self.decoder.step(device, state, ids, rows)
    }

    fn kept(&self) -> Option<usize> {
        self.decoder.kept()
    }

    fn positions(&self) -> usize {
        self.decoder.positions()
    }

    fn placeholder(&self) -> Option<u32> {
        Some(self.token)
    }

    fn vocabulary(&self) -> usize {
        self.decoder.vocabulary()
    }

    fn stop_tokens(&self) -> &[u32] {
        self.decoder.stop_tokens()
    }
}

/// The first of `roots` under which the file has `probe`; without any, the first, which is then
/// reported as missing.
pub(super) fn first_of<'n>(weights: &Declaration<'_>, roots: &[&'n str], probe: &str) -> &'n str {
    let found = roots.iter().find(|root| weights.has(&format!("{root}{probe}")));
    found.unwrap_or(&roots[0])
}

/// `vision_config`, which defaults to the tower of the first LLaVA as a whole, not field by field.
pub(super) fn vision_config(config: &Config) -> Result<Config> {
    let vision = match config.object("vision_config")? {
        Some(vision) => vision,
        None => Config::new(json!({
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
            "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
        }))?,
    };
    match vision.text_or("model_type", "clip_vision_model")? {
        "clip_vision_model" => Ok(vision),
        other => {
            let message = format!("{other} is not supported; use clip_vision_model");
            Err(Error::config("vision_config.model_type", message))
        }
    }
}

fn text_spec(config: &Config) -> Result<Spec> {
    match config.text_or("model_type", "llama")? {
        "llama" => llama::spec(config),
        "mistral" => llama::mistral_spec(config),
        "qwen2" => qwen2::spec(config),
        other => {
            let message = format!("{other} is not supported; use llama, mistral or qwen2");
            Err(Error::config("text_config.model_type", message))
        }
    }
}

/// `vision_feature_layer`: one number or several, counted from the last hidden state where negative.
fn feature_layers(config: &Config, depth: usize) -> Result<Vec<usize>> {
    let default = json!(-2);
    let value = config.get("vision_feature_layer").unwrap_or(&default);
    let layer = |value: &Value| {
        let states = depth as i64 + 1;
        let at = value.as_i64().map(|at| if at < 0 { at.saturating_add(states) } else { at });
        at.filter(|at| (0..states).contains(at)).map(|at| at as usize)
    };
    let layers: Option<Vec<usize>> = match value {
        Value::Array(list) => list.iter().map(layer).collect(),
        one => layer(one).map(|layer| vec![layer]),
    };
    layers.filter(|layers| (1..=depth + 1).contains(&layers.len())).ok_or_else(|| {
        let message = format!("{value} does not name hidden states of {depth} layers");
        Error::config("vision_feature_layer", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feature_layers_count_from_either_end() {
        let layers = |value: Value| {
            let config = Config::new(json!({ "vision_feature_layer": value })).unwrap();
            feature_layers(&config, 4)
        };
        assert_eq!(layers(Value::Null), Ok(vec![3]));
        assert_eq!(layers(json!([0, -1, 2])), Ok(vec![0, 4, 2]));
        for wrong in [json!(5), json!(-6), json!([]), json!("last"), json!(i64::MIN)] {
            let error = layers(wrong).unwrap_err().to_string();
            assert!(error.contains("vision_feature_layer"), "{error}");
        }
    }
}
