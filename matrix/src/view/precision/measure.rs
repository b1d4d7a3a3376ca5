//! What the loss of an evaluation is measured in, and how that is said.

use super::small;
use serde::Serialize;

/// A loss that rounding alone may make of none.
pub(super) const LEAST: f64 = 1e-6;

/// What a loss is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Measure {
    /// Of models that write: Kullback-Leibler divergence of what they expect, in nats.
    Divergence,
    /// Of others: 1 less the cosine of the output that differs most.
    Distance,
}

impl Measure {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Divergence => "divergence",
            Measure::Distance => "distance",
        }
    }

    /// The same with its unit, as an axis has it.
    pub fn axis(self) -> &'static str {
        match self {
            Measure::Divergence => "divergence, nats",
            Measure::Distance => "distance, 1 − cosine",
        }
    }

    /// What is below it is little.
    pub(super) fn wanted(self) -> f64 {
        match self {
            Measure::Divergence => 0.1,
            Measure::Distance => 0.01,
        }
    }

    /// A loss with its unit.
    pub(super) fn said(self, loss: f64) -> String {
        let number = number(loss).replace('<', "less than");
        match self {
            Measure::Divergence => format!("{number} nats"),
            Measure::Distance => number,
        }
    }
}

/// A loss as a number.
pub(super) fn number(loss: f64) -> String {
    match loss.abs() < LEAST {
        true => "< 1e-6".to_owned(),
        false => small(loss),
    }
}
