//! Activations: a shape, and numbers that lie in main memory or on the GPU.

use crate::device::Buffer;
use std::rc::Rc;

/// Numbers in row-major order; cloning shares them. Ops never change a tensor, they make new ones.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

#[derive(Clone, Debug)]
pub(crate) enum Data {
    F32(Rc<Vec<f32>>),
    U32(Rc<Vec<u32>>),
    /// f32 or u32: the op that made the tensor and the op that reads it agree.
    Gpu(Rc<Buffer>),
}

impl Tensor {
    /// A tensor in main memory.
    pub fn from_f32(shape: &[usize], values: Vec<f32>) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "shape {shape:?}");
        Tensor { shape: shape.to_vec(), data: Data::F32(Rc::new(values)) }
    }

    /// A tensor of indices in main memory.
    pub fn from_u32(shape: &[usize], values: Vec<u32>) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "shape {shape:?}");
        Tensor { shape: shape.to_vec(), data: Data::U32(Rc::new(values)) }
    }

    pub(crate) fn from_gpu(shape: &[usize], buffer: Buffer) -> Tensor {
        assert!(shape.iter().product::<usize>() as u64 * 4 <= buffer.capacity());
        Tensor { shape: shape.to_vec(), data: Data::Gpu(Rc::new(buffer)) }
    }

    /// Sizes of the axes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// How many numbers there are.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Size of the last axis.
    pub fn columns(&self) -> usize {
        *self.shape.last().expect("a tensor has an axis")
    }

    /// Product of all axes but the last.
    pub fn rows(&self) -> usize {
        self.shape[..self.shape.len() - 1].iter().product()
    }

    /// The same numbers under another shape.
    pub fn reshape(&self, shape: &[usize]) -> Tensor {
        assert_eq!(shape.iter().product::<usize>(), self.count(), "{:?} as {shape:?}", self.shape);
        Tensor { shape: shape.to_vec(), data: self.data.clone() }
    }

    /// Bytes that were allocated.
    pub fn bytes(&self) -> u64 {
        match &self.data {
            Data::F32(values) => values.capacity() as u64 * 4,
            Data::U32(values) => values.capacity() as u64 * 4,
            Data::Gpu(buffer) => buffer.capacity(),
        }
    }

    /// The numbers of a tensor in main memory.
    pub(crate) fn f32s(&self) -> &[f32] {
        match &self.data {
            Data::F32(values) => values,
            other => panic!("f32 in main memory wanted, got {other:?}"),
        }
    }

    /// Where the numbers of a tensor in main memory are: what tells them from others as long as they are there.
    pub(crate) fn address(&self) -> usize {
        self.f32s().as_ptr().addr()
    }

    /// The numbers of a tensor in main memory, copied only where others share them.
    pub(crate) fn into_f32s(self) -> Vec<f32> {
        match self.data {
            Data::F32(values) => Rc::unwrap_or_clone(values),
            other => panic!("f32 in main memory wanted, got {other:?}"),
        }
    }

    /// The indices of a tensor in main memory.
    pub(crate) fn u32s(&self) -> &[u32] {
        match &self.data {
            Data::U32(values) => values,
            other => panic!("u32 in main memory wanted, got {other:?}"),
        }
    }

    /// The numbers of a tensor in main memory as a GPU holds them.
    pub(crate) fn words(&self) -> Vec<u32> {
        match &self.data {
            Data::F32(values) => bytemuck::cast_slice(values).to_vec(),
            Data::U32(values) => values.to_vec(),
            other => panic!("numbers in main memory wanted, got {other:?}"),
        }
    }

    /// The buffer of a tensor on the GPU.
    pub(crate) fn buffer(&self) -> &Buffer {
        match &self.data {
            Data::Gpu(buffer) => buffer,
            other => panic!("a tensor on the GPU wanted, got {other:?}"),
        }
    }

    pub(crate) fn data(&self) -> &Data {
        &self.data
    }
}
