//! Index of the largest value of each row, the first of equals.

use super::Check;
use crate::{
    device::{Bind, Device},
    tensor::Tensor,
    testing::normal,
};

/// `[R]` indices from `x: [R, C]`.
pub fn argmax(device: &Device, x: &Tensor) -> Tensor {
    let rows = x.rows();
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
            Tensor::from_u32(&[rows], x.f32s().chunks_exact(x.columns()).map(largest).collect())
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&[rows]);
            gpu.dispatch(
                "argmax",
                &[("WG", 256)],
                &[x.columns() as u32],
                &[Bind::Read(1, x), Bind::Write(2, &y)],
                [rows as u32, 1, 1],
            );
            y
        }
    }
}

pub(super) fn checks() -> Vec<Check> {
    vec![Check::indices("argmax", |device| {
        let mut values = normal(3, 3 * 1000);
        // Equal values far apart, and a row whose largest is its last.
        (values[17], values[900], values[1999]) = (9.0, 9.0, 9.0);
        vec![argmax(device, &device.upload(&[3, 1000], values))]
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
