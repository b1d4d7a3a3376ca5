//! Builds what a packed folder runs: the program, and geckodriver out of its crate.

use crate::{
    setup::{cargo, command, tools::GECKODRIVER_VERSION},
    ui::{Ui, Unit},
};
use anyhow::{Context, Result, ensure};
use std::{
    env,
    path::{Path, PathBuf},
};

/// What was built.
pub(super) struct Built {
    /// The program and geckodriver.
    pub programs: Vec<PathBuf>,
    /// The manifest of geckodriver's source, for the licences of what is in it.
    pub geckodriver_manifest: Option<PathBuf>,
}

/// The system that this machine's compiler builds for.
pub(super) fn host() -> Result<String> {
    let said = command::answer("rustc", &["--print", "host-tuple"]);
    said.context("rustc does not tell which system it builds for; is it on PATH?")
}

/// Builds both for `target`.
pub(super) fn build(checkout: &Path, target: &str, host: &str, ui: &Ui) -> Result<Built> {
    let bar = ui.bar(format!("building the program for {target}"), None, Unit::Steps);
    let folder = checkout.join("target");
    let mut build = cargo();
    build.args(["build", "--release", "--package", "harness", "--target-dir"]).arg(&folder);
    // Without the option the build shares what was built for this system before.
    if target != host {
        build.args(["--target", target]);
    }
    build.current_dir(checkout);
    command::run(build, &bar).context("the program does not build")?;
    bar.finish();
    let suffix = if target.contains("windows") { ".exe" } else { "" };
    let release = match target == host {
        true => folder.join("release"),
        false => folder.join(target).join("release"),
    };

    let root = folder.join("pack-tools").join(target);
    let bar = ui.bar("building geckodriver", None, Unit::Steps);
    let mut install = cargo();
    install.args(["install", "--locked", "--version", GECKODRIVER_VERSION, "--root"]).arg(&root);
    install.args(["--target", target, "geckodriver"]);
    command::run(install, &bar).context("geckodriver does not build")?;
    bar.finish();

    let programs = vec![
        release.join(format!("harness{suffix}")),
        root.join(format!("bin/geckodriver{suffix}")),
    ];
    for program in &programs {
        ensure!(program.is_file(), "the build went well, but {} is absent", program.display());
    }
    Ok(Built { programs, geckodriver_manifest: source("geckodriver", GECKODRIVER_VERSION) })
}

/// The manifest of a crate's source, which cargo unpacked to build it.
fn source(name: &str, version: &str) -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")))?;
    let registries = home.join("registry/src").read_dir().ok()?.flatten();
    let mut paths = registries.map(|registry| registry.path().join(format!("{name}-{version}")));
    paths.find_map(|path| Some(path.join("Cargo.toml")).filter(|manifest| manifest.is_file()))
}
