//! Rows of a tensor.

use super::{
    Check, Choice, WG,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel, numbers},
    tensor::Tensor,
    testing::normal,
};

const KERNELS: [Kernel; 1] = [Kernel::new("gather_rows", Geometry::elements(WG))];

/// Only the rows that are taken are read.
fn analysis(x: &[usize], ids: &[usize]) -> Analysis {
    let rows = [numbers(ids) as usize, x[x.len() - 1]];
    Analysis::writes(rows).reads([&rows, ids])
}

/// `[I, C]` from `x: [R, C]` and `ids: [I]`. Ids must lie in `x`.
pub fn gather_rows(device: &Device, x: &Tensor, ids: &Tensor) -> Tensor {
    let columns = x.columns();
    let analysis = analysis(x.shape(), ids.shape());
    let shape = device.call("gather_rows", &[x.shape(), ids.shape()], analysis);
    match device {
        Device::Cpu(_) => {
            let row = |id: &u32| &x.f32s()[*id as usize * columns..(*id as usize + 1) * columns];
            Tensor::from_f32(&shape, ids.u32s().iter().flat_map(row).copied().collect())
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(KERNELS) else {
                let inputs = [Input::Floats(x), Input::Indices(ids)];
                return on_host(gpu, "gather_rows", &inputs, y, |cpu, x, _| {
                    gather_rows(cpu, &x[0], &x[1])
                });
            };
            let params = [y.count(), columns].map(|n| n as u32);
            let binds = [Bind::Read(1, x), Bind::Read(2, ids), Bind::Write(3, &y)];
            gpu.dispatch(&kernel, &params, &binds, [y.count(), 1]);
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("gather_rows", "", KERNELS)]
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
