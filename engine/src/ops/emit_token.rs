//! Closes a decode step on the GPU: the new token becomes the next input and joins the list of those
//! emitted, and one more position lies before the next step.

use super::{
    Choice,
    host::{Input, write_on_host},
};
use crate::{
    device::{Bind, Geometry, Gpu, Kernel},
    kv::Step,
    tensor::Tensor,
};

const KERNELS: [Kernel; 1] = [Kernel::new("emit_token", Geometry::elements(1))];

/// Writes the token `chosen: [1]` to `input: [1, 1]` and behind those in `emitted: [limit]`, and
/// raises the counts of `step`.
pub fn emit_token(gpu: &Gpu, chosen: &Tensor, input: &Tensor, emitted: &Tensor, step: &Step) {
    let step = step.tensor();
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
