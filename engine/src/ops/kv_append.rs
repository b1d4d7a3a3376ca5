//! Stores the keys and values of a pass behind those that a cache holds.

use super::{
    Check, Choice, WG,
    host::{Input, write_on_host},
    rotate::rotate,
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel, Store},
    kv::{CacheShape, KvCache, Rows, Step},
    quant::CHUNK,
    tensor::Tensor,
    testing::normal,
};
use record::KvFormat;

const KERNELS: [Kernel; 1] = [Kernel::new("kv_append", Geometry::elements(WG))];

/// Into rows of few bits.
fn packing(bits: u32) -> [Kernel; 1] {
    [Kernel::new("kv_pack", Geometry::elements(WG)).with("BITS", bits)]
}

/// Numbers are copied, or fewer words are written.
fn analysis(x: &[usize], rows: Rows, width: usize) -> Analysis {
    let mut analysis = Analysis::writes(x).reads([x]);
    let stored = x.iter().product::<usize>() / width * rows.words();
    analysis.cost.written_bytes = stored as u64 * 4;
    analysis
}

/// Stores `k` and `v: [B, T, H · D]` in a layer of `cache`, behind what there is.
pub fn kv_append(device: &Device, cache: &KvCache, layer: usize, k: &Tensor, v: &Tensor) {
    let [_, tokens, _] = k.shape()[..] else { panic!("three axes wanted") };
    let [_, width, capacity] = cache.shape();
    assert!(cache.len() + tokens <= capacity, "the caller made room");
    for ((store, rows), x) in cache.stores(layer).iter().zip(cache.rows()).zip([k, v]) {
        let turned = rows.is_rotated().then(|| rotate(device, x, width));
        append(device, cache, store, rows, turned.as_ref().unwrap_or(x));
    }
}

fn append(device: &Device, cache: &KvCache, store: &Store, rows: Rows, x: &Tensor) {
    let [heads, width, capacity] = cache.shape();
    let tokens = x.shape()[1];
    device.call("kv_append", &[x.shape()], analysis(x.shape(), rows, width));
    let place = Place { heads, width, capacity, rows, given: cache.is_given() };
    match (store, device) {
        (Store::Cpu(words), _) => place.put(x, cache.step().position(), &mut words.borrow_mut()),
        (Store::Gpu(store), Device::Gpu(gpu)) => {
            let step = cache.step().tensor();
            let is_plain = rows.bits() == 32;
            let kernels = if is_plain { KERNELS } else { packing(rows.bits()) };
            let Some(kernel) = gpu.choose(kernels) else {
                let inputs = [Input::Floats(x), Input::Indices(step), Input::Indices(store)];
                write_on_host(gpu, "kv_append", &inputs, &[store], move |_, x, _| {
                    let mut words = x[2].u32s().to_vec();
                    place.put(&x[0], Step::fetched(&x[1]).position(), &mut words);
                    vec![Tensor::from_u32(x[2].shape(), words)]
                });
                return;
            };
            let count = match is_plain {
                true => x.count(),
                false => x.count() / width * width.div_ceil(2 * CHUNK),
            };
            let params = [count, tokens, heads, width, capacity].map(|n| n as u32);
            let binds = [Bind::Read(1, x), Bind::Read(2, step), Bind::Write(3, store)];
            gpu.dispatch(&kernel, &params, &binds, [count, 1]);
        }
        (Store::Gpu(_), Device::Cpu(_)) => unreachable!("the device made the cache"),
    }
}

/// Where rows go in main memory.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub heads: usize,
    pub width: usize,
    pub capacity: usize,
    pub rows: Rows,
    /// What is there stays where it may be what is stored.
    pub given: bool,
}

impl Place {
    /// Stores `x: [B, T, H, D]` in `words: [B, H, capacity]` rows, from the position on.
    pub(super) fn put(&self, x: &Tensor, before: usize, words: &mut [u32]) {
        let tokens = x.shape()[1];
        for (at, row) in x.f32s().chunks_exact(self.width).enumerate() {
            let (head, t, b) =
                (at % self.heads, at / self.heads % tokens, at / (self.heads * tokens));
            self.put_row(row, b * self.heads + head, before + t, words);
        }
    }

