//! Asks for a GPU, takes all it offers, and describes it.

use super::gpu::Gpu;
use crate::error::{Error, Result};
use std::{fmt, rc::Rc};

/// Which optional language features the kernels use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// Value of the definition `SUBGROUPS`: 0 without, 1 in browsers, 2 for naga.
    pub subgroups: u32,
    /// Value of the definition `F16`.
    pub f16: u32,
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [(self.subgroups != 0, "subgroups"), (self.f16 != 0, "f16")];
        let used: Vec<&str> =
            names.iter().filter(|(used, _)| *used).map(|(_, name)| *name).collect();
        match used.is_empty() {
            true => f.write_str("plain"),
            false => f.write_str(&used.join("+")),
        }
    }
}

impl Gpu {
    /// Opens the GPU. In a page, `adapter` is what JavaScript tells of it; natively wgpu tells.
    ///
    /// `None` of an adapter is not the caller's to retry natively; in a page the GPU process may
    /// still be starting, so `wasm` asks again for some seconds.
    pub async fn open(described: Option<record::Adapter>) -> Result<Rc<Gpu>> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let adapter = instance
            .request_adapter(&wgpu::RequestAdapterOptions {
                power_preference: wgpu::PowerPreference::HighPerformance,
                ..Default::default()
            })
            .await
            .map_err(|error| Error::unsupported(format!("no GPU adapter: {error}")))?;
        let wanted =
            wgpu::Features::SHADER_F16 | wgpu::Features::SUBGROUP | wgpu::Features::TIMESTAMP_QUERY;
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                required_features: adapter.features() & wanted,
                required_limits: adapter.limits(),
                ..Default::default()
            })
            .await
            .map_err(|error| Error::device("opening the GPU", error.to_string()))?;
        let variant = Variant {
            subgroups: if cfg!(target_arch = "wasm32") {
                // wgpu's web backend has no name for the feature: the page enables it, and says so.
                u32::from(described.as_ref().is_some_and(has_subgroups))
            } else {
                2 * u32::from(device.features().contains(wgpu::Features::SUBGROUP))
            },
            f16: u32::from(device.features().contains(wgpu::Features::SHADER_F16)),
        };
        let description = described.unwrap_or_else(|| describe(&adapter, &device));
        Ok(Gpu::new(device, queue, description, variant))
    }
}

fn has_subgroups(adapter: &record::Adapter) -> bool {
    adapter.features.iter().any(|feature| feature == "subgroups")
}

/// What wgpu tells of a native adapter, in WebGPU's words.
fn describe(adapter: &wgpu::Adapter, device: &wgpu::Device) -> record::Adapter {
    let info = adapter.get_info();
    let features = device.features();
    let named = [
        (wgpu::Features::SHADER_F16, "shader-f16"),
        (wgpu::Features::SUBGROUP, "subgroups"),
        (wgpu::Features::TIMESTAMP_QUERY, "timestamp-query"),
    ];
    let limits = device.limits();
    record::Adapter {
        vendor: format!("{:#06x}", info.vendor),
        architecture: format!("{:?}", info.backend).to_lowercase(),
        device: info.name,
        description: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        software: Some(info.device_type == wgpu::DeviceType::Cpu),
        features: named
            .iter()
            .filter(|(feature, _)| features.contains(*feature))
            .map(|(_, name)| (*name).to_owned())
            .collect(),
        limits: [
            ("maxBufferSize", limits.max_buffer_size),
            ("maxStorageBufferBindingSize", limits.max_storage_buffer_binding_size),
            ("maxComputeWorkgroupStorageSize", limits.max_compute_workgroup_storage_size.into()),
            (
                "maxComputeInvocationsPerWorkgroup",
                limits.max_compute_invocations_per_workgroup.into(),
            ),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect(),
    }
}
