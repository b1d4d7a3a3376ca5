//! `x / √(mean(x²) + eps) · weight` over rows (Zhang and Sennrich 2019).

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

const KERNELS: [Kernel; 4] = Kernel::new("norm", Geometry::rows(WG)).with("RMS", 1).for_rows();

/// Of each number: square and sum for the mean, and two products.
fn analysis(x: &[usize]) -> Analysis {
    Analysis::writes(x).reads([x, &x[x.len() - 1..]]).operations_each(4)
}

/// Normalises the rows of `x: [.., C]` with `weight: [C]`.
pub fn rms_norm(device: &Device, x: &Tensor, weight: &Tensor, eps: f32) -> Tensor {
    let columns = x.columns();
    assert_eq!(weight.count(), columns);
    let shape = device.call("rms_norm", &[x.shape(), weight.shape()], analysis(x.shape()));
    match device {
        Device::Cpu(_) => {
            let (of, gains) = (x, weight);
            let (x, weight) = (x.f32s(), weight.f32s());
            let mut values = vec![0.0; x.len()];
            threads::rows(&mut values, columns, 4 * columns, |first, values| {
                let rows = x[first * columns..].chunks_exact(columns);
                for (row, values) in rows.zip(values.chunks_exact_mut(columns)) {
                    let squares: f32 = row.iter().map(|x| x * x).sum();
                    let scale = 1.0 / (squares / columns as f32 + eps).sqrt();
                    let numbers = row.iter().zip(weight).map(|(x, w)| x * scale * w);
                    values.iter_mut().zip(numbers).for_each(|(value, number)| *value = number);
                }
            });
            let y = Tensor::from_f32(&shape, values);
            if let Some(tape) = device.tape() {
                let (x, weight) = (of.clone(), gains.clone());
                tape.note(&y, move |dy, to| {
                    to.add(&x, back(x.f32s(), weight.f32s(), eps, dy));
                });
            }
            y
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(KERNELS) else {
                let inputs = [x, weight].map(Input::Floats);
                return on_host(gpu, "rms_norm", &inputs, y, move |cpu, x, _| {
                    rms_norm(cpu, &x[0], &x[1], eps)
                });
            };
            let params = [x.rows() as u32, columns as u32, eps.to_bits()];
            let binds = [Bind::Read(1, x), Bind::Read(2, weight), Bind::Write(3, &y)];
            gpu.dispatch(&kernel, &params, &binds, [x.rows(), 1]);
            y
        }
    }
}

/// The gradient of `x`: with `s = 1 / √(mean(x²) + eps)` and `g = weight · dy` it is
/// `s · (g − x · s² · mean(g · x))`.
fn back(x: &[f32], weight: &[f32], eps: f32, dy: &[f32]) -> Vec<f32> {
    let columns = weight.len();
    let mut dx = vec![0.0; x.len()];
    threads::rows(&mut dx, columns, 8 * columns, |first, dx| {
        let at = first * columns;
        let rows = x[at..].chunks_exact(columns).zip(dy[at..].chunks_exact(columns));
        for (dx, (x, dy)) in dx.chunks_exact_mut(columns).zip(rows) {
            let squares: f32 = x.iter().map(|x| x * x).sum();
            let s = 1.0 / (squares / columns as f32 + eps).sqrt();
            let met: f32 = x.iter().zip(weight).zip(dy).map(|((x, w), dy)| x * w * dy).sum();
            let along = s * s * met / columns as f32;
            for (((dx, x), w), dy) in dx.iter_mut().zip(x).zip(weight).zip(dy) {
                *dx = s * (w * dy - x * along);
            }
        }
    });
    dx
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("rms_norm", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    // Of quiet rows, what is added to the mean of squares is the larger part.
    [(24, 1.0), (64, 1e-3), (576, 1.0)]
        .map(|(columns, size)| {
            Check::new(format!("rms_norm {columns}"), move |device| {
                let x = normal(1, 3 * columns).iter().map(|x| x * size).collect();
                let x = device.upload(&[3, columns], x);
                vec![rms_norm(device, &x, &device.upload(&[columns], normal(2, columns)), 1e-6)]
            })
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_get_a_root_mean_square_of_one() {
        let x = Tensor::from_f32(&[1, 2], vec![3.0, 4.0]);
        let weight = Tensor::from_f32(&[2], vec![1.0, 2.0]);
        let y = rms_norm(&Device::cpu(), &x, &weight, 0.0);
        // √((9 + 16) / 2) = 3.5355339.
        assert!(
            (y.f32s()[0] - 0.848_528_1).abs() < 1e-6 && (y.f32s()[1] - 2.262_741_7).abs() < 1e-6
        );
    }
    #[test]
    fn the_gradient_is_the_slope() {
        let weight = Tensor::from_f32(&[24], normal(2, 24));
        crate::device::check_gradients(&[(&[3, 24], normal(1, 72))], move |device, x| {
            rms_norm(device, &x[0], &weight, 0.1)
        });
    }
}
