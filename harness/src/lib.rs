//! Drives browsers through the matrix of cells.

pub mod ui;
