//! The user's cache: one folder a model, `<cache>/fewbit/models/<name>/`, and one for each case that
//! was made of a model, `<cache>/fewbit/cases/<name>-<hash>/`.
//!
//! A folder is filled under a temporary name and renamed when it is complete, so a model is there
//! whole or not at all. The name of a repository is written with `--` in place of `/`.

use crate::fetched;
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// The folder of all cases that were made of models.
pub(crate) fn cases() -> Result<PathBuf> {
    Ok(fetched::folder()?.join("cases"))
}

/// The folder of all models.
pub(super) fn folder() -> Result<PathBuf> {
    Ok(fetched::folder()?.join("models"))
}

/// The folder of the model called `name`, if it is there.
pub(crate) fn model(models: &Path, name: &str) -> Option<PathBuf> {
    let folder = models.join(file_name(name)?);
    folder.is_dir().then_some(folder)
}

/// Every model that is there, by name.
pub(super) fn all(models: &Path) -> Result<Vec<(String, PathBuf)>> {
    if !models.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in models.read_dir().with_context(|| format!("cannot read {}", models.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().replace("--", "/");
        if entry.path().is_dir() && !name.starts_with('.') {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// A folder to fill for `name`. It goes away unless it is handed to [`keep`].
pub(crate) fn begin(models: &Path) -> Result<TempDir> {
    fs::create_dir_all(models).with_context(|| format!("cannot make {}", models.display()))?;
    tempfile::Builder::new()
        .prefix(".fetching-")
        .tempdir_in(models)
        .with_context(|| format!("cannot make a folder in {}", models.display()))
}

/// Puts a filled folder in place of whatever `name` was.
pub(crate) fn keep(filled: TempDir, models: &Path, name: &str) -> Result<PathBuf> {
    let name = file_name(name).with_context(|| format!("{name:?} cannot name a folder"))?;
    let folder = models.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot replace {}", folder.display()))?;
    }
    // The folder was made for one user; a cache is read as its files are.
    open_to_readers(filled.path())?;
    fs::rename(filled.path(), &folder)
        .with_context(|| format!("cannot move the model to {}", folder.display()))?;
    // What the temporary name stood for is no more, so there is nothing to clean up.
    drop(filled.keep());
    Ok(folder)
}

/// One path component for `name`; none for names that would lead out of the cache.
fn file_name(name: &str) -> Option<String> {
    let name = name.replace('/', "--");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    (!name.is_empty() && !name.starts_with('.') && name.chars().all(plain)).then_some(name)
}

#[cfg(unix)]
fn open_to_readers(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot set the mode of {}", folder.display()))
}

#[cfg(not(unix))]
fn open_to_readers(_folder: &Path) -> Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_appears_when_it_is_kept_and_replaces_the_last_one() {
        let models = tempfile::tempdir().unwrap();
        for text in ["first", "second"] {
            let filled = begin(models.path()).unwrap();
            fs::write(filled.path().join("config.json"), text).unwrap();
            keep(filled, models.path(), "owner/name").unwrap();
            let folder = model(models.path(), "owner/name").unwrap();
            assert_eq!(fs::read_to_string(folder.join("config.json")).unwrap(), text);
        }
        let names: Vec<String> =
            all(models.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["owner/name"]);
    }

    #[test]
    fn a_folder_that_is_not_kept_leaves_nothing() {
        let models = tempfile::tempdir().unwrap();
        drop(begin(models.path()).unwrap());
        assert_eq!(models.path().read_dir().unwrap().count(), 0);
        assert_eq!(all(&models.path().join("absent")).unwrap(), []);
    }

    #[test]
    fn no_name_leads_out_of_the_cache() {
        for name in ["", ".", "..", "../x", "a\\b", "a b", "/etc"] {
            let plain = file_name(name);
            assert!(plain.is_none_or(|plain| !plain.contains('/') && plain.starts_with("--")));
        }
        assert_eq!(file_name("owner/name@v1.0").unwrap(), "owner--name@v1.0");
    }
}
