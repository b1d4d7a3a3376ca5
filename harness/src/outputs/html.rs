//! The HTML files, which `matrix` renders.

use super::create;
use anyhow::{Context, Result};
use matrix::view::{bench::BenchRun, device::Device, precision::Evaluation};
use record::Record;
use std::{
    fmt::Display,
    io::{BufWriter, Write},
    path::Path,
};

/// Writes the compatibility matrix.
pub(super) fn matrix(records: &[Record], path: &Path) -> Result<()> {
    write(&matrix::compatibility(records).context("rendering the matrix")?, path)
}

/// Writes the performance report, with what the devices can do at most.
pub(super) fn report(records: &[Record], devices: &[Device], path: &Path) -> Result<()> {
    let report = matrix::performance(records).context("rendering the report")?;
    write(&report.on(devices.to_vec()), path)
}

/// Writes the precision page.
pub fn precision(evaluations: &[Evaluation], path: &Path) -> Result<()> {
    write(&matrix::precision(evaluations), path)
}

/// Writes the page of claims.
pub fn claims(records: &[Record], benches: &[BenchRun], path: &Path) -> Result<()> {
    write(&matrix::claims(records, benches).context("rendering the claims")?, path)
}

/// A page is written piece by piece: as one text it would take more memory than all its records.
fn write(page: &dyn Display, path: &Path) -> Result<()> {
    let mut file = BufWriter::new(create(path)?);
    write!(file, "{page}")
        .and_then(|()| file.flush())
        .with_context(|| format!("writing {}", path.display()))
}
