//! `exp(x) / Σ exp(x)` over rows.

use super::{
    Check, Choice, WG,
    exp::exp_of_distances,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel},
    tensor::Tensor,
    testing::normal,
    threads,
};

const KERNELS: [Kernel; 4] = Kernel::new("softmax", Geometry::rows(WG)).for_rows();

/// Of each number: a comparison, a difference, `exp`, a sum and a product.
fn analysis(x: &[usize]) -> Analysis {
    Analysis::writes(x).reads([x]).operations_each(5)
}

/// Turns the rows of `x` into distributions.
pub fn softmax(device: &Device, x: &Tensor) -> Tensor {
    let columns = x.columns();
    let shape = device.call("softmax", &[x.shape()], analysis(x.shape()));
    match device {
        Device::Cpu(_) => {
            let mut values = x.f32s().to_vec();
            threads::rows(&mut values, columns, 16 * columns, |_, values| {
                for row in values.chunks_exact_mut(columns) {
                    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let scale = 1.0 / exp_of_distances(row, largest);
                    row.iter_mut().for_each(|x| *x *= scale);
                }
            });
            Tensor::from_f32(&shape, values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(KERNELS) else {
                return on_host(gpu, "softmax", &[Input::Floats(x)], y, |cpu, x, _| {
                    softmax(cpu, &x[0])
                });
            };
            let params = [x.rows(), columns].map(|n| n as u32);
            gpu.dispatch(&kernel, &params, &[Bind::Read(1, x), Bind::Write(2, &y)], [x.rows(), 1]);
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("softmax", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    // More rows than a dimension of a grid has workgroups, and rows wider than a workgroup.
    [(4, 5), (4, 300), (65_540, 2)]
        .map(|(rows, columns)| {
            Check::new(format!("softmax {rows}×{columns}"), move |device| {
                let x = normal(1, 1000).into_iter().cycle().take(rows * columns).map(|x| x * 20.0);
                vec![softmax(device, &device.upload(&[rows, columns], x.collect()))]
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
