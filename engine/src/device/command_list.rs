//! The work of one decode step, kept to be run once a token.

use super::{
    gpu::Gpu,
    kernel::Kernel,
    pool::{Pool, Shelf},
    queue::Work,
};
use crate::error::Result;
use std::{cell::RefCell, rc::Rc};

/// Recorded work with everything it touches.
#[derive(Debug)]
pub struct CommandList<T> {
    work: Vec<Work>,
    /// What the recorded step returned: its tensors must not be lent to others.
    outputs: T,
    /// Buffers that only this list's work shares with itself.
    shelf: Shelf,
    pool: Rc<RefCell<Pool>>,
}

impl<T> CommandList<T> {
    /// Dispatches of a replay.
    pub(crate) fn dispatches(&self) -> usize {
        self.work.iter().filter(|work| matches!(work, Work::Dispatch(_))).count()
    }

    /// Whether a replay writes from the host, which ends a submission.
    pub(crate) fn writes(&self) -> bool {
        self.work.iter().any(|work| matches!(work, Work::Write { .. }))
    }

    /// Loses a dispatch.
    #[cfg(test)]
    pub(crate) fn leave_out(&mut self, at: usize) {
        let mut dispatches = 0;
        self.work.retain(|work| {
            dispatches += usize::from(matches!(work, Work::Dispatch(_)));
            !matches!(work, Work::Dispatch(_)) || dispatches != at + 1
        });
    }

    /// What the recorded step returned; it holds new values after every replay.
    pub fn outputs(&self) -> &T {
        &self.outputs
    }
}

impl<T> Drop for CommandList<T> {
    fn drop(&mut self) {
        self.pool.borrow_mut().restock(std::mem::take(&mut self.shelf));
    }
}

impl Gpu {
    /// Records the work of `step`, without running it.
    pub fn record<T>(&self, step: impl FnOnce() -> T) -> CommandList<T> {
        let outer = self.pool().borrow_mut().swap(Shelf::default());
        let (outputs, work) = self.collect(step);
        let shelf = self.pool().borrow_mut().swap(outer);
        CommandList { work, outputs, shelf, pool: Rc::clone(self.pool()) }
    }

    /// Runs a recorded step one dispatch at a time, and says which kernels it dispatched and for how many
    /// milliseconds; none where the adapter has no timestamps or the step is too long for the clock.
    pub async fn profile<T>(&self, list: &CommandList<T>) -> Result<Option<Vec<(Kernel, f64)>>> {
        self.flush();
        let laps = self.laps();
        let mut kernels = Vec::new();
        for work in &list.work {
            if let Work::Dispatch(dispatch) = work {
                laps.start();
                kernels.push(dispatch.ready.kernel);
            }
            self.push(work.clone());
        }
        Ok(laps.end().await?.map(|times| kernels.into_iter().zip(times).collect()))
    }

    /// Runs a recorded step after everything recorded before.
    pub fn replay<T>(&self, list: &CommandList<T>) {
        for work in &list.work {
            self.push(work.clone());
        }
    }
}
