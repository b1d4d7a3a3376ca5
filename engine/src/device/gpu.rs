//! Records dispatches, submits them when a value is read, and notices what the GPU refuses.

use super::{
    adapter::Variant,
    clock::Clock,
    modes::Spent,
    pipelines::Pipelines,
    pool::{Buffer, Pool},
    problems::Problems,
};
use crate::{
    error::{Error, Result},
    tensor::Tensor,
    time::now_ms,
};
use shaders::Define;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

/// Dispatches that are collected before they are submitted on their own account, so that the GPU
/// starts while the rest is being recorded.
const SUBMIT_AFTER: usize = 256;

/// What poisoned buffers hold: a large negative number, and an index out of every range.
const POISON: u32 = 0xDEAD_BEEF;

/// A GPU with its caches and the work that waits to be submitted.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    queue: wgpu::Queue,
    description: record::Adapter,
    variant: Cell<Variant>,
    pool: Rc<RefCell<Pool>>,
    pipelines: RefCell<Pipelines>,
    pub(super) clock: RefCell<Option<Clock>>,
    pending: RefCell<Vec<Dispatch>>,
    problems: Arc<Problems>,
    /// Bytes of a buffer that was asked for and is larger than a kernel can bind.
    too_large: Cell<Option<u64>>,
    pub(super) poison: Cell<bool>,
    recording: Cell<bool>,
    pub(super) spent: Cell<Spent>,
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.description.device)
    }
}

/// One recorded dispatch.
#[derive(Clone, Debug)]
pub(super) struct Dispatch {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    groups: [u32; 3],
}