    /// Stores a row of a head of all sequences.
    fn put_row(&self, row: &[f32], head: usize, position: usize, words: &mut [u32]) {
        let size = self.rows.words();
        let words = &mut words[(head * self.capacity + position) * size..][..size];
        if !(self.given && self.rows.agrees(words, row)) {
            self.rows.write(row, words);
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    let packed = [16, 8, 4];
    let packed = packed.map(|bits| Choice::new("kv_append", format!("{bits} bits"), packing(bits)));
    [vec![Choice::new("kv_append", "", KERNELS)], packed.into()].concat()
}

/// Padded or not, with a bias or without.
const MASKS: [[bool; 2]; 4] = [[false, false], [true, false], [false, true], [true, true]];

pub(super) fn checks() -> Vec<Check> {
    let plain = MASKS.map(|masks| check(KvFormat::F32, 24, [7, 1, 2], masks));
    let packed = [KvFormat::F16, KvFormat::Q8, KvFormat::K8V4, KvFormat::Q4];
    let packed = packed.map(|format| check(format, 24, [7, 1, 2], [false, false]));
    plain.into_iter().chain(packed).collect()
}

/// With every kernel of cached attention.
#[cfg(test)]
pub(super) fn all_checks() -> Vec<Check> {
    let few = [80, 200].map(|width| (width, [7, 1, 2]));
    let sizes = few.into_iter().chain([(80, [7, 1, 37])]);
    let formats = KvFormat::ALL.iter().flat_map(|format| {
        let sizes = sizes.clone();
        sizes.flat_map(|(width, passes)| MASKS.map(|masks| check(*format, width, passes, masks)))
    });
    formats.collect()
}

/// Passes of so many tokens one after another.
fn check(format: KvFormat, width: usize, passes: [usize; 3], [padded, biased]: [bool; 2]) -> Check {
    use super::{Attention, KeysValues, attention};
    let name = format!(
        "kv_append and cached attention of {passes:?}, padded={padded} biased={biased} of {width} in {format} bits"
    );
    let room = passes.iter().sum::<usize>() + 2;
    Check::new(name, move |device: &Device| {
        let shape = CacheShape { format, batch: 2, heads: 2, width, capacity: room };
        let cache = KvCache::new(device, 1, shape);
        let tensor = |seed, tokens: usize, heads: usize| {
            let count = 2 * tokens * heads * width;
            device.upload(&[2, tokens, heads * width], normal(seed, count))
        };
        // The second sequence is padded on the left.
        let hidden = room..room + 3;
        let mask = (0..2 * room).map(|i| f32::from(u8::from(!hidden.contains(&i)))).collect();
        let mask = device.upload(&[2, room], mask);
        let bias = device.upload(&[1, 4, room, room], normal(4, 4 * room * room));
        let how = Attention {
            kv_heads: 2,
            causal: true,
            mask: padded.then_some(&mask),
            bias: biased.then_some(&bias),
            ..Attention::new(4, width)
        };
        let pass = |seed, tokens| {
            let (k, v) = (tensor(seed, tokens, 2), tensor(seed + 1, tokens, 2));
            kv_append(device, &cache, 0, &k, &v);
            let q = tensor(seed + 2, tokens, 4);
            let y = attention(device, &q, KeysValues::Cached(&cache, 0), how);
            cache.advance(device, tokens);
            y
        };
        let [first, second, third] = passes;
        vec![pass(1, first), pass(10, second), pass(20, third)]
    })
    .storing(format != KvFormat::F32)
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
        let format = KvFormat::F32;
        let shape = CacheShape { format, batch: 1, heads: kv_heads, width, capacity: tokens };
        let cache = KvCache::new(&device, 1, shape);
        let mut stepwise = Vec::new();
        for t in 0..tokens {
            let row = |values: &[f32], heads: usize| {
                let columns = heads * width;
                device.upload(&[1, 1, columns], values[t * columns..(t + 1) * columns].to_vec())
            };
            kv_append(&device, &cache, 0, &row(&k, kv_heads), &row(&v, kv_heads));
            let y = attention(&device, &row(&q, heads), KeysValues::Cached(&cache, 0), how);
            stepwise.extend_from_slice(y.f32s());
            cache.advance(&device, 1);
        }
        assert_eq!(stepwise, at_once.f32s());
    }
}
