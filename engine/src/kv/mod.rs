//! What a decoder remembers: keys and values of every token, and how many there are.
//!
//! On a GPU the count lies in a small buffer that kernels read and the last kernel of a decode step
//! raises, so that a recorded step can be replayed without the host in between.
//!
//! `rows.rs` has the words that keys and values are stored in, `ring.rs` which place a token gets in a cache that is
//! shorter than its text.

mod ring;
mod rows;

pub(crate) use ring::Ring;
pub(crate) use rows::Rows;

use crate::{
    device::{Device, Layers, Store},
    tensor::Tensor,
};
use record::KvFormat;
use std::{
    cell::{Cell, Ref, RefCell},
    rc::Rc,
};

/// Positions before the current pass, and tokens emitted so far.
#[derive(Debug)]
pub struct Step {
    position: Cell<usize>,
    /// `[2]` on a GPU: positions before, tokens emitted.
    shared: Option<Tensor>,
}

impl Step {
    /// Starts after `position` positions.
    pub fn new(device: &Device, position: usize) -> Step {
        let shared = match device {
            Device::Cpu(_) => None,
            Device::Gpu(_) => Some(device.upload_u32(&[2], vec![position as u32, 0])),
        };
        Step { position: Cell::new(position), shared }
    }

    /// The step in main memory of which [`Step::tensor`] was fetched.
    pub(crate) fn fetched(counts: &Tensor) -> Step {
        Step::new(&Device::cpu(), counts.u32s()[0] as usize)
    }

    /// Positions before the current pass, as the host counts them.
    pub fn position(&self) -> usize {
        self.position.get()
    }

    /// The same on the GPU.
    pub(crate) fn tensor(&self) -> &Tensor {
        self.shared.as_ref().expect("a step on the GPU")
    }

    /// Gives it up for its counts on the GPU.
    pub(crate) fn into_tensor(self) -> Tensor {
        self.shared.expect("a step on the GPU")
    }

    /// Sets both counts.
    pub fn set(&self, device: &Device, position: usize, emitted: usize) {
        self.position.set(position);
        if let (Device::Gpu(gpu), Some(shared)) = (device, &self.shared) {
            let words = [position as u32, emitted as u32];
            gpu.write(shared.buffer(), 0, bytemuck::cast_slice(&words));
        }
    }

    /// Counts tokens that a GPU has already counted on its own.
    pub(crate) fn follow(&self, tokens: usize) {
        self.position.set(self.position.get() + tokens);
    }
}

/// Keys and values of every layer, with room for `capacity` positions.
#[derive(Debug)]
pub struct KvCache {
    layers: Rc<Layers>,
    heads: usize,
    width: usize,
    capacity: usize,
    rows: [Rows; 2],
    /// Where places are taken again.
    ring: Option<Ring>,
    /// Whether another device has filled it, of whose numbers it takes those that may be its own.
    given: bool,
    step: Step,
}

/// What a cache has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// How numbers are stored.
    pub format: KvFormat,
    /// Sequences.
    pub batch: usize,
    /// Heads of keys and of values.
    pub heads: usize,
    /// Numbers of a head.
    pub width: usize,
    /// Positions there is room for.
    pub capacity: usize,
}

impl CacheShape {
    /// Bytes that so many layers take.
    pub fn bytes(self, layers: usize) -> u64 {
        let words: usize = Rows::of(self.format, self.width).iter().map(|rows| rows.words()).sum();
        (layers * self.batch * self.heads * self.capacity * words) as u64 * 4
    }
}

impl KvCache {
    /// An empty cache.
    pub fn new(device: &Device, layers: usize, shape: CacheShape) -> KvCache {
        let CacheShape { format, batch, heads, width, capacity } = shape;
        let rows = Rows::of(format, width);
        let count = batch * heads * capacity;
        let store = |rows: Rows| match device {
            Device::Cpu(_) => Store::Cpu(RefCell::new(vec![0; count * rows.words()])),
            Device::Gpu(gpu) => {
                let words = count * rows.words();
                let shape: &[usize] = match rows.bits() {
                    32 => &[batch, heads, capacity, width],
                    _ => &[words],
                };
                Store::Gpu(Tensor::from_gpu(shape, gpu.dedicated(words as u64 * 4)))
            }
        };
        let made = || (0..layers).map(|_| rows.map(store)).collect();
        let (layers, given) = device.caches().next(made);
        let (step, ring) = (Step::new(device, 0), None);
        KvCache { layers, heads, width, capacity, rows, ring, given, step }
    }

    /// The same for texts that are longer than it: of their tokens it keeps the first `sinks` and the latest.
    pub(crate) fn into_ring(self, sinks: usize) -> KvCache {
        KvCache { ring: Some(Ring::new(sinks, self.capacity)), ..self }
    }

