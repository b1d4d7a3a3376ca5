//! The work that waits to run: dispatches, writes, and steps that the host does in their midst.
//!
//! Everything runs in the order in which it was recorded. What comes before the first host step can
//! be submitted at any time; a host step needs what the GPU computed, and only [`Gpu::read`] waits
//! for that.

use super::{clock::Clock, gpu::Gpu, pipelines::Ready};
use crate::{
    error::{Error, Result},
    time::now_ms,
};
use std::rc::Rc;

/// Dispatches that are collected before they are submitted on their own account, so that the GPU
/// starts while the rest is being recorded.
pub(super) const SUBMIT_AFTER: usize = 256;

/// One recorded piece of work.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Dispatch(Dispatch),
    Write { buffer: wgpu::Buffer, offset: u64, bytes: Rc<Vec<u8>> },
    Copy { from: wgpu::Buffer, to: wgpu::Buffer, offset: u64, bytes: u64 },
    Host(Rc<HostStep>),
}

/// One recorded dispatch.
#[derive(Clone, Debug)]
pub(super) struct Dispatch {
    pub(super) ready: Rc<Ready>,
    pub(super) bindings: wgpu::BindGroup,
    pub(super) groups: [u32; 3],
    /// How many calls of ops were noted before it, if they are.
    pub(super) noted: usize,
}

/// A buffer that is being mapped.
pub(super) struct Asked {
    staging: wgpu::Buffer,
    mapped: futures_channel::oneshot::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
    submission: wgpu::SubmissionIndex,
}

/// A read that is under way, while more may be submitted.
pub struct Reading {
    asked: Asked,
    /// Bytes of each buffer.
    sizes: Vec<u64>,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reading({:?})", self.sizes)
    }
}

/// Words of several buffers in, words of several buffers out.
pub type HostFn = dyn Fn(Vec<Vec<u32>>) -> Vec<Vec<u32>>;

/// An op that runs on the CPU in the middle of a pass: buffers are fetched, computed on and written.
pub(super) struct HostStep {
    pub(super) op: &'static str,
    /// Buffers, and how many bytes of them.
    pub(super) reads: Vec<(wgpu::Buffer, u64)>,
    pub(super) writes: Vec<wgpu::Buffer>,
    pub(super) run: Box<HostFn>,
}

impl std::fmt::Debug for HostStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostStep({})", self.op)
    }
}

impl Gpu {
    /// Appends to what waits; long queues are submitted unless that would make pipelines one by one.
    pub(super) fn push(&self, work: Work) {
        let mut pending = self.pending.borrow_mut();
        pending.push_back(work);
        let many = pending.len() >= SUBMIT_AFTER;
        drop(pending);
        if many && !self.recording.get() {
            self.submit_ready();
        }
    }

    /// Collects what `work` records instead of submitting it.
    pub(super) fn collect<T>(&self, work: impl FnOnce() -> T) -> (T, Vec<Work>) {
        let before = self.pending.take();
        self.recording.set(true);
        let value = work();
        self.recording.set(false);
        (value, self.pending.replace(before).into())
    }

    /// Writes into a buffer, after everything recorded before.
    pub(super) fn write_raw(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        if !self.recording.get() {
            self.submit_ready();
            if self.pending.borrow().is_empty() {
                let start = now_ms();
                self.queue.write_buffer(buffer, offset, bytes);
                self.spend(|spent| spent.upload_ms += now_ms() - start);
                return;
            }
        }
        let (buffer, bytes) = (buffer.clone(), Rc::new(bytes.to_vec()));
        self.push(Work::Write { buffer, offset, bytes });
    }

    /// Submits what was recorded before the first host step, if all its pipelines are made.
    fn submit_ready(&self) {
        if self.pipelines.borrow().all_made() {
            self.flush();
        }
    }

    /// Submits what was recorded, up to the first host step: that waits for the next read.
    pub fn flush(&self) {
        self.make_pipelines();
        match self.pending.borrow().front() {
            Some(Work::Host(_)) => return,
            Some(_) => {}
            None => return self.pool().borrow_mut().bury(),
        }
        let encoder = self.encode_pending();
        self.submit(encoder);
    }

    /// Runs everything that was recorded but what follows the last host step, which is encoded.
    pub(super) async fn run_pending(&self) -> Result<wgpu::CommandEncoder> {
        self.prepare().await;
        loop {
            let encoder = self.encode_pending();
            let Some(Work::Host(step)) = self.pending.borrow_mut().pop_front() else {
                return Ok(encoder);
            };
            let words = self.copy_out(encoder, &step.reads).await?;
            for (buffer, words) in step.writes.iter().zip((step.run)(words)) {
                self.queue.write_buffer(buffer, 0, bytemuck::cast_slice(&words));
            }
        }
    }

