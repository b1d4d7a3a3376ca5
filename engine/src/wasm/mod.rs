//! The engine in a page: the only folder that knows JavaScript.
//!
//! `capabilities.rs` asks the page what it can do, `features.rs` has the modules for that; `heap.rs`
//! counts what a cell allocates;
//! `pipelines.rs` makes pipelines side by side, `threads.rs` starts workers for what the CPU computes.
//!
//! `answer` takes a request as JSON and gives the answer as JSON; events go to a callback on the
//! way. Files come over HTTP ranges. The GPU is opened once a worker and kept for its cells.

mod capabilities;
mod features;
mod heap;
mod pipelines;
mod threads;

use crate::{
    answer,
    device::{Gpu, InPage},
    embedder::Embedder,
    error::{Error, Result},
    time,
    weights::{LocalFuture, Source},
};
use js_sys::{Function, Uint8Array};
use record::{Capabilities, CaseFile, Event, Request, Webnn};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    ops::Range,
    rc::Rc,
};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;
use web_sys::{RequestInit, Response, WorkerGlobalScope};

#[wasm_bindgen(inline_js = r#"
// Asks until there is an adapter or the time is over: a GPU process that is still starting answers
// null. What the adapter says of itself comes back as JSON.
export async function describe_adapter(patience) {
    if (!globalThis.navigator?.gpu) return JSON.stringify({ missing: "no navigator.gpu" });
    const end = performance.now() + patience;
    let adapter = null;
    for (;;) {
        adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
        if (adapter || performance.now() > end) break;
        await pause(250);
    }
    if (!adapter) return JSON.stringify({ missing: "navigator.gpu gives no adapter" });
    const { vendor, architecture, device, description } = adapter.info ?? {};
    const limits = {};
    for (const name in adapter.limits) {
        if (typeof adapter.limits[name] === "number") limits[name] = adapter.limits[name];
    }
    return JSON.stringify({
        vendor, architecture, device, description, limits, features: [...adapter.features],
        fallback: adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter ?? null,
    });
}

export function pause(milliseconds) {
    return new Promise((resume) => setTimeout(resume, milliseconds));
}

// wgpu's web backend has no name for subgroups, so the feature is added to what it asks for.
export function ask_for_subgroups() {
    const plain = GPUAdapter.prototype.requestDevice;
    if (plain.asksForSubgroups) return;
    GPUAdapter.prototype.requestDevice = function (descriptor = {}) {
        const features = [...(descriptor.requiredFeatures ?? [])];
        if (this.features.has("subgroups")) features.push("subgroups");
        return plain.call(this, { ...descriptor, requiredFeatures: features });
    };
    GPUAdapter.prototype.requestDevice.asksForSubgroups = true;
}
"#)]
extern "C" {
    #[wasm_bindgen(catch)]
    async fn describe_adapter(patience: f64) -> Result<JsValue, JsValue>;
    fn ask_for_subgroups();
    async fn pause(milliseconds: f64);
}

/// How long a GPU process may take to start.
const PATIENCE_MS: f64 = 8000.0;

/// How long the news of a GPU's loss may take: Firefox looks for it ten times a second.
const LOSS_NEWS_MS: f64 = 500.0;

/// A file up to this size is fetched whole and kept for the next cell of its case; of a larger one,
/// at least this much is fetched at a time: tensors are many and requests are slow.
const WINDOW_BYTES: u64 = 1 << 20;
/// Small files that are kept, in bytes.
const KEPT_BYTES: usize = 16 << 20;

thread_local! {
    /// In JavaScript's memory, so that a cell takes the same of WASM's whether it finds a file here.
    static KEPT: RefCell<BTreeMap<String, Uint8Array>> = const { RefCell::new(BTreeMap::new()) };
    static FETCHED: Cell<u64> = const { Cell::new(0) };
    /// Where events go, on the thread that hears requests.
    static EMIT: RefCell<Option<Function>> = const { RefCell::new(None) };
    static GPU: RefCell<Option<Rc<Gpu>>> = const { RefCell::new(None) };
}

/// Answers one request, JSON to JSON.
#[wasm_bindgen]
pub async fn answer(request: String, emit: Function) -> Result<String, JsValue> {
    EMIT.set(Some(emit.clone()));
    std::panic::set_hook(Box::new(|panic| {
        // The trap that follows says only "unreachable".
        let message = format!("the engine panicked: {panic}");
        match EMIT.take() {
            Some(emit) => send(&emit, &Event::Failed { message }),
            None => threads::abandon(message),
        }
    }));
    let request: Request = serde_json::from_str(&request)
        .map_err(|error| JsValue::from_str(&format!("the request is malformed: {error}")))?;
    time::set_clock(now_ms, |milliseconds| Box::pin(pause(milliseconds)));
    FETCHED.set(0);
    heap::count_from_here();
    let scope = js_sys::global().unchecked_into::<WorkerGlobalScope>();
    let answer = answer::answer(request, &Page { scope, emit }).await;
    serde_json::to_string(&answer).map_err(|error| JsValue::from_str(&error.to_string()))
}

