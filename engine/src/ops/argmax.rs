//! Index of the largest value of each row, the first of equals.

use super::{
    Check, Choice,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel, numbers},
    tensor::Tensor,
    testing::normal,
};

const WIDE: Kernel = Kernel::new("argmax", Geometry::rows(256));
const KERNELS: [Kernel; 2] = [WIDE.narrow(), WIDE];

/// A comparison of each number.
fn analysis(x: &[usize]) -> Analysis {
    Analysis::writes([numbers(&x[..x.len() - 1]) as usize]).reads([x]).operations(numbers(x))
}

/// `[R]` indices from `x: [R, C]`.
pub fn argmax(device: &Device, x: &Tensor) -> Tensor {
    let rows = x.rows();
    let shape = device.call("argmax", &[x.shape()], analysis(x.shape()));
    match device {
        Device::Cpu(_) => {
            let largest = |row: &[f32]| {
                let mut best = 0;
                for (i, value) in row.iter().enumerate() {
                    if *value > row[best] {
                        best = i;
                    }
                }
                best as u32
            };
            Tensor::from_u32(&shape, x.f32s().chunks_exact(x.columns()).map(largest).collect())
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(KERNELS) else {
                return on_host(gpu, "argmax", &[Input::Floats(x)], y, |cpu, x, _| {
                    argmax(cpu, &x[0])
                });
            };
            let params = [rows, x.columns()].map(|n| n as u32);
            gpu.dispatch(&kernel, &params, &[Bind::Read(1, x), Bind::Write(2, &y)], [rows, 1]);
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("argmax", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    vec![Check::indices("argmax", |device| {
        let mut values = normal(3, 3 * 2500);
        // Equal values of one invocation and of another, a row whose largest is its last, and one whose
        // largest is among the last that an invocation sees at once.
        for at in [17, 17 + 256, 17 + 3 * 256, 900, 4999, 5000 + 1044] {
            values[at] = 9.0;
        }
        vec![argmax(device, &device.upload(&[3, 2500], values))]
    })]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equals_wins() {
        let x = Tensor::from_f32(&[2, 3], vec![1.0, 5.0, 5.0, -2.0, -3.0, -1.0]);
        assert_eq!(argmax(&Device::cpu(), &x).u32s(), [1, 2]);
    }
}
