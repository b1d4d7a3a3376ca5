//! A grid as plain structs of text, each the context of one template.
//!
//! Everything that a reader sees is decided here and serialises to JSON, so the golden tests look at
//! facts and not at markup: [`sheet`] says what was run, [`column`] names platforms, [`status`] and
//! [`chip`] a cell's verdict, [`figure`] turns numbers into text with units, [`chart`] into points.
//! The two reports, [`Compatibility`] and [`Performance`], are put together from them.

pub mod chart;
pub mod chip;
pub mod column;
mod compatibility;
pub mod figure;
mod performance;
pub mod sheet;
pub mod status;

pub use compatibility::{ClassRows, Compatibility, CompatibilityRow};
pub use performance::{Accuracy, Case, Group, Measured, NotRun, Performance, PrecisionRow};
