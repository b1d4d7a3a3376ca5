//! What the page can do: every feature is tried and not concluded from the browser's name.

use super::features;
use crate::error::{Error, Result};
use js_sys::{Uint8Array, WebAssembly};
use record::{Capabilities, Webnn};
use std::cell::RefCell;
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};

#[wasm_bindgen(inline_js = r#"
// Rejects what does not come in time, so that a browser that never answers cannot stop a probe.
const within = (ms, promise) => Promise.race([promise, new Promise((_, reject) => {
    setTimeout(() => reject(new DOMException(`no answer within ${ms} ms`, "TimeoutError")), ms);
})]);

const works = async (attempt) => {
    try {
        await within(2000, attempt());
        return true;
    } catch {
        return false;
    }
};

const NAME = "fewbit-probe";

// A name of its own for each attempt: another worker of this origin may be trying the same.
const withFile = async (use) => {
    const name = `${NAME}-${crypto.randomUUID()}`;
    const root = await navigator.storage.getDirectory();
    const file = await root.getFileHandle(name, { create: true });
    try {
        await use(file);
    } finally {
        await root.removeEntry(name);
    }
};

// The smallest of a few dozen steps; a clock that stands still for 200 ms has none.
const timerResolution = () => {
    const start = performance.now();
    let smallest = Infinity;
    for (let steps = 0, last = start; steps < 50 && last - start < 200;) {
        const now = performance.now();
        if (now > last) {
            smallest = Math.min(smallest, now - last);
            steps += 1;
            last = now;
        }
    }
    // What is below a nanosecond is the rounding of the subtraction.
    return Number.isFinite(smallest) ? Math.round(smallest * 1e6) / 1e6 : null;
};

export async function describe_page() {
    const estimate = within(2000, Promise.resolve(navigator.storage?.estimate())).catch(() => {});
    return JSON.stringify({
        wgsl_language_features: [...(navigator.gpu?.wgslLanguageFeatures ?? [])].sort(),
        wasm: { jspi: typeof WebAssembly.Suspending === "function" },
        storage: {
            opfs: await works(() => withFile(() => {})),
            opfs_sync: await works(() => withFile(async (file) => {
                (await file.createSyncAccessHandle()).close();
            })),
            cache_api: await works(async () => {
                await caches.open(NAME);
                await caches.delete(NAME);
            }),
            quota_bytes: (await estimate)?.quota ?? null,
        },
        timer_resolution_ms: timerResolution(),
        cross_origin_isolated: globalThis.crossOriginIsolated === true,
        hardware_concurrency: navigator.hardwareConcurrency ?? 0,
        device_memory_gib: navigator.deviceMemory ?? null,
    });
}

// Contexts are asked for one after the other and given back, so that none holds a device that a
// later cell needs.
export async function describe_webnn() {
    if (!navigator.ml) return null;
    const contexts = [];
    for (const device_type of ["cpu", "gpu", "npu"]) {
        try {
            const asked = navigator.ml.createContext({ deviceType: device_type });
            const context = await within(10000, asked);
            const limits = context.opSupportLimits?.() ?? {};
            // Operators describe their operands; the other entries are about tensors and layouts.
            const isOp = (name) => typeof limits[name] === "object"
                && !["input", "constant", "output"].includes(name);
            contexts.push({
                device_type,
                ops: Object.keys(limits).filter(isOp).sort(),
                data_types: [...(limits.input?.dataTypes ?? [])].sort(),
            });
            context.destroy?.();
        } catch (error) {
            contexts.push({ device_type, error: `${error.name}: ${error.message}` });
        }
    }
    return JSON.stringify({ contexts });
}
"#)]
extern "C" {
    #[wasm_bindgen(catch)]
    async fn describe_page() -> Result<JsValue, JsValue>;
    #[wasm_bindgen(catch)]
    async fn describe_webnn() -> Result<JsValue, JsValue>;
}

thread_local! {
    /// Asked once a worker: storage and timers take a moment, and one session has one answer.
    static KNOWN: RefCell<Option<Capabilities>> = const { RefCell::new(None) };
}

/// What the page can do, without WebNN.
pub(super) async fn capabilities() -> Result<Capabilities> {
    if let Some(known) = KNOWN.with_borrow(Clone::clone) {
        return Ok(known);
    }
    let said = describe_page().await.map_err(|error| super::js_error("the page", &error))?;
    let mut capabilities: Capabilities = parse(&said)?;
    for (name, module) in features::modules() {
        let bytes = Uint8Array::from(module.as_slice());
        let is_valid = WebAssembly::validate(bytes.unchecked_ref()).unwrap_or(false);
        capabilities.wasm.insert(name.to_owned(), is_valid);
    }
    KNOWN.set(Some(capabilities.clone()));
    Ok(capabilities)
}

/// What `navigator.ml` offers.
pub(super) async fn webnn() -> Result<Webnn> {
    let said = describe_webnn().await.map_err(|error| super::js_error("WebNN", &error))?;
    match said.is_null() {
        true => Err(Error::unsupported("no navigator.ml")),
        false => parse(&said),
    }
}

fn parse<T: serde::de::DeserializeOwned>(said: &JsValue) -> Result<T> {
    serde_json::from_str(&said.as_string().unwrap_or_default())
        .map_err(|error| Error::device("describing the page", error.to_string()))
}
