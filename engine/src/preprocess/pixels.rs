//! From an image to `pixel_values`: resize, crop, scale, normalise.
//!
//! What each image processor of transformers does by default stands in one table, [`Kind::defaults`];
//! `preprocessor_config.json` overrides it field by field.

use super::{
    Image,
    resize::{Filter, resize},
    settings::Section,
};
use crate::{
    error::{Error, Result},
    published::Config,
};
use record::Class;

/// Most numbers of one batch of images.
pub(super) const MAX_VALUES: usize = 1 << 28;

/// An image processor of transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Clip,
    Detr,
    Llava,
    LlavaNext,
    VideoMae,
    Vit,
}

/// The size an image is brought to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Size {
    /// This height and width, whatever the proportions.
    Exact([usize; 2]),
    /// The shorter side this long.
    Shortest(usize),
    /// The shorter side this long, unless the longer one would be longer than the second.
    Edges(usize, usize),
    /// As large as fits into this height and width.
    Within([usize; 2]),
}

/// How images are prepared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pixels {
    pub kind: Kind,
    pub size: Size,
    resizes: bool,
    filter: Filter,
    pub crop: Option<[usize; 2]>,
    /// Whether images are padded: to one size, to a square or to one number of tiles.
    pub pads: bool,
    /// Mean and deviation of each channel, on the scale of 8-bit levels.
    mean: [f32; 3],
    deviation: [f32; 3],
    /// What squares are filled with: the mean, cut to whole levels.
    colour: [u8; 3],
}

/// An image as numbers: `[3, height, width]`.
#[derive(Clone, Debug)]
pub(super) struct Planes {
    pub height: usize,
    pub width: usize,
    pub values: Vec<f32>,
}

struct Defaults {
    size: Size,
    /// Whether one number for `size` means a square.
    square: bool,
    crops: bool,
    pads: bool,
    filter: usize,
    mean: [f64; 3],
    deviation: [f64; 3],
}

impl Kind {
    /// The processor that a file names, or the class's own.
    pub(super) fn read(section: &Section, class: Class) -> Result<Kind> {
        let own = match class {
            Class::Detr => "Detr",
            Class::Llava => "Llava",
            Class::LlavaNext => "LlavaNext",
            Class::Vit => "ViT",
            _ => "CLIP",
        };
        section.read(|config| {
            // Before there were image processors, the same were called feature extractors.
            let older = config.text_or("feature_extractor_type", own)?;
            let name = config.text_or("image_processor_type", older)?;
            let name = config.text_or("video_processor_type", name)?;
            let endings = ["Fast", "Pil", "ImageProcessor", "VideoProcessor", "FeatureExtractor"];
            let short =
                endings.iter().fold(name, |name, end| name.strip_suffix(end).unwrap_or(name));
            match short {
                "CLIP" => Ok(Kind::Clip),
                "Detr" => Ok(Kind::Detr),
                "Llava" => Ok(Kind::Llava),
                "LlavaNext" => Ok(Kind::LlavaNext),
                "VideoMAE" => Ok(Kind::VideoMae),
                "ViT" => Ok(Kind::Vit),
                _ => {
                    let known = "CLIP, Detr, Llava, LlavaNext, VideoMAE and ViT";
                    let message = format!("{name} is not known; image processors of {known} are");
                    Err(Error::config("image_processor_type", message))
                }
            }
        })
    }

