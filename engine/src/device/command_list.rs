//! The work of one decode step, kept to be run once a token.

use super::{
    clock::Clock,
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

/// What one dispatch took.
#[derive(Clone, Copy, Debug)]
pub struct TimedDispatch {
    /// The kernel.
    pub kernel: Kernel,
    /// How many calls of ops had been noted when it was recorded: the last of them is the one that it is
    /// part of.
    pub noted: usize,
    /// Milliseconds on the GPU.
    pub ms: f64,
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

    /// The dispatches of some of the calls that were noted, to be replayed while this list lives.
    pub(crate) fn part(&self, is_wanted: impl Fn(usize) -> bool) -> CommandList<()> {
        // What comes before the first call is part of it.
        self.only(|work| match work {
            Work::Dispatch(dispatch) => is_wanted(dispatch.noted.saturating_sub(1)),
            _ => false,
        })
    }

    /// The same work, to be replayed while this list lives.
    pub(crate) fn part_of_all(&self) -> CommandList<()> {
        self.only(|_| true)
    }

    fn only(&self, is_wanted: impl Fn(&Work) -> bool) -> CommandList<()> {
        let work = self.work.iter().filter(|work| is_wanted(work)).cloned().collect();
        CommandList { work, outputs: (), shelf: Shelf::default(), pool: Rc::clone(&self.pool) }
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
        self.pool().borrow_mut().begin_list();
        let (outputs, work) = self.collect(step);
        let shelf = self.pool().borrow_mut().end_list();
        CommandList { work, outputs, shelf, pool: Rc::clone(self.pool()) }
    }

    /// Runs recorded work one dispatch at a time, and says what each took; none where the adapter has no
    /// timestamps, or where the host computes in its midst.
    pub async fn time_each<T>(&self, list: &CommandList<T>) -> Result<Option<Vec<TimedDispatch>>> {
        if list.work.iter().any(|work| matches!(work, Work::Host(_))) {
            return Ok(None);
        }
        let mut timed = Vec::new();
        let mut work = list.work.iter().peekable();
        while work.peek().is_some() {
            let laps = self.laps();
            let mut dispatches = Vec::new();
            while let Some(work) = work.next_if(|_| dispatches.len() < Clock::LAPS) {
                if let Work::Dispatch(dispatch) = work {
                    laps.start();
                    dispatches.push(dispatch);
                }
                self.push(work.clone());
            }
            let times = match dispatches.is_empty() {
                true => Some(Vec::new()),
                false => laps.end().await?,
            };
            let Some(times) = times else { return Ok(None) };
            timed.extend(dispatches.into_iter().zip(times).map(|(dispatch, ms)| TimedDispatch {
                kernel: dispatch.ready.kernel,
                noted: dispatch.noted,
                ms,
            }));
        }
        Ok(Some(timed))
    }

    /// Runs a recorded step after everything recorded before.
    pub fn replay<T>(&self, list: &CommandList<T>) {
        for work in &list.work {
            self.push(work.clone());
        }
    }
}
