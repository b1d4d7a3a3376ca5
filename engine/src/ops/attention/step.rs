//! Attention of a decoder to itself: what its layer does between its projections. A GPU takes a step of
//! one token in a single dispatch, as each costs more than the arithmetic of a step; more tokens turn
//! first, and then attend.

#[cfg(not(target_arch = "wasm32"))]
use super::gradient;
use super::{
    Attention, KeysValues, Sizes, analysis, attention,
    kernels::PACKED,
    ring::{in_turn, in_turn_analysis},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Gpu, Kernel},
    kv::{CacheShape, KvCache, Ring, Rows},
    ops::{Angles, Check, Choice, choice::up_to, kv_append, rope},
    tensor::Tensor,
    testing::normal,
};
use record::KvFormat;
use std::fmt;

/// Of heads so wide: a multiple of 16, so that what an invocation reads can be written out.
const WIDTHS: [usize; 8] = [16, 32, 48, 64, 80, 96, 112, 128];

/// Of those, heads that lanes can share.
const LANES_WIDTHS: [usize; 3] = [32, 64, 128];

/// Of those, in caches of few bits: whole chunks.
const PACKED_WIDTHS: [usize; 3] = [32, 64, 128];

/// Where a cache has room for more keys, several workgroups share a head's: a head of many numbers takes longer.
const fn alone(width: usize) -> usize {
    if width > 64 { 256 } else { 512 }
}
/// Keys of a share, and shares of a head at most: each turn over keys is a wait, and so is each share that is merged.
const SHARE: usize = 128;
const MOST_SHARES: usize = 8;
/// Keys of a share, and shares, of very long texts.
const LONG_SHARE: usize = 1024;
const MOST_LONG_SHARES: usize = 16;
/// What was found in shares, as one.
const MERGE: Kernel = Kernel::new("attention_merge", Geometry::elements(64));

/// Shares of a head where a tuning splits keys that would have one.
const FEW_SHARES: usize = 4;
/// Keys from which on it may.
const SOME_KEYS: usize = 64;

/// The preferred one first: lanes of subgroups share keys where they can. Software adapters have one for rings alone,
/// narrow as it clears what it keeps in workgroup memory.
fn kernels(width: usize, bits: Option<[u32; 2]>, is_split: bool, is_ring: bool) -> Vec<Kernel> {
    let seeing = |kernel: Kernel| {
        let kernel = kernel.with("WIDTH", width as u32);
        let kernel = kernel.switched("SPLIT", is_split).switched("RING", is_ring);
        match bits {
            None => kernel,
            Some([keys, values]) => kernel.with("K_BITS", keys).with("V_BITS", values),
        }
    };
    // A lane holds a head's numbers in registers, twice as many of a wide one.
    let invocations = if width > 64 { 128 } else { 256 };
    let lanes = Kernel::new("attention_lanes", Geometry::rows(invocations)).with("SUBGROUPS", 1);
    let lanes = LANES_WIDTHS.contains(&width).then_some(lanes);
    let step = |invocations| Kernel::new("attention_step", Geometry::rows(invocations));
    let for_gpus = lanes.into_iter().chain(step(256).or_by_subgroups()).map(Kernel::for_hardware);
    let narrow = is_ring.then(|| step(64).for_software());
    for_gpus.chain(narrow).map(seeing).collect()
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
    match kernel.value("SPLIT") {
        0 => 1,
        _ => {
            let few = capacity.div_ceil(SHARE).clamp(FEW_SHARES, MOST_SHARES);
            few.max(capacity.div_ceil(LONG_SHARE).min(MOST_LONG_SHARES))
        }
    }
}

/// A step as far as a tuning tells them apart: heads of all sequences, their width, and room for keys; bits of
/// keys and values; whether places are taken again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stepped([usize; 3], Option<[u32; 2]>, bool);

impl fmt::Display for Stepped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stepped([heads, width, capacity], bits, is_ring) = self;
        let places = if *is_ring { "keys in turn" } else { "keys" };
        write!(f, "self-attention {heads} heads of {width}, ≤{capacity} {places}")?;
        bits.map_or(Ok(()), |[keys, values]| write!(f, " of {keys} and values of {values} bits"))
    }
}

