//! Whether a model is still itself at a width: what its loss is called.
//!
//! A verdict says whether kernels are right, a grade what the bits have cost. They are never one mark: a model of two
//! bits may pass and know nothing.

use super::figure;
use record::{Record, Status};
use serde::Serialize;

/// What is left of a model; from bad to good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// It is another one.
    Lost,
    /// It is worse, and may do.
    Drifts,
    /// It is still itself.
    Holds,
}

impl Grade {
    /// The name used in pages.
    pub const fn name(self) -> &'static str {
        match self {
            Grade::Lost => "lost",
            Grade::Drifts => "drifts",
            Grade::Holds => "holds",
        }
    }

    /// Its mark, which needs no colour.
    pub const fn mark(self) -> &'static str {
        match self {
            Grade::Lost => "○",
            Grade::Drifts => "◐",
            Grade::Holds => "●",
        }
    }

    fn of(value: f64, bounds: [f64; 2]) -> Grade {
        // A share that is a point below another is so by a little more in floats.
        let [holds, drifts] = bounds.map(|bound| bound + 1e-9);
        match value {
            _ if value <= holds => Grade::Holds,
            _ if value <= drifts => Grade::Drifts,
            _ => Grade::Lost,
        }
    }
}

/// A measure of loss: up to which value a model holds, and up to which it drifts.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    /// What is measured.
    pub name: &'static str,
    /// Bounds, which pages print.
    pub bounds: [f64; 2],
    /// Their text.
    pub text: &'static str,
}

/// From the one that tells most to the one that tells least: the first that a record has is its grade's.
pub const MEASURES: [Measure; 4] = [
    Measure {
        name: "right answers",
        bounds: [0.01, 0.05],
        text: "at most 1 point fewer than at 32 or 16 bits, and at most 5",
    },
    Measure {
        name: "divergence",
        bounds: [0.05, 0.5],
        text: "at most 0.05 nats from the f32 model, and at most 0.5",
    },
    Measure {
        name: "cosine",
        bounds: [0.01, 0.05],
        text: "at least 0.99 to the f32 model, and at least 0.95",
    },
    Measure {
        name: "top-1 agreement",
        bounds: [0.02, 0.1],
        text: "at least 98% with the f32 model, and at least 90%",
    },
];

/// A grade with what it is told by.
#[derive(Clone, Debug, PartialEq)]
pub struct Graded {
    /// What is left.
    pub grade: Grade,
    /// The figure behind it.
    pub figure: String,
}

/// The grade of a record, if anything tells it: a model that has learnt nothing has nothing to lose, and what did not
/// run has lost nothing. `widest` is the share of right answers at 32 or 16 bits, if that is known.
pub fn grade(record: &Record, widest: Option<f64>) -> Option<Graded> {
    let ran = matches!(record.outcome.status, Status::Pass | Status::Flaky | Status::Fail);
    if record.synthetic_weights || record.untrained || record.outcome.synthetic_inputs || !ran {
        return None;
    }
    let found = record.outcome.correctness.unwrap_or_default();
    let [answers, kl, cosine, top1] = MEASURES.map(|measure| measure.bounds);
    let graded = |grade, figure| Some(Graded { grade, figure });
    if let (Some(own), Some(widest)) = (&record.outcome.answered, widest) {
        let share = own.share();
        let figure = format!("{:.1}% of {} answers right", share * 100.0, own.answers);
        return graded(Grade::of(widest - share, answers), figure);
    }
    if let Some(value) = found.kl {
        return graded(Grade::of(value, kl), format!("divergence {} nats", figure::small(value)));
    }
    if let Some(value) = found.cosine {
        return graded(Grade::of(1.0 - value, cosine), format!("cosine {value:.4}"));
    }
    let value = found.top1_agreement?;
    graded(Grade::of(1.0 - value, top1), format!("top-1 agreement {:.0}%", value * 100.0))
}
