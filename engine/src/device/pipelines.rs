//! Kernels made ready to be dispatched, and parameter buffers: made once and kept.
//!
//! A kernel's layout is what its text declares, so bind groups can be made before its pipeline is.
//! Pipelines take long to make. They are made when work is submitted, or ahead of it and, in a page,
//! side by side: see `Gpu::prepare`.

use super::kernel::Kernel;
use shaders::{Dialect, Files, Space};
use std::{
    cell::{Cell, OnceCell},
    collections::{HashMap, hash_map::Entry},
    rc::Rc,
};

#[derive(Default)]
pub(super) struct Pipelines {
    files: Files,
    ready: HashMap<Kernel, Rc<Ready>>,
    /// Those whose pipelines are still to be made.
    wanted: Vec<Rc<Ready>>,
    uniforms: HashMap<Vec<u32>, wgpu::Buffer>,
    /// What was bound to what: to make these takes a browser longer than all else of a dispatch, and passes
    /// one after another get equal buffers from the pool.
    bound: HashMap<Bound, wgpu::BindGroup>,
}

/// A layout, and a buffer with the bytes of it at each binding.
type Bound = (wgpu::BindGroupLayout, Vec<(u32, wgpu::Buffer, u64)>);

/// Bind groups that are kept.
const MOST_BOUND: usize = 8192;

/// A kernel that can be bound and, once its pipeline is made, run.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) kernel: Kernel,
    text: String,
    bindings: Vec<(u32, Space)>,
    pub(super) layout: wgpu::BindGroupLayout,
    pipeline: OnceCell<wgpu::ComputePipeline>,
    /// The watch that last saw it dispatched.
    pub(super) seen: Cell<u64>,
}

/// What is needed to make a pipeline without wgpu.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Names the pipeline in messages of the browser.
    pub label: String,
    /// WGSL with the entry point `main`.
    pub text: String,
    /// What it binds in group 0.
    pub bindings: Vec<(u32, Space)>,
}

impl Ready {
    fn new(device: &wgpu::Device, kernel: Kernel, files: &Files) -> Ready {
        let text = kernel.text(files, Dialect::HERE).unwrap_or_else(|error| panic!("{error}"));
        let bindings = shaders::bindings(&text);
        let slot = |(binding, space): &(u32, Space)| wgpu::BindGroupLayoutEntry {
            binding: *binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: match space {
                    Space::Uniform => wgpu::BufferBindingType::Uniform,
                    Space::Read => wgpu::BufferBindingType::Storage { read_only: true },
                    Space::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(kernel.source),
            entries: &bindings.iter().map(slot).collect::<Vec<_>>(),
        });
        Ready { kernel, text, bindings, layout, pipeline: OnceCell::new(), seen: Cell::new(0) }
    }

    /// The pipeline, made now if it was not made ahead.
    pub(super) fn pipeline(&self, device: &wgpu::Device) -> &wgpu::ComputePipeline {
        self.pipeline.get_or_init(|| {
            let label = Some(self.kernel.source);
            let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label,
                source: wgpu::ShaderSource::Wgsl(self.text.as_str().into()),
            });
            let layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label,
                bind_group_layouts: &[Some(&self.layout)],
                immediate_size: 0,
            });
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label,
                layout: Some(&layout),
                module: &module,
                entry_point: Some("main"),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Kernels write workgroup memory before they read it.
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache: None,
            })
        })
    }

    fn recipe(&self) -> Recipe {
        let (text, bindings) = (self.text.clone(), self.bindings.clone());
        Recipe { label: self.kernel.source.to_owned(), text, bindings }
    }
}

impl Pipelines {
    /// A kernel made ready; its pipeline is among the wanted ones at first.
    pub(super) fn ready(&mut self, device: &wgpu::Device, kernel: &Kernel) -> Rc<Ready> {
        match self.ready.entry(*kernel) {
            Entry::Occupied(ready) => Rc::clone(ready.get()),
            Entry::Vacant(place) => {
                let ready = Rc::new(Ready::new(device, *kernel, &self.files));
                self.wanted.push(Rc::clone(&ready));
                Rc::clone(place.insert(ready))
            }
        }
    }

    /// Takes the kernels whose pipelines nobody has made yet.
    pub(super) fn take_wanted(&mut self) -> Vec<Rc<Ready>> {
        std::mem::take(&mut self.wanted)
    }

    pub(super) fn all_made(&self) -> bool {
        self.wanted.is_empty()
    }

    /// How those that are wanted are made.
    pub(super) fn recipes(&self) -> Vec<Recipe> {
        self.wanted.iter().map(|ready| ready.recipe()).collect()
    }

    /// Composes kernels of other files from now on; those whose text stays are kept.
    pub(super) fn use_files(&mut self, files: Files) {
        let same = |ready: &Rc<Ready>| {
            ready.kernel.text(&files, Dialect::HERE).is_ok_and(|text| text == ready.text)
        };
        self.ready.retain(|_, ready| same(ready));
        self.wanted.retain(same);
        self.files = files;
    }

    /// Frees the parameter buffers and what is bound; pipelines take long to make and stay.
    pub(super) fn forget_buffers(&mut self) {
        self.uniforms.clear();
        self.bound.clear();
    }

    /// Binds buffers, each of them up to so many bytes, to what a kernel declares.
    pub(super) fn bind(
        &mut self,
        device: &wgpu::Device,
        ready: &Ready,
        buffers: Vec<(u32, wgpu::Buffer, u64)>,
    ) -> wgpu::BindGroup {
        if self.bound.len() >= MOST_BOUND {
            self.bound.clear();
        }
        let key = (ready.layout.clone(), buffers);
        if let Some(bound) = self.bound.get(&key) {
            return bound.clone();
        }
        let entries = key.1.iter().map(|(binding, buffer, bytes)| wgpu::BindGroupEntry {
            binding: *binding,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset: 0,
                size: std::num::NonZeroU64::new(*bytes),
            }),
        });
        let bound = device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &key.0,
            entries: &entries.collect::<Vec<_>>(),
        });
        self.bound.insert(key, bound.clone());
        bound
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
}
