//! Pretrained models on this machine.
//!
//! Three small ones have a name: they come out of Python packages, so every machine that reaches a
//! package index can have them, and their inputs and expected outputs are part of this repository
//! (`packaged`); one of them is converted on the way (`ctranslate2`). Any other comes from the Hugging
//! Face Hub by its id (`hub`). `located` finds them, and models in any folder. Each is one folder of the user's cache
//! (`cache`), which appears only when it is complete.

pub(crate) mod cache;
mod ctranslate2;
mod hub;
pub(crate) mod located;
mod packaged;

use crate::{suggest::did_you_mean, ui::Ui};
use anyhow::{Result, bail, ensure};
use packaged::PACKAGED;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The models that have a name here.
pub const NAMES: &[&str] = &[PACKAGED[0].name, PACKAGED[1].name, PACKAGED[2].name];

/// What `harness models` does.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the models that have a name and all that were fetched
    List,
    /// Fetches models into the cache
    Fetch {
        /// minilm, smollm2-135m, whisper-tiny.en, or OWNER/NAME or OWNER/NAME@REVISION on the Hugging Face Hub
        /// (HF_ENDPOINT, HF_TOKEN and HF_HOME are respected)
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Which .gguf file to take, for a repository that has several
        #[arg(long)]
        file: Option<String>,
    },
}

/// Carries out `harness models`.
pub fn run(command: Command, ui: &Ui) -> Result<()> {
    match command {
        Command::List => list(&cache::folder()?, ui),
        Command::Fetch { names, file } => {
            ensure!(
                file.is_none() || names.len() == 1,
                "--file is about one repository; fetch {} one by one",
                names.join(", ")
            );
            let folder = cache::folder()?;
            names.iter().try_for_each(|name| fetch_into(&folder, name, file.as_deref(), ui))
        }
    }
}

/// Fetches the model called `name`, or `OWNER/NAME[@REVISION]`, unless it is here already.
pub fn fetch(name: &str, ui: &Ui) -> Result<()> {
    fetch_into(&cache::folder()?, name, None, ui)
}

/// The folder of a model that was fetched.
pub fn case_folder(name: &str) -> Option<PathBuf> {
    cache::model(&cache::folder().ok()?, name)
}

fn fetch_into(models: &Path, name: &str, file: Option<&str>, ui: &Ui) -> Result<()> {
    if let Some(model) = PACKAGED.iter().find(|model| model.name == name) {
        if file.is_some() {
            bail!("--file is for repositories of the Hub; {name} comes with all it needs");
        }
        return packaged::fetch(model, models, ui);
    }
    if !name.contains('/') {
        bail!(
            "no model is called {name:?}; there are {} and OWNER/NAME[@REVISION] on the Hub{}",
            NAMES.join(", "),
            did_you_mean(name, NAMES.iter().copied())
        );
    }
    hub::fetch(&hub::Id::parse(name)?, file, models, &hub::api()?, ui)
}

fn list(models: &Path, ui: &Ui) -> Result<()> {
    for model in PACKAGED {
        let bytes: u64 = model.members.iter().map(|member| member.bytes).sum();
        let folder = cache::model(models, model.name);
        ui.result(
            format!(
                "{:15} {:7} {:>4} MB  {:10}  {}",
                model.name,
                model.class,
                bytes / 1_000_000,
                model.licence,
                folder.as_ref().map_or("not fetched".into(), |path| path.display().to_string()),
            ),
            json!({
                "name": model.name, "class": model.class, "bytes": bytes,
                "licence": model.licence, "folder": folder,
            }),
        );
    }
    for (name, folder) in cache::all(models)? {
        if NAMES.contains(&name.as_str()) {
            continue;
        }
        let state = match folder.join("case.json").is_file() {
            true => "a case",
            false => "a model",
        };
        ui.result(
            format!("{name}  {state}  {}", folder.display()),
            json!({"name": name, "folder": folder}),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_packaged_models() {
        let names: Vec<&str> = PACKAGED.iter().map(|model| model.name).collect();
        assert_eq!(names, NAMES);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let models = tempfile::tempdir().unwrap();
        let ui = Ui::new(true, false);
        let error = fetch_into(models.path(), "gpt2", None, &ui).unwrap_err().to_string();
        assert!(error.contains("minilm, smollm2-135m, whisper-tiny.en and OWNER/NAME"), "{error}");
        let error = fetch_into(models.path(), "minilm", Some("x.gguf"), &ui).unwrap_err();
        assert!(error.to_string().contains("--file"), "{error}");
    }
}
