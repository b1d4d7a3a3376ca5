//! A buffer as a kernel sees it.

use super::pool::Buffer;
use crate::tensor::Tensor;

/// A buffer at a binding. Binding 0 is always the kernel's parameters.
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
    /// The binding, the buffer, and how much of it is bound.
    pub(super) fn entry(&self) -> (u32, &wgpu::Buffer, u64) {
        match self {
            Bind::Read(at, tensor) | Bind::Write(at, tensor) => {
                (*at, tensor.buffer().raw(), tensor.count() as u64 * 4)
            }
            Bind::Raw(at, buffer) => (*at, buffer.raw(), buffer.capacity()),
        }
    }
}
