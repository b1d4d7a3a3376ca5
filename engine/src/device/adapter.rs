//! Asks for a GPU, takes all it offers, and describes it.

use super::{
    gpu::{Gpu, Makers},
    kernel::{Capabilities, Terms},
};
use crate::error::{Error, Result};
use std::rc::Rc;

/// What a page tells of its GPU, and does for it, that wgpu cannot.
pub struct InPage {
    /// What JavaScript sees of the adapter.
    pub adapter: record::Adapter,
    /// What makes pipelines side by side.
    pub makers: Box<dyn Makers>,
}

impl Gpu {
    /// Opens the GPU. In a page, JavaScript tells of its adapter; natively wgpu does.
    ///
    /// `None` of an adapter is not the caller's to retry natively; in a page the GPU process may
    /// still be starting, so `wasm` asks again for some seconds.
    pub async fn open(page: Option<InPage>) -> Result<Rc<Gpu>> {
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
        let (description, makers) = match page {
            Some(page) => (page.adapter, Some(page.makers)),
            None => (describe(&adapter, &device), None),
        };
        let terms = Terms { capabilities: Capabilities::of(&description), ..Terms::default() };
        Ok(Gpu::new(device, queue, description, terms, makers))
    }
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
