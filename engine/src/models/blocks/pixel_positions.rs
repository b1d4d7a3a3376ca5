//! Where the pixels of a feature map lie, and which of them are part of an image, as DETR tells them.

use crate::{
    error::{Error, Result},
    load::{Declaration, Slot},
    models::{Config, Images, Inputs},
};

/// Rows and columns that learned positions know.
const LEARNED: usize = 50;

/// How the place of a pixel in the feature map is told.
pub enum PixelPositions {
    /// By sines and cosines of it.
    Sine,
    /// Tables `[50, C / 2]` of rows and columns.
    Learned {
        /// For rows.
        rows: Slot<Vec<f32>>,
        /// For columns.
        columns: Slot<Vec<f32>>,
    },
}

impl PixelPositions {
    /// As `position_embedding_type` says; tensors are under `root`, which ends in a dot or is empty.
    pub fn declare(
        config: &Config,
        weights: &Declaration<'_>,
        root: &str,
        width: usize,
    ) -> Result<PixelPositions> {
        match config.text_or("position_embedding_type", "sine")? {
            "sine" => Ok(PixelPositions::Sine),
            "learned" => {
                let table = |axis: &str| {
                    let name = format!("{root}position_embedding.{axis}_embeddings.weight");
                    weights.values(&name, &[LEARNED, width / 2])
                };
                Ok(PixelPositions::Learned { rows: table("row")?, columns: table("column")? })
            }
            other => {
                let message = format!("{other} is unknown; use sine or learned");
                Err(Error::config("position_embedding_type", message))
            }
        }
    }

    /// `[B, H · W, width]` for the `seen` pixels `[B, H, W]` of a feature map.
    pub fn of(
        &self,
        seen: &[f32],
        [height, width]: [usize; 2],
        channels: usize,
    ) -> Result<Vec<f32>> {
        let half = channels / 2;
        match self {
            PixelPositions::Sine => Ok(sines(seen, [height, width], half)),
            PixelPositions::Learned { rows, columns } => {
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
pub fn shrink_mask(
    inputs: &Inputs,
    images: &Images,
    [height, width]: [usize; 2],
) -> Result<Vec<f32>> {
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
