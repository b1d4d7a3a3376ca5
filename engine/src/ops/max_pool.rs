//! The largest of each window of an image.

use super::{
    Check, Choice, WG, Window,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel},
    tensor::Tensor,
    testing::normal,
    threads,
};

const MAX_POOL: [Kernel; 1] = [Kernel::new("max_pool", Geometry::elements(WG))];

/// A comparison for each pixel of each window.
fn max_pool_analysis(x: &[usize], window: Window) -> Analysis {
    let [height, width] = window.output([x[1], x[2]]).expect("the image holds a window");
    let pixels = window.kernel[0] * window.kernel[1];
    let pooled = Analysis::writes([x[0], height, width, x[3]]);
    pooled.reads([x]).operations_each(pixels as u64)
}

/// `[B, H', W', C]`: the largest of each window of `x: [B, H, W, C]`; padding does not count.
pub fn max_pool(device: &Device, x: &Tensor, window: Window) -> Tensor {
    let [_, height, width, channels] = x.shape()[..] else { panic!("four axes wanted") };
    let shape = device.call("max_pool", &[x.shape()], max_pool_analysis(x.shape(), window));
    let [out_height, out_width] = [shape[1], shape[2]];
    match device {
        Device::Cpu(_) => {
            let [kernel_y, kernel_x] = window.kernel;
            let (x, pixels) = (x.f32s(), kernel_y * kernel_x);
            let mut values = vec![f32::MIN; shape.iter().product()];
            threads::rows(&mut values, channels, channels * pixels, |first, values| {
                for (m, largest) in (first..).zip(values.chunks_exact_mut(channels)) {
                    let output = [m / out_width % out_height, m % out_width];
                    let image = m / (out_width * out_height) * height * width;
                    for k in 0..pixels {
                        let element = [k / kernel_x, k % kernel_x];
                        if let Some(pixel) = window.pixel([height, width], output, element) {
                            let pixel = &x[(image + pixel) * channels..][..channels];
                            largest.iter_mut().zip(pixel).for_each(|(y, x)| *y = y.max(*x));
                        }
                    }
                }
            });
            Tensor::from_f32(&shape, values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(MAX_POOL) else {
                return on_host(gpu, "max_pool", &[Input::Floats(x)], y, move |cpu, x, _| {
                    max_pool(cpu, &x[0], window)
                });
            };
            let mut params = vec![y.count(), height, width, channels, out_height, out_width];
            params.extend(window.params());
            let params: Vec<u32> = params.iter().map(|n| *n as u32).collect();
            gpu.dispatch(&kernel, &params, &[Bind::Read(1, x), Bind::Write(2, &y)], [y.count(), 1]);
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("max_pool", "", MAX_POOL)]
}

pub(super) fn checks() -> Vec<Check> {
    let wide = Window { kernel: [3, 2], stride: [2, 1], padding: [1, 2], dilation: [2, 3] };
    [Window::square(3, 2, 1), wide]
        .map(|window| {
            Check::new(format!("max_pool {:?}", window.kernel), move |device| {
                let image = device.upload(&[2, 9, 8, 5], normal(1, 2 * 9 * 8 * 5));
                vec![max_pool(device, &image, window)]
            })
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_smaller_than_any_pixel() {
        let x = Tensor::from_f32(&[1, 2, 2, 1], vec![-4.0, -3.0, -2.0, -1.0]);
        let y = max_pool(&Device::cpu(), &x, Window::square(3, 1, 1));
        assert_eq!(y.f32s(), [-1.0; 4]);
        let y = max_pool(&Device::cpu(), &x, Window::square(2, 2, 1));
        assert_eq!(y.f32s(), [-4.0, -3.0, -2.0, -1.0]);
    }
}
