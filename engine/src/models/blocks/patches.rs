//! An image as tokens: one for the class, then one for each patch, with learned positions.

use crate::{
    device::Device,
    error::{Error, Result},
    load::{Conv, ConvShape, Declaration, Slot},
    models::{Config, Images},
    ops::{self, Window},
    tensor::Tensor,
};

/// Patches of an image that no published model exceeds.
const MAX_PATCHES: usize = 1 << 24;

/// A convolution of patches that do not overlap, a class token and positions.
pub struct Patches {
    class: Slot<Tensor>,
    conv: Conv,
    /// `[1 + rows · columns, C]`, the class first, on the host, where it is resized.
    table: Slot<Vec<f32>>,
    /// The same on the device.
    positions: Slot<Tensor>,
    grid: [usize; 2],
    channels: usize,
    width: usize,
}

/// Names of the tensors of a class of models.
pub struct Names<'a> {
    /// Of the class token.
    pub class: &'a str,
    /// Of the convolution.
    pub conv: &'a str,
    /// Whether the convolution has a bias.
    pub bias: bool,
    /// Of the positions.
    pub positions: &'a str,
}

impl Patches {
    /// Reads `image_size`, `patch_size` and `num_channels`; `patch` is the default patch size.
    pub fn declare(
        config: &Config,
        weights: &Declaration<'_>,
        names: Names<'_>,
        width: usize,
        patch: usize,
    ) -> Result<Patches> {
        let channels = config.size_or("num_channels", Some(3))?;
        let image = config.pair_or("image_size", 224)?;
        let patch = config.pair_or("patch_size", patch)?;
        let grid = [image[0] / patch[0], image[1] / patch[1]];
        let tokens = match grid[0].checked_mul(grid[1]) {
            Some(patches @ 1..MAX_PATCHES) => patches + 1,
            _ => {
                let message =
                    format!("{patch:?} cuts an image of {image:?} into no patch or too many");
                return Err(Error::config("patch_size", message));
            }
        };
        // CLIP keeps a vector and a table, ViT the same with axes of length 1 before them.
        let shaped = |name: &str, shape: &[usize]| match weights.shape(name) {
            Some(found) if found.len() == 3 => [vec![1; 3 - shape.len()], shape.to_vec()].concat(),
            _ => shape.to_vec(),
        };
        let shape = shaped(names.class, &[width]);
        let class = weights.tensor_from(names.class, &shape, &[1, 1, width], vec![])?;
        let window = Window { kernel: patch, stride: patch, padding: [0; 2], dilation: [1; 2] };
        let shape = ConvShape::plain(window, names.bias);
        let conv = weights.conv(names.conv, width, channels, shape)?;
        let shape = shaped(names.positions, &[tokens, width]);
        Ok(Patches {
            class,
            conv,
            positions: weights.tensor_from(names.positions, &shape, &[tokens, width], vec![])?,
            table: weights.values(names.positions, &shape)?,
            grid,
            channels,
            width,
        })
    }

    /// Numbers of a token.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Channels that images must have.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Tokens `[B, 1 + rows · columns, C]`. Positions are resized to an image of another size, as
    /// `interpolate_pos_encoding` does.
    pub fn forward(&self, device: &Device, images: &Images) -> Result<Tensor> {
        let Some(grid) = self.conv.window.output([images.height, images.width]) else {
            let [y, x] = self.conv.window.kernel;
            let message = format!(
                "has images of {} × {} pixels, smaller than a patch of {y} × {x}",
                images.height, images.width
            );
            return Err(Error::input("pixel_values", message));
        };
        let x = self.conv.forward(device, &images.upload(device));
        let x = x.reshape(&[images.count(), grid[0] * grid[1], self.width]);
        let x = ops::concat(device, &[&self.class, &x], 1);
        if grid == self.grid {
            return Ok(ops::add(device, &x, &self.positions));
        }
        let (class, patches) = self.table.split_at(self.width);
        let resized = resize(patches, self.grid, grid, self.width);
        let shape = [1 + grid[0] * grid[1], self.width];
        let positions = device.upload(&shape, [class, &resized].concat());
        Ok(ops::add(device, &x, &positions))
    }
}

/// A table `[rows · columns, C]` resized by cubic convolution (Keys 1981) with a = −0.75 and pixels
/// that have an extent, as torch's `interpolate(mode="bicubic", align_corners=False)`.
fn resize(table: &[f32], from: [usize; 2], to: [usize; 2], width: usize) -> Vec<f32> {
    let across: Vec<_> = (0..to[1]).map(|x| taps(x, from[1], to[1])).collect();
    let mut out = Vec::with_capacity(to[0] * to[1] * width);
    for y in 0..to[0] {
        let down = taps(y, from[0], to[0]);
        for across in &across {
            for c in 0..width {
                let row = |row: usize| -> f32 {
                    let value = |at: usize| table[(row * from[1] + at) * width + c];
                    across.iter().map(|(at, weight)| value(*at) * weight).sum()
                };
                out.push(down.iter().map(|(at, weight)| row(*at) * weight).sum());
            }
        }
    }
    out
}

/// The four old places that a new one is made of, and their weights.
fn taps(at: usize, from: usize, to: usize) -> [(usize, f32); 4] {
    const A: f32 = -0.75;
    let place = (at as f32 + 0.5) * (from as f32 / to as f32) - 0.5;
    let t = place - place.floor();
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
    let first = place.floor() as isize - 1;
    std::array::from_fn(|i| ((first + i as isize).clamp(0, from as isize - 1) as usize, weights[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.nn.functional.interpolate(x, (3, 2), mode="bicubic")` of 0 … 3 in two rows.
    #[test]
    fn tables_resize_as_torch_does() {
        let got = resize(&[0.0, 1.0, 2.0, 3.0], [2, 2], [3, 2], 1);
        let want = [-0.173_611_16, 0.826_389_1, 1.0, 2.0, 2.173_611, 3.173_611];
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{got} for {want}");
        }
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let table: Vec<f32> = (0..24).map(|i| i as f32).collect();
        assert_eq!(resize(&table, [3, 4], [3, 4], 2), table);
    }
}
