//! Rows of a tensor.

use super::{Check, WG, elements};
use crate::{
    device::{Bind, Device},
    tensor::Tensor,
    testing::normal,
};

/// `[I, C]` from `x: [R, C]` and `ids: [I]`. Ids must lie in `x`.
pub fn gather_rows(device: &Device, x: &Tensor, ids: &Tensor) -> Tensor {
    let columns = x.columns();
    let shape = [ids.count(), columns];
    match device {
        Device::Cpu(_) => {
            let row = |id: &u32| &x.f32s()[*id as usize * columns..(*id as usize + 1) * columns];
            Tensor::from_f32(&shape, ids.u32s().iter().flat_map(row).copied().collect())
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let count = y.count();
            gpu.dispatch(
                "gather_rows",
                &[("WG", WG)],
                &[count as u32, columns as u32],
                &[Bind::Read(1, x), Bind::Read(2, ids), Bind::Write(3, &y)],
                elements(count),
            );
            y
        }
    }
}

pub(super) fn checks() -> Vec<Check> {
    vec![Check::new("gather_rows", |device| {
        let x = device.upload(&[9, 33], normal(1, 9 * 33));
        vec![gather_rows(device, &x, &device.upload_u32(&[3], vec![8, 0, 4]))]
    })]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_may_repeat() {
        let x = Tensor::from_f32(&[2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let ids = Tensor::from_u32(&[3], vec![1, 1, 0]);
        assert_eq!(gather_rows(&Device::cpu(), &x, &ids).f32s(), [3.0, 4.0, 3.0, 4.0, 1.0, 2.0]);
    }
}
