//! Where the time of a pass goes, op by op: each call of a pass is timed for itself, so what its dispatches
//! hide behind each other counts for each, and the pass in one go is faster than the sum.

use crate::{
    device::{Call, Device, Gpu},
    error::Result,
    generate::{Kind, Pass, Passes},
    models::{Decoder, Model, Rows},
    ops,
    published::Inputs,
    stats::median,
    time::now_ms,
};
use record::{CallTrace, PassTrace, TimedBy};

/// Times that each pass is taken.
const ROUNDS: usize = 5;

/// A call with the kernels of its dispatches and its milliseconds.
type TimedCall = (Call, Vec<String>, f64);

/// The passes of a model: a forward pass, or of a decoder the one over the prompt and the one for a token
/// behind it. None where nothing tells the time.
pub(super) async fn passes(
    device: &Device,
    model: &dyn Model,
    inputs: &Inputs,
) -> Result<Vec<PassTrace>> {
    match (model.decoder(), device) {
        (_, Device::Gpu(gpu)) => {
            // Every replay of a step is one more token.
            let passes = Passes::open(device, gpu, model, inputs, 3 * ROUNDS)?;
            let mut traced = Vec::new();
            let traced_kinds = [Kind::Forward, Kind::Prompt, Kind::Step];
            for kind in passes.kinds().iter().filter(|kind| traced_kinds.contains(kind)) {
                let pass = passes.record(*kind)?;
                traced.extend(on_gpu(kind.name(), gpu, pass).await?);
            }
            Ok(traced)
        }
        (None, Device::Cpu(_)) => {
            Ok(vec![on_cpu("forward", device, || model.forward(device, inputs).map(drop))?])
        }
        (Some(decoder), Device::Cpu(_)) => decoder_on_cpu(device, decoder, inputs),
    }
}

fn decoder_on_cpu(
    device: &Device,
    decoder: &dyn Decoder,
    inputs: &Inputs,
) -> Result<Vec<PassTrace>> {
    let ids = inputs.ids(decoder.prompt_input(), decoder.vocabulary())?;
    let inputs = decoder.row(inputs, 0, ids.batch);
    let length = ids.tokens.min(decoder.positions().saturating_sub(3 * ROUNDS)).max(1);
    let prompt = device.upload_u32(&[1, length], ids.values[..length].to_vec());
    let state = decoder.begin(device, &inputs, length + 3 * ROUNDS)?;
    let rows = Rows { last: true, mask: None };
    let of_prompt = on_cpu("prompt", device, || {
        let logits = decoder.prefill(device, &state, &inputs, &prompt, rows)?;
        ops::argmax(device, &logits);
        Ok(())
    })?;
    state.cache.advance(device, length);
    let of_step = on_cpu("step", device, || {
        let input = device.upload_u32(&[1, 1], vec![0]);
        let logits = decoder.step(device, &state, &input, rows);
        ops::argmax(device, &logits);
        Ok(())
    })?;
    Ok(vec![of_prompt, of_step])
}

async fn on_gpu(name: &str, gpu: &Gpu, pass: Pass<'_>) -> Result<Option<PassTrace>> {
    let Pass { list, calls, .. } = &pass;
    gpu.prepare().await;
    gpu.spin_up().await?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let Some(timed) = gpu.time_each(list).await? else { return Ok(None) };
        rounds.push(timed);
    }
    let laps = gpu.laps();
    for _ in 0..ROUNDS {
        laps.start();
        gpu.replay(list);
    }
    let Some(whole) = laps.end().await? else { return Ok(None) };
    let mut timed: Vec<TimedCall> =
        calls.iter().map(|call| (call.clone(), Vec::new(), 0.0)).collect();
    for (at, dispatch) in rounds[0].iter().enumerate() {
        let times: Vec<f64> = rounds.iter().map(|round| round[at].ms).collect();
        // What comes before the first call is part of it.
        if let Some((_, kernels, ms)) = timed.get_mut(dispatch.noted.saturating_sub(1)) {
            kernels.push(format!("{:?}", dispatch.kernel));
            *ms += median(&times);
        }
    }
    Ok(Some(PassTrace {
        pass: name.to_owned(),
        by: TimedBy::Timestamps,
        ms: median(&whole),
        calls: gathered(timed),
    }))
}

