//! The plan as the job matrix of a GitHub workflow.

use crate::ui::Ui;
use anyhow::{Result, bail};
use record::Browser;
use serde_json::{Value, json};

/// Runners, and the browsers that they carry or can install.
const RUNNERS: [(&str, &[Browser]); 3] = [
    ("ubuntu-latest", &[Browser::Chrome, Browser::Firefox, Browser::Edge, Browser::Webkitgtk]),
    ("windows-latest", &[Browser::Edge, Browser::Chrome, Browser::Firefox]),
    ("macos-latest", &[Browser::Safari, Browser::Chrome, Browser::Firefox]),
];

/// Prints one line for `strategy.matrix`: a job for each runner, browser and part of the plan.
pub fn print(browsers: &[Browser], parts: u32, ui: &Ui) -> Result<()> {
    let matrix = matrix(browsers, parts)?;
    ui.result(matrix.to_string(), matrix);
    Ok(())
}

fn matrix(browsers: &[Browser], parts: u32) -> Result<Value> {
    let mut jobs = Vec::new();
    for (os, carried) in RUNNERS {
        for browser in carried.iter().filter(|browser| browsers.contains(browser)) {
            for index in 1..=parts {
                jobs.push(
                    json!({"os": os, "browser": browser, "shard": format!("{index}/{parts}")}),
                );
            }
        }
    }
    if jobs.is_empty() {
        bail!("no GitHub runner has any of these browsers");
    }
    // GitHub refuses a matrix of more jobs.
    if jobs.len() > 256 {
        bail!("{} jobs are more than the 256 of a GitHub matrix; take fewer parts", jobs.len());
    }
    Ok(json!({"include": jobs}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_for_each_runner_browser_and_part() {
        let matrix = matrix(&[Browser::Chrome, Browser::Safari], 2).unwrap();
        let jobs = matrix["include"].as_array().unwrap();
        assert_eq!(jobs.len(), 8);
        assert_eq!(jobs[1], json!({"os": "ubuntu-latest", "browser": "chrome", "shard": "2/2"}));
        assert_eq!(jobs[2], json!({"os": "windows-latest", "browser": "chrome", "shard": "1/2"}));
        assert_eq!(jobs[4], json!({"os": "macos-latest", "browser": "safari", "shard": "1/2"}));
    }

    #[test]
    fn each_runner_has_the_browsers_of_its_system() {
        let matrix = matrix(Browser::ALL, 1).unwrap();
        let jobs = matrix["include"].as_array().unwrap();
        let browsers_on = |os: &str| {
            let jobs = jobs.iter().filter(|job| job["os"] == os);
            jobs.map(|job| job["browser"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(browsers_on("ubuntu-latest"), "chrome firefox edge webkitgtk");
        assert_eq!(browsers_on("windows-latest"), "edge chrome firefox");
        assert_eq!(browsers_on("macos-latest"), "safari chrome firefox");
    }

    #[test]
    fn what_github_would_refuse_is_refused_here() {
        let error = |parts| matrix(&[Browser::Firefox], parts).unwrap_err().to_string();
        assert!(error(100).contains("300 jobs"));
        assert!(matrix(&[Browser::Host], 1).unwrap_err().to_string().contains("no GitHub runner"));
    }
}
