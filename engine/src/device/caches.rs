//! Caches that outlive the pass that filled them: what one device has stored of its keys and values, another one
//! reads when its outputs are compared. A number that lies between two codes may go to the one here and to the other
//! there, for no fault of either; beyond that each stores its own.

use super::Device;
use crate::{error::Result, tensor::Tensor};
use std::{cell::RefCell, collections::VecDeque, ops::Deref, rc::Rc};

/// The keys and the values of each layer.
pub(crate) type Layers = Vec<[Store; 2]>;

/// Rows of keys, or of values.
#[derive(Debug)]
pub(crate) enum Store {
    /// In main memory, words as a GPU has them.
    Cpu(RefCell<Vec<u32>>),
    /// On the GPU.
    Gpu(Tensor),
}

/// What becomes of the caches that a pass makes.
#[derive(Clone, Debug, Default)]
pub(crate) enum Caches {
    /// They end with it.
    #[default]
    Dropped,
    /// They are kept, in their order.
    Kept(Rc<RefCell<Vec<Rc<Layers>>>>),
    /// They are there already.
    Given(Rc<RefCell<VecDeque<Rc<Layers>>>>),
}

/// Caches that were kept, in main memory.
#[derive(Debug, Default)]
pub(crate) struct Kept(Vec<Vec<[Vec<u32>; 2]>>);

impl Caches {
    /// To be kept.
    pub(crate) fn kept() -> Caches {
        Caches::Kept(Rc::default())
    }

    /// The next cache, and whether it was filled before.
    pub(crate) fn next(&self, make: impl Fn() -> Layers) -> (Rc<Layers>, bool) {
        match self {
            Caches::Dropped => (Rc::new(make()), false),
            Caches::Kept(all) => {
                let made = Rc::new(make());
                all.borrow_mut().push(Rc::clone(&made));
                (made, false)
            }
            Caches::Given(all) => match all.borrow_mut().pop_front() {
                Some(given) => (given, true),
                None => (Rc::new(make()), false),
            },
        }
    }

    /// The rows of those that were kept on a GPU, of each layer keys before values.
    pub(crate) fn tensors(&self) -> Vec<Tensor> {
        let Caches::Kept(all) = self else { return Vec::new() };
        let all = all.borrow();
        let stores = all.iter().flat_map(|layers| layers.iter().flatten());
        let on_gpu = |store: &Store| match store {
            Store::Gpu(tensor) => Some(tensor.clone()),
            Store::Cpu(_) => None,
        };
        stores.filter_map(on_gpu).collect()
    }

    /// Those that were kept, with the words of [`Caches::tensors`] in that order.
    pub(crate) fn with_words(&self, words: impl IntoIterator<Item = Vec<u32>>) -> Kept {
        let Caches::Kept(all) = self else { return Kept::default() };
        let mut words = words.into_iter();
        let mut fetched = |store: &Store| match store {
            Store::Cpu(words) => words.borrow().clone(),
            Store::Gpu(_) => words.next().expect("the words of each tensor"),
        };
        let all = all.borrow();
        let layers = |layers: &Rc<Layers>| {
            layers.iter().map(|pair| pair.each_ref().map(&mut fetched)).collect()
        };
        Kept(all.iter().map(layers).collect())
    }

    /// Those that were kept, fetched from where they are.
    pub(crate) async fn fetch(&self, device: &Device) -> Result<Kept> {
        let tensors = self.tensors();
        let words = match device {
            Device::Gpu(gpu) => gpu.read(&tensors.iter().collect::<Vec<_>>()).await?,
            Device::Cpu(_) => Vec::new(),
        };
        Ok(self.with_words(words))
    }
}

impl Kept {
    /// For a device in main memory that makes the same caches in the same order.
    pub(crate) fn given(self) -> Caches {
        let store = |words| Store::Cpu(RefCell::new(words));
        let layers = |layers: Vec<[Vec<u32>; 2]>| -> Layers {
            layers.into_iter().map(|pair| pair.map(store)).collect()
        };
        let all = self.0.into_iter().map(|cache| Rc::new(layers(cache))).collect();
        Caches::Given(Rc::new(RefCell::new(all)))
    }
}

impl Device {
    /// The device, of which the next pass does so with its caches.
    pub(crate) fn with_caches(&self, caches: Caches) -> WithCaches {
        let mut device = self.clone();
        match &mut device {
            Device::Cpu(cpu) => cpu.caches = caches,
            Device::Gpu(gpu) => *gpu.caches.borrow_mut() = caches,
        }
        WithCaches(device)
    }

    /// What becomes of caches that are made on it.
    pub(crate) fn caches(&self) -> Caches {
        match self {
            Device::Cpu(cpu) => cpu.caches.clone(),
            Device::Gpu(gpu) => gpu.caches.borrow().clone(),
        }
    }
}

/// A device whose caches are kept or given, as long as this lives.
#[derive(Debug)]
pub(crate) struct WithCaches(Device);

impl Deref for WithCaches {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.0
    }
}

impl Drop for WithCaches {
    fn drop(&mut self) {
        if let Device::Gpu(gpu) = &self.0 {
            gpu.caches.take();
        }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{
        device::Gpu,
        kv::{CacheShape, KvCache},
        ops::kv_append,
        testing::normal,
    };
    use record::KvFormat;

    const SHAPE: CacheShape =
        CacheShape { format: KvFormat::Q8, batch: 1, heads: 2, width: 32, capacity: 4 };

    /// A cache with one token of these keys and values.
    fn filled(device: &Device, numbers: &[f32]) -> KvCache {
        let cache = KvCache::new(device, 1, SHAPE);
        let x = device.upload(&[1, 1, 64], numbers.to_vec());
        kv_append(device, &cache, 0, &x, &x);
        cache
    }

    #[test]
    fn another_device_takes_what_may_be_its_own_and_nothing_else() {
        let numbers = normal(3, 64);
        let close: Vec<f32> = numbers.iter().map(|number| number * 1.001).collect();
        let far: Vec<f32> = numbers.iter().map(|number| number * 1.1).collect();
        let gpu = Device::Gpu(pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe"));
        for device in [Device::cpu(), gpu] {
            let keeping = device.with_caches(Caches::kept());
            filled(&keeping, &numbers);
            let kept = pollster::block_on(keeping.caches().fetch(&device)).unwrap();
            drop(keeping);
            assert!(matches!(device.caches(), Caches::Dropped), "keeping ends with its scope");
            let own = |numbers| filled(&Device::cpu(), numbers).cpu(0)[0].clone();
            let Caches::Given(all) = kept.given() else { panic!("given") };
            let given = |numbers| {
                let again = all.borrow().front().map(|layers| {
                    let [Store::Cpu(keys), Store::Cpu(values)] = &layers[0] else { panic!() };
                    let pair = [keys, values].map(|words| words.borrow().clone());
                    Kept(vec![vec![pair]]).given()
                });
                let device = Device::cpu().with_caches(again.expect("a cache was kept"));
                let cache = filled(&device, numbers);
                assert!(cache.is_given());
                cache.cpu(0)[0].clone()
            };
            assert_ne!(own(&close), own(&numbers));
            assert_eq!(given(&close), own(&numbers));
            assert_eq!(given(&far), own(&far));
        }
    }
}
