//! Convolutions: windows of an image are rows, which a packed matrix multiplies. A GPU reads them where they lie, in
//! the image, if there are many and channels come in fours (`windows.wgsl`); else they are laid out before.
//!
//! Images are `[B, H, W, C]`, channels last, so that the product is an image again and a token
//! sequence `[B, T, C]` is an image of height 1. Kernels are rows of `(ky, kx, c)`; see
//! [`crate::load::Declaration::conv`]. Groups are convolved one after another, each with a matrix of its
//! own: right for the sixteen groups of a positional convolution, slow for one group a channel.

use super::{
    Check, Choice, WG, add, concat,
    host::{Input, on_host},
    matmul,
    matmul::{dispatch_many, windowed_kernel},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Gpu, Kernel},
    quant::{Format, Matrix},
    tensor::Tensor,
    testing::normal,
    threads,
};

const PATCHES: [Kernel; 1] = [Kernel::new("patches", Geometry::elements(WG))];

/// Bytes of windows laid out at a time: a photograph's would exceed what a binding may hold.
const PIECE_BYTES: usize = 32 << 20;

/// How a kernel moves over an image; vertical before horizontal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Size of the kernel.
    pub kernel: [usize; 2],
    /// Pixels from one window to the next.
    pub stride: [usize; 2],
    /// Pixels outside of the image on either side.
    pub padding: [usize; 2],
    /// Pixels from one of the kernel's elements to the next.
    pub dilation: [usize; 2],
}

impl Window {
    /// A square kernel.
    pub fn square(kernel: usize, stride: usize, padding: usize) -> Window {
        Window { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2], dilation: [1; 2] }
    }

    /// A kernel over `[B, 1, T, C]`.
    pub fn line(kernel: usize, stride: usize, padding: usize) -> Window {
        Window { kernel: [1, kernel], stride: [1, stride], padding: [0, padding], dilation: [1; 2] }
    }

    /// Height and width of the result, or none where an axis of the image, padding included, is
    /// shorter than the kernel.
    pub fn output(&self, [height, width]: [usize; 2]) -> Option<[usize; 2]> {
        let along = |axis: usize, size: usize| {
            let reach = self.dilation[axis].checked_mul(self.kernel[axis].checked_sub(1)?)? + 1;
            Some((size + 2 * self.padding[axis]).checked_sub(reach)? / self.stride[axis] + 1)
        };
        Some([along(0, height)?, along(1, width)?])
    }

    /// Whether windows are the pixels themselves.
    fn is_pixel(&self) -> bool {
        *self == Window::square(1, 1, 0)
    }

    /// The numbers that kernels end in.
    pub(super) fn params(&self) -> [usize; 8] {
        let Window { kernel, stride, padding, dilation } = self;
        [kernel, stride, padding, dilation]
            .map(|pair| *pair)
            .concat()
            .try_into()
            .expect("four pairs")
    }

    /// Where in `[H, W]` an element of the kernel lies for an output, unless that is outside.
    pub(super) fn pixel(
        &self,
        [height, width]: [usize; 2],
        output: [usize; 2],
        element: [usize; 2],
    ) -> Option<usize> {
        let along = |axis: usize| {
            let at = output[axis] * self.stride[axis] + element[axis] * self.dilation[axis];
            at.checked_sub(self.padding[axis])
        };
        let (y, x) = (along(0)?, along(1)?);
        (y < height && x < width).then_some(y * width + x)
    }
}

/// `[B, H', W', O]` from `x: [B, H, W, C]`, one matrix `[O / G, KY · KX · C / G]` a group and
/// `bias: [O]`. The image must hold a window.
pub fn conv(
    device: &Device,
    x: &Tensor,
    groups: &[Matrix],
    bias: Option<&Tensor>,
    window: Window,
) -> Tensor {
    let [batch, height, width, _] = x.shape()[..] else { panic!("four axes wanted") };
    let [out_height, out_width] = window.output([height, width]).expect("the image holds a window");
    let shape = |channels| [batch, out_height, out_width, channels];
    if let [weight] = groups {
        return conv_group(device, x, weight, bias, window, 0).reshape(&shape(weight.rows));
    }
    let parts: Vec<Tensor> = groups
        .iter()
        .enumerate()
        .map(|(group, weight)| {
            let channels = weight.columns / (window.kernel[0] * window.kernel[1]);
            conv_group(device, x, weight, None, window, group * channels)
        })
        .collect();
    let y = concat(device, &parts.iter().collect::<Vec<_>>(), 1);
    let y = y.reshape(&shape(y.columns()));
    bias.map_or(y.clone(), |bias| add(device, &y, bias))
}

