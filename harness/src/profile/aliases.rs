//! Environment variables that earlier tools of this field used, where they have a meaning here.

use crate::groups::width;
use anyhow::{Result, bail};

/// A variable, the option that it sets, and what its value says there.
type Alias = (&'static str, &'static str, fn(&str) -> Option<String>);

/// The later ones go over the earlier ones.
const ALIASES: [Alias; 9] = [
    ("WEBGPU_4BIT_INFERENCE", "bits", |value| switch(value).map(|is_on| on(is_on, "4"))),
    ("WEBGPU_DEFAULT_BITS", "bits", |value| Some(value.to_owned())),
    ("WEBGPU_DEFAULT_BITS", "base-bits", |value| Some(on(width(value).is_ok(), value))),
    ("WEBGPU_CRITICAL_LAYERS_BITS", "critical-bits", |value| Some(value.to_owned())),
    ("WEBGPU_ADAPTIVE_PRECISION", "bits", |value| switch(value).map(|is_on| on(is_on, "adaptive"))),
    ("WEBGPU_4BIT_SCHEME", "scheme", |value| Some(value.to_owned())),
    ("WEBGPU_4BIT_BLOCK_SIZE", "group-size", |value| Some(value.to_owned())),
    ("WEBGPU_BROWSER", "browsers", |value| Some(browser(value))),
    ("TARGET_BROWSER", "browsers", |value| Some(browser(value))),
];

/// The options that are set so: name, values and the variable that set them.
pub(super) fn read(
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(&'static str, Vec<String>, String)>> {
    let mut set = Vec::new();
    for (variable, option, meaning) in ALIASES {
        let Some(value) = env(variable) else { continue };
        match meaning(value.trim()) {
            None => bail!("{variable} is {value:?}; it is either 0 or 1"),
            // Switched off, or left to the defaults.
            Some(value) if value.is_empty() => {}
            Some(value) => set.push((option, vec![value], variable.to_owned())),
        }
    }
    Ok(set)
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "0" | "false" => Some(false),
        "1" | "true" => Some(true),
        _ => None,
    }
}

fn on(is_on: bool, value: &str) -> String {
    if is_on { value.to_owned() } else { String::new() }
}

fn browser(value: &str) -> String {
    if value == "auto" { String::new() } else { value.to_owned() }
}
