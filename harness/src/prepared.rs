//! What must be there before the first cell: the page, and browsers that can be driven.

use crate::{
    browser::{Launch, Programs, Target},
    bundle,
    config::Config,
    setup::{self, Need},
    ui::Ui,
};
use anyhow::{Context, Result, ensure};
use record::{Backend, Browser, Cell};
use std::path::{Path, PathBuf};

/// How it is brought.
pub(crate) struct Preparation<'a> {
    /// A built page, used as it is.
    pub(crate) bundle: Option<&'a Path>,
    /// Whether nothing is installed or fetched.
    pub(crate) no_setup: bool,
    /// Whether cells of other browsers run although one is absent.
    pub(crate) keep_going: bool,
    /// Whether nobody has named the browsers.
    pub(crate) are_default: bool,
}

/// The folder with the page, built if need be; none if no cell runs in a page.
pub(crate) fn page(
    how: &Preparation<'_>,
    config: &Config,
    cells: &[Cell],
    ui: &Ui,
) -> Result<Option<PathBuf>> {
    if cells.iter().all(|cell| cell.backend == Backend::Native) {
        return Ok(None);
    }
    let mut targets: Vec<Target> = Vec::new();
    for target in cells.iter().map(|cell| config.target(cell)) {
        // The nodes of a grid have browsers of their own.
        let is_here = target.id.family != Browser::Host && config.grid.is_none();
        if is_here && !targets.contains(&target) {
            targets.push(target);
        }
    }
    let mut needs: Vec<Need> = targets.iter().flat_map(need).collect();
    if how.bundle.is_none() {
        needs.push(Need::WasmBundle);
    }
    if !how.no_setup
        && let Err(error) = setup::ensure(&needs, ui)
    {
        ui.warn(format!("set-up: {error:#}"));
    }
    if !how.keep_going {
        let find = |target: &Target| Launch::of_target(target, config.session).map(drop);
        find_browsers(&targets, how.are_default, find, ui)?;
    }
    for launch in targets.iter().filter_map(|target| Launch::of_target(target, config.session).ok())
    {
        launch.warning.iter().for_each(|warning| ui.warn(warning));
    }
    let folder = match how.bundle {
        Some(folder) => folder.to_owned(),
        None => bundle::ensure(ui).context("building the page")?,
    };
    for file in ["index.html", "page.js", "worker.js", "pkg/engine/engine.js"] {
        ensure!(folder.join(file).is_file(), "{} has no {file}", folder.display());
    }
    Ok(Some(folder))
}

/// What has to be there for a browser, of whose programs some may be named.
fn need(target: &Target) -> Option<Need> {
    match (target.id.family, &target.programs) {
        (family, Programs { binary: None, .. }) => Some(Need::Browser(family)),
        (family, Programs { driver: None, .. }) => Some(Need::Driver(family)),
        _ => None,
    }
}

/// Looks for every browser before the first cell. One that was asked for by name must be there: its cells
/// would all be `infra`, after all others were run. The two of the built-in profile are there so that a
/// machine which has only one of them gives a matrix as well; without any there would be none.
fn find_browsers(
    browsers: &[Target],
    are_default: bool,
    find: impl Fn(&Target) -> Result<()>,
    ui: &Ui,
) -> Result<()> {
    let absent = |target: &Target| Some((target.id.to_string(), find(target).err()?));
    let absent: Vec<_> = browsers.iter().filter_map(absent).collect();
    let is_fatal = !are_default || absent.len() == browsers.len();
    for (browser, error) in absent {
        match is_fatal {
            true => {
                return Err(error).with_context(|| {
                    format!(
                        "{browser} cannot be driven, and --keep-going would run the other cells"
                    )
                });
            }
            false => ui.warn(format!("{browser} cannot be driven: {error:#}")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn a_browser_that_was_named_must_be_there_and_one_of_all_in_any_case() {
        use Browser::{Chrome, Firefox};
        let (both, ui) = ([Chrome, Firefox].map(Target::from), Ui::new(true, false));
        let there = |there: &'static [Browser]| {
            move |target: &Target| match there.contains(&target.id.family) {
                true => Ok(()),
                false => Err(anyhow!("get {}", target.id)),
            }
        };
        assert!(find_browsers(&both, false, there(&[Chrome, Firefox]), &ui).is_ok());
        let error = find_browsers(&both, false, there(&[Chrome]), &ui).unwrap_err();
        let said = format!("{error:#}");
        assert!(said.starts_with("firefox cannot be driven") && said.ends_with("get firefox"));
        assert!(find_browsers(&both, true, there(&[Chrome]), &ui).is_ok());
        assert!(find_browsers(&both, true, there(&[]), &ui).is_err());
        assert!(find_browsers(&[], true, there(&[]), &ui).is_ok());
    }
}