    /// Encodes what waits, up to a host step. Writes take place between submissions.
    pub(super) fn encode_pending(&self) -> wgpu::CommandEncoder {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        let mut dispatches = Vec::new();
        loop {
            let next = {
                let mut pending = self.pending.borrow_mut();
                match pending.front() {
                    None | Some(Work::Host(_)) => None,
                    Some(_) => pending.pop_front(),
                }
            };
            match next {
                Some(Work::Dispatch(dispatch)) => dispatches.push(dispatch),
                Some(Work::Copy { from, to, offset, bytes }) => {
                    self.encode(&mut encoder, &std::mem::take(&mut dispatches));
                    encoder.copy_buffer_to_buffer(&from, 0, &to, offset, bytes);
                }
                Some(Work::Write { buffer, offset, bytes }) => {
                    self.encode(&mut encoder, &std::mem::take(&mut dispatches));
                    self.submit(std::mem::replace(
                        &mut encoder,
                        self.device.create_command_encoder(&Default::default()),
                    ));
                    self.queue.write_buffer(&buffer, offset, &bytes);
                }
                _ => break,
            }
        }
        self.encode(&mut encoder, &dispatches);
        encoder
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
            pass.set_pipeline(dispatch.ready.pipeline(&self.device));
            pass.set_bind_group(0, &dispatch.bindings, &[]);
            let [x, y, z] = dispatch.groups;
            pass.dispatch_workgroups(x, y, z);
        }
    }

    /// Submits commands, and frees the dropped buffers that nothing waits for any more.
    fn submit(&self, encoder: wgpu::CommandEncoder) {
        self.queue.submit([encoder.finish()]);
        if self.pending.borrow().is_empty() {
            self.pool().borrow_mut().bury();
        }
    }

    /// Runs the commands of `encoder`, then fetches bytes from the beginnings of buffers as words.
    pub(super) async fn copy_out(
        &self,
        encoder: wgpu::CommandEncoder,
        buffers: &[(wgpu::Buffer, u64)],
    ) -> Result<Vec<Vec<u32>>> {
        self.finish_read(self.begin_copy(encoder, buffers)).await
    }

    /// Submits the commands of `encoder` and asks for bytes from the beginnings of buffers behind them.
    pub(super) fn begin_copy(
        &self,
        mut encoder: wgpu::CommandEncoder,
        buffers: &[(wgpu::Buffer, u64)],
    ) -> Reading {
        let sizes: Vec<u64> = buffers.iter().map(|(_, bytes)| *bytes).collect();
        let total: u64 = sizes.iter().sum();
        let staging = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: total.max(4),
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let mut offset = 0;
        for (buffer, bytes) in buffers {
            encoder.copy_buffer_to_buffer(buffer, 0, &staging, offset, *bytes);
            offset += bytes;
        }
        self.submit(encoder);
        Reading { asked: self.ask(staging), sizes }
    }

    /// The words that were asked for.
    pub async fn finish_read(&self, reading: Reading) -> Result<Vec<Vec<u32>>> {
        let Reading { asked, sizes } = reading;
        self.fetch(asked, |bytes| {
            // Each buffer is copied out of the mapped memory once, and nothing else is.
            let mut rest = bytes;
            let buffers = sizes.iter().map(|bytes| {
                let (head, tail) = rest.split_at(*bytes as usize);
                rest = tail;
                bytemuck::pod_collect_to_vec(head)
            });
            buffers.collect()
        })
        .await
    }

    /// Asks for what `staging` holds once all that was submitted has run.
    pub(super) fn ask(&self, staging: wgpu::Buffer) -> Asked {
        let (sender, mapped) = futures_channel::oneshot::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            // The receiver is gone only when this future was dropped.
            let _ = sender.send(result);
        });
        let submission = self.queue.submit([]);
        Asked { staging, mapped, submission }
    }

    /// Waits for what was asked for, and takes it.
    pub(super) async fn fetch<T>(&self, asked: Asked, take: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let Asked { staging, mapped, submission } = asked;
        #[cfg(not(target_arch = "wasm32"))]
        {
            let until = wgpu::PollType::Wait { submission_index: Some(submission), timeout: None };
            if let Err(error) = self.device.poll(until) {
                self.check("waiting for the GPU")?;
                return Err(Error::device("waiting for the GPU", error.to_string()));
            }
        }
        #[cfg(target_arch = "wasm32")]
        let mapped = {
            drop(submission);
            self.nudged(mapped).await
        };
        #[cfg(not(target_arch = "wasm32"))]
        let mapped = mapped.await;
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

    /// Waits for a buffer that is being mapped. Firefox looks for maps that are done every 100 ms, and
    /// whenever something is submitted: so every now and then nothing is.
    #[cfg(target_arch = "wasm32")]
    async fn nudged<T>(
        &self,
        mut mapped: futures_channel::oneshot::Receiver<T>,
    ) -> std::result::Result<T, futures_channel::oneshot::Canceled> {
        use std::{future::poll_fn, pin::Pin, task::Poll};
        loop {
            let mut pause = crate::time::pause(1.0);
            let done = poll_fn(|context| match Pin::new(&mut mapped).poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => pause.as_mut().poll(context).map(|()| None),
            });
            match done.await {
                Some(done) => return done,
                None => {
                    self.queue.submit([]);
                }
            }
        }
    }
}
