//! Which browsers a run drives, and with which programs where these are not the usual ones.
//!
//! `--browsers chrome chrome@beta=PATH` asks for two of one family. The word after `@` is a label: with
//! it come cells, columns and records of their own.

use crate::suggest;
use anyhow::{Context, Error, Result, bail, ensure};
use record::{Axes, Axis, Browser, Cell};
use std::{
    fmt,
    path::{Path, PathBuf, absolute},
    str::FromStr,
};

/// A browser of a run: its family, and the label that tells it from others of the family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrowserId {
    /// The family.
    pub family: Browser,
    /// The label.
    pub label: Option<String>,
}

impl BrowserId {
    /// The browser of a cell.
    pub fn of(cell: &Cell) -> BrowserId {
        BrowserId { family: cell.browser, label: cell.axis(Axis::Channel).map(str::to_owned) }
    }

    /// What cells of this browser name beside the family.
    pub fn axes(&self) -> Axes {
        self.label.iter().map(|label| (Axis::Channel, label.clone())).collect()
    }
}

impl From<Browser> for BrowserId {
    fn from(family: Browser) -> BrowserId {
        BrowserId { family, label: None }
    }
}

impl fmt::Display for BrowserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.label {
            Some(label) => write!(f, "{}@{label}", self.family),
            None => write!(f, "{}", self.family),
        }
    }
}

impl FromStr for BrowserId {
    type Err = Error;

    fn from_str(text: &str) -> Result<BrowserId> {
        let Some((family, label)) = text.split_once('@') else {
            return Ok(BrowserId::from(family(text)?));
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        ensure!(
            !label.is_empty() && label.chars().all(is_plain),
            "a label is letters, digits, dots and dashes, such as chrome@beta"
        );
        Ok(BrowserId { family: self::family(family)?, label: Some(label.to_owned()) })
    }
}

fn family(text: &str) -> Result<Browser> {
    suggest::name(text).map_err(Error::msg)
}

/// What `--browsers` takes: `chrome`, or `chrome@beta=PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrowserArg {
    /// The browser.
    pub id: BrowserId,
    /// Its program.
    pub binary: Option<PathBuf>,
}

impl FromStr for BrowserArg {
    type Err = Error;

    fn from_str(text: &str) -> Result<BrowserArg> {
        match text.parse::<ProgramArg>() {
            Ok(ProgramArg { id, path }) => Ok(BrowserArg { id, binary: Some(path) }),
            Err(_) if !text.contains('=') => Ok(BrowserArg { id: text.parse()?, binary: None }),
            Err(error) => Err(error),
        }
    }
}

/// What `--browser-binary` and `--driver-binary` take: `chrome=PATH`, or `chrome@beta=PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramArg {
    /// The browser.
    pub id: BrowserId,
    /// Its program, or that of its driver.
    pub path: PathBuf,
}

impl FromStr for ProgramArg {
    type Err = Error;

    fn from_str(text: &str) -> Result<ProgramArg> {
        let (id, path) = text.split_once('=').context("a program is named as chrome=PATH")?;
        ensure!(!path.is_empty(), "there is no path behind `{id}=`");
        Ok(ProgramArg { id: id.parse()?, path: path.into() })
    }
}

/// Programs that are named and not looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs {
    /// The browser's.
    pub binary: Option<PathBuf>,
    /// Its driver's.
    pub driver: Option<PathBuf>,
}

/// A browser of a run and its programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The browser.
    pub id: BrowserId,
    /// What is named of its programs.
    pub programs: Programs,
}

impl Target {
    /// The options that choose this browser alone.
    pub fn options(&self) -> Vec<String> {
        let Target { id, programs } = self;
        let mut words = vec!["--browsers".to_owned(), id.to_string()];
        for (name, path) in
            [("--browser-binary", &programs.binary), ("--driver-binary", &programs.driver)]
        {
            if let Some(path) = path {
                words.extend([name.to_owned(), format!("{id}={}", path.display())]);
            }
        }
        words
    }
}

impl From<Browser> for Target {
    fn from(family: Browser) -> Target {
        Target { id: family.into(), programs: Programs::default() }
    }
}

/// The options that choose browsers.
#[derive(Clone, Debug, clap::Args)]
pub struct BrowserArgs {
    /// Browsers to drive: chrome, firefox, edge, safari, webkitgtk; a second of one family with a
    /// label and its program, such as `chrome@beta=/opt/beta/chrome`. One that is named, here, in a
    /// variable or in a profile of your own, must be there.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "BROWSER[@LABEL[=PATH]]")]
    pub browsers: Vec<BrowserArg>,

    /// The program of a browser, where it is not the one that is found.
    #[arg(long, num_args = 1.., value_name = "BROWSER[@LABEL]=PATH")]
    pub browser_binary: Vec<ProgramArg>,

    /// The program of its driver.
    #[arg(long, num_args = 1.., value_name = "BROWSER[@LABEL]=PATH")]
    pub driver_binary: Vec<ProgramArg>,

    /// Whether the browsers are those of the built-in profile, which nobody named.
    #[arg(skip)]
    pub are_default: bool,
}

