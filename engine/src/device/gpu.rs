//! A GPU: its buffers, and the recording of work.

use super::{
    bind::Bind,
    caches::Caches,
    clock::Clock,
    kernel::{Kernel, Terms},
    modes::Spent,
    pipelines::{Pipelines, Recipe},
    pool::{Buffer, Pool},
    problems::Problems,
    queue::{Dispatch, HostFn, HostStep, Reading, Work},
    trace::Notes,
    watch::{Faced, Watched},
};
use crate::{
    error::{Error, Result},
    tensor::Tensor,
    time::now_ms,
};
use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
    fmt,
    pin::Pin,
    rc::Rc,
    sync::Arc,
};

/// A GPU with its caches and the work that waits to be submitted.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    description: record::Adapter,
    pub(super) terms: RefCell<Terms>,
    pool: Rc<RefCell<Pool>>,
    pub(super) pipelines: RefCell<Pipelines>,
    makers: Option<Box<dyn Makers>>,
    pub(super) clock: RefCell<Option<Clock>>,
    pub(super) pending: RefCell<VecDeque<Work>>,
    problems: Arc<Problems>,
    /// Bytes of a buffer that was asked for and is larger than a kernel can bind.
    too_large: Cell<Option<u64>>,
    pub(super) poison: Cell<bool>,
    /// What poisoned buffers are filled from; made when it is first needed.
    pub(super) rubbish: OnceCell<wgpu::Buffer>,
    pub(super) recording: Cell<bool>,
    pub(super) spent: Cell<Spent>,
    /// What a piece of work takes when the clock is up.
    pub(super) usual_ms: Cell<Option<f64>>,
    pub(super) notes: Notes,
    /// What was recorded since someone began to watch.
    pub(super) watched: RefCell<Watched>,
    /// Counts beginnings and ends of watches.
    pub(super) watch: Cell<u64>,
    /// Choices between kernels, while somebody asks for them.
    pub(super) faced: RefCell<Option<Vec<Faced>>>,
    /// What becomes of the caches that a pass makes.
    pub(super) caches: RefCell<Caches>,
}

/// Makes pipelines side by side, which wgpu cannot ask a browser for. What was made is found when
/// wgpu asks for the same.
pub trait Makers {
    /// Makes what can be made of these; whatever fails is left to wgpu, which says why.
    fn make(&self, recipes: Vec<Recipe>) -> Pin<Box<dyn Future<Output = ()> + '_>>;
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({})", self.description.device)
    }
}

impl Gpu {
    pub(super) fn new(
        device: wgpu::Device,
        queue: wgpu::Queue,
        description: record::Adapter,
        terms: Terms,
        makers: Option<Box<dyn Makers>>,
    ) -> Rc<Gpu> {
        let problems = Problems::of(&device);
        Rc::new(Gpu {
            clock: RefCell::new(Clock::new(&device, &queue)),
            device,
            queue,
            description,
            terms: RefCell::new(terms),
            pool: Rc::default(),
            pipelines: RefCell::default(),
            makers,
            pending: RefCell::default(),
            problems,
            too_large: Cell::new(None),
            poison: Cell::new(false),
            rubbish: OnceCell::new(),
            recording: Cell::new(false),
            spent: Cell::default(),
            usual_ms: Cell::default(),
            notes: Notes::default(),
            watched: RefCell::default(),
            watch: Cell::new(1),
            faced: RefCell::default(),
            caches: RefCell::default(),
        })
    }

    /// What the adapter says of itself.
    pub fn description(&self) -> &record::Adapter {
        &self.description
    }

