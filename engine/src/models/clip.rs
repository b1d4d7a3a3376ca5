//! CLIP (Radford et al. 2021): texts and images in one space, and how alike they are.
//!
//! `CLIPModel` gives both; its halves `CLIPTextModel` and `CLIPVisionModel`, with their projections
//! or without, stand alone as well, and `CLIPForImageClassification` gives a logit for each label.

use super::{
    Config, Inputs, Model, Outputs,
    blocks::clip::{Encoded, End, TextTower, VisionTower, tower_config},
};
use crate::{
    device::Device,
    error::{Error, Result},
    load::{Declaration, Linear, Slot},
    ops,
    tensor::Tensor,
};

pub(super) struct Clip {
    text: Option<Text>,
    vision: Option<Vision>,
    /// Of the mean of the patches.
    classifier: Option<Linear>,
    /// Logarithm of the factor on the cosines, where both are there.
    scale: Option<Slot<Vec<f32>>>,
}

struct Text {
    tower: TextTower,
    projection: Option<Linear>,
}

struct Vision {
    tower: VisionTower,
    projection: Option<Linear>,
}

impl Clip {
    pub(super) fn declare(config: &Config, weights: &Declaration<'_>) -> Result<Clip> {
        let architecture = config.architecture()?;
        match architecture {
            "CLIPModel" => {
                let width = config.size_or("projection_dim", Some(512))?;
                let text = tower_config(config, "text_config")?;
                let vision = tower_config(config, "vision_config")?;
                let scale = Some(weights.values("logit_scale", &[])?);
                let text = Text::declare(&text, weights, Some(width))?;
                let vision = Vision::declare(&vision, weights, Some(width))?;
                Ok(Clip { text: Some(text), vision: Some(vision), classifier: None, scale })
            }
            "CLIPTextModel" | "CLIPTextModelWithProjection" => {
                let width = config.size_or("projection_dim", Some(512))?;
                let width = (architecture != "CLIPTextModel").then_some(width);
                let config = config.object("text_config")?.unwrap_or_else(|| config.clone());
                let text = Text::declare(&config, weights, width)?;
                Ok(Clip { text: Some(text), vision: None, classifier: None, scale: None })
            }
            "CLIPVisionModel" | "CLIPVisionModelWithProjection" => {
                let width = config.size_or("projection_dim", Some(512))?;
                let width = (architecture != "CLIPVisionModel").then_some(width);
                let config = config.object("vision_config")?.unwrap_or_else(|| config.clone());
                let vision = Vision::declare(&config, weights, width)?;
                Ok(Clip { text: None, vision: Some(vision), classifier: None, scale: None })
            }
            "CLIPForImageClassification" => {
                let labels = config.labels()?;
                let config = tower_config(config, "vision_config")?;
                let vision = Vision::declare(&config, weights, None)?;
                let width = vision.tower.width();
                let classifier = Some(weights.linear("classifier", labels, width, true)?);
                Ok(Clip { text: None, vision: Some(vision), classifier, scale: None })
            }
            other => {
                let message = format!(
                    "{other} is unknown; use CLIPModel, CLIPForImageClassification, CLIPTextModel, \
                     CLIPVisionModel or one of the last two WithProjection"
                );
                Err(Error::config("architectures", message))
            }
        }
    }
}

impl Text {
    fn declare(
        config: &Config,
        weights: &Declaration<'_>,
        projection: Option<usize>,
    ) -> Result<Text> {
        // Towers on their own have lost the prefix in transformers 5.
        let nested = weights.has("text_model.embeddings.token_embedding.weight");
        let root = if nested { "text_model." } else { "" };
        let tower = TextTower::declare(config, weights, root, End::read(config)?)?;
        let projection = match projection {
            Some(width) => Some(weights.linear("text_projection", width, tower.width(), false)?),
            None => None,
        };
        Ok(Text { tower, projection })
    }
}

impl Vision {
    fn declare(
        config: &Config,
        weights: &Declaration<'_>,
        projection: Option<usize>,
    ) -> Result<Vision> {
        let nested = weights.has("vision_model.embeddings.class_embedding");
        let root = if nested { "vision_model." } else { "" };
        let tower = VisionTower::declare(config, weights, root)?;
        let projection = match projection {
            Some(width) => {
                Some(weights.linear("visual_projection", width, tower.width(), false)?)
            }
            None => None,
        };
        Ok(Vision { tower, projection })
    }
}

impl Model for Clip {
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let text = self.text.as_ref().map(|text| text.tower.forward(device, inputs)).transpose()?;
        let vision = match &self.vision {
            Some(vision) => {
                let images = inputs.images("pixel_values", 1, vision.tower.channels())?;
                Some(vision.tower.forward(device, &images)?)
            }
            None => None,
        };
        let projected = |encoded: &Encoded, projection: Option<&Linear>| {
            projection.map(|projection| projection.forward(device, &encoded.pooled))
        };
        let alone = |name, encoded: Encoded, projection| match projected(&encoded, projection) {
            Some(embeds) => vec![(name, embeds), ("last_hidden_state", encoded.hidden)],
            None => {
                vec![("last_hidden_state", encoded.hidden), ("pooler_output", encoded.pooled)]
            }
        };
        let text_projection = self.text.as_ref().and_then(|text| text.projection.as_ref());
        let image_projection = self.vision.as_ref().and_then(|vision| vision.projection.as_ref());
        match (text, vision) {
            (Some(text), Some(vision)) => {
                let unit = |encoded: &Encoded, projection| -> Tensor {
                    let embeds = projected(encoded, projection).expect("CLIPModel projects both");
                    ops::unit_rows(device, &embeds)
                };
                let (text, image) = (unit(&text, text_projection), unit(&vision, image_projection));
                let scale = self.scale.as_ref().map_or(1.0, |scale| scale[0].exp());
                let alike = |a, b| ops::similarity(device, a, b, scale);
                Ok(vec![
                    ("logits_per_image", alike(&image, &text)),
                    ("logits_per_text", alike(&text, &image)),
                    ("text_embeds", text),
                    ("image_embeds", image),
                ])
            }
            (Some(text), None) => Ok(alone("text_embeds", text, text_projection)),
            (None, Some(vision)) if self.classifier.is_some() => {
                let [batch, tokens, _] = vision.hidden.shape()[..] else {
                    panic!("three axes wanted")
                };
                let patches = ops::narrow(device, &vision.hidden, 1, 1, tokens - 1);
                let all = device.upload(&[batch, tokens - 1], vec![1.0; batch * (tokens - 1)]);
                let mean = ops::mean_pool(device, &patches, &all, false);
                let classifier = self.classifier.as_ref().expect("just seen");
                Ok(vec![("logits", classifier.forward(device, &mean))])
            }
            (None, Some(vision)) => Ok(alone("image_embeds", vision, image_projection)),
            (None, None) => unreachable!("an architecture has a tower"),
        }
    }
}
