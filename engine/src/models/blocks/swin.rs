//! The Swin transformer (Liu et al. 2021): attention inside windows of a grid, every other layer
//! with the grid shifted by half a window, and neighbours merged between stages.
//!
//! A shift, a partition into windows and a merge are tables of row numbers, made when the model
//! loads; what a window's corners must not see and how far apart its tokens lie is one addend on the
//! scores.

use super::gather;
use crate::{
    device::Device,
    error::{Error, Result},
    load::{Declaration, LayerNorm, Linear, Slot, Step, windows::window_order},
    ops::{self, Activation, Attention, KeysValues},
    quant::Matrix,
    tensor::Tensor,
};

/// Most numbers in the addend of a layer: published models have a million.
const MAX_BIAS: u128 = 1 << 24;

/// A Swin transformer behind its patch embedding.
pub(in crate::models) struct Swin {
    stages: Vec<Stage>,
}

/// What a configuration says of it.
pub(in crate::models) struct Spec {
    /// Rows and columns of patches.
    pub grid: [usize; 2],
    /// Width of a patch's embedding; it doubles with each stage.
    pub width: usize,
    /// Layers and heads of each stage.
    pub stages: Vec<(usize, usize)>,
    /// Side of a window.
    pub window: usize,
    /// Whether queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// Width of the feed-forward over that of the stage.
    pub ratio: f64,
    /// Of the feed-forward.
    pub activation: Activation,
    /// Of the layers' norms.
    pub eps: f32,
}

struct Stage {
    layers: Vec<Layer>,
    merge: Option<Merge>,
}

struct Layer {
    before: LayerNorm,
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    after: LayerNorm,
    up: Linear,
    activation: Activation,
    down: Linear,
    heads: usize,
    windows: Windows,
    /// `[windows or 1, H, T, T]`.
    bias: Slot<Tensor>,
}

/// Where the tokens of windows come from, and where they go back to.
struct Windows {
    /// For each token of each window its token in the grid; one past the grid stands for padding.
    from_grid: Vec<usize>,
    /// For each token of the grid its place among the windows.
    to_grid: Vec<usize>,
    /// Tokens in a window.
    tokens: usize,
    padded: bool,
}

/// Four neighbours become one token of twice their width.
struct Merge {
    order: Vec<usize>,
    norm: LayerNorm,
    reduction: Slot<Matrix>,
}

impl Swin {
    /// The stages under `{root}.{i}`.
    pub(in crate::models) fn declare(
        weights: &Declaration<'_>,
        root: &str,
        spec: &Spec,
    ) -> Result<Swin> {
        let mut stages = Vec::new();
        let [mut height, mut columns] = spec.grid;
        let mut width = spec.width;
        for (s, &(depth, heads)) in spec.stages.iter().enumerate() {
            let last = s + 1 == spec.stages.len();
            if height.min(columns) < spec.window {
                let message = format!(
                    "{} is over the {height} × {columns} patches of stage {s}",
                    spec.window
                );
                return Err(Error::config("window_size", message));
            }
            let halves = height.is_multiple_of(2) && columns.is_multiple_of(2);
            if !last && !halves {
                let message = format!("stage {s} cannot halve {height} × {columns} patches");
                return Err(Error::config("depths", message));
            }
            if !width.is_multiple_of(heads) || width / heads > ops::MAX_HEAD_WIDTH {
                let message = format!("{heads} heads do not divide the width {width} of stage {s}");
                return Err(Error::config("num_attention_heads", message));
            }
            let padded = [height, columns].map(|size| size.next_multiple_of(spec.window) as u128);
            if padded[0] * padded[1] * (spec.window as u128).pow(2) * heads as u128 > MAX_BIAS {
                let message =
                    format!("{} in {height} × {columns} patches is too large", spec.window);
                return Err(Error::config("window_size", message));
            }
            let mut layers = Vec::new();
            for i in 0..depth {
                // A window as large as the grid has nowhere to be shifted to.
                let shifts = i % 2 == 1 && height.min(columns) > spec.window;
                let shift = if shifts { spec.window / 2 } else { 0 };
                let root = format!("{root}.{s}.blocks.{i}");
                let grid = [height, columns];
                layers.push(Layer::declare(weights, &root, spec, (width, heads), grid, shift)?);
            }
            let merge = match last {
                true => None,
                false => {
                    let name = format!("{root}.{s}.downsample");
                    let reduction = format!("{name}.reduction.weight");
                    let merge = Merge {
                        order: neighbours([height, columns]),
                        norm: weights.layer_norm(&format!("{name}.norm"), 4 * width, 1e-5)?,
                        reduction: weights.matrix(&reduction, 2 * width, 4 * width)?,
                    };
                    (height, columns, width) = (height / 2, columns / 2, width * 2);
                    Some(merge)
                }
            };
            stages.push(Stage { layers, merge });
        }
        Ok(Swin { stages })
    }

    /// `[B, T′, C′]` from patches `x: [B, T, C]`.
    pub(in crate::models) fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        let mut x = x.clone();
        for stage in &self.stages {
            for layer in &stage.layers {
                x = layer.forward(device, &x);
            }
            if let Some(merge) = &stage.merge {
                x = merge.forward(device, &x);
            }
        }
        x
    }
}

