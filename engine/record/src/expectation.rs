//! What a file of known failures says about a cell.

use crate::Status;
use serde::{Deserialize, Serialize};

/// What was known of a cell before it ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expectation {
    /// Whether the cell did as expected.
    pub verdict: Verdict,
    /// The statuses that were expected.
    pub status: Vec<Status>,
    /// Why another status than `pass` was expected.
    pub reason: String,
    /// Where that is discussed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Whether a cell did as expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Its status is one of those that were expected: a known failure fails no run.
    Expected,
    /// It did not pass, and not in the way that was expected.
    Unexpected,
    /// It passed, and was not expected to.
    NewlyPassing,
}

impl Verdict {
    /// The name used in files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Verdict::Expected => "expected",
            Verdict::Unexpected => "unexpected",
            Verdict::NewlyPassing => "newly_passing",
        }
    }
}
