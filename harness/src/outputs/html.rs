//! The two HTML files, which `matrix` renders.

use anyhow::{Context, Result};
use record::Record;

/// The compatibility matrix.
pub fn matrix(records: &[Record]) -> Result<String> {
    matrix::compatibility(records).context("rendering the matrix")
}

/// The performance report.
pub fn report(records: &[Record]) -> Result<String> {
    matrix::performance(records).context("rendering the report")
}
