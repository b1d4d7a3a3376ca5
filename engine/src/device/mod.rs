//! Where arithmetic runs: the CPU at once, or the GPU by recording.
//!
//! `kernel.rs` says what a kernel is and how one is chosen, by rule or as `tuning.rs` has it, and `watch.rs`
//! which are; `adapter.rs` asks for a GPU and describes it; `pool.rs` lends its buffers, `bind.rs` shows them
//! to kernels, and `pipelines.rs` keeps its pipelines; `gpu.rs` records work and `queue.rs` submits it when a
//! value is read; `command_list.rs` keeps the work of one decode step so that each token only replays it;
//! `modes.rs` has what ends with its scope, poison and laps, `products.rs` who takes over what the CPU
//! multiplies, `caches.rs` what outlives a pass, `tape.rs` the way back through a pass, and `trace.rs` the list of its ops; `clock.rs` measures
//! what passes take on the GPU itself, and `spin.rs` brings its clock up before; `problems.rs` hears what the
//! GPU refuses, and when it is lost.

mod adapter;
mod bind;
mod caches;
mod clock;
mod command_list;
mod gpu;
mod kernel;
mod modes;
mod pipelines;
mod pool;
mod problems;
mod products;
mod queue;
mod spin;
mod tape;
mod trace;
mod tuning;
mod watch;

pub use adapter::InPage;
pub use bind::Bind;
pub(crate) use caches::{Caches, Kept, Layers, Store};
pub use command_list::{CommandList, TimedDispatch};
pub use gpu::{Gpu, Makers};
pub use kernel::{Capabilities, Geometry, Kernel, Terms, Tunable};
pub use modes::{Laps, Poison, Spent};
pub use pipelines::Recipe;
pub use pool::Buffer;
pub(crate) use products::ProductsBack;
pub use products::{MatrixId, Products};
pub use queue::{HostFn, Reading};
pub(crate) use tape::Tape;
#[cfg(all(test, not(target_arch = "wasm32")))]
pub(crate) use tape::tests::check as check_gradients;
pub use trace::{Analysis, Call, Notes, Trace, numbers};
pub use tuning::Tuning;
pub use watch::{Faced, Watched};

use crate::{
    error::Result,
    tensor::{Data, Tensor},
};
use std::rc::Rc;

/// Where arithmetic runs.
#[derive(Clone, Debug)]
pub enum Device {
    /// Main memory; SIMD in a page.
    Cpu(Cpu),
    /// A GPU behind wgpu.
    Gpu(Rc<Gpu>),
}

/// How the CPU computes.
#[derive(Clone, Debug, Default)]
pub struct Cpu {
    /// Multiplies in f32 with dequantised weights instead of in integers: the reference that kernel
    /// errors are measured against.
    pub exact: bool,
    /// Who computes products in its stead.
    pub(crate) products: Option<Rc<dyn Products>>,
    /// Where ops note how to go back.
    tape: Option<Rc<Tape>>,
    /// Where ops note their calls.
    notes: Notes,
    /// What becomes of the caches that a pass makes.
    caches: Caches,
}

impl Device {
    /// The CPU with its fast kernels.
    pub fn cpu() -> Device {
        Device::Cpu(Cpu::default())
    }

    /// The CPU as the reference.
    pub fn reference() -> Device {
        Device::Cpu(Cpu { exact: true, ..Cpu::default() })
    }

