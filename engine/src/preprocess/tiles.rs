//! Images among words: LLaVA's tokens, and LLaVA-NeXT's tiles (`LlavaProcessor`,
//! `LlavaNextProcessor` and `LlavaNextImageProcessor` in transformers).
//!
//! A text names its images by `<image>`; each is written out as many times as the model has features
//! for that image. LLaVA-NeXT looks at an image as a whole, and cut into tiles at the resolution that
//! keeps most of it.

use super::{
    Image, Tokenizer,
    pixels::{MAX_VALUES, Pixels, Size, batch, window},
    settings::{Section, Settings},
};
use crate::{
    error::{Error, Result},
    published::{Config, Inputs, tiling},
};

/// Heights and widths that an image may be cut at, where no file says.
const PINPOINTS: [[usize; 2]; 5] = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]];
/// Longest side of a resolution, and most tiles of one.
const MAX_RESOLUTION: usize = 1 << 14;
const MAX_TILES: usize = 1 << 8;
/// Most tokens that stand for the images of one text.
const MAX_TOKENS: usize = 1 << 20;

/// How texts name images.
#[derive(Debug)]
pub(super) struct Placeholders {
    token: String,
    patch: usize,
    /// Features that are no patches, like that of the class token, and those that are dropped.
    additional: usize,
    dropped: usize,
}

/// How an image is cut.
#[derive(Debug)]
pub(super) struct Tiles {
    resolutions: Vec<[usize; 2]>,
    /// What the whole image is brought to, before it is prepared like a tile.
    whole: [usize; 2],
    side: usize,
}

impl Placeholders {
    /// `processor_config.json` says how many tokens an image is; before there was one, the model's
    /// configuration did, and towers had one class token.
    pub(super) fn read(settings: &Settings, model: &Config) -> Result<Placeholders> {
        let section = &settings.processor;
        let told = section.has("patch_size");
        let strategy = model.text_or("vision_feature_select_strategy", "default")?;
        let patch = model.part("vision_config")?.size_or("patch_size", Some(14))?;
        let own = settings.tokenizer.token("image_token")?;
        section.read(|config| {
            let own = own.as_deref().unwrap_or("<image>");
            let strategy = config.text_or("vision_feature_select_strategy", strategy)?;
            Ok(Placeholders {
                token: config.text_or("image_token", own)?.to_owned(),
                patch: config.size_or("patch_size", Some(patch))?,
                additional: config.whole_or("num_additional_image_tokens", usize::from(!told))?,
                dropped: usize::from(strategy == "default"),
            })
        })
    }

    /// What stands for an image.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// The texts with each `<image>` written out as often as its image has tokens.
    pub(super) fn write_out(&self, texts: &[String], counts: &[usize]) -> Result<Vec<String>> {
        let named: usize = texts.iter().map(|text| text.matches(&self.token).count()).sum();
        if named != counts.len() {
            let message = format!(
                "name {named} images by {}, and {} are given: write it once where each belongs",
                self.token,
                counts.len()
            );
            return Err(Error::input("texts", message));
        }
        if counts.iter().sum::<usize>() > MAX_TOKENS {
            let message = format!("have more than {MAX_TOKENS} tokens; give fewer or smaller ones");
            return Err(Error::input("images", message));
        }
        let mut counts = counts.iter();
        let write = |text: &String| {
            let mut parts = text.split(&self.token);
            let mut out = parts.next().unwrap_or_default().to_owned();
            for (part, count) in parts.zip(&mut counts) {
                out.push_str(&self.token.repeat(*count));
                out.push_str(part);
            }
            out
        };
        Ok(texts.iter().map(write).collect())
    }

    /// Says whether the vocabulary has the placeholder: otherwise it would be read as words.
    pub(super) fn check(&self, tokenizer: &Tokenizer) -> Result<()> {
        match tokenizer.id(&self.token) {
            Some(_) => Ok(()),
            None => {
                let message = format!("{} stands for images and is no token of it", self.token);
                Err(Error::malformed("tokenizer.json", message))
            }
        }
    }

    /// Tokens of an image of this height and width.
    fn plain(&self, height: usize, width: usize) -> usize {
        (height / self.patch * (width / self.patch) + self.additional).saturating_sub(self.dropped)
    }

    /// Tokens of an image of this height and width that is cut at `resolution` into tiles: one a
    /// patch that is not padding, one a row of patches, and those of the whole.
    fn tiled(&self, [height, width]: [usize; 2], resolution: [usize; 2], tile: usize) -> usize {
        let patches = resolution.map(|side| side / tile * (tile / self.patch));
        let padding = tiling::padding([height, width], patches);
        let [rows, columns] = [0, 1].map(|axis| patches[axis] - 2 * padding[axis]);
        rows * columns + rows + self.plain(tile, tile)
    }
}

/// LLaVA: `pixel_values: [N, 3, H, W]` and the number of tokens of each image.
pub(super) fn put_plain(
    pixels: &Pixels,
    placeholders: &Placeholders,
    images: &[Image],
    inputs: &mut Inputs,
) -> Result<Vec<usize>> {
    let planes = images.iter().map(|image| pixels.planes(image)).collect::<Result<Vec<_>>>()?;
    let counts = planes.iter().map(|image| placeholders.plain(image.height, image.width)).collect();
    inputs.floats.insert("pixel_values".to_owned(), batch(planes)?);
    Ok(counts)
}

