//! The files of a model or a case.

use anyhow::{Context, Result, ensure};
use record::CaseFile;
use std::{fs, path::Path};

/// The regular files below a folder, ordered by name.
pub fn files(folder: &Path) -> Result<Vec<CaseFile>> {
    let mut files = Vec::new();
    list(folder, "", &mut files)?;
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Lists the regular files below `folder`, symlinks followed, hidden ones left out.
fn list(folder: &Path, prefix: &str, files: &mut Vec<CaseFile>) -> Result<()> {
    // Deep enough for any published model, and an end to symlinks that form a circle.
    ensure!(prefix.matches('/').count() < 4, "{prefix} is nested too deeply for a case");
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().with_context(|| format!("{name:?} is not UTF-8"))?;
        if name.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{name}");
        let metadata = fs::metadata(entry.path())
            .with_context(|| format!("{name} cannot be read; is it a dangling symlink?"))?;
        if metadata.is_dir() {
            list(&entry.path(), &format!("{name}/"), files)?;
        } else if metadata.is_file() {
            files.push(CaseFile { name, bytes: metadata.len() });
        }
    }
    Ok(())
}
