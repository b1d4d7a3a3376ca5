//! LLaVA-NeXT (Liu et al. 2024): LLaVA that looks at an image whole and in tiles.
//!
//! Preprocessing fits an image into the best of some resolutions and cuts that into tiles. Their
//! features are put together to one large grid, what the fitting padded is cut off, a learned
//! newline ends each of its rows, and the whole image's features go before.

pub(super) use super::llava::load_next as load;

use super::{Config, Images, Inputs, blocks::gather};
use crate::{
    device::Device,
    error::{Error, Result},
    ops,
    tensor::Tensor,
};

/// Resolutions where the configuration names none, height before width.
const PINPOINTS: [[usize; 2]; 5] = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]];

/// How images are cut into tiles, and what they look like together.
pub(super) struct Tiles {
    /// `[C]`.
    newline: Tensor,
    /// Pixels of a tile's side.
    side: usize,
    /// Patches of a tile's side.
    patches: usize,
    /// Resolutions, in tiles.
    grids: Vec<[usize; 2]>,
}

/// Tiles of several images, each image whole before its parts.
pub(super) struct Chosen {
    pub(super) tiles: Images,
    /// Height and width of each image before it was fitted.
    pub(super) sizes: Vec<[usize; 2]>,
}

impl Tiles {
    pub(super) fn read(config: &Config, vision: &Config, newline: Tensor) -> Result<Tiles> {
        let side = vision.size_or("image_size", Some(224))?;
        let patches = side / vision.size_or("patch_size", Some(32))?;
        let wrong = |value: &dyn std::fmt::Debug| {
            let message = format!("{value:?} is not a height and a width in multiples of {side}");
            Error::config("image_grid_pinpoints", message)
        };
        let grid = |pair: [usize; 2]| match pair.iter().all(|n| *n > 0 && n.is_multiple_of(side)) {
            true => Ok(pair.map(|size| size / side)),
            false => Err(wrong(&pair)),
        };
        let grids: Vec<_> = match config.get("image_grid_pinpoints") {
            None => PINPOINTS.into_iter().map(grid).collect::<Result<_>>()?,
            Some(list) => {
                let list = list.as_array().ok_or_else(|| wrong(list))?;
                let pair = |value: &serde_json::Value| {
                    serde_json::from_value(value.clone()).map_err(|_| wrong(value)).and_then(grid)
                };
                list.iter().map(pair).collect::<Result<_>>()?
            }
        };
        if grids.is_empty() || patches == 0 {
            let message = "must name a resolution, and patch_size must fit into image_size";
            return Err(Error::config("image_grid_pinpoints", message));
        }
        Ok(Tiles { newline, side, patches, grids })
    }

    /// Height and width of each image of `image_sizes` before it was fitted.
    fn sizes(&self, inputs: &Inputs) -> Result<Vec<[usize; 2]>> {
        let Some((shape, sizes)) = inputs.ints.get("image_sizes") else {
            return Err(Error::input("image_sizes", "is missing"));
        };
        let side = |side: i64| usize::try_from(side).ok().filter(|n| (1..=1 << 24).contains(n));
        let size = |size: &[i64]| Some([side(size[0])?, side(size[1])?]);
        let sizes: Option<Vec<_>> = sizes.chunks_exact(2).map(size).collect();
        match (sizes, &shape[..]) {
            (Some(sizes), [_, 2]) => Ok(sizes),
            _ => {
                let message = format!("has shape {shape:?}, not [images, 2], or holds no sizes");
                Err(Error::input("image_sizes", message))
            }
        }
    }

    /// Of each image the tokens that stand for it, and what it takes of the first axis of
    /// `pixel_values`: one place, or its tiles where all tiles lie behind one another.
    pub(super) fn extents(&self, inputs: &Inputs) -> Result<Vec<(usize, usize)>> {
        let (shape, _) = inputs.floats("pixel_values")?;
        let extent = |size: &[usize; 2]| {
            let [down, across] = self.best(*size);
            let [height, width] = [down * self.patches, across * self.patches];
            let [top, left] = padding(*size, [height, width]);
            let tokens = (height - 2 * top) * (width - 2 * left + 1);
            let places = if shape.len() == 4 { 1 + down * across } else { 1 };
            (self.patches * self.patches + tokens, places)
        };
        Ok(self.sizes(inputs)?.iter().map(extent).collect())
    }

    /// The tiles that `pixel_values` has for each image of `image_sizes`. Images of fewer tiles are
    /// filled up there, unless all tiles lie behind one another.
    pub(super) fn choose(&self, inputs: &Inputs, channels: usize) -> Result<Chosen> {
        let sizes = self.sizes(inputs)?;
        let counts: Vec<usize> =
            sizes.iter().map(|size| 1 + self.best(*size).iter().product::<usize>()).collect();

        let flat = inputs.floats.get("pixel_values").is_some_and(|(shape, _)| shape.len() == 4);
        let mut tiles = inputs.images("pixel_values", if flat { 1 } else { 2 }, channels)?;
        let fits = match tiles.lead[..] {
            [all] => all == counts.iter().sum::<usize>(),
            [batch, most] => batch == sizes.len() && counts.iter().all(|count| *count <= most),
            _ => false,
        };
        if !fits || [tiles.height, tiles.width] != [self.side; 2] {
            let message = format!(
                "must hold {counts:?} tiles of {side} × {side} pixels for images of {sizes:?}, and \
                 holds {:?} of {} × {}",
                tiles.lead,
                tiles.height,
                tiles.width,
                side = self.side
            );
            return Err(Error::input("pixel_values", message));
        }
        if let [_, most] = tiles.lead[..] {
            let len = tiles.values.len() / tiles.count();
            let filled = tiles.values.chunks_exact(most * len).zip(&counts);
            let filled = filled.flat_map(|(image, count)| &image[..count * len]).copied();
            tiles.values = filled.collect();
            tiles.lead = vec![counts.iter().sum()];
        }
        Ok(Chosen { tiles, sizes })
    }

