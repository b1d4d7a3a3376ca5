//! A decode step on a GPU, recorded once and replayed once a token; and the same step under tokens that
//! are forced on it, which is how it is judged.

use crate::{
    device::{CommandList, Device, Gpu},
    kv::Step,
    models::{Decoder, Rows, State},
    ops,
    tensor::Tensor,
};

/// A recorded step with what changes from one replay to the next.
pub(crate) struct RecordedStep<'a, T> {
    gpu: &'a Gpu,
    commands: CommandList<T>,
    emitted: Tensor,
    /// What replays read and write: buffers that are dropped are lent to others.
    _held: ([Tensor; 2], Option<Step>),
}

impl<'a, T> RecordedStep<'a, T> {
    /// Records `step`, which gives the token that follows `input: [1, 1]` and whatever else is wanted
    /// of each replay; there is room for `limit` tokens.
    pub(super) fn record(
        device: &Device,
        gpu: &'a Gpu,
        state: &State,
        input: Tensor,
        limit: usize,
        step: impl FnOnce(&Tensor) -> (Tensor, T),
    ) -> RecordedStep<'a, T> {
        let emitted = device.upload_u32(&[limit], vec![0; limit]);
        #[cfg(test)]
        let (next_input, nobodys) = Planted::in_place_of(device, &input);
        #[cfg(not(test))]
        let (next_input, nobodys) = (input.clone(), None);
        let counts = nobodys.as_ref().unwrap_or(state.cache.step());
        let commands = gpu.record(|| {
            let (token, wanted) = step(&input);
            ops::emit_token(gpu, &token, &next_input, &emitted, counts);
            wanted
        });
        #[cfg(test)]
        let commands = Planted::in_list(commands);
        RecordedStep { gpu, commands, emitted, _held: ([input, next_input], nobodys) }
    }

    /// The work of the step.
    pub(crate) fn commands(&self) -> &CommandList<T> {
        &self.commands
    }

    /// Runs the step after everything recorded before.
    pub(super) fn replay(&self) {
        self.gpu.replay(&self.commands);
    }

    /// What `step` wanted; it holds new values after every replay.
    fn wanted(&self) -> &T {
        self.commands.outputs()
    }

    /// The tokens so far, in the order in which they came.
    pub(super) fn emitted(&self) -> &Tensor {
        &self.emitted
    }
}

impl<'a> RecordedStep<'a, Tensor> {
    /// The step of greedy decoding behind the token `input: [1, 1]`, with room for `limit` tokens.
    pub(crate) fn greedy(
        device: &Device,
        gpu: &'a Gpu,
        decoder: &dyn Decoder,
        state: &State,
        input: Tensor,
        limit: usize,
    ) -> RecordedStep<'a, Tensor> {
        RecordedStep::record(device, gpu, state, input, limit, |input| {
            let logits = decoder.step(device, state, input, Rows { last: true, mask: None });
            let chosen = super::choose(device, &logits, None, ops::Sampling::Greedy, state);
            (chosen.clone(), chosen)
        })
    }
}

/// What came of steps under forced tokens.
pub(crate) struct ForcedSteps {
    /// Of each step, `[1, V]`.
    pub logits: Vec<Tensor>,
    /// Of each step, the token `[1]` that greedy sampling chose of its logits.
    pub chosen: Vec<Tensor>,
    /// The tokens `[n]` that the device counted as emitted; none on a CPU, where the host counts.
    pub emitted: Option<Tensor>,
}

impl ForcedSteps {
    /// A step behind each of `tokens`, the first of which follows what `state` holds. On a GPU it is
    /// the recorded step of [`super::generate`]: only the token that it emits is the host's.
    pub(crate) fn run(
        device: &Device,
        decoder: &dyn Decoder,
        state: &State,
        tokens: &[u32],
    ) -> ForcedSteps {
        let step = |input: &Tensor| {
            let logits = decoder.step(device, state, input, Rows { last: true, mask: None });
            let logits = logits.reshape(&[1, logits.count()]);
            let chosen = super::choose(device, &logits, None, ops::Sampling::Greedy, state);
            (logits, chosen)
        };
        match device {
            Device::Cpu(_) => {
                let (logits, chosen) = tokens
                    .iter()
                    .map(|token| {
                        let made = step(&device.upload_u32(&[1, 1], vec![*token]));
                        state.cache.advance(device, 1);
                        made
                    })
                    .unzip();
                ForcedSteps { logits, chosen, emitted: None }
            }
            Device::Gpu(gpu) => {
                let forced = device.upload_u32(&[1], vec![0]);
                let input = device.upload_u32(&[1, 1], vec![tokens[0]]);
                let recorded =
                    RecordedStep::record(device, gpu, state, input, tokens.len(), |input| {
                        (forced.clone(), step(input))
                    });
                // What follows the last token is forced on nobody.
                let following = tokens[1..].iter().copied().chain([0]);
                let (logits, chosen) = following
                    .map(|token| {
                        gpu.write(forced.buffer(), 0, &token.to_le_bytes());
                        recorded.replay();
                        state.cache.step().follow(1);
                        let (logits, chosen) = recorded.wanted();
                        (gpu.copy(logits), gpu.copy(chosen))
                    })
                    .unzip();
                ForcedSteps { logits, chosen, emitted: Some(recorded.emitted) }
            }
        }
    }
}

/// A fault of the recorded step, for tests of who notices.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// The dispatch of this number is left out of every replay.
    LostDispatch(usize),
    /// The position stays what it was.
    StalePosition,
    /// The next step reads the token of this one.
    StaleToken,
}

#[cfg(test)]
thread_local! {
    /// Dispatches of the step that was recorded last.
    pub(crate) static RECORDED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    /// The fault of the steps that are recorded next.
    pub(crate) static PLANTED: std::cell::Cell<Option<Planted>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
impl Planted {
    fn in_place_of(device: &Device, input: &Tensor) -> (Tensor, Option<Step>) {
        match PLANTED.get() {
            Some(Planted::StalePosition) => (input.clone(), Some(Step::new(device, 0))),
            Some(Planted::StaleToken) => (device.upload_u32(&[1, 1], vec![0]), None),
            _ => (input.clone(), None),
        }
    }

    fn in_list<T>(mut commands: CommandList<T>) -> CommandList<T> {
        RECORDED.set(commands.dispatches());
        if let Some(Planted::LostDispatch(at)) = PLANTED.get() {
            commands.leave_out(at);
        }
        commands
    }
}
