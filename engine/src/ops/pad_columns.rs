//! Zeros behind each row, for matrices whose columns do not fill their last chunk.

use super::{
    Check, Choice, WG,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel, numbers},
    tensor::Tensor,
    testing::normal,
};

const KERNELS: [Kernel; 1] = [Kernel::new("pad_columns", Geometry::elements(WG))];

/// Numbers are copied.
fn analysis(x: &[usize], columns: usize) -> Analysis {
    let rows = numbers(&x[..x.len() - 1]) as usize;
    Analysis::writes([rows, columns]).reads([x])
}

/// `[.., columns]` from `x: [.., C]` with `columns ≥ C`; `x` itself where they are equal.
pub fn pad_columns(device: &Device, x: &Tensor, columns: usize) -> Tensor {
    let from = x.columns();
    assert!(columns >= from);
    if columns == from {
        return x.clone();
    }
    let shape = device.call("pad_columns", &[x.shape()], analysis(x.shape(), columns));
    match device {
        Device::Cpu(_) => {
            let mut values = vec![0.0; shape[0] * columns];
            for (padded, row) in values.chunks_exact_mut(columns).zip(x.f32s().chunks_exact(from)) {
                padded[..from].copy_from_slice(row);
            }
            let y = Tensor::from_f32(&shape, values);
            if let Some(tape) = device.tape() {
                let x = x.clone();
                tape.note(&y, move |dy, to| {
                    let rows = dy.chunks_exact(columns);
                    to.add(&x, rows.flat_map(|row| &row[..from]).copied().collect());
                });
            }
            y
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(KERNELS) else {
                return on_host(gpu, "pad_columns", &[Input::Floats(x)], y, move |cpu, x, _| {
                    pad_columns(cpu, &x[0], columns)
                });
            };
            let params = [y.count(), from, columns].map(|n| n as u32);
            gpu.dispatch(&kernel, &params, &[Bind::Read(1, x), Bind::Write(2, &y)], [y.count(), 1]);
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("pad_columns", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    vec![Check::new("pad_columns", |device| {
        let x = device.upload(&[5, 24], normal(1, 5 * 24));
        vec![pad_columns(device, &x, 32)]
    })]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_end_in_zeros() {
        let x = Tensor::from_f32(&[2, 1], vec![1.0, 2.0]);
        assert_eq!(pad_columns(&Device::cpu(), &x, 3).f32s(), [1.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
    }
}
