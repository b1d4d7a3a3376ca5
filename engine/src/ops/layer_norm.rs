//! `(x − mean) / √(variance + eps) · weight + bias` over rows (Ba et al. 2016).

use super::{
    Check, Choice, WG,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel},
    tensor::Tensor,
    testing::normal,
    threads,
};

const KERNELS: [Kernel; 4] = Kernel::new("norm", Geometry::rows(WG)).for_rows();

/// Of each number: a sum for the mean; difference, square and sum for the variance; difference and
/// product; product and sum.
fn analysis(x: &[usize]) -> Analysis {
    let columns = &x[x.len() - 1..];
    Analysis::writes(x).reads([x, columns, columns]).operations_each(8)
}

/// Normalises the rows of `x: [.., C]` with `weight` and `bias: [C]`.
pub fn layer_norm(device: &Device, x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Tensor {
    let columns = x.columns();
    assert_eq!((weight.count(), bias.count()), (columns, columns));
    let shapes = [x, weight, bias].map(Tensor::shape);
    let shape = device.call("layer_norm", &shapes, analysis(x.shape()));
    match device {
        Device::Cpu(_) => {
            let [x, weight, bias] = [x, weight, bias].map(Tensor::f32s);
            let mut values = vec![0.0; x.len()];
            threads::rows(&mut values, columns, 8 * columns, |first, values| {
                let rows = x[first * columns..].chunks_exact(columns);
                for (row, values) in rows.zip(values.chunks_exact_mut(columns)) {
                    let mean = row.iter().sum::<f32>() / columns as f32;
                    let squares: f32 = row.iter().map(|x| (x - mean) * (x - mean)).sum();
                    let scale = 1.0 / (squares / columns as f32 + eps).sqrt();
                    let affine = weight.iter().zip(bias);
                    let numbers =
                        row.iter().zip(affine).map(|(x, (w, b))| (x - mean) * scale * w + b);
                    values.iter_mut().zip(numbers).for_each(|(value, number)| *value = number);
                }
            });
            Tensor::from_f32(&shape, values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(KERNELS) else {
                let inputs = [x, weight, bias].map(Input::Floats);
                return on_host(gpu, "layer_norm", &inputs, y, move |cpu, x, _| {
                    layer_norm(cpu, &x[0], &x[1], &x[2], eps)
                });
            };
            let params = [x.rows() as u32, columns as u32, eps.to_bits()];
            let binds =
                [Bind::Read(1, x), Bind::Read(2, weight), Bind::Write(3, &y), Bind::Read(4, bias)];
            gpu.dispatch(&kernel, &params, &binds, [x.rows(), 1]);
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("layer_norm", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    // Of quiet rows, what is added to the variance is the larger part.
    [(24, 3.0), (64, 1e-3), (200, 3.0)]
        .map(|(columns, size)| {
            Check::new(format!("layer_norm {columns}"), move |device| {
                let x = normal(1, 3 * columns).iter().map(|x| (x + 3.0) * size).collect();
                let [weight, bias] =
                    [2, 3].map(|seed| device.upload(&[columns], normal(seed, columns)));
                vec![layer_norm(device, &device.upload(&[3, columns], x), &weight, &bias, 1e-5)]
            })
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_get_mean_and_deviation() {
        let x = Tensor::from_f32(&[1, 4], vec![1.0, 2.0, 3.0, 4.0]);
        let weight = Tensor::from_f32(&[4], vec![1.0; 4]);
        let bias = Tensor::from_f32(&[4], vec![0.5; 4]);
        let y = layer_norm(&Device::cpu(), &x, &weight, &bias, 0.0);
        // Mean 2.5 and variance 1.25.
        for (got, want) in
            y.f32s().iter().zip([-1.341_640_8f32, -0.447_213_6, 0.447_213_6, 1.341_640_8])
        {
            assert!((got - want - 0.5).abs() < 1e-6);
        }
    }
}
