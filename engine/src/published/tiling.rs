//! How LLaVA-NeXT fits an image into tiles: which resolution, and what of it is padding.

use super::Config;
use crate::error::{Error, Result};

/// Resolutions where the configuration names none, height before width.
const PINPOINTS: [[usize; 2]; 5] = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]];

/// The resolutions that images are fitted into, and what a tile of them is.
#[derive(Clone, Debug)]
pub(crate) struct Tiling {
    /// Pixels of a tile's side.
    pub(crate) side: usize,
    /// Patches of a tile's side.
    pub(crate) patches: usize,
    /// Resolutions, in tiles.
    grids: Vec<[usize; 2]>,
}

impl Tiling {
    /// Reads the resolutions of a model and the tiles of its tower.
    pub(crate) fn read(config: &Config, vision: &Config) -> Result<Tiling> {
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
        Ok(Tiling { side, patches, grids })
    }

    /// The grid of tiles for an image of a size.
    pub(crate) fn best(&self, size: [usize; 2]) -> [usize; 2] {
        let sizes = self.grids.iter().map(|grid| grid.map(|tiles| tiles * self.side));
        best_resolution(sizes, size).map(|side| side / self.side)
    }

    /// Tokens that stand for an image of a size: those of the whole, those of its tiles without the
    /// padding, and one at the end of each row.
    pub(crate) fn tokens(&self, size: [usize; 2]) -> usize {
        let [height, width] = self.best(size).map(|tiles| tiles * self.patches);
        let [top, left] = padding(size, [height, width]);
        self.patches * self.patches + (height - 2 * top) * (width - 2 * left + 1)
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
    use serde_json::json;

    /// `select_best_resolution` of transformers, in tiles.
    #[test]
    fn resolutions_keep_most_of_an_image() {
        let config = Config::new(json!({"image_size": 336, "patch_size": 168})).unwrap();
        let tiling = Tiling::read(&config, &config).unwrap();
        for (size, grid) in [
            ([336, 336], [1, 2]),
            ([640, 480], [2, 2]),
            ([300, 1000], [1, 3]),
            ([1000, 300], [3, 1]),
            ([200, 500], [1, 2]),
            ([1, 1 << 24], [1, 2]),
        ] {
            assert_eq!(tiling.best(size), grid, "{size:?}");
        }
    }

    #[test]
    fn what_was_padded_is_left_out() {
        assert_eq!(padding([300, 1000], [24, 72]), [1, 0]);
        assert_eq!(padding([1000, 300], [72, 24]), [0, 1]);
        assert_eq!(padding([480, 640], [48, 48]), [6, 0]);
        assert_eq!(padding([480, 480], [48, 48]), [0, 0]);
    }
}
