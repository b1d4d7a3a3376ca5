//! `y = σ(gate) · a + (1 − σ(gate)) · b`: two features, mixed as a third says.

use super::{
    Check, Choice, WG,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel},
    tensor::Tensor,
    testing::normal,
};

const KERNELS: [Kernel; 1] = [Kernel::new("blend", Geometry::elements(WG))];

/// A sigmoid, a difference, a product and a sum of each number.
fn analysis(a: &[usize]) -> Analysis {
    Analysis::writes(a).reads([a; 3]).operations_each(4)
}

/// Mixes; all three have one shape.
pub fn blend(device: &Device, a: &Tensor, b: &Tensor, gate: &Tensor) -> Tensor {
    assert!(a.count() == b.count() && a.count() == gate.count());
    let shapes = [a, b, gate].map(Tensor::shape);
    let shape = device.call("blend", &shapes, analysis(a.shape()));
    match device {
        Device::Cpu(_) => {
            let mix = |((a, b), gate): ((&f32, &f32), &f32)| b + (a - b) / (1.0 + (-gate).exp());
            let values = a.f32s().iter().zip(b.f32s()).zip(gate.f32s()).map(mix);
            Tensor::from_f32(&shape, values.collect())
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let Some(kernel) = gpu.choose(KERNELS) else {
                let inputs = [a, b, gate].map(Input::Floats);
                return on_host(gpu, "blend", &inputs, y, |cpu, x, _| {
                    blend(cpu, &x[0], &x[1], &x[2])
                });
            };
            let count = a.count();
            let binds =
                [Bind::Read(1, a), Bind::Read(2, b), Bind::Read(3, gate), Bind::Write(4, &y)];
            gpu.dispatch(&kernel, &[count as u32], &binds, [count, 1]);
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("blend", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    vec![Check::new("blend", |device| {
        let tensor = |seed| device.upload(&[5, 33], normal(seed, 165));
        // Gates that reach both ends.
        let mut gates = normal(3, 165);
        gates[..4].copy_from_slice(&[100.0, -100.0, 1e4, -1e4]);
        vec![blend(device, &tensor(1), &tensor(2), &device.upload(&[5, 33], gates))]
    })]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_opens_and_closes() {
        let a = Tensor::from_f32(&[4], vec![1.0; 4]);
        let b = Tensor::from_f32(&[4], vec![5.0; 4]);
        // σ(ln 3) = 3/4.
        let gate = Tensor::from_f32(&[4], vec![50.0, -50.0, 0.0, 3.0f32.ln()]);
        let y = blend(&Device::cpu(), &a, &b, &gate);
        for (got, want) in y.f32s().iter().zip([1.0, 5.0, 3.0, 2.0]) {
            assert!((got - want).abs() < 1e-6, "{got} for {want}");
        }
    }
}