/// `[M, O]`, a row for each output pixel.
fn conv_group(
    device: &Device,
    x: &Tensor,
    weight: &Matrix,
    bias: Option<&Tensor>,
    window: Window,
    first_channel: usize,
) -> Tensor {
    let [batch, height, width, channels] = x.shape()[..] else { panic!("four axes wanted") };
    if window.is_pixel() && weight.columns == channels {
        return matmul(device, &x.reshape(&[batch * height * width, channels]), weight, bias);
    }
    let [out_height, out_width] = window.output([height, width]).expect("checked");
    let rows = batch * out_height * out_width;
    if let Device::Gpu(gpu) = device
        && let Some(y) = in_place(device, gpu, x, weight, bias, window, first_channel)
    {
        return y;
    }
    let step = (PIECE_BYTES / (weight.columns * 4)).max(1);
    let pieces: Vec<Tensor> = (0..rows)
        .step_by(step)
        .map(|first| {
            let count = step.min(rows - first);
            let windows = patches(device, x, weight.columns, window, first_channel, first, count);
            matmul(device, &windows, weight, bias)
        })
        .collect();
    concat(device, &pieces.iter().collect::<Vec<_>>(), 0)
}

/// The same where windows are read in the image; none where channels do not come in fours, or no kernel can do it.
fn in_place(
    device: &Device,
    gpu: &Gpu,
    x: &Tensor,
    weight: &Matrix,
    bias: Option<&Tensor>,
    window: Window,
    first_channel: usize,
) -> Option<Tensor> {
    let [batch, height, width, channels] = x.shape()[..] else { panic!("four axes wanted") };
    let group_channels = weight.columns / (window.kernel[0] * window.kernel[1]);
    if ![channels, first_channel, group_channels].iter().all(|count| count.is_multiple_of(4)) {
        return None;
    }
    let [out_height, out_width] = window.output([height, width]).expect("checked");
    let rows = batch * out_height * out_width;
    let kernel = windowed_kernel(gpu, rows, weight)?;
    let shape = device.call("conv", &[x.shape(), &weight.shape()], analysis(x, rows, weight, bias));
    let quads = [channels, first_channel, group_channels].map(|count| count / 4);
    let params =
        [&[height, width][..], &quads, &[out_height, out_width], &window.params()].concat();
    let y = gpu.alloc(&shape);
    dispatch_many(gpu, &kernel, x, weight, bias, &params, &y);
    Some(y)
}

/// Of each output a product and a sum for each element of the kernel, and one where there is a bias.
fn analysis(x: &Tensor, rows: usize, weight: &Matrix, bias: Option<&Tensor>) -> Analysis {
    let biases = if bias.is_some() { weight.rows } else { 0 };
    Analysis::writes([rows, weight.rows])
        .reads([x.shape(), &[biases]])
        .reads_bytes(weight.layout.bytes(weight.format, weight.rows, weight.columns))
        .operations_each(2 * weight.columns as u64 + u64::from(bias.is_some()))
}

/// Numbers are copied; of the image, whose windows may overlap, as many as are written.
fn patches_analysis(count: usize, columns: usize) -> Analysis {
    Analysis::writes([count, columns]).reads([&[count, columns]])
}

