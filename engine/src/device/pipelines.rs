//! Pipelines and parameter buffers, made once and kept.

use super::gpu::Bind;
use shaders::Define;
use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Pipelines {
    pipelines: HashMap<(&'static str, Vec<Define>), wgpu::ComputePipeline>,
    uniforms: HashMap<Vec<u32>, wgpu::Buffer>,
}

impl Pipelines {
    /// Pipelines that were made.
    pub(super) fn len(&self) -> usize {
        self.pipelines.len()
    }

    /// Frees the parameter buffers; pipelines take long to make and stay.
    pub(super) fn forget_uniforms(&mut self) {
        self.uniforms.clear();
    }

    /// A uniform buffer that holds `params`.
    pub(super) fn uniform(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        params: &[u32],
    ) -> wgpu::Buffer {
        if let Some(buffer) = self.uniforms.get(params) {
            return buffer.clone();
        }
        let mut words = params.to_vec();
        words.resize(params.len().next_multiple_of(4), 0);
        let buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: words.len() as u64 * 4,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&words));
        self.uniforms.insert(params.to_vec(), buffer.clone());
        buffer
    }

    /// The pipeline of a kernel; `bare` kernels take no parameters.
    pub(super) fn pipeline(
        &mut self,
        device: &wgpu::Device,
        kernel: &'static str,
        defines: &[Define],
        bare: bool,
        binds: &[Bind<'_>],
    ) -> wgpu::ComputePipeline {
        let key = (kernel, defines.to_vec());
        if let Some(pipeline) = self.pipelines.get(&key) {
            return pipeline.clone();
        }
        let text = shaders::compose(kernel, defines).unwrap_or_else(|error| panic!("{error}"));
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some(kernel),
            source: wgpu::ShaderSource::Wgsl(text.into()),
        });
        let slot = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
            count: None,
        };
        let mut entries = Vec::new();
        if !bare {
            entries.push(slot(0, wgpu::BufferBindingType::Uniform));
        }
        entries.extend(binds.iter().map(|bind| {
            let (binding, read_only, _, _) = bind.entry();
            slot(binding, wgpu::BufferBindingType::Storage { read_only })
        }));
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(kernel),
            entries: &entries,
        });
        let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(kernel),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel),
            layout: Some(&layout),
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // Kernels write workgroup memory before they read it.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        self.pipelines.insert(key, pipeline.clone());
        pipeline
    }
}
