//! `y = x + table[position]`: learnt positions of the tokens behind a cache.

use super::{
    Check, Choice, WG,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel},
    kv::Step,
    tensor::Tensor,
    testing::normal,
};

const KERNELS: [Kernel; 1] = [Kernel::new("add_positions", Geometry::elements(WG))];

/// A sum of each number. The table is read from the first token's position to the last's.
fn analysis(x: &[usize]) -> Analysis {
    Analysis::writes(x).reads([x, &x[1..]]).operations_each(1)
}

/// Adds rows of `table: [P, C]` to the tokens of `x: [B, T, C]`, whose positions follow those of
/// `step`. The caller sees to it that the table has them.
pub fn add_positions(device: &Device, x: &Tensor, table: &Tensor, step: &Step) -> Tensor {
    let [_, tokens, columns] = x.shape()[..] else { panic!("three axes wanted") };
    assert_eq!(table.columns(), columns);
    let shape = device.call("add_positions", &[x.shape(), table.shape()], analysis(x.shape()));
    match device {
        Device::Cpu(_) => {
            let first = step.position() * columns;
            let rows = &table.f32s()[first..first + tokens * columns];
            let sums = x.f32s().iter().zip(rows.iter().cycle()).map(|(x, row)| x + row);
            Tensor::from_f32(&shape, sums.collect())
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let step = step.tensor();
            let Some(kernel) = gpu.choose(KERNELS) else {
                let inputs = [Input::Floats(x), Input::Floats(table), Input::Indices(step)];
                return on_host(gpu, "add_positions", &inputs, y, |cpu, x, _| {
                    add_positions(cpu, &x[0], &x[1], &Step::fetched(&x[2]))
                });
            };
            let count = x.count();
            let params = [count, tokens, columns].map(|n| n as u32);
            let binds =
                [Bind::Read(1, x), Bind::Read(2, table), Bind::Read(3, step), Bind::Write(4, &y)];
            gpu.dispatch(&kernel, &params, &binds, [count, 1]);
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("add_positions", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    [0, 11]
        .map(|before| {
            Check::new(format!("add_positions after {before}"), move |device| {
                let step = Step::new(device, before);
                let x = device.upload(&[2, 5, 33], normal(1, 330));
                let table = device.upload(&[16, 33], normal(2, 16 * 33));
                vec![add_positions(device, &x, &table, &step)]
            })
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_go_on_behind_the_cache() {
        let device = Device::cpu();
        let x = Tensor::from_f32(&[2, 1, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let table = Tensor::from_f32(&[3, 2], vec![0.0, 0.0, 0.0, 0.0, 10.0, 20.0]);
        let y = add_positions(&device, &x, &table, &Step::new(&device, 2));
        assert_eq!(y.f32s(), [11.0, 22.0, 13.0, 24.0]);
    }
}
