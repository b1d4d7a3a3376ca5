//! Attention of a decoder to itself: what its layer does between its projections. A GPU takes a step of
//! one token in a single dispatch, as each costs more than the arithmetic of a step; more tokens turn
//! first, and then attend.

#[cfg(not(target_arch = "wasm32"))]
use super::gradient;
use super::{Attention, KeysValues, Sizes, analysis, attention, kernels::PACKED};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Gpu, Kernel},
    kv::{CacheShape, KvCache, Rows},
    ops::{Angles, Check, Choice, choice::up_to, kv_append, rope},
    tensor::Tensor,
    testing::normal,
};
use record::KvFormat;
use std::fmt;

/// Of heads so wide: a multiple of 16, so that what an invocation reads can be written out.
const WIDTHS: [usize; 8] = [16, 32, 48, 64, 80, 96, 112, 128];

/// Of those, in caches of few bits: whole chunks.
const PACKED_WIDTHS: [usize; 3] = [32, 64, 128];

/// Keys that a share has room for: where a cache has room for more, several workgroups share a head's.
const SHARE: usize = 512;
/// Shares of a head at most.
const MOST_SHARES: usize = 16;
/// What was found in shares, as one.
const MERGE: Kernel = Kernel::new("attention_merge", Geometry::elements(64));

/// Shares of a head where a tuning splits keys that would have one.
const FEW_SHARES: usize = 4;
/// Keys from which on it may.
const SOME_KEYS: usize = 64;

fn kernels(width: usize, bits: Option<[u32; 2]>, is_split: bool) -> [Kernel; 2] {
    let kernel = Kernel::new("attention_step", Geometry::rows(256)).for_hardware();
    let kernel = kernel.with("WIDTH", width as u32).switched("SPLIT", is_split);
    let kernel = match bits {
        None => kernel,
        Some([keys, values]) => kernel.with("K_BITS", keys).with("V_BITS", values),
    };
    kernel.or_by_subgroups()
}

/// Bits of keys and of values, if they are few.
fn bits(cache: &KvCache) -> Option<[u32; 2]> {
    (!cache.is_plain()).then(|| cache.rows().map(Rows::bits))
}

/// Whether there are kernels for a cache.
fn is_known(width: usize, bits: Option<[u32; 2]>) -> bool {
    if bits.is_some() { PACKED_WIDTHS.contains(&width) } else { WIDTHS.contains(&width) }
}

/// Shares of a head: a recorded step is replayed until a cache is full.
fn shares(capacity: usize, kernel: &Kernel) -> usize {
    match (kernel.value("SPLIT"), capacity.div_ceil(SHARE)) {
        (0, _) => 1,
        (_, 0 | 1) => FEW_SHARES,
        (_, wanted) => wanted.min(MOST_SHARES),
    }
}

/// A step as far as a tuning tells them apart: heads of all sequences, their width, and room for keys; bits of
/// keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stepped([usize; 3], Option<[u32; 2]>);

impl fmt::Display for Stepped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stepped([heads, width, capacity], bits) = self;
        write!(f, "self-attention {heads} heads of {width}, ≤{capacity} keys")?;
        bits.map_or(Ok(()), |[keys, values]| write!(f, " of {keys} and values of {values} bits"))
    }
}

pub(in crate::ops) fn choices() -> Vec<Choice> {
    // Without one, the tokens turn and attend in turn.
    let rope = Kernel::new("rope", Geometry::elements(crate::ops::WG));
    let choice = |width, bits: Option<[u32; 2]>, is_split| {
        let stored = bits.map(|[k, v]| format!(", keys of {k} and values of {v} bits"));
        let stored = stored.unwrap_or_default();
        let shares = if is_split { ", in shares" } else { "" };
        let rope = if bits.is_some() { rope.with("APART", 1) } else { rope };
        let kernels = kernels(width, bits, is_split).into_iter().chain([rope]);
        Choice::new("self-attention", format!("{width} wide{stored}{shares}"), kernels)
    };
    let plain = WIDTHS.map(|width| (width, None));
    let packed = PACKED_WIDTHS.map(|width| PACKED.map(|bits| (width, Some(bits))));
    let all = plain.into_iter().chain(packed.into_iter().flatten());
    let mut choices = vec![Choice::new("self-attention", "shares as one", [MERGE])];
    choices.extend(all.flat_map(|(width, bits)| [false, true].map(|it| choice(width, bits, it))));
    choices
}

