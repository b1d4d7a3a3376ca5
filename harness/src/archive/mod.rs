//! Commands about what is stored: [`history`] shows one cell over the runs, [`compare`] two runs side
//! by side, [`gate`] holds one to budgets beside another, [`export`] hands records to other tools, [`gc`] forgets old runs.

pub mod compare;
pub mod export;
pub mod gate;
pub mod gc;
pub mod history;

use std::path::PathBuf;

/// Where the records are.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct DatabaseArgs {
    /// The database of all runs [default: records.sqlite in the user's data folder].
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,
}
