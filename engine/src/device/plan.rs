//! The dispatches of one decode step, kept to be run once a token.

use super::{
    gpu::{Dispatch, Gpu},
    pool::{Pool, Shelf},
};
use std::{cell::RefCell, rc::Rc};

/// Recorded dispatches with everything they touch.
#[derive(Debug)]
pub struct Plan<T> {
    dispatches: Vec<Dispatch>,
    /// What the recorded step returned: its tensors must not be lent to others.
    outputs: T,
    /// Buffers that only this plan's dispatches share among themselves.
    shelf: Shelf,
    pool: Rc<RefCell<Pool>>,
}

impl<T> Plan<T> {
    /// Dispatches of a replay.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.dispatches.len()
    }

    /// Loses a dispatch.
    #[cfg(test)]
    pub(crate) fn leave_out(&mut self, at: usize) {
        self.dispatches.remove(at);
    }

    /// What the recorded step returned; it holds new values after every replay.
    pub fn outputs(&self) -> &T {
        &self.outputs
    }
}

impl<T> Drop for Plan<T> {
    fn drop(&mut self) {
        self.pool.borrow_mut().restock(std::mem::take(&mut self.shelf));
    }
}

impl Gpu {
    /// Records what `step` dispatches, without running it.
    pub fn record<T>(&self, step: impl FnOnce() -> T) -> Plan<T> {
        let outer = self.pool().borrow_mut().swap(Shelf::default());
        let (outputs, dispatches) = self.collect(step);
        let shelf = self.pool().borrow_mut().swap(outer);
        Plan { dispatches, outputs, shelf, pool: Rc::clone(self.pool()) }
    }

    /// Runs a recorded step after everything recorded before.
    pub fn replay<T>(&self, plan: &Plan<T>) {
        for dispatch in &plan.dispatches {
            self.push(dispatch.clone());
        }
    }
}