impl BrowserArgs {
    /// The browsers to drive, on this machine or by a grid.
    ///
    /// # Errors
    ///
    /// As `targets`, and if a program is named for a grid.
    pub fn targets(&self, on_grid: bool) -> Result<Vec<Target>> {
        let targets = targets(&self.browsers, &self.browser_binary, &self.driver_binary)?;
        let names_program = targets.iter().any(|target| target.programs != Programs::default());
        ensure!(
            !on_grid || !names_program,
            "the nodes of a grid have browsers of their own; programs are named for this machine"
        );
        Ok(targets)
    }

    /// The families that are asked for.
    pub fn families(&self) -> Vec<Browser> {
        self.browsers.iter().map(|arg| arg.id.family).collect()
    }
}

/// Puts together what `--browsers`, `--browser-binary` and `--driver-binary` say.
///
/// # Errors
///
/// If a program is not there, is named twice or for a browser that is not asked for, or if a label
/// comes without a program.
fn targets(
    browsers: &[BrowserArg],
    binaries: &[ProgramArg],
    drivers: &[ProgramArg],
) -> Result<Vec<Target>> {
    let mut targets: Vec<Target> = Vec::new();
    let inline = browsers.iter().filter_map(|BrowserArg { id, binary }| {
        binary.as_ref().map(|path| ProgramArg { id: id.clone(), path: path.clone() })
    });
    let binaries: Vec<ProgramArg> = inline.chain(binaries.iter().cloned()).collect();
    for BrowserArg { id, .. } in browsers {
        if targets.iter().any(|target| target.id == *id) {
            continue;
        }
        let programs = Programs { binary: program(&binaries, id)?, driver: program(drivers, id)? };
        ensure!(
            id.label.is_none() || programs.binary.is_some(),
            "{id} names no program; write {id}=PATH"
        );
        ensure!(
            programs == Programs::default()
                || !matches!(id.family, Browser::Safari | Browser::Host),
            "{id} cannot be another program than the one of this machine"
        );
        targets.push(Target { id: id.clone(), programs });
    }
    for ProgramArg { id, .. } in binaries.iter().chain(drivers) {
        let is_asked = targets.iter().any(|target| target.id == *id);
        ensure!(is_asked, "a program is named for {id}, and --browsers does not ask for {id}");
    }
    Ok(targets)
}

/// The one program that is named for `id`, if any is.
fn program(named: &[ProgramArg], id: &BrowserId) -> Result<Option<PathBuf>> {
    let mut paths = named.iter().filter(|program| program.id == *id).map(|program| &program.path);
    let Some(path) = paths.next() else { return Ok(None) };
    if let Some(other) = paths.find(|other| *other != path) {
        bail!("{id} is said to be {} and {}", path.display(), other.display());
    }
    ensure!(path.is_file(), "there is no program at {}", path.display());
    absolute(path).map(Some).with_context(|| format!("{} has no full path", path.display()))
}

/// The given program, or else what `find` finds.
pub(super) fn given_or(
    given: &Option<PathBuf>,
    find: impl FnOnce() -> Result<PathBuf>,
) -> Result<PathBuf> {
    given.as_deref().map(Path::to_owned).map_or_else(find, Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(browsers: &[&str], binaries: &[&str], drivers: &[&str]) -> Result<Vec<Target>> {
        let programs =
            |texts: &[&str]| texts.iter().map(|text| text.parse()).collect::<Result<Vec<_>>>();
        let browsers: Result<Vec<BrowserArg>> = browsers.iter().map(|text| text.parse()).collect();
        targets(&browsers?, &programs(binaries)?, &programs(drivers)?)
    }

    #[test]
    fn two_of_a_family_are_told_apart_and_can_be_asked_for_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let driver = format!("chrome@beta={path}");
        let targets =
            parse(&["chrome", &format!("chrome@beta={path}"), "chrome"], &[], &[&driver]).unwrap();
        assert_eq!(targets.len(), 2);
        assert_eq!(targets[0], Target::from(Browser::Chrome));
        assert_eq!(targets[0].options(), ["--browsers", "chrome"]);
        let again = [
            "--browsers",
            "chrome@beta",
            "--browser-binary",
            &format!("chrome@beta={path}"),
            "--driver-binary",
            &driver,
        ];
        assert_eq!(targets[1].options(), again);
        assert_eq!(parse(&again[1..2], &again[3..4], &again[5..6]).unwrap(), targets[1..]);
        assert_eq!(targets[1].id.axes()[&Axis::Channel], "beta");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let chrome = format!("chrome={path}");
        for (browsers, binaries, said) in [
            (&["chrome@beta"][..], &[][..], "chrome@beta names no program; write chrome@beta=PATH"),
            (&["chrome@be ta=/x"], &[], "a label is letters"),
            (&["chrom"], &[], "unknown browser \"chrom\""),
            (&["chrome=/no/such/file"], &[], "there is no program at /no/such/file"),
            (&["chrome="], &[], "there is no path behind `chrome=`"),
            (&["firefox"], &[&*chrome], "--browsers does not ask for chrome"),
            (&["chrome=/x"], &[&*chrome], "chrome is said to be /x and"),
            (&["safari"], &[&*format!("safari={path}")], "safari cannot be another program"),
        ] {
            let error = format!("{:#}", parse(browsers, binaries, &[]).unwrap_err());
            assert!(error.contains(said), "{browsers:?}: {error}");
        }
    }
}