fn on_cpu(pass: &str, device: &Device, run: impl Fn() -> Result<()>) -> Result<PassTrace> {
    let (mut rounds, mut whole, mut calls) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (trace, start) = (device.trace(), now_ms());
        run()?;
        let end = now_ms();
        let timed = trace.end_timed();
        // A call computes until the next one begins.
        let ends = timed.iter().skip(1).map(|(_, begun)| *begun).chain([end]);
        rounds
            .push(timed.iter().zip(ends).map(|((_, begun), end)| end - begun).collect::<Vec<_>>());
        whole.push(end - start);
        calls = timed;
    }
    let timed = calls.into_iter().enumerate().map(|(at, (call, _))| {
        let times: Vec<f64> = rounds.iter().map(|round| round[at]).collect();
        (call, Vec::new(), median(&times))
    });
    let calls = gathered(timed.collect());
    Ok(PassTrace { pass: pass.to_owned(), by: TimedBy::Batches, ms: median(&whole), calls })
}

/// Calls that are alike, together.
fn gathered(timed: Vec<TimedCall>) -> Vec<CallTrace> {
    let mut gathered: Vec<CallTrace> = Vec::new();
    for (call, kernels, ms) in timed {
        let alike = |other: &&mut CallTrace| {
            (other.op.as_str(), &other.inputs, &other.kernels) == (call.op, &call.inputs, &kernels)
        };
        match gathered.iter_mut().find(alike) {
            Some(other) => {
                other.calls += 1;
                other.ms += ms;
                other.cost += call.cost;
            }
            None => gathered.push(CallTrace {
                op: call.op.to_owned(),
                inputs: call.inputs,
                kernels,
                calls: 1,
                ms,
                cost: call.cost,
            }),
        }
    }
    gathered
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::generate::tests::{Chain, devices};

    /// Every call of a pass is in its trace, and so is its time.
    #[test]
    fn a_decoder_has_a_trace_of_its_prompt_and_its_step() {
        for device in devices() {
            let chain = Chain::new(&device);
            let mut inputs = Inputs::default();
            inputs.ints.insert("input_ids".to_owned(), (vec![1, 3], vec![0, 1, 2]));
            let passes = pollster::block_on(passes(&device, &chain, &inputs)).unwrap();
            let names: Vec<&str> = passes.iter().map(|pass| pass.pass.as_str()).collect();
            assert_eq!(names, ["prompt", "step"]);
            for PassTrace { by, ms, calls, .. } in &passes {
                let is_gpu = matches!(device, Device::Gpu(_));
                assert_eq!(*by == TimedBy::Timestamps, is_gpu);
                assert!(*ms > 0.0 && !calls.is_empty());
                assert!(calls.iter().all(|call| call.calls > 0 && call.ms >= 0.0));
                assert!(calls.iter().any(|call| call.cost.operations > 0));
                assert!(calls.iter().any(|call| call.kernels.is_empty() != is_gpu), "{calls:?}");
            }
        }
    }

    #[test]
    fn calls_that_are_alike_are_one_line() {
        let call = |op, rows| Call {
            op,
            inputs: vec![vec![rows, 4]],
            output: vec![rows, 4],
            cost: record::Cost { operations: 3, ..Default::default() },
        };
        let timed = vec![
            (call("add", 1), vec!["k".to_owned()], 1.0),
            (call("add", 2), vec!["k".to_owned()], 2.0),
            (call("add", 1), vec!["k".to_owned()], 4.0),
            (call("add", 1), vec!["other".to_owned()], 8.0),
        ];
        let lines = gathered(timed);
        let figures: Vec<_> =
            lines.iter().map(|line| (line.calls, line.ms, line.cost.operations)).collect();
        assert_eq!(figures, [(2, 5.0, 6), (1, 2.0, 3), (1, 8.0, 3)]);
    }
}