/// A buffer as a kernel sees it. Binding 0 is always the kernel's parameters.
#[derive(Clone, Copy, Debug)]
pub enum Bind<'a> {
    /// `var<storage, read>` at a binding.
    Read(u32, &'a Tensor),
    /// `var<storage, read_write>` at a binding.
    Write(u32, &'a Tensor),
    /// `var<storage, read>` of a whole buffer that is no tensor.
    Raw(u32, &'a Buffer),
}

impl Bind<'_> {
    pub(super) fn entry(&self) -> (u32, bool, &wgpu::Buffer, u64) {
        match self {
            Bind::Read(at, tensor) => (*at, true, tensor.buffer().raw(), tensor.count() as u64 * 4),
            Bind::Write(at, tensor) => {
                (*at, false, tensor.buffer().raw(), tensor.count() as u64 * 4)
            }
            Bind::Raw(at, buffer) => (*at, true, buffer.raw(), buffer.capacity()),
        }
    }
}

/// Folds a number of workgroups into a grid whose dimensions hold 65,535 each.
pub fn grid(workgroups: usize) -> [u32; 3] {
    const LIMIT: usize = 65_535;
    let y = workgroups.div_ceil(LIMIT).max(1);
    [workgroups.div_ceil(y) as u32, y as u32, 1]
}

impl Gpu {
    pub(super) fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        description: record::Adapter,
        variant: Variant,
    ) -> Rc<Gpu> {
        let problems = Problems::of(&device);
        Rc::new(Gpu {
            clock: RefCell::new(Clock::new(&device, &queue)),
            device,
            queue,
            description,
            variant: Cell::new(variant),
            pool: Rc::default(),
            pipelines: RefCell::default(),
            pending: RefCell::default(),
            problems,
            too_large: Cell::new(None),
            poison: Cell::new(false),
            recording: Cell::new(false),
            spent: Cell::default(),
        })
    }

    /// What the adapter says of itself.
    pub fn description(&self) -> &record::Adapter {
        &self.description
    }

    /// Which optional language features kernels use.
    pub fn variant(&self) -> Variant {
        self.variant.get()
    }

    /// Changes which optional language features kernels use from now on.
    pub fn set_variant(&self, variant: Variant) {
        self.variant.set(variant);
    }

    /// Largest buffer a kernel can bind.
    pub fn max_binding_bytes(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// Bytes held now.
    pub fn allocated_bytes(&self) -> u64 {
        self.pool.borrow().allocated()
    }

    /// Most bytes held at once since [`Gpu::forget`].
    pub fn peak_bytes(&self) -> u64 {
        self.pool.borrow().peak()
    }

    /// Frees buffers nobody uses, starts counting the peak anew and ends every mode: what a request
    /// that broke off has left cannot reach the next one. Pipelines stay.
    pub fn forget(&self) {
        self.poison.set(false);
        self.recording.set(false);
        self.too_large.set(None);
        if let Some(clock) = &mut *self.clock.borrow_mut() {
            clock.stop();
        }
        self.flush();
        self.pool.borrow_mut().clear();
        self.pipelines.borrow_mut().forget_uniforms();
    }

    /// A tensor whose values are yet to be written.
    pub fn alloc(&self, shape: &[usize]) -> Tensor {
        let bytes = shape.iter().product::<usize>() as u64 * 4;
        if bytes > self.max_binding_bytes() {
            self.too_large.set(Some(bytes));
        }
        let buffer = Pool::take(&self.pool, &self.device, bytes);
        if self.poison.get() {
            // What is being recorded runs later than this write in any case.
            if !self.recording.get() {
                self.flush();
            }
            let rubbish = vec![POISON; (buffer.capacity() / 4) as usize];
            self.queue.write_buffer(buffer.raw(), 0, bytemuck::cast_slice(&rubbish));
        }
        Tensor::from_gpu(shape, buffer)
    }

    /// A buffer of exactly `bytes` for something that lives long; it holds zeros.
    pub fn dedicated(&self, bytes: u64) -> Buffer {
        Pool::dedicated(&self.pool, &self.device, bytes)
    }

    /// Writes into a buffer, after everything recorded before.
    pub fn write(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) {
        self.flush();
        let start = now_ms();
        self.queue.write_buffer(buffer.raw(), offset, bytes);
        self.spend(|spent| spent.upload_ms += now_ms() - start);
    }

    pub(super) fn upload(&self, bytes: &[u8]) -> Buffer {
        let buffer = Pool::take(&self.pool, &self.device, bytes.len() as u64);
        self.write(&buffer, 0, bytes);
        buffer
    }

    /// Records one dispatch.
    pub fn dispatch(
        &self,
        kernel: &'static str,
        defines: &[Define],
        params: &[u32],
        binds: &[Bind<'_>],
        groups: [u32; 3],
    ) {
        if groups.contains(&0) {
            return;
        }
        let mut pipelines = self.pipelines.borrow_mut();
        let (start, known) = (now_ms(), pipelines.len());
        let pipeline = pipelines.pipeline(&self.device, kernel, defines, params.is_empty(), binds);
        if pipelines.len() > known {
            self.spend(|spent| {
                spent.compile_ms += now_ms() - start;
                spent.pipelines += 1;
            });
        }
        let layout = pipeline.get_bind_group_layout(0);
        let uniform =
            (!params.is_empty()).then(|| pipelines.uniform(&self.device, &self.queue, params));
        drop(pipelines);
        let whole = |buffer, size| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer,
                offset: 0,
                size: std::num::NonZeroU64::new(size),
            })
        };
        let mut entries = Vec::with_capacity(binds.len() + 1);
        if let Some(uniform) = &uniform {
            entries.push(wgpu::BindGroupEntry {
                binding: 0,
                resource: whole(uniform, uniform.size()),
            });
        }
        for bind in binds {
            let (binding, _, buffer, bytes) = bind.entry();
            entries.push(wgpu::BindGroupEntry { binding, resource: whole(buffer, bytes) });
        }
        let bindings = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &layout,
            entries: &entries,
        });
        self.push(Dispatch { pipeline, bindings, groups });
    }

    pub(super) fn push(&self, dispatch: Dispatch) {
        self.pending.borrow_mut().push(dispatch);
        if self.pending.borrow().len() >= SUBMIT_AFTER && !self.recording.get() {
            self.flush();
        }
    }

    /// Collects what `work` dispatches instead of submitting it.
    pub(super) fn collect<T>(&self, work: impl FnOnce() -> T) -> (T, Vec<Dispatch>) {
        self.flush();
        self.recording.set(true);
        let value = work();
        self.recording.set(false);
        (value, self.pending.take())
    }

    /// A copy of a tensor as it is when everything recorded so far has run.
    pub fn copy(&self, tensor: &Tensor) -> Tensor {
        let copy = self.alloc(tensor.shape());
        self.flush();
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let (from, to) = (tensor.buffer().raw(), copy.buffer().raw());
        encoder.copy_buffer_to_buffer(from, 0, to, 0, tensor.count() as u64 * 4);
        self.queue.submit([encoder.finish()]);
        copy
    }

    pub(super) fn pool(&self) -> &Rc<RefCell<Pool>> {
        &self.pool
    }

    /// Submits everything recorded so far.
    pub fn flush(&self) {
        let pending = self.pending.take();
        if !pending.is_empty() {
            let mut encoder = self.device.create_command_encoder(&Default::default());
            self.encode(&mut encoder, &pending);
            self.queue.submit([encoder.finish()]);
        }
        self.pool.borrow_mut().bury();
    }

    /// Fetches tensors as words, running what was recorded.
    pub async fn read(&self, tensors: &[&Tensor]) -> Result<Vec<Vec<u32>>> {
        let tensors = tensors.iter().map(|tensor| (tensor.buffer(), tensor.count() as u64 * 4));
        self.read_buffers(&tensors.collect::<Vec<_>>()).await
    }

    /// Fetches the words of a buffer that is no tensor.
    pub async fn read_buffer(&self, buffer: &Buffer) -> Result<Vec<u32>> {
        Ok(self.read_buffers(&[(buffer, buffer.capacity())]).await?.remove(0))
    }

    /// Fetches so many bytes of each buffer.
    async fn read_buffers(&self, buffers: &[(&Buffer, u64)]) -> Result<Vec<Vec<u32>>> {
        let pending = self.pending.take();
        let total: u64 = buffers.iter().map(|(_, bytes)| bytes).sum();
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: total.max(4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut encoder = self.device.create_command_encoder(&Default::default());
        self.encode(&mut encoder, &pending);
        let mut offset = 0;
        for &(buffer, bytes) in buffers {
            encoder.copy_buffer_to_buffer(buffer.raw(), 0, &staging, offset, bytes);
            offset += bytes;
        }
        self.fetch(&staging, encoder.finish(), |bytes| {
            // Each buffer is copied out of the mapped memory once, and nothing else is.
            let mut rest = &bytes[..total as usize];
            let words = buffers.iter().map(|(_, bytes)| {
                let (head, tail) = rest.split_at(*bytes as usize);
                rest = tail;
                bytemuck::pod_collect_to_vec(head)
            });
            words.collect()
        })
        .await
    }

    /// Submits `commands`, the last of which fill `staging`, and takes what that then holds.
    pub(super) async fn fetch<T>(
        &self,
        staging: &wgpu::Buffer,
        commands: wgpu::CommandBuffer,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<T> {
        self.queue.submit([commands]);
        self.pool.borrow_mut().bury();

        let (sender, receiver) = futures_channel::oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone only when this future was dropped.
            let _ = sender.send(result);
        });
        // Firefox looks for finished maps on a slow timer, and sooner when something is submitted.
        self.queue.submit([]);
        #[cfg(not(target_arch = "wasm32"))]
        if let Err(error) = self.device.poll(wgpu::PollType::wait_indefinitely()) {
            self.check("waiting for the GPU")?;
            return Err(Error::device("waiting for the GPU", error.to_string()));
        }
        let mapped = receiver.await;
        self.check("running kernels")?;
        match mapped {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Error::device("reading from the GPU", error.to_string())),
            Err(_) => return Err(Error::device("reading from the GPU", "the map was abandoned")),
        }
        let view = staging
            .get_mapped_range(..)
            .map_err(|error| Error::device("reading from the GPU", error.to_string()))?;
        let taken = take(&view);
        drop(view);
        staging.destroy();
        Ok(taken)
    }

    /// Fails when the GPU has refused anything since the last check.
    pub fn check(&self, during: &str) -> Result<()> {
        if let Some(bytes) = self.too_large.take() {
            self.problems.forget();
            let limit = self.max_binding_bytes();
            return Err(Error::unsupported(format!(
                "a tensor takes {bytes} bytes, kernels of this device can bind {limit}; use a \
                 smaller input"
            )));
        }
        self.problems.check(during)
    }

    /// Runs `work` under an error scope; what it caught is known when the future is awaited.
    pub fn scoped<T>(&self, work: impl FnOnce() -> T) -> (T, impl Future<Output = Option<String>>) {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = work();
        self.flush();
        let caught = scope.pop();
        (value, async move { caught.await.map(|error| error.to_string()) })
    }

    fn encode(&self, encoder: &mut wgpu::CommandEncoder, dispatches: &[Dispatch]) {
        if dispatches.is_empty() {
            return;
        }
        let mut clock = self.clock.borrow_mut();
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
            label: None,
            timestamp_writes: clock.as_mut().and_then(Clock::tick),
        });
        for dispatch in dispatches {
            pass.set_pipeline(&dispatch.pipeline);
            pass.set_bind_group(0, &dispatch.bindings, &[]);
            let [x, y, z] = dispatch.groups;
            pass.dispatch_workgroups(x, y, z);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::grid;

    #[test]
    fn grids_hold_what_was_asked_for() {
        for count in [1, 65_535, 65_536, 1_000_000] {
            let [x, y, z] = grid(count);
            assert!(x <= 65_535 && y <= 65_535 && z == 1);
            assert!((x * y) as usize >= count && (x * y) as usize <= count + y as usize);
        }
    }
}
