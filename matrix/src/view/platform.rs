//! What a platform offers a page, in a few lines: features, storage, timers, and the kernels that
//! were right on it.

use super::figure;
use crate::grid::{Column, Grid};
use record::{Adapter, Capabilities, EngineInfo, Environment, Storage, Webnn};
use serde::Serialize;

/// What one platform offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Platform {
    /// The head of its column in one line.
    pub name: String,
    /// What was found there.
    pub facts: Vec<Fact>,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// What it is about.
    pub about: &'static str,
    /// What was found.
    pub found: String,
}

impl Platform {
    /// What was found on the platform of `column`, by the latest of its records that says it; none
    /// if none does.
    pub(super) fn of(grid: &Grid, column: &Column, name: String) -> Option<Platform> {
        let newest = column.records.iter().rev().map(|&index| &*grid.records[index].environment);
        let found = newest.map(facts).find(|facts| !facts.is_empty());
        found.map(|facts| Platform { name, facts })
    }
}

/// What an environment offers. Empty where no page was reached.
pub fn facts(environment: &Environment) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |about, found: Option<String>| {
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            facts.push(Fact { about, found });
        }
    };
    add("Kernels", kernels(&environment.engine));
    if let Some(adapter) = &environment.adapter {
        add("WebGPU", Some(adapter.features.join(" ")));
        add("Limits", Some(limits(adapter)));
    }
    if let Some(capabilities) = &environment.capabilities {
        add("WGSL", Some(capabilities.wgsl_language_features.join(" ")));
        add("WebAssembly", Some(wasm(capabilities)));
        add("Storage", Some(storage(&capabilities.storage)));
        add("Page", Some(page(capabilities)));
        add("WebNN", capabilities.webnn.as_ref().map(webnn));
    }
    facts
}

/// What kernels have at their disposal, and which are not used and why. Older records have a trial a
/// variant, of which the last was in use.
fn kernels(engine: &EngineInfo) -> Option<String> {
    let last = engine.tried.last()?;
    let mut text = match last.failure {
        None => format!("{}, {} checks passed", last.variant, last.checks),
        Some(_) => "none is right".to_owned(),
    };
    for trial in &engine.tried {
        if let Some(failure) = &trial.failure {
            text += &format!("; not {}: {failure}", trial.variant);
        }
    }
    for refused in &engine.refused {
        text += &format!("; not {}: {}", refused.kernel, refused.why);
    }
    for hosted in &engine.hosted {
        text += &format!("; {} on the CPU: {}", hosted.op, hosted.why);
    }
    Some(text)
}

/// The limits that decide which models fit and which kernels run.
fn limits(adapter: &Adapter) -> String {
    let shown = [
        ("maxStorageBufferBindingSize", "a binding"),
        ("maxBufferSize", "a buffer"),
        ("maxComputeWorkgroupStorageSize", "workgroup memory"),
    ];
    let bytes = shown.iter().filter_map(|(name, what)| {
        let value = adapter.limits.get(*name)?;
        Some(format!("{} {what}", figure::bytes(*value as f64)))
    });
    let invocations = adapter.limits.get("maxComputeInvocationsPerWorkgroup");
    let invocations = invocations.map(|count| format!("{count} invocations a workgroup"));
    bytes.chain(invocations).collect::<Vec<_>>().join(", ")
}

fn wasm(capabilities: &Capabilities) -> String {
    let named = |wanted: bool| {
        let features = capabilities.wasm.iter().filter(|(_, valid)| **valid == wanted);
        features.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" ")
    };
    match (named(true), named(false)) {
        (has, lacks) if lacks.is_empty() => has,
        (has, lacks) if has.is_empty() => format!("none of {lacks}"),
        (has, lacks) => format!("{has}; not {lacks}"),
    }
}

fn storage(storage: &Storage) -> String {
    let opfs = match (storage.opfs, storage.opfs_sync) {
        (true, true) => "OPFS with synchronous files",
        (true, false) => "OPFS",
        (false, _) => "no OPFS",
    };
    let cache = if storage.cache_api { "Cache API" } else { "no Cache API" };
    let quota = storage.quota_bytes.map(|bytes| figure::bytes(bytes as f64));
    let quota = quota.map(|quota| format!(", {quota} allowed")).unwrap_or_default();
    format!("{opfs}, {cache}{quota}")
}

fn page(capabilities: &Capabilities) -> String {
    let isolated = match capabilities.cross_origin_isolated {
        true => "cross-origin isolated",
        false => "not cross-origin isolated",
    };
    let mut parts = vec![isolated.to_owned()];
    // Nanoseconds are the finest that is measured.
    let resolution = capabilities.timer_resolution_ms.map(|ms| (ms * 1e6).round() / 1e3);
    parts.extend(resolution.map(|us| format!("timer steps of {us} µs")));
    if capabilities.hardware_concurrency > 0 {
        parts.push(format!("{} threads", capabilities.hardware_concurrency));
    }
    let memory = capabilities.device_memory_gib;
    parts.extend(memory.map(|gib| format!("deviceMemory {gib} GiB")));
    parts.join(", ")
}

fn webnn(webnn: &Webnn) -> String {
    let contexts = webnn.contexts.iter().map(|context| match &context.error {
        Some(error) => format!("{}: {error}", context.device_type),
        None => {
            let (ops, types) = (context.ops.len(), context.data_types.join(" "));
            format!("{}: {ops} ops, {types}", context.device_type)
        }
    });
    contexts.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{HostedOp, RefusedKernel, VariantTrial};

    #[test]
    fn kernels_say_what_is_used_and_what_was_wrong() {
        let trial = |variant: &str, failure: Option<&str>| VariantTrial {
            variant: variant.into(),
            checks: 90,
            failure: failure.map(str::to_owned),
        };
        let engine = |tried| EngineInfo { tried, ..EngineInfo::default() };
        assert_eq!(kernels(&engine(vec![])), None);
        let tried = vec![trial("subgroups", Some("op softmax: zeros")), trial("plain", None)];
        let expected = "plain, 90 checks passed; not subgroups: op softmax: zeros";
        assert_eq!(kernels(&engine(tried)).as_deref(), Some(expected));
        let tried = vec![trial("plain", Some("op add: zeros"))];
        assert_eq!(
            kernels(&engine(tried)).as_deref(),
            Some("none is right; not plain: op add: zeros")
        );
    }

    #[test]
    fn kernels_that_are_refused_are_named_with_what_takes_their_place() {
        let kernel = "softmax SUBGROUPS=1".to_owned();
        let engine = EngineInfo {
            tried: vec![VariantTrial { variant: "subgroups".into(), checks: 90, failure: None }],
            refused: vec![RefusedKernel { kernel, why: "softmax 4×5: zeros".into() }],
            hosted: vec![HostedOp { op: "rope".into(), why: "it has no kernel".into() }],
            ..EngineInfo::default()
        };
        assert_eq!(
            kernels(&engine).as_deref(),
            Some(
                "subgroups, 90 checks passed; not softmax SUBGROUPS=1: softmax 4×5: zeros; rope on \
                 the CPU: it has no kernel"
            )
        );
    }

    #[test]
    fn where_no_page_was_reached_there_is_nothing_to_say() {
        assert_eq!(facts(&Environment::default()), []);
    }
}
