//! Packages of Debian and Ubuntu.

use super::command;
use crate::{
    host::is_root,
    ui::{Ui, Unit},
};
use anyhow::{Context, Result, bail};
use std::{path::Path, process::Command};

/// Whether this system has apt.
pub(super) fn is_here() -> bool {
    Path::new("/usr/bin/apt-get").exists()
}

/// The command that installs `packages`, as one types it.
pub(super) fn line(packages: &[&str]) -> String {
    format!("sudo apt-get install --no-install-recommends {}", packages.join(" "))
}

/// Installs `packages`, as root or through a sudo that asks no password.
pub(super) fn install(packages: &[&str], ui: &Ui) -> Result<()> {
    if !is_here() {
        bail!("this system has no apt-get");
    }
    if !is_root() && command::answer("sudo", &["-n", "true"]).is_none() {
        bail!("installing packages takes root, and sudo asks for a password here");
    }
    let bar = ui.bar(format!("installing {}", packages.join(" ")), None, Unit::Steps);
    // Lists that cannot be renewed are no reason to stop: the ones from last time may do.
    if let Err(error) = command::run(apt_get(&["update"]), &bar) {
        ui.warn(format!("{error:#}"));
    }
    let arguments = [&["install", "--yes", "--no-install-recommends"], packages].concat();
    command::run(apt_get(&arguments), &bar).context("apt-get could not install")
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = match is_root() {
        true => Command::new("env"),
        false => Command::new("sudo"),
    };
    if !is_root() {
        command.args(["-n", "env"]);
    }
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(arguments);
    command
}
