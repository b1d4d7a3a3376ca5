//! Modes of a GPU that end with their scope, so that a request that breaks off leaves none behind; and
//! what the GPU has spent.

use super::{
    clock::Clock,
    gpu::Gpu,
    pool::Buffer,
    queue::{SUBMIT_AFTER, Work},
};
use crate::error::Result;

/// What poisoned buffers hold: a large negative number, and an index out of every range.
const POISON: u32 = 0xDEAD_BEEF;
/// Bytes of the buffer that others are filled from, piece by piece.
const RUBBISH_BYTES: u64 = 1 << 18;

/// What a device has spent, since it was opened, on more than computing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Milliseconds of the host in which bytes were handed over.
    pub upload_ms: f64,
    /// Milliseconds of the host in which pipelines were made; browsers go on with it on their own.
    pub compile_ms: f64,
    /// Pipelines that were made.
    pub pipelines: u32,
}

#[cfg(test)]
impl Gpu {
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poison.get()
    }

    /// Leaves pipelines that were asked for to whoever dispatches their kernels.
    pub(crate) fn make_pipelines_late(&self) {
        self.pipelines.borrow_mut().take_wanted();
    }

    pub(crate) fn times_laps(&self) -> bool {
        self.clock.borrow().as_ref().is_some_and(super::clock::Clock::runs)
    }
}

impl Gpu {
    /// While what this gives lives, fresh buffers hold rubbish, so that a kernel that does not run
    /// cannot pass for one that computed zeros.
    #[must_use]
    pub fn poison(&self) -> Poison<'_> {
        self.poison.set(true);
        Poison(self)
    }

    /// Fills a buffer with rubbish, after everything recorded before. It is copied on the GPU: bytes from
    /// the host would cost each buffer a submission, and a recorded step one at each replay.
    pub(super) fn fill_with_rubbish(&self, buffer: &Buffer) {
        let rubbish = self.rubbish.get_or_init(|| {
            let made = self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("rubbish"),
                size: RUBBISH_BYTES,
                usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let words = vec![POISON; (RUBBISH_BYTES / 4) as usize];
            self.queue.write_buffer(&made, 0, bytemuck::cast_slice(&words));
            made
        });
        let mut offset = 0;
        while offset < buffer.capacity() {
            let bytes = RUBBISH_BYTES.min(buffer.capacity() - offset);
            let (from, to) = (rubbish.clone(), buffer.raw().clone());
            self.push(Work::Copy { from, to, offset, bytes });
            offset += bytes;
        }
    }

    /// What was spent on uploads and pipelines since the device was opened.
    pub fn spent(&self) -> Spent {
        self.spent.get()
    }

    /// Begins to time laps; they end with what this gives.
    pub fn laps(&self) -> Laps<'_> {
        Laps(self)
    }

    pub(super) fn spend(&self, add: impl FnOnce(&mut Spent)) {
        let mut spent = self.spent.get();
        add(&mut spent);
        self.spent.set(spent);
    }
}

/// Fresh buffers hold rubbish while it lives.
#[derive(Debug)]
pub struct Poison<'a>(&'a Gpu);

impl Drop for Poison<'_> {
    fn drop(&mut self) {
        self.0.poison.set(false);
    }
}

/// The GPU time of passes by timestamps, a lap each; nothing is timed once it is gone.
#[derive(Debug)]
pub struct Laps<'a>(&'a Gpu);

impl Laps<'_> {
    /// Dispatches that a lap may have where there are so many: each begins a compute pass of its own, and the last of
    /// its passes may not be full.
    pub(crate) const fn room(laps: usize) -> usize {
        let of_each = Clock::LAPS / if laps > 0 { laps } else { 1 };
        of_each.saturating_sub(1) * SUBMIT_AFTER
    }

    /// Ends the lap before and notes the time of what is dispatched from now on; does nothing where
    /// the adapter has no timestamps.
    pub fn start(&self) {
        self.0.flush();
        if let Some(clock) = &mut *self.0.clock.borrow_mut() {
            clock.start_lap();
        }
    }

    /// The GPU time of each lap in milliseconds; none where the adapter has no timestamps, or where
    /// the laps were too long for the clock.
    pub async fn end(self) -> Result<Option<Vec<f64>>> {
        let gpu = self.0;
        gpu.flush();
        let laps = gpu.clock.borrow_mut().as_mut().and_then(|clock| clock.end(&gpu.device));
        let Some(laps) = laps else { return Ok(None) };
        gpu.queue.submit([laps.commands]);
        let ticks = gpu.fetch(gpu.ask(laps.staging), bytemuck::pod_collect_to_vec::<u8, u64>);
        Ok(Some(laps.times.of(&ticks.await?)))
    }
}

impl Drop for Laps<'_> {
    fn drop(&mut self) {
        if let Some(clock) = &mut *self.0.clock.borrow_mut() {
            clock.stop();
        }
    }
}
