//! Which kernels a GPU's ops take, and what they recorded with them.

use super::{
    gpu::Gpu,
    kernel::{Kernel, Terms, Tunable},
    tuning::Tuning,
};
use std::{cell::Ref, collections::BTreeSet};

/// A choice between kernels that a call had.
#[derive(Clone, Debug)]
pub struct Faced {
    /// What tuning calls the call.
    pub call: String,
    /// Which of the noted calls it is.
    pub at: usize,
    /// What it took.
    pub chosen: Kernel,
    /// All that it could have taken here, what the rules take first.
    pub kernels: Vec<Kernel>,
}

/// What was recorded, by kernel and by op.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// The kernels that were dispatched.
    pub kernels: BTreeSet<Kernel>,
    /// The ops that run on the host, as none of their kernels works here.
    pub hosted: BTreeSet<&'static str>,
}

impl Watched {
    fn extend(&mut self, other: &Watched) {
        self.kernels.extend(&other.kernels);
        self.hosted.extend(&other.hosted);
    }
}

impl Gpu {
    /// What the choice among kernels depends on.
    pub fn terms(&self) -> Ref<'_, Terms> {
        self.terms.borrow()
    }

    /// Changes what the choice among kernels depends on, for work that is recorded from now on.
    pub fn set_terms(&self, terms: Terms) {
        *self.terms.borrow_mut() = terms;
    }

    /// The first of an op's kernels that this GPU can run and that has not failed its check.
    pub fn choose(&self, kernels: impl IntoIterator<Item = Kernel>) -> Option<Kernel> {
        self.terms.borrow().choose(kernels)
    }

    /// The kernel of a call that is noted already, and that can be tuned.
    pub fn choose_for(&self, call: &dyn Tunable, kernels: &[Kernel]) -> Option<Kernel> {
        self.choose_at(self.notes.count().saturating_sub(1), call, kernels)
    }

    /// The same for the call that is noted next, if there is a kernel.
    pub fn choose_ahead(&self, call: &dyn Tunable, kernels: &[Kernel]) -> Option<Kernel> {
        self.choose_at(self.notes.count(), call, kernels)
    }

    fn choose_at(&self, at: usize, call: &dyn Tunable, kernels: &[Kernel]) -> Option<Kernel> {
        let chosen = self.terms.borrow().choose_for(call, kernels)?;
        if self.faced.borrow().is_some() {
            self.face(Faced { call: call.to_string(), at, chosen, kernels: kernels.to_vec() });
        }
        Some(chosen)
    }

    /// Whether calls are to name all kernels that are right for them, and not those of the rules alone.
    pub fn wants_all(&self) -> bool {
        !self.terms.borrow().takes_the_first() || self.faced.borrow().is_some()
    }

    fn face(&self, mut faced: Faced) {
        let terms = self.terms.borrow();
        faced.kernels.retain(|kernel| terms.against(kernel).is_none());
        self.faced.borrow_mut().get_or_insert_default().push(faced);
    }

    /// Runs `work`, and says which choices between kernels it had. Calls are numbered as those of a trace that
    /// begins within it.
    pub fn survey<T>(&self, work: impl FnOnce() -> T) -> (T, Vec<Faced>) {
        self.faced.replace(Some(Vec::new()));
        let value = work();
        (value, self.faced.take().unwrap_or_default())
    }

    /// Leaves the choice among kernels to rules and self-test alone.
    pub fn untune(&self) {
        let mut terms = self.terms.borrow_mut();
        terms.tuning = Tuning::default();
        terms.favoured.clear();
    }

    /// Runs `work`, and says what it recorded.
    pub fn watch<T>(&self, work: impl FnOnce() -> T) -> (T, Watched) {
        let before = self.watched.take();
        self.watch.update(|watch| watch + 1);
        let value = work();
        let watched = self.watched.take();
        self.watch.update(|watch| watch + 1);
        self.watched.replace(before);
        self.watched.borrow_mut().extend(&watched);
        (value, watched)
    }

    /// What was recorded since the GPU was opened.
    pub fn watched(&self) -> Watched {
        self.watched.borrow().clone()
    }
}