/// Milliseconds since the page began.
fn now_ms() -> f64 {
    let scope = js_sys::global().unchecked_into::<WorkerGlobalScope>();
    scope.performance().map_or(0.0, |performance| performance.now())
}

fn send(emit: &Function, event: &Event) {
    if let Ok(text) = serde_json::to_string(event) {
        // A page that no longer listens is no reason to stop.
        let _ = emit.call1(&JsValue::NULL, &JsValue::from_str(&text));
    }
}

struct Page {
    scope: WorkerGlobalScope,
    emit: Function,
}

impl Embedder for Page {
    fn source(&self, url: &str, files: &[CaseFile]) -> Box<dyn Source> {
        let size = |file: &CaseFile| (file.name.clone(), file.bytes);
        Box::new(Http {
            scope: self.scope.clone(),
            base: url.trim_end_matches('/').to_owned(),
            sizes: files.iter().map(size).collect(),
            window: RefCell::default(),
        })
    }

    fn gpu(&self) -> LocalFuture<'_, Result<Rc<Gpu>>> {
        Box::pin(async {
            if let Some(gpu) = GPU.with_borrow(Clone::clone)
                && gpu.check("an earlier cell").is_ok()
            {
                return Ok(gpu);
            }
            let text =
                describe_adapter(PATIENCE_MS).await.map_err(|error| js_error("WebGPU", &error))?;
            let described = described(&text.as_string().unwrap_or_default())?;
            pipelines::look_up_pipelines();
            ask_for_subgroups();
            let page = InPage { adapter: described, makers: Box::new(pipelines::SideBySide) };
            let gpu = Gpu::open(Some(page)).await?;
            GPU.set(Some(Rc::clone(&gpu)));
            Ok(gpu)
        })
    }

    fn leave_gpu(&self) -> LocalFuture<'_, Option<Error>> {
        Box::pin(async {
            pause(LOSS_NEWS_MS).await;
            let error = GPU.take()?.check("running kernels").err()?;
            matches!(error, Error::Lost { .. }).then_some(error)
        })
    }

    fn start_threads(&self, count: usize) -> LocalFuture<'_, Option<String>> {
        Box::pin(async move {
            let why = threads::start(count).await;
            // The stacks of threads are no cell's.
            heap::count_from_here();
            why
        })
    }

    fn emit(&self, event: Event) {
        send(&self.emit, &event);
    }

    fn capabilities(&self) -> LocalFuture<'_, Option<Capabilities>> {
        // A page that cannot say what it can do may still run models, so its error stops nothing.
        Box::pin(async { capabilities::capabilities().await.ok() })
    }

    fn webnn(&self) -> LocalFuture<'_, Result<Webnn>> {
        Box::pin(capabilities::webnn())
    }

    fn fetched_bytes(&self) -> Option<u64> {
        Some(FETCHED.get())
    }

    fn heap_bytes(&self) -> Option<u64> {
        Some(heap::peak() as u64)
    }

    fn memory_limit(&self) -> Option<u64> {
        // What 32 bits address.
        Some(1 << 32)
    }
}

/// What `describe_adapter` says.
#[derive(serde::Deserialize)]
#[serde(default)]
#[derive(Default)]
struct AdapterInfo {
    missing: Option<String>,
    vendor: Option<String>,
    architecture: Option<String>,
    device: Option<String>,
    description: Option<String>,
    fallback: Option<bool>,
    features: Vec<String>,
    limits: BTreeMap<String, f64>,
}

fn described(text: &str) -> Result<record::Adapter> {
    let said: AdapterInfo = serde_json::from_str(text)
        .map_err(|error| Error::device("describing the adapter", error.to_string()))?;
    if let Some(missing) = said.missing {
        return Err(Error::unsupported(missing));
    }
    let adapter = record::Adapter {
        vendor: said.vendor.unwrap_or_default(),
        architecture: said.architecture.unwrap_or_default(),
        device: said.device.unwrap_or_default(),
        description: said.description.unwrap_or_default(),
        software: said.fallback,
        features: said.features,
        limits: said.limits.into_iter().map(|(name, value)| (name, value as u64)).collect(),
    };
    let words =
        [&adapter.architecture, &adapter.device, &adapter.description].map(|s| s.to_lowercase());
    let rasterisers = ["swiftshader", "llvmpipe", "lavapipe", "basic render"];
    let known = words.iter().any(|word| rasterisers.iter().any(|name| word.contains(name)));
    // An adapter that names itself and is no rasteriser is hardware; one that says nothing is not
    // known to be either.
    let silent = words.iter().all(String::is_empty) && adapter.vendor.is_empty();
    let software = match (known, silent, adapter.software) {
        (true, _, _) => Some(true),
        (false, true, Some(true)) => Some(true),
        (false, true, _) => None,
        (false, false, fallback) => Some(fallback.unwrap_or(false)),
    };
    Ok(record::Adapter { software, ..adapter })
}

