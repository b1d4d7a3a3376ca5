//! Puts a checkpoint's tensors on a device in the precision that was asked for, in three acts.
//!
//! A class *declares* its weights to a [`Declaration`] (`declare.rs`; `layers.rs` has the layers that
//! several tensors make): every name and shape is checked against the headers of the checkpoint, and
//! the model is there with empty [`Slot`]s. What was declared is a [`LoadPlan`] (`plan.rs`), a value:
//! its sums are exact before a weight is read, and adaptive precision (`mix.rs`, by rule `critical.rs`) is a
//! function from plan to plan, and so is a limit on memory (`limit.rs`; `budget.rs` is the knapsack behind it). *Carrying it out* (`execute.rs`) fills the slots, a few rows at a time;
//! `steps.rs` and `windows.rs` are what happens to numbers on the way, and `stored.rs` knows which codes of a file
//! stay as they are. A plan with its bytes is an artefact:
//! `write.rs` makes one, and `artefact.rs` fills slots from it. `held.rs` takes weights back from a GPU, and
//! `lower.rs` makes fewer bits of those that a device holds, without reading a file again.

mod artefact;
mod budget;
mod critical;
mod declare;
mod execute;
mod held;
mod layers;
mod limit;
mod lower;
mod mix;
mod plan;
mod slot;
mod steps;
mod stored;
pub(crate) mod windows;
#[cfg(not(target_arch = "wasm32"))]
mod write;

pub use budget::{Choice, Harm, within};
pub use declare::Declaration;
pub use execute::{Declared, Loaded};
pub use held::Held;
pub use layers::{Conv, ConvShape, LayerNorm, Linear, StackedLinear};
pub use mix::PrecisionPlan;
pub use plan::{Entry, LoadPlan, Place, Step};
pub use slot::Slot;
