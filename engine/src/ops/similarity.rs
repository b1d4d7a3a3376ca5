//! Dot products of every row with every row, and rows of length 1: cosines between embeddings.

use super::{Check, WG, elements, mean_pool};
use crate::{
    device::{Bind, Device},
    tensor::Tensor,
    testing::normal,
};

/// `[M, N]` from `a: [M, C]` and `b: [N, C]`: `scale · a · bᵀ`.
pub fn similarity(device: &Device, a: &Tensor, b: &Tensor, scale: f32) -> Tensor {
    let columns = a.columns();
    assert_eq!(columns, b.columns());
    let shape = [a.rows(), b.rows()];
    match device {
        Device::Cpu(_) => {
            let b = b.f32s();
            let dots = a.f32s().chunks_exact(columns).flat_map(|a| {
                b.chunks_exact(columns)
                    .map(move |b| scale * a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>())
            });
            Tensor::from_f32(&shape, dots.collect())
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let count = y.count();
            gpu.dispatch(
                "similarity",
                &[("WG", WG)],
                &[count as u32, shape[1] as u32, columns as u32, scale.to_bits()],
                &[Bind::Read(1, a), Bind::Read(2, b), Bind::Write(3, &y)],
                elements(count),
            );
            y
        }
    }
}

/// The rows of `x: [R, C]`, each divided by its length.
pub fn unit_rows(device: &Device, x: &Tensor) -> Tensor {
    let (rows, columns) = (x.rows(), x.columns());
    let ones = device.upload(&[rows, 1], vec![1.0; rows]);
    mean_pool(device, &x.reshape(&[rows, 1, columns]), &ones, true).reshape(x.shape())
}

pub(super) fn checks() -> Vec<Check> {
    vec![Check::new("similarity", |device| {
        let a = unit_rows(device, &device.upload(&[3, 70], normal(1, 3 * 70)));
        let b = unit_rows(device, &device.upload(&[23, 70], normal(2, 23 * 70)));
        vec![similarity(device, &a, &b, 14.3)]
    })]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_scaled() {
        let device = Device::cpu();
        let a = unit_rows(&device, &Tensor::from_f32(&[2, 2], vec![3.0, 4.0, 0.0, 2.0]));
        let b = Tensor::from_f32(&[1, 2], vec![0.0, 1.0]);
        let y = similarity(&device, &a, &b, 10.0);
        assert_eq!(y.shape(), [2, 1]);
        for (got, want) in y.f32s().iter().zip([8.0, 10.0]) {
            assert!((got - want).abs() < 1e-5, "{got} for {want}");
        }
    }
}
