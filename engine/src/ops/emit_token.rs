//! Closes a decode step on the device: the new token becomes the next input and joins the list of
//! tokens, and one more position lies before the next step.

use super::Check;
use crate::{
    device::{Bind, Device, Gpu},
    kv::Step,
    tensor::Tensor,
};

/// Puts `chosen: [1]` into `input: [1]` and behind what `emitted: [limit]` holds, and raises both
/// counts of `step`. In main memory the host does all this itself.
pub fn emit_token(gpu: &Gpu, chosen: &Tensor, input: &Tensor, emitted: &Tensor, step: &Tensor) {
    gpu.dispatch(
        "emit_token",
        &[],
        &[],
        &[
            Bind::Read(1, chosen),
            Bind::Write(2, input),
            Bind::Write(3, emitted),
            Bind::Write(4, step),
        ],
        [1, 1, 1],
    );
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
                emit_token(gpu, &chosen, &input, &emitted, step.tensor());
            }
            vec![input, emitted, step.into_tensor()]
        }
    })]
}