impl Tiles {
    pub(super) fn read(section: &Section, model: &Config, pixels: &Pixels) -> Result<Tiles> {
        let whole = match pixels.size {
            Size::Exact(size) => size,
            Size::Shortest(edge) => [edge; 2],
            other => {
                let message = format!("{other:?} is not one that tiles have");
                return section.read(|_| Err(Error::config("size", message)));
            }
        };
        let side = pixels.crop.unwrap_or(whole)[0];
        let field = "image_grid_pinpoints";
        let of = |config: &Config| -> Result<Option<Vec<[usize; 2]>>> {
            let Some(value) = config.get(field) else { return Ok(None) };
            let wrong = |_| Error::config(field, format!("{value} is not a list of pairs"));
            serde_json::from_value(value.clone()).map(Some).map_err(wrong)
        };
        let resolutions = section.read(of)?.or(of(model)?).unwrap_or(PINPOINTS.into());
        let fits =
            |size: &usize| size.is_multiple_of(side) && (side..=MAX_RESOLUTION).contains(size);
        let few = |size: &&[usize; 2]| {
            size.iter().all(fits) && size[0] / side * (size[1] / side) <= MAX_TILES
        };
        if resolutions.is_empty() || resolutions.iter().filter(few).count() < resolutions.len() {
            let message = format!("{resolutions:?} are not multiples of tiles of {side} pixels");
            return section.read(|_| Err(Error::config(field, message)));
        }
        Ok(Tiles { resolutions, whole, side })
    }

    /// `pixel_values: [N, most tiles, 3, side, side]`, each image's whole before its tiles, and
    /// `image_sizes: [N, 2]`; gives the number of tokens of each image.
    pub(super) fn put(
        &self,
        pixels: &Pixels,
        placeholders: &Placeholders,
        images: &[Image],
        inputs: &mut Inputs,
    ) -> Result<Vec<usize>> {
        let resolutions: Vec<_> = images.iter().map(|image| self.best(image)).collect();
        let tiles = |size: &[usize; 2]| 1 + size[0] / self.side * (size[1] / self.side);
        let most = resolutions.iter().map(tiles).max().unwrap_or(0);
        if images.len().saturating_mul(most * 3 * self.side * self.side) > MAX_VALUES {
            let message = format!("are {} of up to {most} tiles: too many", images.len());
            return Err(Error::input("images", message));
        }
        let (mut values, mut side) = (Vec::new(), [self.side; 2]);
        for (image, resolution) in images.iter().zip(&resolutions) {
            let (shape, own) = batch(self.cut(pixels, image, *resolution)?)?;
            let missing = most - shape[0];
            if missing > 0 && !pixels.pads {
                let message =
                    "have different numbers of tiles; set do_pad in preprocessor_config.json";
                return Err(Error::input("images", message));
            }
            side = [shape[2], shape[3]];
            values.extend(own);
            values.extend(std::iter::repeat_n(0.0, missing * 3 * side[0] * side[1]));
        }
        let shape = vec![images.len(), most, 3, side[0], side[1]];
        inputs.floats.insert("pixel_values".to_owned(), (shape, values));
        let sizes = images.iter().flat_map(|image| [image.height as i64, image.width as i64]);
        inputs.ints.insert("image_sizes".to_owned(), (vec![images.len(), 2], sizes.collect()));
        let count = |(image, resolution): (&Image, &[usize; 2])| {
            placeholders.tiled([image.height, image.width], *resolution, side[0])
        };
        Ok(images.iter().zip(&resolutions).map(count).collect())
    }

    /// The whole image, then its tiles row by row.
    fn cut(
        &self,
        pixels: &Pixels,
        image: &Image,
        [height, width]: [usize; 2],
    ) -> Result<Vec<super::pixels::Planes>> {
        let [high, wide] = self.whole;
        let mut tiles = vec![pixels.planes(&pixels.resize(image, high, wide)?)?];
        let across = width as f64 / image.width as f64;
        let down = height as f64 / image.height as f64;
        let scaled =
            |side: usize, scale: f64, most| ((side as f64 * scale).ceil() as usize).min(most);
        let fitted = match across < down {
            true => pixels.resize(image, scaled(image.height, across, height), width)?,
            false => pixels.resize(image, height, scaled(image.width, down, width))?,
        };
        let padded = window(&fitted, [height, width], [0; 3])?;
        for top in (0..height).step_by(self.side) {
            for left in (0..width).step_by(self.side) {
                let rows = padded.rgb.chunks_exact(width * 3).skip(top).take(self.side);
                let rgb = rows.flat_map(|row| &row[left * 3..(left + self.side) * 3]).copied();
                let tile = Image { width: self.side, height: self.side, rgb: rgb.collect() };
                tiles.push(pixels.planes(&tile)?);
            }
        }
        Ok(tiles)
    }

    /// The resolution that keeps most of an image, and among equals wastes least: transformers'
    /// `select_best_resolution`.
    fn best(&self, image: &Image) -> [usize; 2] {
        let sizes = self.resolutions.iter().copied();
        tiling::best_resolution(sizes, [image.height, image.width])
    }
}
