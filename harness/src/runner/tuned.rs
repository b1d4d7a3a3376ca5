//! What a cell is told of the fastest kernels, and what is kept of those that it has found.
//!
//! A cell that measures kernels goes on from what is known; what it finds is kept if it passes. Later visits to it run
//! with what the first has found, so that the samples of one record never come from different kernels.

use super::Runner;
use crate::tunings::Place;
use record::{Axis, Backend, Cell, Environment, Outcome, Status, Tuning, TuningMode};

/// What a request says of kernels.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) known: Option<Tuning>,
    pub(super) budget_ms: f64,
}

impl Runner<'_> {
    /// What a cell is told; `before` is what its first visit ran with.
    pub(super) fn told(
        &self,
        cell: &Cell,
        environment: &Environment,
        before: Option<&Tuning>,
    ) -> Told {
        let (Some(mode), Some(place)) = (mode(cell), place(cell, environment)) else {
            return Told::default();
        };
        if let Some(before) = before {
            return Told { known: Some(before.clone()), budget_ms: 0.0 };
        }
        let known = self.tunings.as_ref().and_then(|tunings| {
            tunings.get(&place).unwrap_or_else(|error| {
                self.ui.warn(format!("{error:#}"));
                None
            })
        });
        match mode {
            TuningMode::Auto => {
                Told { known, budget_ms: self.config.tuning_budget.as_secs_f64() * 1e3 }
            }
            _ => Told { known, budget_ms: 0.0 },
        }
    }

    /// Says in an outcome where its tuning holds, and keeps what it measured.
    pub(super) fn keep_tuning(
        &self,
        cell: &Cell,
        environment: &Environment,
        told: &Told,
        outcome: &mut Outcome,
    ) {
        let passed = outcome.status == Status::Pass;
        let (Some(tuning), Some(place)) = (&mut outcome.tuning, place(cell, environment)) else {
            return;
        };
        place.stamp(tuning);
        if let Some(tunings) = &self.tunings
            && passed
            && told.budget_ms > 0.0
            && tuning.hash.is_some()
            && let Err(error) = tunings.add(&place, tuning)
        {
            self.ui.warn(format!("{error:#}"));
        }
    }
}

fn mode(cell: &Cell) -> Option<TuningMode> {
    cell.axis(Axis::Tuning)?.parse().ok()
}

/// Where a tuning of the cell holds. Programs on the host have no version but that of this one.
fn place(cell: &Cell, environment: &Environment) -> Option<Place> {
    let mut browser = environment.browser.clone();
    if cell.backend == Backend::Native {
        browser.version.clone_from(&environment.engine.version);
    }
    Some(Place::of(environment.adapter.as_ref()?, &browser))
}
