//! A grid as plain structs of text, each the context of one template.
//!
//! Everything that a reader sees is decided here and serialises to JSON, so the golden tests look at
//! facts and not at markup: [`sheet`] says what was run, [`mod@column`] names platforms, [`status`] and
//! [`chip`] a cell's verdict, [`figure`] turns numbers into text with units, [`mod@flag`] what makes a time
//! one to be read with care into words, [`mod@grade`] says what is left of a model and [`ladder`] how few bits it can do with, [`measured`] a cell into figures, [`chart`] a case into points, [`platform`] what a browser offers a page.
//! The two reports, [`Compatibility`] and [`Performance`], are put together from them; [`mod@bench`] is
//! the page of single ops, which has no records, and [`device`] what of it stands in a report;
//! [`mod@precision`] is the page of what few bits cost, [`mod@claims`] that of what was claimed of it.

pub mod bench;
pub mod chart;
pub mod chip;
pub mod claims;
pub mod column;
mod compatibility;
pub mod device;
pub mod figure;
pub mod flag;
pub mod grade;
pub mod ladder;
pub mod measured;
mod performance;
pub mod platform;
pub mod precision;
pub mod sheet;
pub mod status;

pub use compatibility::{ClassRows, Compatibility, CompatibilityRow};
pub use performance::{Case, Figures, Group, Performance, PrecisionRow};
