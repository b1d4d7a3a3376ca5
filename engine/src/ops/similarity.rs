//! How alike vectors are: dot products between the rows of two tensors.

use super::{
    Check, Choice, WG,
    host::{Input, on_host},
    mean_pool,
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel},
    tensor::Tensor,
    testing::normal,
};

const KERNELS: [Kernel; 1] = [Kernel::new("similarity", Geometry::elements(WG))];

/// Of each output a product and a sum for each of K, and a product.
fn analysis(a: &[usize], b: &[usize]) -> Analysis {
    let [lead @ .., m, k] = a else { panic!("two axes wanted") };
    let output = [lead, &[*m, b[lead.len()]]].concat();
    Analysis::writes(output).reads([a, b]).operations_each(2 * *k as u64 + 1)
}

/// `[B, M, N]` from `a: [B, M, K]` and `b: [B, N, K]`: `scale · a[m] · b[n]`. Both may lack B.
pub fn similarity(device: &Device, a: &Tensor, b: &Tensor, scale: f32) -> Tensor {
    let axes = a.shape().len();
    let lead = &a.shape()[..axes - 2];
    assert_eq!((lead, a.columns()), (&b.shape()[..b.shape().len() - 2], b.columns()));
    let (m, n) = (a.shape()[axes - 2], b.shape()[axes - 2]);
    let shapes = [a.shape(), b.shape()];
    let shape = device.call("similarity", &shapes, analysis(a.shape(), b.shape()));
    match device {
        Device::Cpu(_) => {
            let columns = a.columns();
            let batches =
                a.f32s().chunks_exact(m * columns).zip(b.f32s().chunks_exact(n * columns));
            let mut values = Vec::with_capacity(shape.iter().product());
            for (a, b) in batches {
                for a in a.chunks_exact(columns) {
                    let dot = |b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
                    values.extend(b.chunks_exact(columns).map(|b| dot(b) * scale));
                }
            }
            Tensor::from_f32(&shape, values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(KERNELS) else {
                let inputs = [a, b].map(Input::Floats);
                return on_host(gpu, "similarity", &inputs, y, move |cpu, x, _| {
                    similarity(cpu, &x[0], &x[1], scale)
                });
            };
            let count = y.count();
            let mut params = [count, m, n, a.columns()].map(|n| n as u32).to_vec();
            params.push(scale.to_bits());
            let binds = [Bind::Read(1, a), Bind::Read(2, b), Bind::Write(3, &y)];
            gpu.dispatch(&kernel, &params, &binds, [count, 1]);
            y
        }
    }
}

/// The rows of `x`, each divided by its length.
pub fn unit_rows(device: &Device, x: &Tensor) -> Tensor {
    let rows = x.rows();
    // The mean of one token is the token, and the pooling knows how to divide by a length.
    let ones = device.upload(&[rows, 1], vec![1.0; rows]);
    mean_pool(device, &x.reshape(&[rows, 1, x.columns()]), &ones, true).reshape(x.shape())
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("similarity", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    vec![
        Check::new("similarity", |device| {
            let a = device.upload(&[2, 3, 70], normal(1, 2 * 3 * 70));
            let b = device.upload(&[2, 5, 70], normal(2, 2 * 5 * 70));
            vec![similarity(device, &a, &b, 14.3)]
        }),
        Check::new("unit_rows", |device| {
            vec![unit_rows(device, &device.upload(&[2, 3, 70], normal(1, 2 * 3 * 70)))]
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_meet_rows_of_their_batch() {
        let a = Tensor::from_f32(&[2, 1, 2], vec![1.0, 0.0, 0.0, 1.0]);
        let b = Tensor::from_f32(&[2, 2, 2], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let y = similarity(&Device::cpu(), &a, &b, 10.0);
        assert_eq!(y.shape(), [2, 1, 2]);
        assert_eq!(y.f32s(), [10.0, 30.0, 60.0, 80.0]);
    }

    #[test]
    fn rows_get_length_one() {
        let x = Tensor::from_f32(&[2, 2], vec![3.0, 4.0, 0.0, -2.0]);
        assert_eq!(unit_rows(&Device::cpu(), &x).f32s(), [0.6, 0.8, 0.0, -1.0]);
    }
}
