//! Folders with all that is in them: listed, copied, removed.

use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Every file at or below `path`, sorted; none if nothing is there.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(path.exists().then(|| path.to_owned()).into_iter().collect());
    }
    let read = || format!("cannot read the folder {}", path.display());
    let mut entries = Vec::new();
    for entry in path.read_dir().with_context(read)? {
        entries.push(entry.with_context(read)?.path());
    }
    entries.sort();
    let below: Result<Vec<_>> = entries.iter().map(|entry| files(entry)).collect();
    Ok(below?.concat())
}

/// Copies every file below `from` to `to`.
///
/// # Errors
///
/// If there is none.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let files = files(from)?;
    if files.is_empty() {
        bail!("{} has no files", from.display());
    }
    for file in files {
        let copy = to.join(file.strip_prefix(from)?);
        let folder = copy.parent().unwrap_or(to);
        fs::create_dir_all(folder)
            .and_then(|()| fs::copy(&file, &copy))
            .with_context(|| format!("cannot copy {} to {}", file.display(), copy.display()))?;
    }
    Ok(())
}

/// Removes a file or folder that may be there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false if path.exists() => fs::remove_file(path),
        false => Ok(()),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_copied_with_what_is_below_them() {
        let root = tempfile::tempdir().unwrap();
        let (from, to) = (root.path().join("web"), root.path().join("copy"));
        fs::create_dir_all(from.join("more")).unwrap();
        fs::write(from.join("more/page.js"), "// page").unwrap();
        copy_folder(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("more/page.js")).unwrap(), "// page");
        remove(&to).unwrap();
        remove(&to).unwrap();
        assert!(!to.exists());
        let error = copy_folder(&root.path().join("absent"), &to).unwrap_err();
        assert!(error.to_string().contains("absent has no files"), "{error}");
    }
}
