//! Where the time of a pass goes, op by op.

use crate::{Cost, TimedBy};
use serde::{Deserialize, Serialize};

/// A pass and the calls of ops that it consists of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PassTrace {
    /// `forward`, or of a decoder `prompt` and `step`.
    pub pass: String,
    /// What times are told by.
    pub by: TimedBy,
    /// Milliseconds of all of it in one go; less than its calls take one by one, as these overlap and
    /// each that is timed has a beginning and an end.
    pub ms: f64,
    /// The calls, those that are alike together, in the order of their first.
    pub calls: Vec<CallTrace>,
}

/// Calls of one op on inputs of the same shapes by the same kernels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallTrace {
    /// The op's name.
    pub op: String,
    /// Shapes of the inputs; `[N, K]` of a matrix.
    pub inputs: Vec<Vec<usize>>,
    /// The kernels of a call, one for each dispatch; none on the CPU.
    pub kernels: Vec<String>,
    /// How many calls there are.
    pub calls: u32,
    /// Milliseconds of all of them.
    pub ms: f64,
    /// What all of them take at least.
    pub cost: Cost,
}
