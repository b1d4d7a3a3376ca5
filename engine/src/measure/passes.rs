//! Times passes: how long a forward pass takes, or for decoders the pass over the prompt.

use super::yardstick;
use crate::{
    device::Device,
    embedder::Embedder,
    error::Result,
    models::{Model, Rows},
    ops,
    published::Inputs,
    stats,
};
use record::{RunRequest, Timing};

/// Warm-up goes on for so long where one pass takes less: browsers run new code slowly at first, and
/// a cell that runs alone must be as warm as one in the middle of a matrix.
const WARM_UP_MS: f64 = 20.0;
/// Most passes of a warm-up.
const MAX_WARM_UP: u32 = 50;

/// Warms up and takes the samples.
pub(super) async fn measure(
    device: &Device,
    model: &dyn Model,
    inputs: &Inputs,
    request: &RunRequest,
    embedder: &dyn Embedder,
    timing: &mut Timing,
) -> Result<()> {
    let pass = async || timed(device, model, inputs, embedder).await;
    let start = embedder.now();
    let mut done = 0;
    while done < request.warmup
        || (done < MAX_WARM_UP && embedder.now() - start < WARM_UP_MS && request.warmup > 0)
    {
        pass().await?;
        done += 1;
    }
    spin_up(device).await?;
    let laps = match device {
        Device::Gpu(gpu) => Some(gpu.laps()),
        Device::Cpu(_) => None,
    };
    let start = embedder.now();
    while wants_more(request, timing.samples_ms.len(), embedder.now() - start) {
        if let Some(laps) = &laps {
            laps.start();
        }
        timing.samples_ms.push(pass().await?);
        timing.yardstick_ms.extend(yardstick::read(device, embedder));
    }
    if let Some(laps) = laps
        && let Some(samples) = laps.end().await?
    {
        timing.gpu_median_ms = Some(stats::median(&samples));
        timing.gpu_samples_ms = samples;
    }
    timing.median_ms = stats::median(&timing.samples_ms);
    timing.ci95_ms = stats::median_ci95(&timing.samples_ms);
    let first_ms = timing.load.map_or(0.0, |load| load.first_pass_ms);
    timing.compile_ms = (first_ms - timing.median_ms).max(0.0);
    Ok(())
}

/// Brings the clock of a GPU up.
pub(super) async fn spin_up(device: &Device) -> Result<()> {
    match device {
        Device::Gpu(gpu) => gpu.spin_up().await,
        Device::Cpu(_) => Ok(()),
    }
}

/// Whether another pass is to be measured after `passes` that took `elapsed_ms` together.
fn wants_more(request: &RunRequest, passes: usize, elapsed_ms: f64) -> bool {
    let is_quick = elapsed_ms < request.quick_ms && passes < request.repeat_quick as usize;
    passes < request.repeat.max(1) as usize || is_quick
}

/// One measured pass, until its result is on the host: all outputs, or for decoders the first new
/// token.
pub(super) async fn timed(
    device: &Device,
    model: &dyn Model,
    inputs: &Inputs,
    embedder: &dyn Embedder,
) -> Result<f64> {
    let start = embedder.now();
    match model.decoder() {
        Some(decoder) => {
            let ids = inputs.ids(decoder.prompt_input(), decoder.vocabulary())?;
            let mask = decoder.prompt_mask(inputs, &ids)?;
            let mask = mask.map(|mask| device.upload(&[ids.batch, ids.tokens], mask));
            let state = decoder.begin(device, inputs, ids.tokens)?;
            let rows = Rows { last: true, mask: mask.as_ref() };
            let logits = decoder.prefill(device, &state, inputs, &ids.upload(device), rows)?;
            device.read_u32(&ops::argmax(device, &logits)).await?;
        }
        None => {
            let outputs = model.forward(device, inputs)?;
            device.take(outputs.into_iter().map(|(_, tensor)| tensor).collect()).await?;
        }
    }
    Ok(embedder.now() - start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Axes, Backend, Bits, Browser, Cell, Class, Precision};

    #[test]
    fn a_quick_cell_is_measured_more_often() {
        let request = |repeat| RunRequest {
            cell: Cell {
                class: Class::Bert,
                case: "a case".to_owned(),
                precision: Precision::of(Bits::Fixed(4)),
                backend: Backend::Wasm,
                browser: Browser::Chrome,
                axes: Axes::default(),
            },
            case_url: "unused".to_owned(),
            files: Vec::new(),
            repeat,
            repeat_quick: 10,
            quick_ms: 100.0,
            warmup: 0,
            max_new_tokens: None,
            lower_to: None,
            trace: false,
            tuning: None,
            tuning_ms: 0.0,
        };
        let passes = |each_ms: f64| {
            let is_last =
                |passes: &usize| !wants_more(&request(3), *passes, *passes as f64 * each_ms);
            (0..).find(is_last).unwrap()
        };
        assert_eq!([0.1, 5.0, 20.0, 100.0, 9e9].map(passes), [10, 10, 5, 3, 3]);
        assert!(wants_more(&request(20), 19, 9e9) && !wants_more(&request(20), 20, 0.0));
    }
}
