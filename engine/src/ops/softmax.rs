//! `exp(x) / Σ exp(x)` over rows.

use super::{Check, WG, subgroups};
use crate::{
    device::{Bind, Device, grid},
    tensor::Tensor,
    testing::normal,
};

/// Turns the rows of `x` into distributions.
pub fn softmax(device: &Device, x: &Tensor) -> Tensor {
    let columns = x.columns();
    match device {
        Device::Cpu(_) => {
            let mut values = x.f32s().to_vec();
            for row in values.chunks_exact_mut(columns) {
                let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                row.iter_mut().for_each(|x| *x = (*x - largest).exp());
                let scale = 1.0 / row.iter().sum::<f32>();
                row.iter_mut().for_each(|x| *x *= scale);
            }
            Tensor::from_f32(x.shape(), values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(x.shape());
            gpu.dispatch(
                "softmax",
                &[("WG", WG), subgroups(gpu)],
                &[x.rows() as u32, columns as u32],
                &[Bind::Read(1, x), Bind::Write(2, &y)],
                grid(x.rows()),
            );
            y
        }
    }
}

pub(super) fn checks() -> Vec<Check> {
    [5, 300]
        .map(|columns| {
            Check::new(format!("softmax {columns}"), move |device| {
                let x = normal(1, 4 * columns).iter().map(|x| x * 20.0).collect();
                vec![softmax(device, &device.upload(&[4, columns], x))]
            })
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_distributions() {
        let x = Tensor::from_f32(&[2, 2], vec![0.0, 3.0f32.ln(), 1000.0, 1000.0]);
        let y = softmax(&Device::cpu(), &x);
        for (got, want) in y.f32s().iter().zip([0.25, 0.75, 0.5, 0.5]) {
            assert!((got - want).abs() < 1e-6);
        }
    }
}
