//! Which kernels calls get where somebody has measured them: names of calls, and of the kernel that each takes.

use super::{Kernel, Tunable};
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
};

/// A kernel for each call that was measured. A name is only ever looked for among the kernels that an op itself
/// gives for a call: what it does not know, or what is not right for the call, is no pick.
#[derive(Clone, Debug, Default)]
pub struct Tuning {
    /// The kernel of a call, both by name.
    picks: BTreeMap<String, String>,
    /// What came of looking: a call is asked for at each pass, and names take longer than all else.
    known: RefCell<HashMap<u64, Option<Kernel>>>,
}

impl Tuning {
    /// Of calls and kernels by name, as a call is displayed and a kernel debugged.
    pub fn new<A: Into<String>, B: Into<String>>(
        picks: impl IntoIterator<Item = (A, B)>,
    ) -> Tuning {
        let picks = picks.into_iter().map(|(call, kernel)| (call.into(), kernel.into()));
        Tuning { picks: picks.collect(), known: RefCell::default() }
    }

    /// Whether it says nothing of any call.
    pub fn is_empty(&self) -> bool {
        self.picks.is_empty()
    }

    /// The kernel of `kernels` that a call is to have.
    pub(super) fn pick(&self, call: &dyn Tunable, kernels: &[Kernel]) -> Option<Kernel> {
        let find = || {
            let pick = self.picks.get(&call.to_string())?;
            kernels.iter().find(|kernel| format!("{kernel:?}") == *pick).copied()
        };
        let pick = *self.known.borrow_mut().entry(call.key()).or_insert_with(find);
        // The list may have been a longer one when it was looked through.
        pick.filter(|pick| kernels.contains(pick))
    }
}
