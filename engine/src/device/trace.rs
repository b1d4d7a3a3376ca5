//! What a call of an op makes and takes, told from shapes alone; and a list of the calls of a pass for
//! whoever asks for one.

use super::{Device, Gpu};
use crate::time::now_ms;
use record::Cost;
use std::{cell::RefCell, rc::Rc};

/// What an op states of a call before it runs: the shape of its output, which is the one that it
/// allocates, and the cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analysis {
    /// Sizes of the output's axes.
    pub output: Vec<usize>,
    /// What the call takes.
    pub cost: Cost,
}

impl Analysis {
    /// Writes `output`; all numbers take 4 bytes.
    pub fn writes(output: impl Into<Vec<usize>>) -> Analysis {
        let output = output.into();
        let cost = Cost { written_bytes: numbers(&output) * 4, ..Cost::default() };
        Analysis { output, cost }
    }

    /// Reads all of these inputs, numbers of 4 bytes.
    #[must_use]
    pub fn reads<const N: usize>(self, inputs: [&[usize]; N]) -> Analysis {
        self.reads_bytes(inputs.map(|shape| numbers(shape) * 4).iter().sum())
    }

    /// Reads so many bytes.
    #[must_use]
    pub fn reads_bytes(mut self, bytes: u64) -> Analysis {
        self.cost.read_bytes += bytes;
        self
    }

    /// Takes so many operations for each number of the output.
    #[must_use]
    pub fn operations_each(self, operations: u64) -> Analysis {
        let numbers = self.cost.written_bytes / 4;
        self.operations(operations * numbers)
    }

    /// Takes so many operations.
    #[must_use]
    pub fn operations(mut self, operations: u64) -> Analysis {
        self.cost.operations += operations;
        self
    }
}

/// How many numbers a shape has.
pub fn numbers(shape: &[usize]) -> u64 {
    shape.iter().map(|size| *size as u64).product()
}

/// One call of an op.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The op's name.
    pub op: &'static str,
    /// Shapes of its inputs; `[N, K]` of a matrix.
    pub inputs: Vec<Vec<usize>>,
    /// Shape of its output.
    pub output: Vec<usize>,
    /// What it takes.
    pub cost: Cost,
}

/// Where a device's ops note their calls, while somebody asks for them.
#[derive(Clone, Debug, Default)]
pub struct Notes(Rc<RefCell<Option<Noted>>>);

/// Calls, and when each was made.
type Noted = Vec<(Call, f64)>;

impl Notes {
    /// Notes a call, and gives the shape of its output.
    pub fn call(&self, op: &'static str, inputs: &[&[usize]], analysis: Analysis) -> Vec<usize> {
        let Analysis { output, cost } = analysis;
        if let Some(calls) = &mut *self.0.borrow_mut() {
            let inputs = inputs.iter().map(|shape| shape.to_vec()).collect();
            calls.push((Call { op, inputs, output: output.clone(), cost }, now_ms()));
        }
        output
    }

    /// How many calls are noted.
    pub(super) fn count(&self) -> usize {
        self.0.borrow().as_ref().map_or(0, Vec::len)
    }
}

/// The calls of ops on a device, from [`Device::trace`] on; none are noted once it is gone.
#[derive(Debug)]
pub struct Trace(Notes);

impl Trace {
    /// The calls in their order.
    pub fn end(self) -> Vec<Call> {
        self.end_timed().into_iter().map(|(call, _)| call).collect()
    }

    /// The calls in their order, and when each was made, in milliseconds of the host's clock: on a CPU that is
    /// when it began to compute.
    pub fn end_timed(self) -> Vec<(Call, f64)> {
        self.0.0.take().unwrap_or_default()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.0.0.take();
    }
}

impl Device {
    /// Begins a list of the calls of ops, those of a GPU as they are recorded. Without one a call costs
    /// a look at whether there is one.
    #[must_use]
    pub fn trace(&self) -> Trace {
        let notes = self.notes().clone();
        notes.0.replace(Some(Vec::new()));
        Trace(notes)
    }

    /// Notes a call of an op, and gives the shape of its output.
    pub(crate) fn call(
        &self,
        op: &'static str,
        inputs: &[&[usize]],
        analysis: Analysis,
    ) -> Vec<usize> {
        self.notes().call(op, inputs, analysis)
    }

    fn notes(&self) -> &Notes {
        match self {
            Device::Cpu(cpu) => &cpu.notes,
            Device::Gpu(gpu) => gpu.notes(),
        }
    }
}

impl Gpu {
    /// Where ops note their calls.
    pub(crate) fn notes(&self) -> &Notes {
        &self.notes
    }
}
