//! The images of a class: one way for each kind of model that looks.

use super::{
    Given, detr,
    pixels::{Pixels, batch},
    settings::Settings,
    tiles::{self, Placeholders, Tiles},
    video,
};
use crate::{
    error::Result,
    published::{Config, Inputs},
};
use record::Class;

/// How images are prepared.
#[derive(Debug)]
pub(super) struct Pictures {
    pixels: Pixels,
    how: How,
}

#[derive(Debug)]
enum How {
    Batch,
    Detr,
    Placed(Placeholders),
    Tiled(Placeholders, Tiles),
    Video { frames: usize },
}

impl Pictures {
    pub(super) fn read(class: Class, config: &Config, settings: &Settings) -> Result<Pictures> {
        let pixels = Pixels::read(&settings.images, class)?;
        let how = match class {
            Class::Detr => How::Detr,
            Class::Llava => How::Placed(Placeholders::read(settings, config)?),
            Class::LlavaNext => How::Tiled(
                Placeholders::read(settings, config)?,
                Tiles::read(&settings.images, config, &pixels)?,
            ),
            Class::Xclip => {
                let vision = config.part("vision_config")?;
                How::Video { frames: vision.size_or("num_frames", Some(8))? }
            }
            _ => How::Batch,
        };
        Ok(Pictures { pixels, how })
    }

    /// Puts `pixel_values` and what belongs to them; gives the texts with images written out.
    pub(super) fn put(&self, given: &Given, inputs: &mut Inputs) -> Result<Vec<String>> {
        let (pixels, images) = (&self.pixels, &given.images[..]);
        for image in images.iter().chain(&given.frames) {
            image.check()?;
        }
        let texts = given.texts.clone();
        match &self.how {
            How::Placed(placeholders) | How::Tiled(placeholders, _) if images.is_empty() => {
                return placeholders.write_out(&texts, &[]);
            }
            How::Placed(placeholders) => {
                let counts = tiles::put_plain(pixels, placeholders, images, inputs)?;
                return placeholders.write_out(&texts, &counts);
            }
            How::Tiled(placeholders, tiles) => {
                let counts = tiles.put(pixels, placeholders, images, inputs)?;
                return placeholders.write_out(&texts, &counts);
            }
            How::Video { .. } if given.frames.is_empty() => {}
            How::Video { frames } => video::put(pixels, &given.frames, *frames, inputs)?,
            _ if images.is_empty() => {}
            How::Detr => detr::put(pixels, images, inputs)?,
            How::Batch => {
                let planes = images.iter().map(|image| pixels.planes(image));
                let batch = batch(planes.collect::<Result<_>>()?)?;
                inputs.floats.insert("pixel_values".to_owned(), batch);
            }
        }
        Ok(texts)
    }

    /// How texts name images, where they do.
    pub(super) fn placeholders(&self) -> Option<&Placeholders> {
        match &self.how {
            How::Placed(placeholders) | How::Tiled(placeholders, _) => Some(placeholders),
            _ => None,
        }
    }
}
