//! `harness pack`: the program with all that it needs, for machines that have browsers and neither
//! Rust nor the repository.
//!
//! ```text
//! fewbit-0.1.0-x86_64-unknown-linux-gnu/
//!   harness geckodriver            what `programs` builds
//!   README.md LICENSE-… NOTICE     the last by `licences`
//!   share/web/ share/cases/        where `home` looks for page and cases
//! fewbit-0.1.0-x86_64-unknown-linux-gnu.tar.gz (.zip for Windows) and its .sha256, by `archive`
//! ```
//!
//! geckodriver is carried because no package manager of Debian has it; drivers of Chromium come with
//! their browsers. The same page and cases are what an installed program keeps for itself.

mod archive;
mod licences;
mod programs;

use crate::{
    bundle,
    folders::remove,
    home::{self, SHARE},
    ui::{Ui, Unit},
};
use anyhow::{Context, Result};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Arguments of `harness pack`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The system to pack for; its standard library and a linker must be there [default: this one]
    #[arg(long, value_name = "TRIPLE")]
    pub target: Option<String>,

    /// Where folder and archive go [default: target/pack in the checkout]
    #[arg(long, value_name = "FOLDER")]
    pub output: Option<PathBuf>,
}

/// What a folder is assembled from.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The checkout, for cases and licences.
    pub checkout: &'a Path,
    /// The program, and drivers that are carried with it.
    pub programs: &'a [PathBuf],
    /// The built page.
    pub page: &'a Path,
    /// The licences of what the programs and the page were built from.
    pub notice: &'a str,
}

/// Packs, and says where the archive is.
pub fn run(args: &Args, ui: &Ui) -> Result<()> {
    let checkout = home::needed_checkout("packing")?;
    let output = args.output.clone().unwrap_or_else(|| checkout.join("target/pack"));
    let page = bundle::ensure(ui).context("building the page")?;
    let host = programs::host()?;
    let target = args.target.as_deref().unwrap_or(&host);
    let built = programs::build(&checkout, target, &host, ui)?;
    let bar = ui.bar("packing", None, Unit::Steps);
    bar.message("licences");
    let notice = licences::notice(&checkout, target, built.geckodriver_manifest.as_deref())?;

    let name = format!("fewbit-{}-{target}", env!("CARGO_PKG_VERSION"));
    let folder = output.join(&name);
    let parts =
        Parts { checkout: &checkout, programs: &built.programs, page: &page, notice: &notice };
    assemble(&parts, &folder)?;
    bar.message("archive");
    let archive = match target.contains("windows") {
        true => archive::zip(&folder, &output.join(format!("{name}.zip")))?,
        false => archive::tar_gz(&folder, &output.join(format!("{name}.tar.gz")))?,
    };
    let sum = archive::checksum(&archive)?;
    bar.finish();
    let bytes = fs::metadata(&archive)?.len();
    ui.result(
        format!("{} ({:.1} MB, SHA-256 {sum})", archive.display(), bytes as f64 / 1e6),
        json!({"archive": archive, "folder": folder, "bytes": bytes, "sha256": sum}),
    );
    Ok(())
}

/// Makes `folder` anew from its parts.
pub fn assemble(parts: &Parts, folder: &Path) -> Result<()> {
    remove(folder)?;
    home::share(parts.page, parts.checkout, &folder.join(SHARE))?;
    for program in parts.programs {
        copy(program, folder)?;
    }
    for file in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy(&parts.checkout.join(file), folder)?;
    }
    write(&folder.join("README.md"), include_str!("README.md"))?;
    write(&folder.join("NOTICE"), parts.notice)
}

fn copy(file: &Path, folder: &Path) -> Result<()> {
    let copy = folder.join(file.file_name().unwrap_or_default());
    fs::copy(file, &copy)
        .with_context(|| format!("cannot copy {} to {}", file.display(), copy.display()))?;
    Ok(())
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