    /// Positions it holds, as the host counts them.
    pub(crate) fn len(&self) -> usize {
        self.step.position()
    }

    /// Positions it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Where tokens lie if it is shorter than its text.
    pub(crate) fn ring(&self) -> Option<Ring> {
        self.ring
    }

    /// Where the next pass begins.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// Bytes of all layers.
    pub fn bytes(&self) -> u64 {
        let bytes = |store: &Store| match store {
            Store::Cpu(words) => words.borrow().capacity() as u64 * 4,
            Store::Gpu(tensor) => tensor.buffer().capacity(),
        };
        self.layers.iter().flatten().map(bytes).sum()
    }

    /// Counts the tokens of a finished pass.
    pub fn advance(&self, device: &Device, tokens: usize) {
        self.step.set(device, self.len() + tokens, 0);
    }

    /// Where the rows `[B, T, H · D]` of a pass are stored: see [`crate::ops::kv_append`].
    pub(crate) fn shape(&self) -> [usize; 3] {
        [self.heads, self.width, self.capacity]
    }

    /// How keys and how values are stored.
    pub(crate) fn rows(&self) -> [Rows; 2] {
        self.rows
    }

    /// Whether numbers lie in it as they are.
    pub(crate) fn is_plain(&self) -> bool {
        self.rows.iter().all(|rows| rows.bits() == 32)
    }

    /// Whether what another device has stored is to be kept where it may be what is stored now.
    pub(crate) fn is_given(&self) -> bool {
        self.given
    }

    /// The keys and the values of a layer.
    pub(crate) fn stores(&self, layer: usize) -> &[Store; 2] {
        &self.layers[layer]
    }

    pub(crate) fn cpu(&self, layer: usize) -> [Ref<'_, Vec<u32>>; 2] {
        self.layers[layer].each_ref().map(|store| match store {
            Store::Cpu(words) => words.borrow(),
            Store::Gpu(_) => panic!("a cache in main memory wanted"),
        })
    }

    pub(crate) fn gpu(&self, layer: usize) -> (&Tensor, &Tensor) {
        match &self.layers[layer] {
            [Store::Gpu(k), Store::Gpu(v)] => (k, v),
            _ => panic!("a cache on the GPU wanted"),
        }
    }
}

#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod tests {
    use super::*;
    use crate::device::Gpu;

    #[test]
    fn a_cache_counts_its_tokens_on_the_host_and_on_the_device() {
        let gpu = pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe");
        for device in [Device::cpu(), Device::Gpu(gpu)] {
            let shape = |format| CacheShape { format, batch: 1, heads: 3, width: 4, capacity: 50 };
            let cache = KvCache::new(&device, 2, shape(KvFormat::F32));
            assert_eq!((cache.len(), cache.capacity(), cache.shape()), (0, 50, [3, 4, 50]));
            assert_eq!(cache.bytes(), 2 * 2 * 3 * 4 * 50 * 4);
            assert_eq!(cache.bytes(), shape(KvFormat::F32).bytes(2), "as it was foreseen");
            let packed = KvCache::new(&device, 2, shape(KvFormat::K8V4));
            assert_eq!(packed.bytes(), 2 * 3 * 50 * (9 + 5) * 4);
            assert_eq!(packed.bytes(), shape(KvFormat::K8V4).bytes(2), "as it was foreseen");
            let on_device = || match &device {
                Device::Cpu(_) => vec![cache.len() as u32, 0],
                Device::Gpu(_) => {
                    pollster::block_on(device.read_u32(cache.step().tensor())).unwrap()
                }
            };
            assert_eq!(on_device(), [0, 0]);
            for (tokens, len) in [(3, 3), (1, 4), (7, 11)] {
                cache.advance(&device, tokens);
                assert_eq!((cache.len(), cache.step().position()), (len, len));
                assert_eq!(on_device(), [len as u32, 0]);
            }
            cache.step().set(&device, 20, 2);
            assert_eq!(cache.len(), 20);
            cache.step().follow(5);
            assert_eq!(cache.len(), 25, "what the device has counted, the host only follows");
        }
    }

    #[test]
    fn a_step_starts_where_it_is_told() {
        let gpu = pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe");
        let device = Device::Gpu(gpu);
        let step = Step::new(&device, 9);
        assert_eq!(step.position(), 9);
        let counts = pollster::block_on(device.read_u32(&step.into_tensor())).unwrap();
        assert_eq!(counts, [9, 0]);
        let fetched = Step::fetched(&Tensor::from_u32(&[2], vec![9, 4]));
        assert_eq!(fetched.position(), 9);
    }
}