fn js_error(during: &str, error: &JsValue) -> Error {
    let text = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.to_string()));
    Error::device(during, text.unwrap_or_else(|| format!("{error:?}")))
}

/// Files below an URL, by ranges.
struct Http {
    scope: WorkerGlobalScope,
    base: String,
    sizes: BTreeMap<String, u64>,
    /// The last piece that was fetched: its file, where it starts, its bytes.
    window: RefCell<(String, u64, Rc<Vec<u8>>)>,
}

impl Source for Http {
    fn size(&self, file: &str) -> Option<u64> {
        self.sizes.get(file).copied()
    }

    fn read<'a>(&'a self, file: &'a str, range: Range<u64>) -> LocalFuture<'a, Result<Vec<u8>>> {
        Box::pin(async move {
            let failed =
                |message: &str| Error::Read { file: file.to_owned(), message: message.to_owned() };
            let size = self.size(file).ok_or_else(|| failed("is not in the case"))?;
            if range.start > range.end || range.end > size {
                return Err(failed(&format!("bytes {range:?} of {size} do not exist")));
            }
            if range.is_empty() {
                return Ok(Vec::new());
            }
            if size <= WINDOW_BYTES {
                let bytes = self.whole(file, size).await?;
                return Ok(bytes.subarray(range.start as u32, range.end as u32).to_vec());
            }
            if range.end - range.start >= WINDOW_BYTES {
                return self.fetch(file, range, size).await;
            }
            let (name, start, bytes) = self.window.borrow().clone();
            let holds =
                name == file && start <= range.start && range.end <= start + bytes.len() as u64;
            let (start, bytes) = if holds {
                (start, bytes)
            } else {
                let end = (range.start + WINDOW_BYTES).min(size);
                let bytes = Rc::new(self.fetch(file, range.start..end, size).await?);
                *self.window.borrow_mut() = (file.to_owned(), range.start, Rc::clone(&bytes));
                (range.start, bytes)
            };
            Ok(bytes[(range.start - start) as usize..(range.end - start) as usize].to_vec())
        })
    }
}

impl Http {
    /// A small file, fetched once for all cells of its case.
    async fn whole(&self, file: &str, size: u64) -> Result<Uint8Array> {
        let url = self.url(file);
        if let Some(bytes) = KEPT.with_borrow(|kept| kept.get(&url).cloned()) {
            return Ok(bytes);
        }
        let bytes = self.fetch_raw(file, 0..size, size).await?;
        KEPT.with_borrow_mut(|kept| {
            if kept.values().map(|bytes| bytes.length() as usize).sum::<usize>() > KEPT_BYTES {
                kept.clear();
            }
            kept.insert(url, bytes.clone());
        });
        Ok(bytes)
    }

    async fn fetch(&self, file: &str, range: Range<u64>, size: u64) -> Result<Vec<u8>> {
        Ok(self.fetch_raw(file, range, size).await?.to_vec())
    }

    async fn fetch_raw(&self, file: &str, range: Range<u64>, size: u64) -> Result<Uint8Array> {
        let failed = |message: String| Error::Read { file: file.to_owned(), message };
        let thrown = |error: JsValue| failed(format!("{error:?}"));
        let length = range.end - range.start;
        let headers = web_sys::Headers::new().map_err(thrown)?;
        headers
            .set("Range", &format!("bytes={}-{}", range.start, range.end - 1))
            .map_err(thrown)?;
        let init = RequestInit::new();
        init.set_headers(&headers);
        let response = self.scope.fetch_with_str_and_init(&self.url(file), &init);
        let response: Response = JsFuture::from(response).await.map_err(thrown)?.unchecked_into();
        if response.status() != 206 && !(response.status() == 200 && length == size) {
            return Err(failed(format!("the server answered {}", response.status())));
        }
        let body = response.array_buffer().map_err(thrown)?;
        let body = Uint8Array::new(&JsFuture::from(body).await.map_err(thrown)?);
        if u64::from(body.length()) != length {
            return Err(failed(format!("{} of {length} bytes came", body.length())));
        }
        FETCHED.set(FETCHED.get() + length);
        Ok(body)
    }

    fn url(&self, file: &str) -> String {
        let encode = |part| String::from(js_sys::encode_uri_component(part));
        let name: Vec<String> = file.split('/').map(encode).collect();
        format!("{}/{}", self.base, name.join("/"))
    }
}
