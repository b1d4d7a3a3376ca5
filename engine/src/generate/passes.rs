//! The passes of a model on a GPU as recorded work: a forward pass, or of a decoder the one over its prompts and
//! the one for a token behind them. They can be recorded again and again, by other kernels each time.

use super::RecordedStep;
use crate::{
    device::{Call, CommandList, Device, Faced, Gpu},
    error::Result,
    models::{Decoder, Model, Rows, State},
    ops,
    published::Inputs,
    tensor::Tensor,
};
use std::rc::Rc;

/// A pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of a model that is no decoder.
    Forward,
    /// What all tokens of a text share, such as an encoder's.
    Begin,
    /// Over the first prompt.
    Prompt,
    /// Over all prompts, where there are several.
    Prompts,
    /// For a token behind the first prompt.
    Step,
}

impl Kind {
    /// What records call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Forward => "forward",
            Kind::Begin => "begin",
            Kind::Prompt => "prompt",
            Kind::Prompts => "prompts",
            Kind::Step => "step",
        }
    }
}

/// Recorded work, the calls of ops that it consists of, and the kernels that these could have.
pub(crate) struct Pass<'a> {
    pub(crate) list: CommandList<()>,
    pub(crate) calls: Vec<Call>,
    pub(crate) faced: Vec<Faced>,
    /// What the list touches.
    _held: Box<dyn Held + 'a>,
}

trait Held {}
impl<T> Held for T {}

/// What the passes of a model are recorded from.
pub(crate) struct Passes<'a> {
    device: &'a Device,
    gpu: &'a Rc<Gpu>,
    model: &'a dyn Model,
    inputs: &'a Inputs,
    prompts: Vec<Prompts>,
    room: usize,
}

/// Prompts of a decoder, and what it remembers.
struct Prompts {
    inputs: Inputs,
    ids: Tensor,
    mask: Option<Tensor>,
    state: State,
    tokens: usize,
}

impl<'a> Passes<'a> {
    /// There is room for so many replays of a step.
    pub(crate) fn open(
        device: &'a Device,
        gpu: &'a Rc<Gpu>,
        model: &'a dyn Model,
        inputs: &'a Inputs,
        room: usize,
    ) -> Result<Passes<'a>> {
        let mut prompts = Vec::new();
        if let Some(decoder) = model.decoder() {
            let ids = inputs.ids(decoder.prompt_input(), decoder.vocabulary())?;
            let tokens = ids.tokens.min(decoder.positions().saturating_sub(room)).max(1);
            let first = decoder.row(inputs, 0, ids.batch);
            prompts.push(Prompts {
                state: decoder.begin(device, &first, tokens + room)?,
                inputs: first,
                ids: device.upload_u32(&[1, tokens], ids.values[..tokens].to_vec()),
                mask: None,
                tokens,
            });
            if ids.batch > 1 {
                let mask = decoder.prompt_mask(inputs, &ids)?;
                prompts.push(Prompts {
                    state: decoder.begin(device, inputs, ids.tokens)?,
                    inputs: inputs.clone(),
                    ids: ids.upload(device),
                    mask: mask.map(|mask| device.upload(&[ids.batch, ids.tokens], mask)),
                    tokens: ids.tokens,
                });
            }
        }
        Ok(Passes { device, gpu, model, inputs, prompts, room })
    }

    /// The passes that there are.
    pub(crate) fn kinds(&self) -> &'static [Kind] {
        match self.prompts.len() {
            0 => &[Kind::Forward],
            1 => &[Kind::Begin, Kind::Prompt, Kind::Step],
            _ => &[Kind::Begin, Kind::Prompt, Kind::Prompts, Kind::Step],
        }
    }

    /// Records a pass, behind whatever it has to stand behind: until another one is recorded, it can be replayed.
    pub(crate) fn record(&self, kind: Kind) -> Result<Pass<'_>> {
        let Passes { device, gpu, model, inputs, .. } = self;
        let decoder = model.decoder();
        match (kind, decoder, &self.prompts[..]) {
            (Kind::Begin, Some(decoder), [.., all]) => {
                self.recorded(|| decoder.begin(device, &all.inputs, all.tokens))
            }
            (Kind::Prompts, Some(decoder), [_, all]) => self.prompt(decoder, all),
            (Kind::Prompt, Some(decoder), [first, ..]) => self.prompt(decoder, first),
            (Kind::Step, Some(decoder), [first, ..]) => {
                first.state.cache.step().set(device, first.tokens, 0);
                let input = device.upload_u32(&[1, 1], vec![0]);
                let (state, room) = (&first.state, self.room);
                self.noted(
                    || Ok(RecordedStep::greedy(device, gpu, decoder, state, input, room)),
                    |step| step.commands().part_of_all(),
                )
            }
            _ => self.recorded(|| model.forward(device, inputs)),
        }
    }

    fn prompt<'b>(&'b self, decoder: &'b dyn Decoder, prompts: &'b Prompts) -> Result<Pass<'b>> {
        let Prompts { inputs, ids, mask, state, .. } = prompts;
        state.cache.step().set(self.device, 0, 0);
        let rows = Rows { last: true, mask: mask.as_ref() };
        self.recorded(|| {
            let logits = decoder.prefill(self.device, state, inputs, ids, rows)?;
            Ok(ops::argmax(self.device, &logits))
        })
    }

    /// Records what may be refused before it is.
    fn recorded<'b, T: 'b>(&'b self, run: impl FnOnce() -> Result<T>) -> Result<Pass<'b>> {
        let record = || {
            let list = self.gpu.record(run);
            list.outputs().as_ref().map(drop).map_err(Clone::clone)?;
            Ok(list)
        };
        self.noted(record, CommandList::part_of_all)
    }

    /// Records, and notes what is recorded.
    fn noted<'b, T: 'b>(
        &'b self,
        record: impl FnOnce() -> Result<T>,
        list: impl FnOnce(&T) -> CommandList<()>,
    ) -> Result<Pass<'b>> {
        let trace = self.device.trace();
        let (recorded, faced) = self.gpu.survey(record);
        let recorded = recorded?;
        let calls = trace.end();
        Ok(Pass { list: list(&recorded), calls, faced, _held: Box::new(recorded) })
    }
}
