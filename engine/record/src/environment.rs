//! Where a cell ran.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Browser, adapter, host and engine of one record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Environment {
    /// The browser and its driver.
    pub browser: BrowserInfo,
    /// The GPU, or software rasteriser, that WebGPU gave; absent when none was asked for or given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
    /// The machine.
    pub host: Host,
    /// The engine that ran in the page.
    pub engine: EngineInfo,
    /// What the page can do, asked of it once a session; absent outside a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
}

/// The browser and the driver that steered it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrowserInfo {
    /// As the driver names it.
    pub name: String,
    /// As the driver tells it.
    pub version: String,
    /// The driver program.
    pub driver: String,
    /// As the driver tells it.
    pub driver_version: String,
    /// Whether it ran without a window.
    pub headless: bool,
    /// Command-line flags and preferences that were set.
    pub flags: Vec<String>,
}

/// The GPU, or software rasteriser, behind a WebGPU device.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Adapter {
    /// As `GPUAdapterInfo` tells it; often empty.
    pub vendor: String,
    /// As `GPUAdapterInfo` tells it; often empty.
    pub architecture: String,
    /// As `GPUAdapterInfo` tells it; often empty.
    pub device: String,
    /// As `GPUAdapterInfo` tells it; often empty.
    pub description: String,
    /// True for SwiftShader, lavapipe and WARP; absent where the browser does not tell.
    pub software: Option<bool>,
    /// Names of the features the adapter offers.
    pub features: Vec<String>,
    /// Names and values of the limits the device was given.
    pub limits: BTreeMap<String, u64>,
}

/// The machine the browser ran on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Operating system and its version.
    pub os: String,
    /// Version of its kernel.
    pub kernel: String,
    /// Name of the processor.
    pub cpu: String,
    /// Logical processors.
    pub cores: u32,
    /// Physical memory.
    pub memory_bytes: u64,
}

/// The engine that answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EngineInfo {
    /// Version of the crate.
    pub version: String,
    /// Commit it was built from, `-dirty` appended when the tree had changes.
    pub commit: String,
    /// What kernels have at their disposal, such as `subgroups` or `simd128`.
    pub variant: String,
    /// What the self-test came to; empty where none ran. Before kernels had verdicts of their own
    /// there was one a variant, and the last was in use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<VariantTrial>,
    /// Kernels that failed the self-test and are not used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedKernel>,
    /// Ops that the CPU computes in the middle of a pass on the GPU.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosted: Vec<HostedOp>,
}

/// A kernel that is not used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefusedKernel {
    /// Its file and the definitions of its variant, such as `softmax SUBGROUPS=1`.
    pub kernel: String,
    /// The check that it failed, and how.
    pub why: String,
}

/// An op that runs on the CPU although its model runs on a GPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostedOp {
    /// The op's name.
    pub op: String,
    /// Why.
    pub why: String,
}

/// What a self-test came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VariantTrial {
    /// Its name, as in [`EngineInfo::variant`].
    pub variant: String,
    /// Ops that were checked.
    pub checks: u32,
    /// The first op that was wrong and how; none if all were right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What a page can do, beyond its GPU. Everything here was tried or measured in the worker that runs
/// the models, and nothing is concluded from the name of a browser.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// `navigator.gpu.wgslLanguageFeatures`, sorted.
    pub wgsl_language_features: Vec<String>,
    /// Features of WebAssembly by name (`simd`, `memory64`, `jspi`, …), and whether a module that
    /// uses the feature is valid here.
    pub wasm: BTreeMap<String, bool>,
    /// Where a page can keep weights.
    pub storage: Storage,
    /// Smallest step that was seen of `performance.now()`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer_resolution_ms: Option<f64>,
    /// Whether shared memory and fine timers are allowed.
    pub cross_origin_isolated: bool,
    /// `navigator.hardwareConcurrency`; 0 where the browser does not tell.
    pub hardware_concurrency: u32,
    /// `navigator.deviceMemory`, rounded and capped by the browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_memory_gib: Option<f64>,
    /// What WebNN offers; absent unless the backend `webnn` was asked for and `navigator.ml` exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webnn: Option<Webnn>,
}

/// Where a page can keep weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {
    /// Whether the origin-private file system opens.
    pub opfs: bool,
    /// Whether a worker can read and write its files synchronously.
    pub opfs_sync: bool,
    /// Whether the Cache API opens.
    pub cache_api: bool,
    /// Bytes that the browser allows the page; an estimate of the browser's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
}

/// What `navigator.ml` offers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Webnn {
    /// What came of `createContext` for each device type.
    pub contexts: Vec<WebnnContext>,
}

/// What came of one `createContext`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WebnnContext {
    /// The device type that was asked for: `cpu`, `gpu` or `npu`.
    pub device_type: String,
    /// The error as it was raised; none if a context was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Names of the operators in the context's `opSupportLimits`, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ops: Vec<String>,
    /// Data types that its inputs can have, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub data_types: Vec<String>,
}
