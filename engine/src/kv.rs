//! What a decoder remembers: keys and values of every token, and how many there are.
//!
//! On a GPU the count lies in a small buffer that kernels read and the last kernel of a decode step
//! raises, so that a recorded step can be replayed without the host in between.

use crate::{
    device::{Bind, Device, grid},
    ops::Check,
    tensor::Tensor,
    testing::normal,
};
use std::cell::{Cell, Ref, RefCell};

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
    layers: Vec<[Store; 2]>,
    heads: usize,
    width: usize,
    capacity: usize,
    step: Step,
}

/// `[B, H, capacity, D]`.
#[derive(Debug)]
enum Store {
    Cpu(RefCell<Vec<f32>>),
    Gpu(Tensor),
}

impl KvCache {
    /// An empty cache.
    pub fn new(
        device: &Device,
        layers: usize,
        batch: usize,
        heads: usize,
        width: usize,
        capacity: usize,
    ) -> KvCache {
        let count = batch * heads * capacity * width;
        let store = || match device {
            Device::Cpu(_) => Store::Cpu(RefCell::new(vec![0.0; count])),
            Device::Gpu(gpu) => {
                let shape = [batch, heads, capacity, width];
                Store::Gpu(Tensor::from_gpu(&shape, gpu.dedicated(count as u64 * 4)))
            }
        };
        let layers = (0..layers).map(|_| [store(), store()]).collect();
        KvCache { layers, heads, width, capacity, step: Step::new(device, 0) }
    }

    /// Positions it holds, as the host counts them.
    pub fn len(&self) -> usize {
        self.step.position()
    }

    /// Whether it holds nothing yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Positions it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Where the next pass begins.
    pub fn step(&self) -> &Step {
        &self.step
    }

    /// Bytes of all layers.
    pub fn bytes(&self) -> u64 {
        let bytes = |store: &Store| match store {
            Store::Cpu(values) => values.borrow().capacity() as u64 * 4,
            Store::Gpu(tensor) => tensor.buffer().capacity(),
        };
        self.layers.iter().flatten().map(bytes).sum()
    }

    /// Counts the tokens of a finished pass.
    pub fn advance(&self, device: &Device, tokens: usize) {
        self.step.set(device, self.len() + tokens, 0);
    }

    /// Forgets everything.
    pub fn clear(&self, device: &Device) {
        self.step.set(device, 0, 0);
    }

    /// Stores the keys and values `[B, T, H · D]` of the current pass behind what there is.
    pub fn append(&self, device: &Device, layer: usize, k: &Tensor, v: &Tensor) {
        let [batch, tokens, _] = k.shape()[..] else { panic!("three axes wanted") };
        assert!(self.len() + tokens <= self.capacity, "the caller made room");
        for (store, x) in self.layers[layer].iter().zip([k, v]) {
            match (store, device) {
                (Store::Cpu(values), _) => {
                    let mut values = values.borrow_mut();
                    for (at, row) in x.f32s().chunks_exact(self.width).enumerate() {
                        let (head, t, b) =
                            (at % self.heads, at / self.heads % tokens, at / (self.heads * tokens));
                        let position = (b * self.heads + head) * self.capacity + self.len() + t;
                        values[position * self.width..][..self.width].copy_from_slice(row);
                    }
                }
                (Store::Gpu(cache), Device::Gpu(gpu)) => {
                    let count = batch * tokens * self.heads * self.width;
                    let params = [count, tokens, self.heads, self.width, self.capacity];
                    gpu.dispatch(
                        "kv_append",
                        &[("WG", 64)],
                        &params.map(|n| n as u32),
                        &[
                            Bind::Read(1, x),
                            Bind::Read(2, self.step.tensor()),
                            Bind::Write(3, cache),
                        ],
                        grid(count.div_ceil(64)),
                    );
                }
                (Store::Gpu(_), Device::Cpu(_)) => unreachable!("the device made the cache"),
            }
        }
    }

    pub(crate) fn cpu(&self, layer: usize) -> (Ref<'_, Vec<f32>>, Ref<'_, Vec<f32>>) {
        match &self.layers[layer] {
            [Store::Cpu(k), Store::Cpu(v)] => (k.borrow(), v.borrow()),
            _ => panic!("a cache in main memory wanted"),
        }
    }

    pub(crate) fn gpu(&self, layer: usize) -> (&Tensor, &Tensor) {
        match &self.layers[layer] {
            [Store::Gpu(k), Store::Gpu(v)] => (k, v),
            _ => panic!("a cache on the GPU wanted"),
        }
    }
}

pub(crate) fn checks() -> Vec<Check> {
    use crate::ops::{Attention, KeysValues, attention};
    let run = |device: &Device| {
        let cache = KvCache::new(device, 1, 2, 2, 24, 12);
        let tensor = |seed, tokens: usize, heads: usize| {
            let count = 2 * tokens * heads * 24;
            device.upload(&[2, tokens, heads * 24], normal(seed, count))
        };
        let how = Attention { kv_heads: 2, causal: true, ..Attention::new(4, 24) };
        let pass = |seed, tokens| {
            cache.append(device, 0, &tensor(seed, tokens, 2), &tensor(seed + 1, tokens, 2));
            let q = tensor(seed + 2, tokens, 4);
            let y = attention(device, &q, KeysValues::Cached(&cache, 0), how);
            cache.advance(device, tokens);
            y
        };
        vec![pass(1, 7), pass(10, 1), pass(20, 2)]
    };
    vec![Check {
        op: "kv_append and cached attention".to_owned(),
        run: Box::new(run),
        indices: false,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Attention, KeysValues, attention};

    /// Token by token through the cache must equal all tokens at once without one.
    #[test]
    fn the_cache_changes_nothing() {
        let device = Device::cpu();
        let (tokens, heads, kv_heads, width) = (6, 4, 2, 8);
        let values = |seed, heads: usize| normal(seed, tokens * heads * width);
        let (q, k, v) = (values(1, heads), values(2, kv_heads), values(3, kv_heads));
        let how = Attention { kv_heads, causal: true, ..Attention::new(heads, width) };
        let at_once = attention(
            &device,
            &device.upload(&[1, tokens, heads * width], q.clone()),
            KeysValues::Plain {
                k: &device.upload(&[1, tokens, kv_heads * width], k.clone()),
                v: &device.upload(&[1, tokens, kv_heads * width], v.clone()),
            },
            how,
        );
        let cache = KvCache::new(&device, 1, 1, kv_heads, width, tokens);
        let mut stepwise = Vec::new();
        for t in 0..tokens {
            let row = |values: &[f32], heads: usize| {
                let columns = heads * width;
                device.upload(&[1, 1, columns], values[t * columns..(t + 1) * columns].to_vec())
            };
            cache.append(&device, 0, &row(&k, kv_heads), &row(&v, kv_heads));
            let y = attention(&device, &row(&q, heads), KeysValues::Cached(&cache, 0), how);
            stepwise.extend_from_slice(y.f32s());
            cache.advance(&device, 1);
        }
        assert_eq!(stepwise, at_once.f32s());
    }
}
