//! `y = a · b`, element by element, where `b` repeats along the outer axes of `a`.

use super::{Check, WG, elements};
use crate::{
    device::{Bind, Device},
    tensor::Tensor,
    testing::normal,
};

/// Multiplies; the shape of `b` is that of `a`, or of its last axes.
pub fn multiply(device: &Device, a: &Tensor, b: &Tensor) -> Tensor {
    assert_eq!(a.count() % b.count(), 0, "{:?} · {:?}", a.shape(), b.shape());
    match device {
        Device::Cpu(_) => {
            let products = a.f32s().iter().zip(b.f32s().iter().cycle()).map(|(a, b)| a * b);
            Tensor::from_f32(a.shape(), products.collect())
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(a.shape());
            let count = a.count();
            gpu.dispatch(
                "multiply",
                &[("WG", WG)],
                &[count as u32, b.count() as u32],
                &[Bind::Read(1, a), Bind::Read(2, b), Bind::Write(3, &y)],
                elements(count),
            );
            y
        }
    }
}

pub(super) fn checks() -> Vec<Check> {
    let check = |name: &str, b_shape: &'static [usize]| {
        Check::new(name, move |device| {
            let count = b_shape.iter().product();
            let a = device.upload(&[5, 7, 9], normal(1, 315));
            vec![multiply(device, &a, &device.upload(b_shape, normal(2, count)))]
        })
    };
    vec![check("multiply", &[5, 7, 9]), check("multiply row", &[9])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_repeat() {
        let a = Tensor::from_f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let b = Tensor::from_f32(&[2], vec![10.0, -1.0]);
        assert_eq!(multiply(&Device::cpu(), &a, &b).f32s(), [10.0, -2.0, 30.0, -4.0]);
    }
}
