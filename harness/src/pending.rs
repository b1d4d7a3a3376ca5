//! PENDING: what other branches bring, behind the signatures agreed with them. This file goes away
//! when they are merged: delete it and turn `crate::pending::{bundle, models, setup}` into
//! `crate::{…}`, `crate::pending::{engine, matrix}` into the crates of these names.

#![allow(missing_docs)]

pub mod engine {
    use record::{Answer, Event, Outcome, PageReport, Request, Status};

    const ABSENT: &str = "this build has no native engine";

    pub fn answer_blocking(request: Request, _emit: &mut dyn FnMut(Event)) -> Answer {
        match request {
            Request::Probe { .. } => Answer::Probe(PageReport {
                unsupported: Some(ABSENT.into()),
                ..PageReport::default()
            }),
            Request::Run(_) => {
                Answer::Run(Outcome::without_figures(Status::Unsupported, "probe", ABSENT))
            }
        }
    }
}

pub mod matrix {
    use record::Record;

    pub type Error = serde_json::Error;

    pub fn compatibility(records: &[Record]) -> Result<String, Error> {
        serde_json::to_string_pretty(records)
    }

    pub fn performance(records: &[Record]) -> Result<String, Error> {
        serde_json::to_string_pretty(records)
    }
}

pub mod bundle {
    use crate::ui::Ui;
    use std::path::PathBuf;

    pub fn ensure(_ui: &Ui) -> anyhow::Result<PathBuf> {
        anyhow::bail!("this build cannot make the page bundle; give one with --bundle FOLDER")
    }
}

pub mod models {
    use crate::ui::Ui;
    use std::path::PathBuf;

    pub const NAMES: &[&str] = &[];

    #[derive(Clone, Debug, clap::Subcommand)]
    pub enum Command {
        /// Lists the models that can be fetched.
        List,
        /// Fetches a model.
        Fetch {
            /// Its name.
            name: String,
        },
    }

    pub fn run(_command: Command, _ui: &Ui) -> anyhow::Result<()> {
        anyhow::bail!("this build fetches no models")
    }

    pub fn fetch(name: &str, ui: &Ui) -> anyhow::Result<()> {
        run(Command::Fetch { name: name.to_owned() }, ui)
    }

    pub fn case_folder(_name: &str) -> Option<PathBuf> {
        None
    }
}

pub mod setup {
    use crate::ui::Ui;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Need {
        WasmBundle,
        Browser(record::Browser),
    }

    pub struct Check {
        pub what: String,
        pub found: Option<String>,
        pub remedy: String,
    }

    #[derive(Clone, Debug, clap::Args)]
    pub struct Args {}

    pub fn ensure(_needs: &[Need], _ui: &Ui) -> anyhow::Result<()> {
        Ok(())
    }

    pub fn run(_args: Args, _ui: &Ui) -> anyhow::Result<()> {
        anyhow::bail!("this build installs nothing")
    }

    pub fn checks() -> Vec<Check> {
        Vec::new()
    }
}