pub(in crate::ops) fn choices() -> Vec<Choice> {
    // Without one, the tokens turn and attend in turn.
    let rope = Kernel::new("rope", Geometry::elements(crate::ops::WG));
    let choice = |width, bits: Option<[u32; 2]>, is_split, is_ring| {
        let stored = bits.map(|[k, v]| format!(", keys of {k} and values of {v} bits"));
        let stored = stored.unwrap_or_default();
        let shares = if is_split { ", in shares" } else { "" };
        let turns = if is_ring { ", in a ring" } else { "" };
        let rope = if bits.is_some() { rope.with("APART", 1) } else { rope };
        let rope = (!is_ring).then_some(rope);
        let kernels = kernels(width, bits, is_split, is_ring).into_iter().chain(rope);
        Choice::new("self-attention", format!("{width} wide{stored}{shares}{turns}"), kernels)
    };
    let plain = WIDTHS.map(|width| (width, None));
    let packed = PACKED_WIDTHS.map(|width| PACKED.map(|bits| (width, Some(bits))));
    let all = plain.into_iter().chain(packed.into_iter().flatten());
    let mut choices = vec![Choice::new("self-attention", "shares as one", [MERGE])];
    let ways = [[false, false], [true, false], [false, true], [true, true]];
    choices.extend(all.flat_map(|(width, bits)| {
        ways.map(|[is_split, is_ring]| choice(width, bits, is_split, is_ring))
    }));
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
    let tokens = x.shape()[1];
    if let Device::Gpu(gpu) = device
        && tokens == 1
        && how.mask.is_none()
        && how.bias.is_none()
        && let Some(kernel) = choose(gpu, x.shape()[0] * how.heads, cache, capacity > alone(width))
    {
        return step(device, gpu, &kernel, x, angles, (cache, layer), how);
    }
    // A step may be replayed until places are taken again.
    if let Some(ring) = cache.ring()
        && (tokens == 1 || cache.len() + tokens > capacity)
    {
        return in_turn(device, x, angles, (cache, layer), ring, how);
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
fn choose(gpu: &Gpu, heads: usize, cache: &KvCache, is_split: bool) -> Option<Kernel> {
    let [_, width, capacity] = cache.shape();
    let (bits, is_ring) = (bits(cache), cache.ring().is_some());
    if !is_known(width, bits) {
        return None;
    }
    let other = (is_split || capacity > SOME_KEYS).then_some(!is_split);
    let can_merge = gpu.choose([MERGE]).is_some();
    // Without one to merge, a cache with much room takes the tokens that turn and attend in turn.
    let wanted = [Some(is_split), other].into_iter().flatten();
    let wanted = wanted.take_while(|split| !split || can_merge);
    let kernels: Vec<Kernel> =
        wanted.flat_map(|split| kernels(width, bits, split, is_ring)).collect();
    gpu.choose_ahead(&Stepped([heads, width, up_to(capacity, 1)], bits, is_ring), &kernels)
}

/// The kernel of each token of a pass in which they take turns: a head's keys are not split, as it leaves no room to
/// merge them.
pub(super) fn for_ring(gpu: &Gpu, cache: &KvCache) -> Option<Kernel> {
    let [_, width, _] = cache.shape();
    let bits = bits(cache);
    is_known(width, bits).then(|| gpu.choose(kernels(width, bits, false, true))).flatten()
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
    let analysis = match cache.ring() {
        Some(ring) => in_turn_analysis(x, cache, ring, how),
        None => {
            assert!(before < capacity && how.causal, "the caller made room, and looks back");
            let sizes = Sizes { batch, tokens: 1, width, keys: before + 1, before };
            let attended = analysis(&sizes, &how);
            let turned = 3 * batch * (how.heads + kv_heads) * width;
            let stored = cache.rows().map(|rows| [batch, before, kv_heads * rows.words()]);
            Analysis::writes([batch, 1, how.heads * width])
                .reads([x.shape(), &[width]])
                .reads(stored.each_ref().map(|shape| &shape[..]))
                .operations(attended.cost.operations + turned as u64)
        }
    };
    let shape = device.call("self-attention", &[x.shape()], analysis);
    let y = gpu.alloc(&shape);
    let (rows, shares) = (batch * how.heads, shares(capacity, kernel));
    let found = (shares > 1).then(|| gpu.alloc(&[rows * shares, width + 4]));
    let to = found.as_ref().unwrap_or(&y);
    dispatch(gpu, kernel, [x, to], (0, shares), angles, (cache, layer), how);
    if let Some(found) = &found {
        let params = [y.count() / 4, width / 4, shares].map(|n| n as u32);
        let binds = [Bind::Read(1, found), Bind::Write(2, &y)];
        gpu.dispatch(&MERGE, &params, &binds, [y.count() / 4, 1]);
    }
    y
}

/// Of a pass the token of this number, a head's keys in so many shares.
pub(super) fn dispatch(
    gpu: &Gpu,
    kernel: &Kernel,
    [x, y]: [&Tensor; 2],
    (token, shares): (usize, usize),
    angles: &Angles,
    (cache, layer): (&KvCache, usize),
    how: Attention<'_>,
) {
    let [kv_heads, _, capacity] = cache.shape();
    let (keys, values) = cache.gpu(layer);
    let [batch, tokens, _] = x.shape()[..] else { panic!("three axes wanted") };
    let rows = batch * how.heads * shares;
    // In a ring, places say which keys there are.
    let window = how.window.filter(|_| cache.ring().is_none());
    let window = window.map_or(u32::MAX, |window| window as u32);
    let sinks = cache.ring().map_or(capacity, Ring::sinks);
    let sizes = [rows, how.heads, kv_heads, capacity].map(|n| n as u32);
    let place = [shares, tokens, token, sinks].map(|n| n as u32);
    let params = sizes.into_iter().chain([window, how.scale.to_bits()]).chain(place);
    let params: Vec<u32> = params.collect();
    let binds = [
        Bind::Read(1, x),
        Bind::Read(2, angles.table()),
        Bind::Read(3, cache.step().tensor()),
        Bind::Write(4, y),
        Bind::Write(5, keys),
        Bind::Write(6, values),
    ];
    gpu.dispatch(kernel, &params, &binds, [rows, 1]);
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
    let rings = [(KvFormat::F32, 64, 70), (KvFormat::F32, 128, 600), (KvFormat::Q4, 32, 12)]
        .map(|(format, width, room)| ring_check(format, width, room));
    plain.into_iter().chain(packed).chain(rings).collect()
}

/// Every kernel there is.
#[cfg(test)]
pub(in crate::ops) fn all_checks() -> Vec<Check> {
    let prompts = WIDTHS.into_iter().flat_map(|width| [(width, 70), (width, alone(width))]);
    let plain = prompts.map(|(width, prompt)| check(KvFormat::F32, width, prompt, None));
    let packed = KvFormat::ALL.iter().filter(|format| **format != KvFormat::F32);
    let packed = packed.flat_map(|format| {
        let prompts =
            PACKED_WIDTHS.into_iter().flat_map(|width| [(width, 70), (width, alone(width))]);
        prompts.map(|(width, prompt)| check(*format, width, prompt, None))
    });
    let rooms = KvFormat::ALL.iter().flat_map(|format| {
        let widths = if *format == KvFormat::F32 { &WIDTHS[..] } else { &PACKED_WIDTHS };
        let rooms = widths.iter().flat_map(|width| [(*width, 20), (*width, alone(*width) + 8)]);
        rooms.map(|(width, room)| ring_check(*format, width, room))
    });
    plain.chain(packed).chain(rooms).collect()
}

/// A cache with room for so many tokens of which some are there: more come than fit, in one pass and one by one.
fn ring_check(format: KvFormat, width: usize, room: usize) -> Check {
    let name = format!("self-attention in {room} places, {width} wide, in {format} bits");
    Check::new(name, move |device| {
        let (heads, kv_heads, sinks) = (4, 2, 3);
        let shape = CacheShape { format, batch: 2, heads: kv_heads, width, capacity: room };
        let cache = KvCache::new(device, 2, shape).into_ring(sinks);
        let angles =
            Angles::new(device, room + 12, width, 10_000.0, crate::ops::RopeScaling::Default);
        let how = Attention { kv_heads, causal: true, ..Attention::new(heads, width) };
        let [k, v] = [1, 5].map(|seed| {
            let count = 2 * (room - 4) * kv_heads * width;
            device.upload(&[2, room - 4, kv_heads * width], normal(seed, count))
        });
        kv_append(device, &cache, 1, &k, &v);
        cache.advance(device, room - 4);
        let all = (heads + 2 * kv_heads) * width;
        let passes = [(2, 3), (3, 6), (4, 1), (5, 1)].map(|(seed, tokens)| {
            let x = device.upload(&[2, tokens, all], normal(seed, 2 * tokens * all));
            let y = self_attention(device, &x, &angles, (&cache, 1), how);
            cache.advance(device, tokens);
            y
        });
        passes.into()
    })
    .storing(format != KvFormat::F32)
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
        let pass = |layer, seed, tokens| {
            let x = device.upload(&[2, tokens, all], normal(seed, 2 * tokens * all));
            let y = self_attention(device, &x, &angles, (&cache, layer), how);
            cache.advance(device, tokens);
            y
        };
        // The first step of all has nothing behind it; what it stores is not to be stored over.
        let first = pass(0, 4, 1);
        cache.step().set(device, 0, 0);
        if prompt <= ATTENDED {
            pass(1, 1, prompt);
        } else {
            let [k, v] = [1, 5].map(|seed| {
                let count = 2 * prompt * kv_heads * width;
                device.upload(&[2, prompt, kv_heads * width], normal(seed, count))
            });
            kv_append(device, &cache, 1, &k, &v);
            cache.advance(device, prompt);
        }
        vec![first, pass(1, 2, 1), pass(1, 3, 1)]
    })
    .storing(format != KvFormat::F32)
}