    fn defaults(self) -> Defaults {
        const HALF: [f64; 3] = [0.5; 3];
        const IMAGENET: [[f64; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
        const CLIP: [[f64; 3]; 2] =
            [[0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]];
        let clip = Defaults {
            size: Size::Shortest(224),
            square: false,
            crops: true,
            pads: false,
            filter: 3,
            mean: CLIP[0],
            deviation: CLIP[1],
        };
        match self {
            Kind::Clip | Kind::Llava => clip,
            Kind::LlavaNext => Defaults { pads: true, ..clip },
            Kind::VideoMae => Defaults { filter: 2, mean: HALF, deviation: HALF, ..clip },
            Kind::Vit => Defaults {
                size: Size::Exact([224; 2]),
                square: true,
                crops: false,
                filter: 2,
                mean: HALF,
                deviation: HALF,
                ..clip
            },
            Kind::Detr => Defaults {
                size: Size::Edges(800, 1333),
                crops: false,
                pads: true,
                filter: 2,
                mean: IMAGENET[0],
                deviation: IMAGENET[1],
                ..clip
            },
        }
    }
}

impl Pixels {
    pub(super) fn read(section: &Section, class: Class) -> Result<Pixels> {
        let kind = Kind::read(section, class)?;
        section.read(|config| Pixels::from_config(config, kind))
    }

    fn from_config(config: &Config, kind: Kind) -> Result<Pixels> {
        let defaults = kind.defaults();
        let crop = match config.flag_or("do_center_crop", defaults.crops)? {
            false => None,
            true => match read_size(config, "crop_size", true)? {
                None => Some([224; 2]),
                Some(Size::Exact(size)) => Some(size),
                Some(_) => {
                    return Err(Error::config("crop_size", "must have a height and a width"));
                }
            },
        };
        let most = config.size_or("max_size", Some(1333))?;
        let factor = config.number_or("rescale_factor", 1.0 / 255.0)?;
        let factor = if config.flag_or("do_rescale", true)? { factor } else { 1.0 };
        if !(factor.is_finite() && factor > 0.0) {
            return Err(Error::config("rescale_factor", format!("{factor} is not above 0")));
        }
        let mut mean = triple(config, "image_mean", defaults.mean)?;
        let mut deviation = triple(config, "image_std", defaults.deviation)?;
        let colour = mean.map(|mean| (mean * 255.0) as u8);
        if !config.flag_or("do_normalize", true)? {
            (mean, deviation) = ([0.0; 3], [1.0; 3]);
        }
        if deviation.contains(&0.0) {
            return Err(Error::config("image_std", "is 0, and divides"));
        }
        // Like transformers, one subtraction and one division on 8-bit levels.
        let levels = |values: [f64; 3]| values.map(|value| value as f32 * (1.0 / factor) as f32);
        let older = config.flag_or("pad_and_return_pixel_mask", defaults.pads)?;
        Ok(Pixels {
            kind,
            size: match read_size(config, "size", defaults.square)?.unwrap_or(defaults.size) {
                // DETR has a longest edge even where it is not named.
                Size::Shortest(edge) if kind == Kind::Detr => Size::Edges(edge, most),
                size => size,
            },
            resizes: config.flag_or("do_resize", true)?,
            filter: Filter::numbered(config.whole_or("resample", defaults.filter)?)?,
            crop,
            pads: config.flag_or("do_pad", older)?,
            mean: levels(mean),
            deviation: levels(deviation),
            colour,
        })
    }

    /// The numbers of one image.
    pub(super) fn planes(&self, image: &Image) -> Result<Planes> {
        let squared;
        let image = match self.pads && self.kind == Kind::Llava && image.width != image.height {
            false => image,
            true => {
                squared = self.square(image)?;
                &squared
            }
        };
        let resized;
        let image = match self.resizes {
            false => image,
            true => {
                let [height, width] = self.size.of(image);
                resized = self.resize(image, height, width)?;
                &resized
            }
        };
        Ok(match self.crop {
            None => self.normalise(image),
            Some(size) => self.normalise(&window(image, size, [0; 3])?),
        })
    }

    pub(super) fn resize(&self, image: &Image, height: usize, width: usize) -> Result<Image> {
        resize(image, width, height, self.filter)
    }

    /// The image in the middle of a square of the mean colour.
    fn square(&self, image: &Image) -> Result<Image> {
        window(image, [image.width.max(image.height); 2], self.colour)
    }

    fn normalise(&self, image: &Image) -> Planes {
        let mut values = Vec::with_capacity(image.rgb.len());
        for (channel, (mean, deviation)) in self.mean.iter().zip(self.deviation).enumerate() {
            let levels = image.rgb.iter().skip(channel).step_by(3);
            values.extend(levels.map(|level| (f32::from(*level) - mean) / deviation));
        }
        Planes { height: image.height, width: image.width, values }
    }
}

impl Size {
    /// Height and width of an image that is brought to this size.
    fn of(self, image: &Image) -> [usize; 2] {
        let (height, width) = (image.height, image.width);
        let (short, long) = (height.min(width), height.max(width));
        let upright = |short, long| if width <= height { [long, short] } else { [short, long] };
        match self {
            Size::Exact(size) => size,
            Size::Shortest(edge) => upright(edge, long_edge(edge as f64, long, short)),
            Size::Edges(edge, most) => {
                let (mut edge, mut exact) = (edge, edge as f64);
                if long as f64 / short as f64 * exact > most as f64 {
                    exact = most as f64 * short as f64 / long as f64;
                    edge = exact.round_ties_even() as usize;
                }
                match short == edge {
                    true => [height, width],
                    false => upright(edge, long_edge(exact, long, short)),
                }
            }
            Size::Within([most_high, most_wide]) => {
                let scale = (most_high as f64 / height as f64).min(most_wide as f64 / width as f64);
                [height, width].map(|side| (side as f64 * scale) as usize)
            }
        }
    }
}

fn long_edge(short: f64, long: usize, from: usize) -> usize {
    (short * long as f64 / from as f64) as usize
}

/// The middle of an image, or the image in the middle of a larger one, of this height and width.
pub(super) fn window(image: &Image, [height, width]: [usize; 2], fill: [u8; 3]) -> Result<Image> {
    // What is cut off or added on one side more than on the other is so at the far end.
    let offset = |outer: usize, inner: usize| outer.saturating_sub(inner) / 2;
    let (top, left) = (offset(image.height, height), offset(image.width, width));
    let (above, before) = (offset(height, image.height), offset(width, image.width));
    let count = width.saturating_mul(height).saturating_mul(3);
    if count > MAX_VALUES {
        let message = format!("would be padded to {width} × {height} pixels, which are too many");
        return Err(Error::input("image", message));
    }
    let mut rgb: Vec<u8> = fill.iter().copied().cycle().take(count).collect();
    let shared = width.min(image.width) * 3;
    for y in 0..height.min(image.height) {
        let from = ((top + y) * image.width + left) * 3;
        let to = ((above + y) * width + before) * 3;
        rgb[to..to + shared].copy_from_slice(&image.rgb[from..from + shared]);
    }
    Ok(Image { width, height, rgb })
}

/// One batch of images of one size: `[N, 3, H, W]`.
pub(super) fn batch(images: Vec<Planes>) -> Result<(Vec<usize>, Vec<f32>)> {
    let (height, width) = (images[0].height, images[0].width);
    if let Some(other) = images.iter().find(|i| (i.height, i.width) != (height, width)) {
        let message = format!(
            "have different sizes after preparation, {height} × {width} and {} × {}: give one at a \
             time, or set do_center_crop or an exact size in preprocessor_config.json",
            other.height, other.width
        );
        return Err(Error::input("images", message));
    }
    let shape = vec![images.len(), 3, height, width];
    Ok((shape, images.into_iter().flat_map(|image| image.values).collect()))
}

/// A size as files spell it: one number, a pair of height and width, or an object.
fn read_size(config: &Config, field: &str, square: bool) -> Result<Option<Size>> {
    let Some(value) = config.get(field) else { return Ok(None) };
    if value.is_array() {
        return config.pair_or(field, 1).map(|size| Some(Size::Exact(size)));
    }
    if !value.is_object() {
        let edge = config.size(field)?;
        return Ok(Some(match square {
            true => Size::Exact([edge; 2]),
            false => Size::Shortest(edge),
        }));
    }
    let object = config.part(field)?;
    let pair = |first: &str, second: &str| -> Result<Option<[usize; 2]>> {
        match object.get(first).is_some() && object.get(second).is_some() {
            true => Ok(Some([object.size(first)?, object.size(second)?])),
            false => Ok(None),
        }
    };
    if let Some([edge, most]) = pair("shortest_edge", "longest_edge")? {
        return Ok(Some(Size::Edges(edge, most)));
    }
    if object.get("shortest_edge").is_some() {
        return Ok(Some(Size::Shortest(object.size("shortest_edge")?)));
    }
    if let Some(size) = pair("max_height", "max_width")? {
        return Ok(Some(Size::Within(size)));
    }
    match pair("height", "width")? {
        Some(size) => Ok(Some(Size::Exact(size))),
        None => Err(Error::config(field, format!("{value} names neither edges nor sides"))),
    }
}

fn triple(config: &Config, field: &str, default: [f64; 3]) -> Result<[f64; 3]> {
    let Some(value) = config.get(field) else { return Ok(default) };
    let wrong = || Error::config(field, format!("{value} is not three numbers"));
    let numbers = match value.as_array() {
        None => [value.as_f64().ok_or_else(wrong)?; 3],
        Some(list) => {
            let list: Option<Vec<f64>> = list.iter().map(|value| value.as_f64()).collect();
            list.and_then(|list| list.try_into().ok()).ok_or_else(wrong)?
        }
    };
    Ok(numbers)
}
