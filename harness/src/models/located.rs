//! Which model is meant: a folder, a .gguf file, a name, or a repository of the Hub.

use super::{NAMES, case_folder, fetch};
use crate::{files::files, ui::Ui};
use anyhow::{Context, Result, ensure};
use record::CaseFile;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Files of a case or of the cache that are no part of what was published.
const NOT_PUBLISHED: [&str; 4] =
    ["case.json", "inputs.safetensors", "expected.safetensors", "source.json"];

/// A model on this machine, as it was published.
#[derive(Clone, Debug)]
pub struct Located {
    /// What it is called: the name of the folder, of the file without its ending, or as it was asked
    /// for.
    pub name: String,
    /// The folder that it is in.
    pub folder: PathBuf,
    /// All files there, or the one file.
    pub files: Vec<CaseFile>,
}

impl Located {
    /// The model in a folder, or in a .gguf file.
    pub fn at(path: &Path) -> Result<Located> {
        Located::read(path).with_context(|| format!("the model in {}", path.display()))
    }

    fn read(path: &Path) -> Result<Located> {
        let path = path.canonicalize().context("it does not exist or cannot be read")?;
        let utf8 = |name: Option<&std::ffi::OsStr>| {
            let name = name.and_then(|name| name.to_str()).context("its name is not UTF-8");
            name.map(str::to_owned)
        };
        if path.is_file() {
            ensure!(is_gguf(&path), "it is neither a folder nor a .gguf file");
            let file =
                CaseFile { name: utf8(path.file_name())?, bytes: fs::metadata(&path)?.len() };
            let folder = path.parent().context("a file is in a folder")?.to_owned();
            return Ok(Located { name: utf8(path.file_stem())?, folder, files: vec![file] });
        }
        let files = files(&path)?;
        Ok(Located { name: utf8(path.file_name())?, folder: path, files })
    }

    /// Its files without what makes a folder a case.
    pub fn published(&self) -> impl Iterator<Item = &CaseFile> {
        self.files.iter().filter(|file| !NOT_PUBLISHED.contains(&file.name.as_str()))
    }

    /// Whether its folder is a case: it says what goes in and what is expected.
    pub fn is_case(&self) -> bool {
        self.files.iter().any(|file| file.name == "case.json")
    }

    /// The model of this name or path; one that has a name or is on the Hub is fetched if it is not
    /// here and may be.
    pub fn find(model: &str, may_fetch: bool, ui: &Ui) -> Result<Located> {
        if Path::new(model).exists() {
            return Located::at(Path::new(model));
        }
        let is_known = NAMES.contains(&model) || is_repository(model);
        if case_folder(model).is_none() && is_known && may_fetch {
            fetch(model, ui).with_context(|| format!("fetching the model {model}"))?;
        }
        let folder = case_folder(model).with_context(|| match is_known {
            true => format!(
                "{model} is not on this machine; `cargo harness models fetch {model}` gets it"
            ),
            false => format!(
                "{model} is no folder, no .gguf file and no model on this machine; known by name: {}",
                NAMES.join(", ")
            ),
        })?;
        Ok(Located { name: model.to_owned(), ..Located::at(&folder)? })
    }
}

/// Whether this could be `OWNER/NAME`, and is no path that leads nowhere.
pub(crate) fn is_repository(name: &str) -> bool {
    name.contains('/') && !name.starts_with(['.', '/', '~']) && !name.ends_with(".gguf")
}

/// Whether a folder or file is a model as it is published, and no case.
pub(crate) fn is_published(path: &Path) -> bool {
    if path.is_file() {
        return is_gguf(path);
    }
    let holds_gguf = || {
        let mut entries = path.read_dir().ok()?.flatten();
        Some(entries.any(|entry| is_gguf(&entry.path())))
    };
    !path.join("case.json").exists()
        && (path.join("config.json").exists() || holds_gguf().unwrap_or(false))
}

fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gguf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_files_are_models_by_their_own_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my-model");
        fs::create_dir(&path).unwrap();
        for name in ["config.json", "model.safetensors", "source.json", "a.gguf"] {
            fs::write(path.join(name), "x").unwrap();
        }
        let model = Located::at(&path).unwrap();
        let names: Vec<&str> = model.published().map(|file| file.name.as_str()).collect();
        assert_eq!((model.name.as_str(), names.len()), ("my-model", 3));
        assert!(!names.contains(&"source.json") && is_published(&path));

        // What lies beside a file is not its own.
        let model = Located::at(&path.join("a.gguf")).unwrap();
        assert_eq!((model.name.as_str(), model.files.len()), ("a", 1));
        fs::write(path.join("case.json"), "{}").unwrap();
        assert!(!is_published(&path) && is_published(&path.join("a.gguf")));
    }

    #[test]
    fn a_path_that_leads_nowhere_is_no_repository() {
        for (name, is) in [("a/b", true), ("a/b@v1", true), ("./a/b", false), ("/a/b", false)] {
            assert_eq!(is_repository(name), is, "{name}");
        }
        let error = Located::find("./absent", true, &Ui::new(true, false)).unwrap_err();
        assert!(error.to_string().contains("no folder, no .gguf file"), "{error}");
    }
}
