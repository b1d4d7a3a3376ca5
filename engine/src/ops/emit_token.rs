//! Closes a decode step on the GPU: the new token becomes the next input and joins the list of those
//! emitted, and one more position lies before the next step.

use super::{
    Check, Choice,
    host::{Input, write_on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Gpu, Kernel},
    kv::Step,
    tensor::Tensor,
};

const KERNELS: [Kernel; 1] = [Kernel::new("emit_token", Geometry::elements(1))];

/// A token to two places, and two sums.
fn analysis() -> Analysis {
    Analysis::writes([4]).reads([&[1], &[2]]).operations(2)
}

/// Writes the token `chosen: [1]` to `input: [1, 1]` and behind those in `emitted: [limit]`, and
/// raises the counts of `step`.
pub fn emit_token(gpu: &Gpu, chosen: &Tensor, input: &Tensor, emitted: &Tensor, step: &Step) {
    let step = step.tensor();
    let shapes = [chosen, input, emitted, step].map(Tensor::shape);
    gpu.notes().call("emit_token", &shapes, analysis());
    let Some(kernel) = gpu.choose(KERNELS) else {
        let inputs = [chosen, emitted, step].map(Input::Indices);
        return write_on_host(gpu, "emit_token", &inputs, &[input, emitted, step], |_, x, _| {
            let [chosen, emitted, step] = [0, 1, 2].map(|i| x[i].u32s());
            let mut list = emitted.to_vec();
            if let Some(place) = list.get_mut(step[1] as usize) {
                *place = chosen[0];
            }
            vec![
                Tensor::from_u32(&[1], chosen.to_vec()),
                Tensor::from_u32(&[list.len()], list),
                Tensor::from_u32(&[2], vec![step[0] + 1, step[1] + 1]),
            ]
        });
    };
    let binds = [
        Bind::Read(1, chosen),
        Bind::Write(2, input),
        Bind::Write(3, emitted),
        Bind::Write(4, step),
    ];
    gpu.dispatch(&kernel, &[], &binds, [1, 1]);
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("emit_token", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    // Three tokens into a list of two: the third must not be written beyond it.
    let (tokens, before) = ([7, 9, 11], 5);
    vec![Check::indices("emit_token", move |device| match device {
        Device::Cpu(_) => vec![
            Tensor::from_u32(&[1], vec![tokens[2]]),
            Tensor::from_u32(&[2], tokens[..2].to_vec()),
            Tensor::from_u32(&[2], vec![before + 3, 3]),
        ],
        Device::Gpu(gpu) => {
            let input = device.upload_u32(&[1], vec![0]);
            let emitted = device.upload_u32(&[2], vec![0; 2]);
            let step = Step::new(device, before as usize);
            for token in tokens {
                let chosen = device.upload_u32(&[1], vec![token]);
                emit_token(gpu, &chosen, &input, &emitted, &step);
            }
            vec![input, emitted, step.into_tensor()]
        }
    })]
}
