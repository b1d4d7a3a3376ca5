//! Images that are looked at whole and in tiles, as LLaVA-NeXT does.
//!
//! Preprocessing fits an image into the best of some resolutions and cuts that into tiles. Their
//! features are put together to one large grid, what the fitting padded is cut off, a learned
//! newline ends each of its rows, and the whole image's features go before.

use super::gather;
use crate::{
    device::Device,
    error::{Error, Result},
    load::Slot,
    models::{Config, Images, Inputs},
    ops,
    published::tiling::{Tiling, padding},
    tensor::Tensor,
};

/// How images are cut into tiles, and what they look like together.
pub(in crate::models) struct Tiles {
    /// `[C]`.
    newline: Slot<Tensor>,
    tiling: Tiling,
}

/// Tiles of several images, each image whole before its parts.
pub(in crate::models) struct Chosen {
    pub(in crate::models) tiles: Images,
    /// Height and width of each image before it was fitted.
    pub(in crate::models) sizes: Vec<[usize; 2]>,
}

impl Tiles {
    pub(in crate::models) fn read(
        config: &Config,
        vision: &Config,
        newline: Slot<Tensor>,
    ) -> Result<Tiles> {
        Ok(Tiles { newline, tiling: Tiling::read(config, vision)? })
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
    pub(in crate::models) fn extents(&self, inputs: &Inputs) -> Result<Vec<(usize, usize)>> {
        let (shape, _) = inputs.floats("pixel_values")?;
        let extent = |size: &[usize; 2]| {
            let tiles = self.tiling.best(*size).iter().product::<usize>();
            (self.tiling.tokens(*size), if shape.len() == 4 { 1 + tiles } else { 1 })
        };
        Ok(self.sizes(inputs)?.iter().map(extent).collect())
    }

    /// The tiles that `pixel_values` has for each image of `image_sizes`. Images of fewer tiles are
    /// filled up there, unless all tiles lie behind one another.
    pub(in crate::models) fn choose(&self, inputs: &Inputs, channels: usize) -> Result<Chosen> {
        let sizes = self.sizes(inputs)?;
        let counts: Vec<usize> = sizes
            .iter()
            .map(|size| 1 + self.tiling.best(*size).iter().product::<usize>())
            .collect();

        let flat = inputs.floats.get("pixel_values").is_some_and(|(shape, _)| shape.len() == 4);
        let mut tiles = inputs.images("pixel_values", if flat { 1 } else { 2 }, channels)?;
        let fits = match tiles.lead[..] {
            [all] => all == counts.iter().sum::<usize>(),
            [batch, most] => batch == sizes.len() && counts.iter().all(|count| *count <= most),
            _ => false,
        };
        let side = self.tiling.side;
        if !fits || [tiles.height, tiles.width] != [side; 2] {
            let message = format!(
                "must hold {counts:?} tiles of {side} × {side} pixels for images of {sizes:?}, and \
                 holds {:?} of {} × {}",
                tiles.lead, tiles.height, tiles.width,
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
    pub(in crate::models) fn pack(
        &self,
        device: &Device,
        features: &Tensor,
        sizes: &[[usize; 2]],
    ) -> Tensor {
        let (rows, columns) = (features.rows(), features.columns());
        let (tiling, patches) = (&self.tiling, self.tiling.patches);
        let each = patches * patches;
        let mut order = Vec::new();
        let mut first = 0;
        for size in sizes {
            let [down, across] = tiling.best(*size);
            order.extend(first..first + each);
            first += each;
            let [height, width] = [down * patches, across * patches];
            let [top, left] = padding(*size, [height, width]);
            for y in top..height - top {
                for x in left..width - left {
                    let tile = y / patches * across + x / patches;
                    let patch = y % patches * patches + x % patches;
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tiles_are_one_grid_behind_the_whole() {
        let config = Config::new(json!({"image_size": 336, "patch_size": 168})).unwrap();
        let newline = Slot::of(Tensor::from_f32(&[1], vec![-1.0]));
        let tiles = Tiles::read(&config, &config, newline).unwrap();
        // The whole, then two tiles beside one another; the image is a little wider than they are.
        let features = Tensor::from_f32(&[3, 4, 1], (0..12).map(|i| i as f32).collect());
        let y = tiles.pack(&Device::cpu(), &features, &[[336, 672]]);
        let whole = [0.0, 1.0, 2.0, 3.0];
        let rows = [4.0, 5.0, 8.0, 9.0, -1.0, 6.0, 7.0, 10.0, 11.0, -1.0];
        assert_eq!(y.f32s(), [&whole[..], &rows[..]].concat());
    }
}