/// `[count, columns]`: the windows of outputs `first …`, of a group's channels.
fn patches(
    device: &Device,
    x: &Tensor,
    columns: usize,
    window: Window,
    first_channel: usize,
    first: usize,
    count: usize,
) -> Tensor {
    let [_, height, width, channels] = x.shape()[..] else { panic!("four axes wanted") };
    let [kernel_y, kernel_x] = window.kernel;
    let group_channels = columns / (kernel_y * kernel_x);
    assert_eq!(columns, kernel_y * kernel_x * group_channels);
    assert!(first_channel + group_channels <= channels);
    let [out_height, out_width] = window.output([height, width]).expect("checked");
    let shape = device.call("patches", &[x.shape()], patches_analysis(count, columns));
    match device {
        Device::Cpu(_) => {
            let x = x.f32s();
            let mut values = vec![0.0; count * columns];
            threads::rows(&mut values, columns, columns, |row, values| {
                for (m, values) in (first + row..).zip(values.chunks_exact_mut(columns)) {
                    let output = [m / out_width % out_height, m % out_width];
                    let image = m / (out_width * out_height) * height * width;
                    for (k, values) in values.chunks_exact_mut(group_channels).enumerate() {
                        let element = [k / kernel_x, k % kernel_x];
                        if let Some(pixel) = window.pixel([height, width], output, element) {
                            let at = (image + pixel) * channels + first_channel;
                            values.copy_from_slice(&x[at..at + group_channels]);
                        }
                    }
                }
            });
            Tensor::from_f32(&shape, values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(PATCHES) else {
                return on_host(gpu, "patches", &[Input::Floats(x)], y, move |cpu, x, _| {
                    patches(cpu, &x[0], columns, window, first_channel, first, count)
                });
            };
            let image = [y.count(), first, height, width, channels, first_channel, group_channels];
            let mut params = image.to_vec();
            params.extend([out_height, out_width]);
            params.extend(window.params());
            let params: Vec<u32> = params.iter().map(|n| *n as u32).collect();
            gpu.dispatch(&kernel, &params, &[Bind::Read(1, x), Bind::Write(2, &y)], [y.count(), 1]);
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("patches", "", PATCHES)]
}

pub(super) fn checks() -> Vec<Check> {
    let wide = Window { kernel: [3, 2], stride: [2, 1], padding: [1, 2], dilation: [2, 3] };
    let image = |device: &Device, channels| {
        device.upload(&[2, 9, 8, channels], normal(1, 2 * 9 * 8 * channels))
    };
    let mut checks: Vec<Check> = [
        ("patches", Window::square(4, 4, 0), 1),
        ("3×3", Window::square(3, 2, 1), 1),
        ("pixels", Window::square(1, 1, 0), 1),
        ("dilated", wide, 1),
        ("3×3 in groups", Window::square(3, 1, 1), 3),
    ]
    .into_iter()
    .map(|(name, window, groups)| {
        Check::new(format!("conv {name}"), move |device| {
            let columns = window.kernel[0] * window.kernel[1] * 6 / groups;
            let weight = super::matmul::sample_matrix(device, 5, columns, Format::F16);
            let bias = device.upload(&[5 * groups], normal(2, 5 * groups));
            let groups = vec![weight; groups];
            vec![conv(device, &image(device, 6), &groups, Some(&bias), window)]
        })
    })
    .collect();
    let grouped = |bits, asymmetric| Format::Grouped { bits, asymmetric, group: 32 };
    checks.extend([Format::F16, grouped(8, false), grouped(4, true)].map(|it| of_many(it, (9, 2))));
    checks.push(of_many(Format::F16, (4_059, 1)));
    checks.push(Check::new("patches from the middle of an image", move |device| {
        vec![patches(device, &image(device, 6), 3 * 3 * 2, Window::square(3, 1, 1), 2, 50, 60)]
    }));
    checks
}

/// Every kernel that reads windows where they lie.
#[cfg(test)]
pub(super) fn all_checks() -> Vec<Check> {
    let many = [(9, 2), (4_059, 1)];
    Format::all().into_iter().flat_map(|format| many.map(|it| of_many(format, it))).collect()
}

/// So many windows that they are read where they lie, of several images.
fn of_many(format: Format, (outputs, groups): (usize, usize)) -> Check {
    let name = format!("conv of many windows to {outputs} × {groups}, {format}");
    Check::new(name, move |device| {
        let window = Window { kernel: [3, 2], stride: [1, 2], padding: [2, 1], dilation: [2, 3] };
        let image = device.upload(&[3, 6, 9, 24], normal(1, 3 * 6 * 9 * 24));
        let columns = 3 * 2 * 24 / groups;
        let weight = super::matmul::sample_matrix(device, outputs, columns, format);
        let bias = device.upload(&[groups * outputs], normal(2, groups * outputs));
        vec![conv(device, &image, &vec![weight; groups], Some(&bias), window)]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        quant::{MatrixBuilder, RoundToNearest},
        testing::rel_l2,
    };

    fn pack(rows: usize, columns: usize, values: &[f32]) -> Matrix {
        let device = Device::reference();
        let mut builder = MatrixBuilder::new(&device, "kernel", rows, columns, Format::F32);
        builder.push_f32(values, &RoundToNearest).unwrap();
        builder.finish()
    }

    /// Sums over the definition of a convolution, in f64.
    #[test]
    fn convolutions_equal_their_definition() {
        let (batch, size, channels, outputs) = (2, [7, 6], 4, 6);
        let image = normal(1, batch * 7 * 6 * channels);
        for (window, groups) in [
            (Window::square(3, 1, 1), 1),
            (Window::square(2, 2, 0), 2),
            (Window { kernel: [3, 2], stride: [1, 2], padding: [2, 1], dilation: [2, 2] }, 2),
            (Window::square(3, 1, 1), 2),
        ] {
            let [ky, kx] = window.kernel;
            let (inner, rows) = (channels / groups, outputs / groups);
            let kernel = normal(2, outputs * ky * kx * inner);
            let matrices: Vec<Matrix> = kernel
                .chunks_exact(rows * ky * kx * inner)
                .map(|values| pack(rows, ky * kx * inner, values))
                .collect();
            let device = Device::reference();
            let x = Tensor::from_f32(&[batch, 7, 6, channels], image.clone());
            let bias = Tensor::from_f32(&[outputs], normal(3, outputs));
            let y = conv(&device, &x, &matrices, Some(&bias), window);
            let [_, height, width, _] = y.shape()[..] else { unreachable!() };
            let mut expected = Vec::new();
            for at in 0..y.count() {
                let (o, ox) = (at % outputs, at / outputs % width);
                let (oy, b) = (at / (outputs * width) % height, at / (outputs * width * height));
                let mut sum = f64::from(bias.f32s()[o]);
                for k in 0..ky * kx * inner {
                    let (c, dx, dy) = (k % inner, k / inner % kx, k / inner / kx);
                    let along = |axis: usize, at: usize, step: usize| {
                        (at * window.stride[axis] + step * window.dilation[axis]) as isize
                            - window.padding[axis] as isize
                    };
                    let (iy, ix) = (along(0, oy, dy), along(1, ox, dx));
                    if (0..7).contains(&iy) && (0..6).contains(&ix) {
                        let pixel = (b * size[0] + iy as usize) * size[1] + ix as usize;
                        let x = image[pixel * channels + o / rows * inner + c];
                        sum += f64::from(x) * f64::from(kernel[o * ky * kx * inner + k]);
                    }
                }
                expected.push(sum as f32);
            }
            let error = rel_l2(y.f32s(), &expected);
            assert!(error < 1e-6, "{window:?} in {groups} groups: {error:.1e}");
        }
    }

    #[test]
    fn large_images_are_laid_out_in_pieces() {
        // One row of windows is 4 MB, so that five rows need more than one piece.
        let window = Window::line(1 << 20, 1, 0);
        let device = Device::reference();
        let count = (1 << 20) + 9;
        let x = Tensor::from_f32(&[1, 1, count, 1], (0..count).map(|i| (i % 7) as f32).collect());
        let mut kernel = vec![0.0; 1 << 20];
        kernel[0] = 1.0;
        let y = conv(&device, &x, &[pack(1, 1 << 20, &kernel)], None, window);
        assert_eq!(y.shape(), [1, 1, 10, 1]);
        assert_eq!(y.f32s(), &x.f32s()[..10]);
    }

    #[test]
    fn windows_that_do_not_fit_are_none() {
        assert_eq!(Window::square(3, 2, 1).output([1, 2]), Some([1, 1]));
        assert_eq!(Window::square(4, 4, 0).output([8, 3]), None);
    }
}
