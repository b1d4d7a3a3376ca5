//! Environment variables that earlier tools of this field used, where they have a meaning here.

use crate::groups::width;
use anyhow::{Result, bail};

/// A variable, the option that it sets, and what its value says there: nothing where it leaves the option alone. An
/// error says what it may be.
type Alias = (&'static str, &'static str, fn(&str) -> Result<String, &'static str>);

/// The later ones go over the earlier ones.
const ALIASES: [Alias; 13] = [
    ("WEBGPU_4BIT_INFERENCE", "bits", |value| Ok(on(switch(value)?, "4"))),
    ("WEBGPU_DEFAULT_BITS", "bits", |value| Ok(value.to_owned())),
    ("WEBGPU_DEFAULT_BITS", "base-bits", |value| Ok(on(width(value).is_ok(), value))),
    ("WEBGPU_CRITICAL_LAYERS_BITS", "critical-bits", |value| Ok(value.to_owned())),
    ("WEBGPU_ADAPTIVE_PRECISION", "bits", |value| Ok(on(switch(value)?, "adaptive"))),
    ("WEBGPU_MEMORY_THRESHOLD_MB", "memory-limit", |value| Ok(value.to_owned())),
    // The threshold is what is adjusted to.
    ("WEBGPU_DYNAMIC_ADJUSTMENT", "memory-limit", |value| Ok(on(!switch(value)?, "off"))),
    ("WEBGPU_MEASURE_ACCURACY", "memory-limit", |value| match switch(value)? {
        true => Ok(String::new()),
        false => Err("accuracy is part of every cell, and cannot be left out"),
    }),
    // The fewest bits of a cache that cost nothing one could notice.
    ("WEBGPU_EFFICIENT_KV_CACHE", "kv-bits", |value| Ok(on(switch(value)?, "8"))),
    ("WEBGPU_4BIT_SCHEME", "scheme", |value| Ok(value.to_owned())),
    ("WEBGPU_4BIT_BLOCK_SIZE", "group-size", |value| Ok(value.to_owned())),
    ("WEBGPU_BROWSER", "browsers", |value| Ok(browser(value))),
    ("TARGET_BROWSER", "browsers", |value| Ok(browser(value))),
];

/// The options that are set so: name, values and the variable that set them.
pub(super) fn read(
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(&'static str, Vec<String>, String)>> {
    let mut set = Vec::new();
    for (variable, option, meaning) in ALIASES {
        let Some(value) = env(variable) else { continue };
        match meaning(value.trim()) {
            Err(reason) => bail!("{variable} is {value:?}; {reason}"),
            // Switched off, or left to the defaults.
            Ok(value) if value.is_empty() => {}
            Ok(value) => set.push((option, vec![value], variable.to_owned())),
        }
    }
    Ok(set)
}

fn switch(value: &str) -> Result<bool, &'static str> {
    match value {
        "0" | "false" => Ok(false),
        "1" | "true" => Ok(true),
        _ => Err("it is either 0 or 1"),
    }
}

fn on(is_on: bool, value: &str) -> String {
    if is_on { value.to_owned() } else { String::new() }
}

fn browser(value: &str) -> String {
    if value == "auto" { String::new() } else { value.to_owned() }
}
