//! What a verdict is made of: all outputs of a case's inputs and, for a decoder, the logits of each
//! step of the decode that is timed. Of a very long prompt, its beginning is judged.

use super::{
    compare::Values,
    steps::{self, Steps},
};
use crate::{
    case::Case, device::Device, error::Result, models::Model, published::Inputs, tensor::Tensor,
};
use std::borrow::Cow;

/// Outputs on the host.
pub(super) struct Judged {
    /// By name: those of the model, and `decode_logits[0]` and so on.
    pub(super) values: Values,
    /// What else the steps of a decoder did.
    pub(super) steps: Option<Steps>,
}

/// Logits that are judged, at most: they are held four times, in the memory of a page that has 4 GiB for all.
pub(super) const MAX_LOGITS: usize = 1 << 22;

/// The inputs whose outputs are judged, and how many positions of each prompt that are, if not all: those of
/// the case or, where its logits would be more than `max` and nobody expects them, the beginning.
pub(super) fn judged<'a>(
    model: &dyn Model,
    case: &'a Case,
    max: usize,
) -> Result<(Cow<'a, Inputs>, Option<u32>)> {
    let whole = Cow::Borrowed(&case.inputs);
    let Some(decoder) = model.decoder() else { return Ok((whole, None)) };
    let ids = case.inputs.ids(decoder.prompt_input(), decoder.vocabulary())?;
    let positions = (max / (ids.batch * decoder.vocabulary())).max(1);
    // A prompt in which tokens stand for pictures cannot be cut.
    let is_cut = positions < ids.tokens && decoder.placeholder().is_none();
    if !is_cut || case.expected.outputs.contains_key("logits") {
        return Ok((whole, None));
    }
    let mask = match decoder.prompt_input() {
        "input_ids" => "attention_mask",
        _ => "decoder_attention_mask",
    };
    let mut inputs = case.inputs.clone();
    for name in [decoder.prompt_input(), mask] {
        inputs.keep_columns(name, positions);
    }
    Ok((Cow::Owned(inputs), Some(positions as u32)))
}

/// Computed in poisoned buffers: a kernel that does not run cannot leave old results behind.
pub(super) async fn checked(device: &Device, model: &dyn Model, inputs: &Inputs) -> Result<Judged> {
    let poison = match device {
        Device::Gpu(gpu) => Some(gpu.poison()),
        Device::Cpu(_) => None,
    };
    let recorded = record(device, model, inputs)?;
    drop(poison);
    recorded.fetch(device).await
}

/// The same in buffers as they are.
pub(super) async fn warm(device: &Device, model: &dyn Model, inputs: &Inputs) -> Result<Judged> {
    record(device, model, inputs)?.fetch(device).await
}

/// The same in f32 by `device`, where the steps of a decoder are rows of one pass without a cache
/// before it: nothing that a step relies on is taken for granted.
pub(super) async fn reference(
    device: &Device,
    model: &dyn Model,
    inputs: &Inputs,
) -> Result<Values> {
    let mut outputs = named(model.forward(device, inputs)?);
    if let Some(decoder) = model.decoder() {
        outputs.extend(steps::at_once(device, decoder, inputs)?);
    }
    let recorded = Recorded { outputs, steps: None };
    Ok(recorded.fetch(device).await?.values)
}

/// The outputs of one pass, and nothing else.
pub(super) async fn plain(device: &Device, model: &dyn Model, inputs: &Inputs) -> Result<Values> {
    let recorded = Recorded { outputs: named(model.forward(device, inputs)?), steps: None };
    Ok(recorded.fetch(device).await?.values)
}

type Outputs = Vec<(String, Tensor)>;

/// Outputs that are yet to be fetched.
struct Recorded {
    outputs: Outputs,
    steps: Option<steps::OnDevice>,
}

fn record(device: &Device, model: &dyn Model, inputs: &Inputs) -> Result<Recorded> {
    let mut outputs = named(model.forward(device, inputs)?);
    let mut steps = None;
    if let Some(decoder) = model.decoder() {
        let (logits, rest) = steps::one_by_one(device, decoder, inputs)?;
        outputs.extend(logits);
        steps = Some(rest);
    }
    Ok(Recorded { outputs, steps })
}

fn named(outputs: crate::models::Outputs) -> Outputs {
    outputs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect()
}

impl Recorded {
    /// Fetches everything at once: some browsers answer a read only every few milliseconds.
    async fn fetch(self, device: &Device) -> Result<Judged> {
        let (names, mut tensors): (Vec<String>, Vec<Tensor>) = self.outputs.into_iter().unzip();
        let shapes: Vec<_> = tensors.iter().map(|tensor| tensor.shape().to_vec()).collect();
        let (values, steps) = match (device, self.steps) {
            (Device::Gpu(gpu), Some(on_device)) => {
                tensors.extend(on_device.tensors().cloned());
                let mut words = gpu.read(&tensors.iter().collect::<Vec<_>>()).await?;
                let rest = words.split_off(names.len());
                let values = words.into_iter().map(bytemuck::cast_vec).collect();
                (values, Some(on_device.fetched(rest)))
            }
            (Device::Cpu(_), Some(on_device)) => {
                let words = on_device.tensors().map(|tensor| tensor.u32s().to_vec()).collect();
                (device.take(tensors).await?, Some(on_device.fetched(words)))
            }
            (_, None) => (device.take(tensors).await?, None),
        };
        let values = names.into_iter().zip(shapes.into_iter().zip(values)).collect();
        Ok(Judged { values, steps })
    }
}
