//! Mean of the tokens that a mask keeps, as sentence-transformers pools.

use super::{
    Check, Choice, WG,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel, numbers},
    tensor::Tensor,
    testing::normal,
};

fn kernels(normalise: bool) -> [Kernel; 4] {
    let kernel = Kernel::new("mean_pool", Geometry::rows(WG));
    kernel.switched("NORMALISE", normalise).for_rows()
}

/// A product and a sum of each number, and a product of each that is left; to make lengths 1, a
/// square and a sum of these besides.
fn analysis(x: &[usize], normalise: bool) -> Analysis {
    let pooled = Analysis::writes([x[0], x[2]]).reads([x, &x[..2]]).operations(2 * numbers(x));
    pooled.operations_each(if normalise { 3 } else { 1 })
}

/// `[B, C]` from `x: [B, T, C]` and `mask: [B, T]` of ones and zeros; rows of length 1 where
/// `normalise` is set.
pub fn mean_pool(device: &Device, x: &Tensor, mask: &Tensor, normalise: bool) -> Tensor {
    let [batch, tokens, columns] = x.shape()[..] else { panic!("three axes wanted") };
    assert_eq!(mask.shape(), [batch, tokens]);
    let analysis = analysis(x.shape(), normalise);
    let shape = device.call("mean_pool", &[x.shape(), mask.shape()], analysis);
    match device {
        Device::Cpu(_) => {
            let mut values = vec![0.0f32; batch * columns];
            for (b, pooled) in values.chunks_exact_mut(columns).enumerate() {
                let mask = &mask.f32s()[b * tokens..(b + 1) * tokens];
                for (t, weight) in mask.iter().enumerate() {
                    let row = &x.f32s()[(b * tokens + t) * columns..][..columns];
                    pooled.iter_mut().zip(row).for_each(|(sum, x)| *sum += weight * x);
                }
                let mut scale = 1.0 / mask.iter().sum::<f32>().max(1e-9);
                if normalise {
                    let squares: f32 = pooled.iter().map(|x| x * scale * x * scale).sum();
                    scale /= squares.sqrt().max(1e-12);
                }
                pooled.iter_mut().for_each(|x| *x *= scale);
            }
            Tensor::from_f32(&shape, values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(kernels(normalise)) else {
                let inputs = [x, mask].map(Input::Floats);
                return on_host(gpu, "mean_pool", &inputs, y, move |cpu, x, _| {
                    mean_pool(cpu, &x[0], &x[1], normalise)
                });
            };
            let params = [batch, tokens, columns].map(|n| n as u32);
            let binds = [Bind::Read(1, x), Bind::Read(2, mask), Bind::Write(3, &y)];
            gpu.dispatch(&kernel, &params, &binds, [batch, 1]);
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    let choice =
        |normalise| Choice::new("mean_pool", format!("normalise={normalise}"), kernels(normalise));
    [false, true].map(choice).into()
}

pub(super) fn checks() -> Vec<Check> {
    [false, true]
        .map(|normalise| {
            Check::new(format!("mean_pool normalise={normalise}"), move |device| {
                let x = device.upload(&[2, 4, 100], normal(1, 800));
                let mask = device.upload(&[2, 4], vec![1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
                vec![mean_pool(device, &x, &mask, normalise)]
            })
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_tokens_do_not_count() {
        let x = Tensor::from_f32(&[1, 3, 2], vec![3.0, 0.0, 3.0, 8.0, 100.0, 100.0]);
        let mask = Tensor::from_f32(&[1, 3], vec![1.0, 1.0, 0.0]);
        assert_eq!(mean_pool(&Device::cpu(), &x, &mask, false).f32s(), [3.0, 4.0]);
        assert_eq!(mean_pool(&Device::cpu(), &x, &mask, true).f32s(), [0.6, 0.8]);
    }
}
