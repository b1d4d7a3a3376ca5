//! Stores the keys and values of a pass behind those that a cache holds.

use super::{
    Check, Choice, WG,
    host::{Input, write_on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel},
    kv::{KvCache, Step, Store},
    tensor::Tensor,
    testing::normal,
};

const KERNELS: [Kernel; 1] = [Kernel::new("kv_append", Geometry::elements(WG))];

/// Numbers are copied.
fn analysis(x: &[usize]) -> Analysis {
    Analysis::writes(x).reads([x])
}

/// Stores `k` and `v: [B, T, H · D]` in a layer of `cache`, behind what there is.
pub fn kv_append(device: &Device, cache: &KvCache, layer: usize, k: &Tensor, v: &Tensor) {
    let [_, tokens, _] = k.shape()[..] else { panic!("three axes wanted") };
    let [heads, width, capacity] = cache.shape();
    assert!(cache.len() + tokens <= capacity, "the caller made room");
    for (store, x) in cache.stores(layer).iter().zip([k, v]) {
        device.call("kv_append", &[x.shape()], analysis(x.shape()));
        match (store, device) {
            (Store::Cpu(values), _) => {
                append(x, cache.step(), &mut values.borrow_mut(), cache.shape());
            }
            (Store::Gpu(store), Device::Gpu(gpu)) => {
                let step = cache.step().tensor();
                let Some(kernel) = gpu.choose(KERNELS) else {
                    let inputs = [Input::Floats(x), Input::Indices(step), Input::Floats(store)];
                    let shape = cache.shape();
                    write_on_host(gpu, "kv_append", &inputs, &[store], move |_, x, _| {
                        let mut values = x[2].f32s().to_vec();
                        append(&x[0], &Step::fetched(&x[1]), &mut values, shape);
                        vec![Tensor::from_f32(x[2].shape(), values)]
                    });
                    continue;
                };
                let params = [x.count(), tokens, heads, width, capacity].map(|n| n as u32);
                let binds = [Bind::Read(1, x), Bind::Read(2, step), Bind::Write(3, store)];
                gpu.dispatch(&kernel, &params, &binds, [x.count(), 1]);
            }
            (Store::Gpu(_), Device::Cpu(_)) => unreachable!("the device made the cache"),
        }
    }
}

/// Copies `x: [B, T, H, D]` into `values: [B, H, capacity, D]`, from the step's position on.
fn append(x: &Tensor, step: &Step, values: &mut [f32], [heads, width, capacity]: [usize; 3]) {
    let tokens = x.shape()[1];
    for (at, row) in x.f32s().chunks_exact(width).enumerate() {
        let (head, t, b) = (at % heads, at / heads % tokens, at / (heads * tokens));
        let position = (b * heads + head) * capacity + step.position() + t;
        values[position * width..][..width].copy_from_slice(row);
    }
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("kv_append", "", KERNELS)]
}

/// Padded or not, with a bias or without.
const MASKS: [[bool; 2]; 4] = [[false, false], [true, false], [false, true], [true, true]];

pub(super) fn checks() -> Vec<Check> {
    MASKS.map(|masks| check(24, [7, 1, 2], masks)).into()
}

/// With every kernel of cached attention.
#[cfg(test)]
pub(super) fn all_checks() -> Vec<Check> {
    let few = [80, 200].map(|width| (width, [7, 1, 2]));
    let sizes = few.into_iter().chain([(80, [7, 1, 37])]);
    sizes.flat_map(|(width, passes)| MASKS.map(|masks| check(width, passes, masks))).collect()
}

/// Passes of so many tokens one after another.
fn check(width: usize, passes: [usize; 3], [padded, biased]: [bool; 2]) -> Check {
    use super::{Attention, KeysValues, attention};
    let name = format!(
        "kv_append and cached attention of {passes:?}, padded={padded} biased={biased} of {width}"
    );
    let room = passes.iter().sum::<usize>() + 2;
    Check::new(name, move |device: &Device| {
        let cache = KvCache::new(device, 1, 2, 2, width, room);
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
            kv_append(&device, &cache, 0, &row(&k, kv_heads), &row(&v, kv_heads));
            let y = attention(&device, &row(&q, heads), KeysValues::Cached(&cache, 0), how);
            stepwise.extend_from_slice(y.f32s());
            cache.advance(&device, 1);
        }
        assert_eq!(stepwise, at_once.f32s());
    }
}