    /// The CPU whose products somebody else computes.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn with_products(products: Rc<dyn Products>) -> Device {
        Device::Cpu(Cpu { exact: true, products: Some(products), ..Cpu::default() })
    }

    /// The CPU whose ops note how gradients go back through them.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn with_tape(tape: &Rc<Tape>) -> Device {
        let products = tape.products().map(|products| -> Rc<dyn Products> { products });
        Device::Cpu(Cpu { exact: true, products, tape: Some(Rc::clone(tape)), ..Cpu::default() })
    }

    /// Where ops note how to go back, if somebody wants to; in a page nobody does, and the code is left out.
    #[inline(always)]
    pub(crate) fn tape(&self) -> Option<&Tape> {
        match self {
            Device::Cpu(cpu) if cfg!(not(target_arch = "wasm32")) => cpu.tape.as_deref(),
            _ => None,
        }
    }

    /// Puts numbers on the device.
    pub fn upload(&self, shape: &[usize], values: Vec<f32>) -> Tensor {
        match self {
            Device::Cpu(_) => Tensor::from_f32(shape, values),
            Device::Gpu(gpu) => Tensor::from_gpu(shape, gpu.upload(bytemuck::cast_slice(&values))),
        }
    }

    /// Puts numbers on the device for long: in a buffer of exactly their size.
    pub fn keep(&self, shape: &[usize], values: Vec<f32>) -> Tensor {
        match self {
            Device::Cpu(_) => Tensor::from_f32(shape, values),
            Device::Gpu(gpu) => {
                let buffer = gpu.dedicated(values.len() as u64 * 4);
                gpu.write(&buffer, 0, bytemuck::cast_slice(&values));
                Tensor::from_gpu(shape, buffer)
            }
        }
    }

    /// Puts indices on the device.
    pub fn upload_u32(&self, shape: &[usize], values: Vec<u32>) -> Tensor {
        match self {
            Device::Cpu(_) => Tensor::from_u32(shape, values),
            Device::Gpu(gpu) => Tensor::from_gpu(shape, gpu.upload(bytemuck::cast_slice(&values))),
        }
    }

    /// Fetches several tensors in one go; on a GPU this is what makes recorded work run.
    pub async fn read(&self, tensors: &[&Tensor]) -> Result<Vec<Vec<f32>>> {
        match self {
            Device::Cpu(_) => Ok(tensors.iter().map(|tensor| tensor.f32s().to_vec()).collect()),
            Device::Gpu(gpu) => {
                let words = gpu.read(tensors).await?;
                Ok(words.into_iter().map(bytemuck::cast_vec).collect())
            }
        }
    }

    /// Fetches tensors that nobody needs any more: in main memory they become what was fetched.
    pub async fn take(&self, tensors: Vec<Tensor>) -> Result<Vec<Vec<f32>>> {
        match self {
            Device::Cpu(_) => Ok(tensors.into_iter().map(Tensor::into_f32s).collect()),
            Device::Gpu(_) => self.read(&tensors.iter().collect::<Vec<_>>()).await,
        }
    }

    /// Fetches indices.
    pub async fn read_u32(&self, tensor: &Tensor) -> Result<Vec<u32>> {
        match self {
            Device::Cpu(_) => Ok(tensor.u32s().to_vec()),
            Device::Gpu(gpu) => Ok(gpu.read(&[tensor]).await?.remove(0)),
        }
    }

    /// Waits until everything recorded so far has run.
    pub async fn finish(&self, tensor: &Tensor) -> Result<()> {
        if let (Device::Gpu(gpu), Data::Gpu(_)) = (self, tensor.data()) {
            gpu.read(&[tensor]).await?;
        }
        Ok(())
    }

    /// What kernels use here, for records: the optional features that those on a GPU have, or the
    /// CPU's instructions.
    pub fn variant(&self) -> String {
        match self {
            Device::Cpu(_) if cfg!(all(target_arch = "wasm32", target_feature = "simd128")) => {
                "simd128".to_owned()
            }
            Device::Cpu(_) => "scalar".to_owned(),
            Device::Gpu(gpu) => {
                let offered = gpu.terms().capabilities;
                let named = [(offered.subgroups, "subgroups"), (offered.f16, "f16")];
                let used: Vec<&str> =
                    named.iter().filter(|(used, _)| *used).map(|(_, name)| *name).collect();
                if used.is_empty() { "plain".to_owned() } else { used.join("+") }
            }
        }
    }
}
