//! Records to self-contained HTML: the compatibility matrix, the performance report, and what was claimed beside what was
//! measured. Two more pages are made of other reports: of single ops, and of what few bits cost.
//!
//! The folder follows the data: [`grid`] sorts records into rows, columns and boxes and knows
//! nothing of HTML; [`view`] turns a grid into plain structs of text that the templates print as
//! they are; `embed` carries the records themselves into the page, so that every figure opens to
//! the record behind it. The templates in `templates/` only place what the structs hold.
//!
//! What is absent: no network, no async, no files written, no clock. The same records give the
//! same bytes, and whatever a page, a model file or a driver put into a record is treated as
//! hostile text.

mod embed;
pub mod grid;
pub mod view;

use record::{Record, SCHEMA_VERSION};
use std::fmt;

/// Why a report could not be made.
#[derive(Debug)]
pub enum Error {
    /// A record was written by a newer version, whose fields may mean something else.
    Schema {
        /// Which record, counted from 1 as lines of a file are.
        line: usize,
        /// The version it states.
        found: u32,
    },
    /// A record could not be turned into JSON for the page.
    Json(serde_json::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Schema { line, found } => write!(
                f,
                "record {line} has schema {found}, and this build reads up to schema \
                 {SCHEMA_VERSION}: render it with the version that wrote it, or leave it out"
            ),
            Error::Json(error) => write!(f, "cannot embed a record as JSON: {error}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Schema { .. } => None,
            Error::Json(error) => Some(error),
        }
    }
}

/// The compatibility matrix as one HTML file, which is written by its `Display`: class and case by
/// browser and backend, one chip a precision.
///
/// The last record of a cell, by the time it began, gives the verdict; the others are listed in its
/// detail. Fails where a record is of a newer schema.
pub fn compatibility(records: &[Record]) -> Result<view::Compatibility<'_>, Error> {
    view::Compatibility::of(records)
}

/// The performance report as one HTML file, which is written by its `Display`: for each case the
/// speed, size, quantisation loss and kernel error of every precision in every browser.
///
/// Records are chosen as for [`compatibility`], and it fails in the same way.
pub fn performance(records: &[Record]) -> Result<view::Performance<'_>, Error> {
    view::Performance::of(records)
}

/// The page of single ops as one HTML file, which is written by its `Display`: what each device can do at
/// most, and calls beside it.
pub fn bench(runs: &[view::bench::BenchRun]) -> view::bench::Bench {
    view::bench::Bench::of(runs)
}

/// The page of what few bits cost as one HTML file, which is written by its `Display`: for each model the divergence of
/// every evaluation against its bits, and what it takes.
pub fn precision(evaluations: &[view::precision::Evaluation]) -> view::precision::PrecisionPage {
    view::precision::PrecisionPage::of(evaluations)
}

/// The page of claims as one HTML file, which is written by its `Display`: each number of the document that this project
/// began with, and what records of any number of runs say about it.
///
/// Fails where a record is of a newer schema.
pub fn claims(
    records: &[Record],
    benches: &[view::bench::BenchRun],
) -> Result<view::claims::ClaimsPage, Error> {
    grid::check_schemas(records)?;
    Ok(view::claims::ClaimsPage::of(records, benches))
}