impl Layer {
    fn declare(
        weights: &Declaration<'_>,
        root: &str,
        spec: &Spec,
        (width, heads): (usize, usize),
        grid: [usize; 2],
        shift: usize,
    ) -> Result<Layer> {
        let name = |part: &str| format!("{root}.{part}");
        let windows = Windows::new(grid, spec.window, shift);
        let inner = (width as f64 * spec.ratio) as usize;
        let side = 2 * spec.window - 1;
        let table = name("attention.self.relative_position_bias_table");
        // It follows from the size of the window.
        weights.skip(&name("attention.self.relative_position_index"));
        let step = Step::SpreadOverWindows { grid, side: spec.window, shift };
        let groups = if shift > 0 { windows.from_grid.len() / windows.tokens } else { 1 };
        let shape = [groups, heads, windows.tokens, windows.tokens];
        let bias = weights.tensor_from(&table, &[side * side, heads], &shape, vec![step])?;
        let qkv = |part: &str| {
            let name = name(&format!("attention.self.{part}"));
            weights.linear(&name, width, width, spec.qkv_bias)
        };
        Ok(Layer {
            before: weights.layer_norm(&name("layernorm_before"), width, spec.eps)?,
            query: qkv("query")?,
            key: qkv("key")?,
            value: qkv("value")?,
            output: weights.linear(&name("attention.output.dense"), width, width, true)?,
            after: weights.layer_norm(&name("layernorm_after"), width, spec.eps)?,
            up: weights.linear(&name("intermediate.dense"), inner, width, true)?,
            activation: spec.activation,
            down: weights.linear(&name("output.dense"), width, inner, true)?,
            heads,
            windows,
            bias,
        })
    }

    fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        let [batch, grid, width] = x.shape()[..] else { panic!("three axes wanted") };
        let Windows { from_grid, to_grid, tokens, padded } = &self.windows;
        let mut h = self.before.forward(device, x).reshape(&[batch * grid, width]);
        if *padded {
            // Behind all rows lies one of zeros.
            let zeros = device.upload(&[1, width], vec![0.0; width]);
            h = ops::concat(device, &[&h, &zeros], 0);
        }
        let ids = (0..batch).flat_map(|b| {
            from_grid.iter().map(move |&at| if at == grid { batch * grid } else { b * grid + at })
        });
        let h =
            gather(device, &h, ids).reshape(&[from_grid.len() / tokens * batch, *tokens, width]);

        let how =
            Attention { bias: Some(&self.bias), ..Attention::new(self.heads, width / self.heads) };
        let q = self.query.forward(device, &h);
        let (k, v) = (self.key.forward(device, &h), self.value.forward(device, &h));
        let y = ops::attention(device, &q, KeysValues::Plain { k: &k, v: &v }, how);
        let y = self.output.forward(device, &y);
        let ids = (0..batch).flat_map(|b| to_grid.iter().map(move |at| b * from_grid.len() + at));
        let y = gather(device, &y, ids).reshape(x.shape());

        let x = ops::add(device, x, &y);
        let y = self.up.forward(device, &self.after.forward(device, &x));
        let y = ops::activation(device, &y, self.activation);
        ops::add(device, &self.down.forward(device, &y), &x)
    }
}

impl Merge {
    fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        let [batch, grid, width] = x.shape()[..] else { panic!("three axes wanted") };
        let ids = (0..batch).flat_map(|b| self.order.iter().map(move |at| b * grid + at));
        let x = gather(device, x, ids).reshape(&[batch, grid / 4, 4 * width]);
        ops::matmul(device, &self.norm.forward(device, &x), &self.reduction, None)
    }
}

impl Windows {
    fn new([height, width]: [usize; 2], side: usize, shift: usize) -> Windows {
        let padded = [height, width].map(|size| size.next_multiple_of(side));
        let mut from_grid = Vec::with_capacity(padded[0] * padded[1]);
        let mut to_grid = vec![0; height * width];
        for [y, x] in window_order(padded, side) {
            let (y, x) = ((y + shift) % padded[0], (x + shift) % padded[1]);
            if y < height && x < width {
                to_grid[y * width + x] = from_grid.len();
                from_grid.push(y * width + x);
            } else {
                from_grid.push(height * width);
            }
        }
        let padded = from_grid.len() > to_grid.len();
        Windows { from_grid, to_grid, tokens: side * side, padded }
    }
}

/// The four tokens of each 2 × 2 square, the upper before the lower and the left pair first.
fn neighbours([height, width]: [usize; 2]) -> Vec<usize> {
    let square = |at: usize| {
        let corner = at / (width / 2) * 2 * width + at % (width / 2) * 2;
        [corner, corner + width, corner + 1, corner + width + 1]
    };
    (0..height * width / 4).flat_map(square).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_shifted_around_the_edges() {
        let windows = Windows::new([4, 4], 2, 1);
        assert_eq!(windows.from_grid[..4], [5, 6, 9, 10]);
        assert_eq!(windows.from_grid[12..], [15, 12, 3, 0]);
        assert!(!windows.padded);
        for (at, place) in windows.to_grid.iter().enumerate() {
            assert_eq!(windows.from_grid[*place], at);
        }
    }

    #[test]
    fn what_windows_lack_is_padding() {
        let windows = Windows::new([3, 2], 2, 0);
        assert_eq!(windows.from_grid, [0, 1, 2, 3, 4, 5, 6, 6]);
        assert!(windows.padded);
    }

    #[test]
    fn squares_are_read_column_by_column() {
        assert_eq!(neighbours([2, 4]), [0, 4, 1, 5, 2, 6, 3, 7]);
    }
}