    /// Composes kernels of other files from now on: how a test plants a fault.
    pub fn use_files(&self, files: shaders::Files) {
        self.flush();
        self.pipelines.borrow_mut().use_files(files);
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
    /// that broke off has left cannot reach the next one. Pipelines stay. Of work that waits for a
    /// host step, only what is written stays: nobody has waited for the rest.
    pub fn forget(&self) {
        self.poison.set(false);
        self.recording.set(false);
        self.too_large.set(None);
        if let Some(clock) = &mut *self.clock.borrow_mut() {
            clock.stop();
        }
        self.flush();
        for work in self.pending.take() {
            if let Work::Write { buffer, offset, bytes } = work {
                self.queue.write_buffer(&buffer, offset, &bytes);
            }
        }
        self.pool.borrow_mut().clear();
        self.pipelines.borrow_mut().forget_buffers();
    }

    /// A tensor whose values are yet to be written.
    pub fn alloc(&self, shape: &[usize]) -> Tensor {
        let bytes = shape.iter().product::<usize>() as u64 * 4;
        if bytes > self.max_binding_bytes() {
            self.too_large.set(Some(bytes));
        }
        let buffer = Pool::take(&self.pool, &self.device, bytes);
        if self.poison.get() {
            self.fill_with_rubbish(&buffer);
        }
        Tensor::from_gpu(shape, buffer)
    }

    /// A buffer of exactly `bytes` for something that lives long; it holds zeros.
    pub fn dedicated(&self, bytes: u64) -> Buffer {
        Pool::dedicated(&self.pool, &self.device, bytes)
    }

    /// Writes into a buffer, after everything recorded before.
    pub fn write(&self, buffer: &Buffer, offset: u64, bytes: &[u8]) {
        self.write_raw(buffer.raw(), offset, bytes);
    }

    pub(super) fn upload(&self, bytes: &[u8]) -> Buffer {
        let buffer = Pool::take(&self.pool, &self.device, bytes.len() as u64);
        self.write(&buffer, 0, bytes);
        buffer
    }

    /// Records one dispatch: `work` is what its geometry cuts into workgroups.
    pub fn dispatch(&self, kernel: &Kernel, params: &[u32], binds: &[Bind<'_>], work: [usize; 2]) {
        let groups = kernel.geometry.groups(work);
        if groups.contains(&0) {
            return;
        }
        let mut pipelines = self.pipelines.borrow_mut();
        let ready = pipelines.ready(&self.device, kernel);
        if ready.seen.replace(self.watch.get()) != self.watch.get() {
            self.watched.borrow_mut().kernels.insert(*kernel);
        }
        let uniform =
            (!params.is_empty()).then(|| pipelines.uniform(&self.device, &self.queue, params));
        let uniform = uniform.map(|uniform| {
            let bytes = uniform.size();
            (0, uniform, bytes)
        });
        let buffers = binds.iter().map(|bind| {
            let (binding, buffer, bytes) = bind.entry();
            (binding, buffer.clone(), bytes)
        });
        let bindings =
            pipelines.bind(&self.device, &ready, uniform.into_iter().chain(buffers).collect());
        drop(pipelines);
        let noted = self.notes.count();
        self.push(Work::Dispatch(Dispatch { ready, bindings, groups, noted }));
    }

    /// Records an op that the host computes: `run` gets the words of `reads` and gives those of
    /// `writes`. The work is done when a value is read.
    pub fn host(
        &self,
        op: &'static str,
        reads: &[(&Buffer, u64)],
        writes: &[&Buffer],
        run: Box<HostFn>,
    ) {
        self.watched.borrow_mut().hosted.insert(op);
        let reads = reads.iter().map(|(buffer, bytes)| (buffer.raw().clone(), *bytes)).collect();
        let writes = writes.iter().map(|buffer| buffer.raw().clone()).collect();
        self.push(Work::Host(Rc::new(HostStep { op, reads, writes, run })));
    }

    /// A copy of a tensor as it is when everything recorded so far has run.
    pub fn copy(&self, tensor: &Tensor) -> Tensor {
        let copy = self.alloc(tensor.shape());
        let (from, to) = (tensor.buffer().raw().clone(), copy.buffer().raw().clone());
        self.push(Work::Copy { from, to, offset: 0, bytes: tensor.count() as u64 * 4 });
        copy
    }

    pub(super) fn pool(&self) -> &Rc<RefCell<Pool>> {
        &self.pool
    }

    /// Runs `work` and forgets what it recorded, but for the kernels whose pipelines it wants.
    pub fn discard(&self, work: impl FnOnce()) {
        self.collect(work);
    }

    /// Makes the pipelines that recorded work lacks. Reading does it as well; who measures does it
    /// first, to tell compiling from computing.
    pub async fn prepare(&self) {
        self.make_ahead().await;
        self.make_pipelines();
    }

    /// Asks for these pipelines side by side, where that is possible.
    pub async fn make_ahead(&self) {
        let recipes = self.pipelines.borrow().recipes();
        if let Some(makers) = &self.makers
            && !recipes.is_empty()
        {
            let start = now_ms();
            makers.make(recipes).await;
            self.spend(|spent| spent.compile_ms += now_ms() - start);
        }
    }

    pub(super) fn make_pipelines(&self) {
        let wanted = self.pipelines.borrow_mut().take_wanted();
        if wanted.is_empty() {
            return;
        }
        let start = now_ms();
        wanted.iter().for_each(|ready| _ = ready.pipeline(&self.device));
        self.spend(|spent| {
            spent.compile_ms += now_ms() - start;
            spent.pipelines += wanted.len() as u32;
        });
    }

    /// Fetches tensors as words, running what was recorded.
    pub async fn read(&self, tensors: &[&Tensor]) -> Result<Vec<Vec<u32>>> {
        let encoder = self.run_pending().await?;
        let buffers: Vec<_> = tensors
            .iter()
            .map(|tensor| (tensor.buffer().raw().clone(), tensor.count() as u64 * 4))
            .collect();
        self.copy_out(encoder, &buffers).await
    }

    /// Submits what was recorded and asks for tensors behind it, without waiting; none where the host has
    /// to compute before that, or a pipeline is still to be made.
    pub fn begin_read(&self, tensors: &[&Tensor]) -> Option<Reading> {
        let waits = |work: &Work| matches!(work, Work::Host(_));
        if !self.pipelines.borrow().all_made() || self.pending.borrow().iter().any(waits) {
            return None;
        }
        let encoder = self.encode_pending();
        let buffers: Vec<_> = tensors
            .iter()
            .map(|tensor| (tensor.buffer().raw().clone(), tensor.count() as u64 * 4))
            .collect();
        Some(self.begin_copy(encoder, &buffers))
    }

    /// Fetches the words of buffers that are no tensors.
    pub async fn read_buffers(&self, buffers: &[&Buffer]) -> Result<Vec<Vec<u32>>> {
        let encoder = self.run_pending().await?;
        let whole = |buffer: &&Buffer| (buffer.raw().clone(), buffer.capacity());
        let buffers: Vec<_> = buffers.iter().map(whole).collect();
        self.copy_out(encoder, &buffers).await
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

    /// Records `work` under an error scope and submits it; what was caught is known when the future is
    /// awaited.
    pub fn scoped<T>(&self, work: impl FnOnce() -> T) -> (T, impl Future<Output = Option<String>>) {
        self.caught(|| {
            let value = work();
            self.flush();
            value
        })
    }

    /// Records `work` under an error scope, and makes no pipeline for it.
    pub fn caught<T>(&self, work: impl FnOnce() -> T) -> (T, impl Future<Output = Option<String>>) {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = work();
        let caught = scope.pop();
        (value, async move { caught.await.map(|error| error.to_string()) })
    }
}
