//! Drives browsers through the matrix of cells.

pub mod bundle;
pub mod models;
pub mod setup;
pub mod ui;