/// [`attention`] of queries to what `cache` holds in a layer and to the tokens of this pass, from their
/// queries, keys and values `x: [B, T, (H + 2 · KV) · D]`, which [`rope`] turns and stores.
pub fn self_attention(
    device: &Device,
    x: &Tensor,
    angles: &Angles,
    (cache, layer): (&KvCache, usize),
    how: Attention<'_>,
) -> Tensor {
    let [_, width, capacity] = cache.shape();
    if let Device::Gpu(gpu) = device
        && x.shape()[1] == 1
        && how.mask.is_none()
        && how.bias.is_none()
        && is_known(width, bits(cache))
        && let Some(kernel) = choose(gpu, [x.shape()[0] * how.heads, width, capacity], bits(cache))
    {
        return step(device, gpu, &kernel, x, angles, (cache, layer), how);
    }
    let q = rope(device, x, how.heads, angles, cache, layer);
    let y = attention(device, &q, KeysValues::Cached(cache, layer), how);
    #[cfg(not(target_arch = "wasm32"))]
    if let Some(tape) = device.tape() {
        let is_plain = cache.len() == 0 && how.mask.is_none() && how.bias.is_none();
        assert!(is_plain, "gradients are taken of whole sequences");
        let (sizes, how) = ((x.shape()[0], x.shape()[1], width), how.alone());
        let (x, angles) = (x.clone(), angles.clone());
        tape.note(&y, move |dy, to| {
            to.add(&x, gradient::back(x.f32s(), angles.table().f32s(), sizes, how, dy));
        });
    }
    y
}

/// By the rules a head is split where a cache has room for more than a share.
fn choose(
    gpu: &Gpu,
    [heads, width, capacity]: [usize; 3],
    bits: Option<[u32; 2]>,
) -> Option<Kernel> {
    let is_split = capacity > SHARE;
    let other = (is_split || capacity > SOME_KEYS).then_some(!is_split);
    let can_merge = gpu.choose([MERGE]).is_some();
    // Without one to merge, a cache with much room takes the tokens that turn and attend in turn.
    let wanted = [Some(is_split), other].into_iter().flatten();
    let kernels: Vec<Kernel> = wanted
        .take_while(|split| !split || can_merge)
        .flat_map(|is_split| kernels(width, bits, is_split))
        .collect();
    gpu.choose_ahead(&Stepped([heads, width, up_to(capacity, 1)], bits), &kernels)
}

fn step(
    device: &Device,
    gpu: &Gpu,
    kernel: &Kernel,
    x: &Tensor,
    angles: &Angles,
    (cache, layer): (&KvCache, usize),
    how: Attention<'_>,
) -> Tensor {
    let [kv_heads, width, capacity] = cache.shape();
    let batch = x.shape()[0];
    let before = cache.len();
    assert!(before < capacity && how.causal, "the caller made room, and looks back");
    let sizes = Sizes { batch, tokens: 1, width, keys: before + 1, before };
    let attended = analysis(&sizes, &how);
    let turned = 3 * batch * (how.heads + kv_heads) * width;
    let shape = [batch, 1, how.heads * width];
    let analysis = Analysis::writes(shape)
        .reads([x.shape(), &[width]])
        .reads([&[batch, before, kv_heads * width], &[batch, before, kv_heads * width]])
        .operations(attended.cost.operations + turned as u64);
    let shape = device.call("self-attention", &[x.shape()], analysis);
    let y = gpu.alloc(&shape);
    let (keys, values) = cache.gpu(layer);
    let (rows, shares) = (batch * how.heads, shares(capacity, kernel));
    let found = (shares > 1).then(|| gpu.alloc(&[rows * shares, width + 4]));
    let window = how.window.map_or(u32::MAX, |window| window as u32);
    let sizes = [rows * shares, how.heads, kv_heads, capacity].map(|n| n as u32);
    let params = sizes.into_iter().chain([window, how.scale.to_bits(), shares as u32]);
    let params: Vec<u32> = params.collect();
    let binds = [
        Bind::Read(1, x),
        Bind::Read(2, angles.table()),
        Bind::Read(3, cache.step().tensor()),
        Bind::Write(4, found.as_ref().unwrap_or(&y)),
        Bind::Write(5, keys),
        Bind::Write(6, values),
    ];
    gpu.dispatch(kernel, &params, &binds, [rows * shares, 1]);
    if let Some(found) = &found {
        let params = [y.count() / 4, width / 4, shares].map(|n| n as u32);
        let binds = [Bind::Read(1, found), Bind::Write(2, &y)];
        gpu.dispatch(&MERGE, &params, &binds, [y.count() / 4, 1]);
    }
    y
}