    /// `[F, C]` from features `[tiles, patches, C]` of images that had `sizes`.
    pub(super) fn pack(&self, device: &Device, features: &Tensor, sizes: &[[usize; 2]]) -> Tensor {
        let (rows, columns) = (features.rows(), features.columns());
        let each = self.patches * self.patches;
        let mut order = Vec::new();
        let mut first = 0;
        for size in sizes {
            let [down, across] = self.best(*size);
            order.extend(first..first + each);
            first += each;
            let [height, width] = [down * self.patches, across * self.patches];
            let [top, left] = padding(*size, [height, width]);
            for y in top..height - top {
                for x in left..width - left {
                    let tile = y / self.patches * across + x / self.patches;
                    let patch = y % self.patches * self.patches + x % self.patches;
                    order.push(first + tile * each + patch);
                }
                order.push(rows);
            }
            first += down * across * each;
        }
        assert_eq!(first, rows, "tiles were chosen by the same sizes");
        let newline = self.newline.reshape(&[1, columns]);
        let all = ops::concat(device, &[&features.reshape(&[rows, columns]), &newline], 0);
        gather(device, &all, order.into_iter())
    }

    /// The grid of tiles for an image of a size.
    fn best(&self, size: [usize; 2]) -> [usize; 2] {
        let sizes = self.grids.iter().map(|grid| grid.map(|tiles| tiles * self.side));
        best_resolution(sizes, size).map(|side| side / self.side)
    }
}

/// Of several sizes, the one that keeps most of an image that is scaled to fit it, and of equals the one
/// that wastes least: transformers' `select_best_resolution`.
pub(crate) fn best_resolution(
    sizes: impl Iterator<Item = [usize; 2]>,
    image: [usize; 2],
) -> [usize; 2] {
    let [height, width] = image.map(|side| side as f64);
    let (mut best, mut most, mut least) = ([0, 0], f64::NEG_INFINITY, f64::INFINITY);
    for size in sizes {
        let [down, across] = size.map(|side| side as f64);
        let scale = (across / width).min(down / height);
        let kept = ((width * scale).trunc() * (height * scale).trunc()).min(width * height);
        let wasted = down * across - kept;
        if kept > most || (kept == most && wasted < least) {
            (best, most, least) = (size, kept, wasted);
        }
    }
    best
}

/// Rows at the top and columns on the left of a grid that are padding, as many as on the other side:
/// transformers' `unpad_image`.
pub(crate) fn padding(size: [usize; 2], grid: [usize; 2]) -> [usize; 2] {
    let [height, width] = size.map(|size| size as f64);
    let [rows, columns] = grid.map(|size| size as f64);
    // transformers rounds to seven digits, so that 23.99999999 rows are 24.
    let whole = |x: f64| ((x * 1e7).round_ties_even() / 1e7) as usize;
    if width / height > columns / rows {
        [(grid[0] - whole(height * (columns / width)).min(grid[0])) / 2, 0]
    } else {
        [0, (grid[1] - whole(width * (rows / height)).min(grid[1])) / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiles() -> Tiles {
        let newline = Tensor::from_f32(&[1], vec![-1.0]);
        Tiles {
            newline,
            side: 336,
            patches: 2,
            grids: PINPOINTS.map(|p| p.map(|n| n / 336)).into(),
        }
    }

    /// `select_best_resolution` of transformers, in tiles.
    #[test]
    fn resolutions_keep_most_of_an_image() {
        let tiles = tiles();
        for (size, grid) in [
            ([336, 336], [1, 2]),
            ([640, 480], [2, 2]),
            ([300, 1000], [1, 3]),
            ([1000, 300], [3, 1]),
            ([200, 500], [1, 2]),
            ([1, 1 << 24], [1, 2]),
        ] {
            assert_eq!(tiles.best(size), grid, "{size:?}");
        }
    }

    #[test]
    fn what_was_padded_is_left_out() {
        assert_eq!(padding([300, 1000], [24, 72]), [1, 0]);
        assert_eq!(padding([1000, 300], [72, 24]), [0, 1]);
        assert_eq!(padding([480, 640], [48, 48]), [6, 0]);
        assert_eq!(padding([480, 480], [48, 48]), [0, 0]);
    }

    #[test]
    fn tiles_are_one_grid_behind_the_whole() {
        let tiles = tiles();
        // The whole, then two tiles beside one another; the image is a little wider than they are.
        let features = Tensor::from_f32(&[3, 4, 1], (0..12).map(|i| i as f32).collect());
        let y = tiles.pack(&Device::cpu(), &features, &[[336, 672]]);
        let whole = [0.0, 1.0, 2.0, 3.0];
        let rows = [4.0, 5.0, 8.0, 9.0, -1.0, 6.0, 7.0, 10.0, 11.0, -1.0];
        assert_eq!(y.f32s(), [&whole[..], &rows[..]].concat());
    }
}
