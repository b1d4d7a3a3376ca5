//! Versions of browsers and drivers, and whether the two go together.
//!
//! A chromedriver or msedgedriver drives the browser of its own major version only; others find that
//! out in odd ways, up to a browser that starts and never answers. geckodriver drives a range of
//! versions and says itself when Firefox is out of it, and the drivers of WebKit come with it.

use crate::setup::{command, search::Os};
use anyhow::{Result, bail};
use std::path::Path;

/// The version of a driver: what it says.
pub(super) fn of_driver(driver: &Path) -> Option<String> {
    said(driver)
}

/// The version of a browser. On Windows its program opens a window whatever it is asked, but lies
/// beside a folder that is called by the version.
pub(super) fn of_browser(browser: &Path, os: Os) -> Option<String> {
    if os != Os::Windows {
        return said(browser);
    }
    let entries = browser.parent()?.read_dir().ok()?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    // After an update the old folder stays until the browser is closed.
    names.filter(|name| is_version(name)).max_by_key(|name| parts(name))
}

fn said(program: &Path) -> Option<String> {
    let said = command::answer(program.to_str()?, &["--version"])?;
    said.split_whitespace().find(|word| is_version(word)).map(str::to_owned)
}

/// Whether `word` begins with a number, a dot and a digit.
fn is_version(word: &str) -> bool {
    let parts = word.split_once('.');
    parts.is_some_and(|(major, rest)| {
        major.parse::<u64>().is_ok() && rest.starts_with(|first: char| first.is_ascii_digit())
    })
}

fn parts(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// Fails if the major versions differ, and says what to do. What does not tell its version is left
/// to find out for itself.
pub(super) fn must_match(
    (browser_name, browser): (&str, Option<&str>),
    (driver_name, driver): (&str, Option<&str>),
    remedy: &str,
) -> Result<()> {
    let (Some(browser), Some(driver)) = (browser, driver) else { return Ok(()) };
    let major = |version: &str| parts(version).first().copied();
    if major(browser) != major(driver) {
        bail!("{driver_name} {driver} does not drive {browser_name} {browser}; {remedy}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn versions_are_told_from_names_and_commits() {
        for (word, expected) in [
            ("156.0.8078.79", true),
            ("153.7.0esr", true),
            ("26.0", true),
            ("Chromium", false),
            ("(a21ce95c24ce", false),
            ("12", false),
            ("v1.2", false),
        ] {
            assert_eq!(is_version(word), expected, "{word}");
        }
    }

    #[test]
    fn windows_tells_by_a_folder() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["155.0.10.9", "155.0.9.99", "SetupMetrics"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let found = of_browser(&root.path().join("msedge.exe"), Os::Windows);
        assert_eq!(found.as_deref(), Some("155.0.10.9"));
    }

    #[test]
    fn majors_must_match_where_both_are_known() {
        let check =
            |browser, driver| must_match(("chrome", browser), ("chromedriver", driver), "do this");
        assert!(check(Some("156.0.1.2"), Some("156.9.9.9")).is_ok());
        assert!(check(None, Some("156.0")).is_ok() && check(Some("156.0"), None).is_ok());
        let error = check(Some("156.0.1.2"), Some("155.0.1.2")).unwrap_err().to_string();
        assert_eq!(error, "chromedriver 155.0.1.2 does not drive chrome 156.0.1.2; do this");
    }
}
