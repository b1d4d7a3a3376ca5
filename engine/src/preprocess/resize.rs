//! Resizing 8-bit images as torch does with `antialias=True`, which torchvision's image processors
//! call: separable filters that widen when an image shrinks, in integers, to the same last bit.
//!
//! The method is Pillow's (`Resample.c`), in ATen's version for `uint8`: factors are rounded to the
//! most bits that fit 16 with their sign, and rows are rounded to 8 bits before columns are computed.
//! Pillow's own levels are mostly one or two away, and more where an image is stretched out of shape.

use super::image::{Image, MAX_SIDE};
use crate::error::{Error, Result};
use std::f64::consts::PI;

/// Most pixels of an image after resizing.
const MAX_PIXELS: usize = 1 << 26;

/// A filter of `resample`, which configurations give as Pillow's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    Lanczos,
    Bilinear,
    Bicubic,
}

impl Filter {
    pub(super) fn numbered(number: usize) -> Result<Filter> {
        match number {
            1 => Ok(Filter::Lanczos),
            2 => Ok(Filter::Bilinear),
            3 => Ok(Filter::Bicubic),
            other => {
                let message =
                    format!("{other} is unknown; use 1 (Lanczos), 2 (bilinear) or 3 (bicubic)");
                Err(Error::config("resample", message))
            }
        }
    }

    /// How far it reaches, in pixels of the smaller image.
    fn support(self) -> f64 {
        match self {
            Filter::Lanczos => 3.0,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            _ if x >= self.support() => 0.0,
            Filter::Bilinear => 1.0 - x,
            // Keys' cubic with a = -1/2.
            Filter::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Filter::Bicubic => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Filter::Lanczos => sinc(x) * sinc(x / 3.0),
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// The image at another size.
///
/// # Errors
/// When that would be too many pixels, or none.
pub(super) fn resize(image: &Image, width: usize, height: usize, filter: Filter) -> Result<Image> {
    // Rows are resized first, so what lies between has the new width and the old height.
    let most = width.saturating_mul(height.max(image.height));
    let sides = 1..=MAX_SIDE;
    if !sides.contains(&width) || !sides.contains(&height) || most > MAX_PIXELS {
        let message = format!(
            "of {} × {} pixels would be resized to {width} × {height}; crop it to a shape that is \
             less long or less large",
            image.width, image.height
        );
        return Err(Error::input("image", message));
    }
    let mut rgb = match width == image.width {
        true => image.rgb.clone(),
        false => rows(image, &Axis::new(image.width, width, filter)),
    };
    if height != image.height {
        rgb = columns(&rgb, width * 3, &Axis::new(image.height, height, filter));
    }
    Ok(Image { width, height, rgb })
}

/// What each pixel of an axis is made of.
struct Axis {
    /// The first pixel that counts, and the factors of those from there on.
    taps: Vec<(usize, Vec<i32>)>,
    /// Bits of a factor behind the binary point.
    bits: u32,
}

impl Axis {
    fn new(from: usize, to: usize, filter: Filter) -> Axis {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let tap = |i: usize| {
            let centre = scale * (i as f64 + 0.5);
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let factor = |j: usize| filter.at((j as f64 - centre + 0.5) / stretch);
            let factors: Vec<f64> = (first..end).map(factor).collect();
            let sum: f64 = factors.iter().sum();
            (first, factors.into_iter().map(|factor| factor / sum).collect::<Vec<f64>>())
        };
        let taps: Vec<_> = (0..to).map(tap).collect();
        let largest = taps.iter().flat_map(|(_, factors)| factors).fold(0.0f64, |a, b| a.max(*b));
        let fits = |bits: &u32| 0.5 + largest * f64::from(1u32 << (bits + 1)) < f64::from(1 << 15);
        let bits = (0..22).find(|bits| !fits(bits)).unwrap_or(22);
        let whole = |factor: f64| (factor * f64::from(1u32 << bits)).round() as i32;
        let taps = taps.into_iter();
        let taps = taps.map(|(first, factors)| (first, factors.into_iter().map(whole).collect()));
        Axis { taps: taps.collect(), bits }
    }

    fn half(&self) -> i32 {
        (1 << self.bits) >> 1
    }

    fn level(&self, sum: i32) -> u8 {
        (sum >> self.bits).clamp(0, 255) as u8
    }
}

fn rows(image: &Image, axis: &Axis) -> Vec<u8> {
    let mut out = Vec::with_capacity(image.height * axis.taps.len() * 3);
    for row in image.rgb.chunks_exact(image.width * 3) {
        for (first, factors) in &axis.taps {
            let mut sums = [axis.half(); 3];
            for (pixel, factor) in row[first * 3..].chunks_exact(3).zip(factors) {
                for (sum, level) in sums.iter_mut().zip(pixel) {
                    *sum += i32::from(*level) * factor;
                }
            }
            out.extend(sums.map(|sum| axis.level(sum)));
        }
    }
    out
}

fn columns(rgb: &[u8], width: usize, axis: &Axis) -> Vec<u8> {
    let mut out = Vec::with_capacity(axis.taps.len() * width);
    let mut sums = vec![0; width];
    for (first, factors) in &axis.taps {
        sums.fill(axis.half());
        for (row, factor) in rgb[first * width..].chunks_exact(width).zip(factors) {
            for (sum, level) in sums.iter_mut().zip(row) {
                *sum += i32::from(*level) * factor;
            }
        }
        out.extend(sums.iter().map(|sum| axis.level(*sum)));
    }
    out
}