/// Prompts, then steps behind them: keys fill several sweeps of a workgroup and parts of one, one share and
/// several, and what a step stores is what the next one sees.
pub(in crate::ops) fn checks() -> Vec<Check> {
    let plain = [(64, 300, None), (128, 3, None), (48, 900, None), (32, 1_100, Some(290))]
        .map(|(width, prompt, window)| check(KvFormat::F32, width, prompt, window));
    let packed = [
        (KvFormat::F16, 64, 40),
        (KvFormat::Q8, 32, 600),
        (KvFormat::K8V4, 64, 40),
        (KvFormat::Q4, 128, 40),
    ];
    let packed = packed.map(|(format, width, prompt)| check(format, width, prompt, None));
    plain.into_iter().chain(packed).collect()
}

/// Every kernel there is.
#[cfg(test)]
pub(in crate::ops) fn all_checks() -> Vec<Check> {
    let prompts = WIDTHS.into_iter().flat_map(|width| [(width, 70), (width, SHARE)]);
    let plain = prompts.map(|(width, prompt)| check(KvFormat::F32, width, prompt, None));
    let packed = KvFormat::ALL.iter().filter(|format| **format != KvFormat::F32);
    let packed = packed.flat_map(|format| {
        let prompts = PACKED_WIDTHS.into_iter().flat_map(|width| [(width, 70), (width, SHARE)]);
        prompts.map(|(width, prompt)| check(*format, width, prompt, None))
    });
    plain.chain(packed).collect()
}

/// Longer prompts are stored without a pass over them, which on a software adapter takes seconds; one of so
/// many tokens meets every kernel of many queries that a cache has.
const ATTENDED: usize = 300;

fn check(format: KvFormat, width: usize, prompt: usize, window: Option<usize>) -> Check {
    let name = format!("self-attention behind {prompt}, {width} wide, in {format} bits");
    Check::new(name, move |device| {
        let (heads, kv_heads, capacity) = (4, 2, prompt + 3);
        let all = (heads + 2 * kv_heads) * width;
        let shape = CacheShape { format, batch: 2, heads: kv_heads, width, capacity };
        let cache = KvCache::new(device, 2, shape);
        let angles =
            Angles::new(device, capacity, width, 10_000.0, crate::ops::RopeScaling::Default);
        let how = Attention { kv_heads, causal: true, window, ..Attention::new(heads, width) };
        let pass = |seed, tokens| {
            let x = device.upload(&[2, tokens, all], normal(seed, 2 * tokens * all));
            let y = self_attention(device, &x, &angles, (&cache, 1), how);
            cache.advance(device, tokens);
            y
        };
        // The first step of all has nothing behind it.
        let first = pass(4, 1);
        cache.step().set(device, 0, 0);
        if prompt <= ATTENDED {
            pass(1, prompt);
        } else {
            let [k, v] = [1, 5].map(|seed| {
                let count = 2 * prompt * kv_heads * width;
                device.upload(&[2, prompt, kv_heads * width], normal(seed, count))
            });
            kv_append(device, &cache, 1, &k, &v);
            cache.advance(device, prompt);
        }
        vec![first, pass(2, 1), pass(3, 1)]
    })
}
