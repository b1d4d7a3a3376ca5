//! Normalisation over all tokens of a group of channels (Wu and He 2018).

use super::{
    Check, Choice, WG,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel},
    tensor::Tensor,
    testing::normal,
};

const KERNELS: [Kernel; 4] = Kernel::new("group_norm", Geometry::rows(WG)).for_rows();

/// Of each number: a sum for the mean; difference, square and sum for the variance; difference and
/// product; product and sum.
fn analysis(x: &[usize]) -> Analysis {
    let channels = &x[2..];
    Analysis::writes(x).reads([x, channels, channels]).operations_each(8)
}

/// Normalises `x: [B, T, C]` in `groups` of neighbouring channels, then scales and shifts channels by
/// `weight` and `bias: [C]`.
pub fn group_norm(
    device: &Device,
    x: &Tensor,
    groups: usize,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
) -> Tensor {
    let [batch, tokens, columns] = x.shape()[..] else { panic!("three axes wanted") };
    assert_eq!((weight.count(), bias.count(), columns % groups), (columns, columns, 0));
    let shapes = [x, weight, bias].map(Tensor::shape);
    let shape = device.call("group_norm", &shapes, analysis(x.shape()));
    match device {
        Device::Cpu(_) => {
            let mut values = x.f32s().to_vec();
            for sequence in values.chunks_exact_mut(tokens * columns) {
                for group in 0..groups {
                    normalise(sequence, columns, group, columns / groups, eps);
                }
            }
            let affine = weight.f32s().iter().zip(bias.f32s()).cycle();
            values.iter_mut().zip(affine).for_each(|(x, (w, b))| *x = *x * w + b);
            Tensor::from_f32(&shape, values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(KERNELS) else {
                let inputs = [x, weight, bias].map(Input::Floats);
                return on_host(gpu, "group_norm", &inputs, y, move |cpu, x, _| {
                    group_norm(cpu, &x[0], groups, &x[1], &x[2], eps)
                });
            };
            let rows = batch * groups;
            let mut params = [rows, tokens, columns, groups].map(|n| n as u32).to_vec();
            params.push(eps.to_bits());
            let binds =
                [Bind::Read(1, x), Bind::Read(2, weight), Bind::Read(3, bias), Bind::Write(4, &y)];
            gpu.dispatch(&kernel, &params, &binds, [rows, 1]);
            y
        }
    }
}

/// Gives one group of `[T, C]` mean 0 and variance 1. Sums are long, so they are taken in f64.
fn normalise(sequence: &mut [f32], columns: usize, group: usize, width: usize, eps: f32) {
    let channels = group * width..(group + 1) * width;
    let count = (sequence.len() / columns * width) as f64;
    let rows = || sequence.chunks_exact(columns).flat_map(|row| &row[channels.clone()]);
    let mean = rows().map(|x| f64::from(*x)).sum::<f64>() / count;
    let variance = rows().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / count;
    let scale = 1.0 / (variance + f64::from(eps)).sqrt();
    for row in sequence.chunks_exact_mut(columns) {
        row[channels.clone()].iter_mut().for_each(|x| *x = ((f64::from(*x) - mean) * scale) as f32);
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("group_norm", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    // Of quiet groups, what is added to the variance is the larger part.
    [(1, 70, 3.0), (4, 5, 1e-3), (24, 200, 3.0)]
        .map(|(groups, tokens, size)| {
            Check::new(format!("group_norm {groups}"), move |device| {
                let x: Vec<f32> =
                    normal(1, 2 * tokens * 24).iter().map(|x| (x + 2.0) * size).collect();
                let x = device.upload(&[2, tokens, 24], x);
                let [weight, bias] = [2, 3].map(|seed| device.upload(&[24], normal(seed, 24)));
                vec![group_norm(device, &x, groups, &weight, &bias, 1e-5)]
            })
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_get_mean_and_deviation_over_all_tokens() {
        // Channels 0 and 1 hold 1, 2, 3, 4 over two tokens: mean 2.5, variance 1.25. Channels 2 and
        // 3 hold 0 alone.
        let x = Tensor::from_f32(&[1, 2, 4], vec![1.0, 2.0, 0.0, 0.0, 3.0, 4.0, 0.0, 0.0]);
        let weight = Tensor::from_f32(&[4], vec![1.0, 1.0, 1.0, 2.0]);
        let bias = Tensor::from_f32(&[4], vec![0.0, 10.0, 0.5, 0.5]);
        let y = group_norm(&Device::cpu(), &x, 2, &weight, &bias, 1e-9);
        let (far, near) = (1.341_640_8f32, 0.447_213_6f32);
        let expected = [-far, 10.0 - near, 0.5, 0.5, near, 10.0 + far, 0.5, 0.5];
        for (got, want) in y.f32s().iter().zip(expected) {
            assert!((got - want).abs() < 1e-5, "{got} {want}");
        }
    }
}
