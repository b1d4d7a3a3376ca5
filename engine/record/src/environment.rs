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
    /// Kernel variant in use, such as `subgroups` or `simd128`.
    pub variant: String,
}
