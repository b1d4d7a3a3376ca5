//! Rotary position embedding (Su et al. 2021) in the halves convention of Hugging Face, of what a layer's
//! attention begins with: queries come out, keys and values go into the cache.

use super::{
    Check, Choice, WG,
    host::{Input, write_on_host},
    kv_append::{Place, kv_append},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Gpu, Kernel, Store},
    kv::{CacheShape, KvCache, Step},
    tensor::Tensor,
    testing::normal,
};
use record::KvFormat;

/// How frequencies are stretched for contexts longer than those of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// All by one factor.
    Linear {
        /// Divides every frequency.
        factor: f32,
    },
    /// Low frequencies by a factor, high ones not at all, with a ramp between
    /// (`_compute_llama3_parameters` in transformers' `modeling_rope_utils.py`).
    Llama3 {
        /// Divides low frequencies.
        factor: f32,
        /// Wavelengths longer than the original context over this are low.
        low: f32,
        /// Wavelengths shorter than the original context over this are high.
        high: f32,
        /// Context of training.
        original: f32,
    },
    /// As [`RopeScaling::Llama3`], with the ramp over the numbers of the frequencies, and all
    /// angles' cosines and sines stretched (YaRN, Peng et al. 2023; `_compute_yarn_parameters`).
    Yarn {
        /// Divides low frequencies.
        factor: f32,
        /// First frequency that is divided at all.
        low: f32,
        /// First frequency that is divided in full.
        high: f32,
        /// Factor on cosines and sines.
        stretch: f32,
    },
}

impl RopeScaling {
    /// YaRN for heads of `width` trained on a context of `original`: frequencies that turn more
    /// than `fast` times in it stay, those that turn less than `slow` times are divided.
    pub fn yarn(
        factor: f64,
        (fast, slow): (f64, f64),
        truncate: bool,
        stretch: f64,
        (theta, width, original): (f64, usize, f64),
    ) -> RopeScaling {
        let turns = |turns: f64| {
            let at = (original / (turns * std::f64::consts::TAU)).ln() / (2.0 * theta.ln());
            at * width as f64
        };
        let (low, high) = match truncate {
            true => (turns(fast).floor(), turns(slow).ceil()),
            false => (turns(fast), turns(slow)),
        };
        let (low, mut high) = (low.max(0.0), high.min(width as f64 - 1.0));
        if low == high {
            high += 0.001;
        }
        let [factor, low, high, stretch] = [factor, low, high, stretch].map(|x| x as f32);
        RopeScaling::Yarn { factor, low, high, stretch }
    }
}

/// Cosines and sines of every position and frequency, `[positions, D / 2, 2]`.
#[derive(Clone, Debug)]
pub struct Angles {
    table: Tensor,
    width: usize,
}

impl Angles {
    /// Cosines and sines.
    pub(super) fn table(&self) -> &Tensor {
        &self.table
    }

    /// The table of `positions` for heads of `width`.
    ///
    /// Frequencies and angles are rounded to f32 where transformers rounds them; cosines and sines
    /// come from the CPU, since WGSL only promises them to 2⁻¹¹.
    pub fn new(
        device: &Device,
        positions: usize,
        width: usize,
        theta: f64,
        scaling: RopeScaling,
    ) -> Angles {
        let frequencies: Vec<f32> = (0..width / 2)
            .map(|i| (i, (1.0 / theta.powf(2.0 * i as f64 / width as f64)) as f32))
            .map(|(i, frequency)| scaled(i, frequency, scaling))
            .collect();
        let stretch = match scaling {
            RopeScaling::Yarn { stretch, .. } => stretch,
            _ => 1.0,
        };
        let mut table = Vec::with_capacity(positions * width);
        for position in 0..positions {
            for frequency in &frequencies {
                let (sin, cos) = f64::from(position as f32 * frequency).sin_cos();
                table.extend([cos as f32 * stretch, sin as f32 * stretch]);
            }
        }
        Angles { table: device.upload(&[positions, width / 2, 2], table), width }
    }
}

/// Frequency `i` of a head.
fn scaled(i: usize, frequency: f32, scaling: RopeScaling) -> f32 {
    match scaling {
        RopeScaling::Default => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 { factor, low, high, original } => {
            let wavelength = 2.0 * std::f32::consts::PI / frequency;
            if wavelength < original / high {
                frequency
            } else if wavelength > original / low {
                frequency / factor
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
        RopeScaling::Yarn { factor, low, high, .. } => {
            let ramp = ((i as f32 - low) / (high - low)).clamp(0.0, 1.0);
            frequency / factor * ramp + frequency * (1.0 - ramp)
        }
    }
}

const KERNELS: [Kernel; 1] = [Kernel::new("rope", Geometry::elements(WG))];
/// Keys and values apart, for a cache that stores them in few bits.
const APART: [Kernel; 1] = [KERNELS[0].with("APART", 1)];

/// Of each pair that turns: four products, a difference and a sum. The table is read from the first
/// token's position to the last's, a cosine and a sine for each pair of a head.
fn analysis(x: &[usize], heads: usize, kv_heads: usize) -> Analysis {
    let [batch, tokens, columns] = x[..] else { panic!("three axes wanted") };
    let width = columns / (heads + 2 * kv_heads);
    let stored = (batch * tokens * 2 * kv_heads * width) as u64;
    let mut analysis = Analysis::writes([batch, tokens, heads * width])
        .reads([x, &[tokens, width]])
        .operations(3 * (batch * tokens * (heads + kv_heads) * width) as u64);
    analysis.cost.written_bytes += stored * 4;
    analysis
}

/// Queries `[B, T, H · D]` of `x: [B, T, (H + 2 · KV) · D]`, in which `heads` of queries come before those
/// of keys and those of values: queries and keys are turned by their positions, which follow those of
/// `cache`, and keys and values are stored in its layer, behind what there is.
pub fn rope(
    device: &Device,
    x: &Tensor,
    heads: usize,
    angles: &Angles,
    cache: &KvCache,
    layer: usize,
) -> Tensor {
    let [batch, tokens, columns] = x.shape()[..] else { panic!("three axes wanted") };
    let [kv_heads, width, capacity] = cache.shape();
    assert_eq!((columns, width), ((heads + 2 * kv_heads) * width, angles.width));
    assert!(cache.len() + tokens <= capacity, "the caller made room");
    let shapes = [x.shape(), angles.table.shape()];
    let shape = device.call("rope", &shapes, analysis(x.shape(), heads, kv_heads));
    let how = Heads { tokens, heads, kv_heads, width };
    if !cache.is_plain() {
        let [queries, keys, values] = apart(device, x, angles, cache, how);
        kv_append(device, cache, layer, &keys, &values);
        return queries;
    }
    let [rows, _] = cache.rows();
    let place = Place { heads: kv_heads, width, capacity, rows, given: false };
    let kv_shape = [batch, tokens, kv_heads * width];
    match (device, cache.stores(layer)) {
        (_, [Store::Cpu(keys), Store::Cpu(values)]) => {
            let before = cache.step().position();
            let [queries, k, v] = how.turn(x.f32s(), angles.table.f32s(), before);
            for (store, rows) in [(keys, k), (values, v)] {
                place.put(&Tensor::from_f32(&kv_shape, rows), before, &mut store.borrow_mut());
            }
            Tensor::from_f32(&shape, queries)
        }
        (Device::Gpu(gpu), [Store::Gpu(keys), Store::Gpu(values)]) => {
            let y = gpu.alloc(&shape);
            let step = cache.step().tensor();
            let Some(kernel) = gpu.choose(KERNELS) else {
                let inputs = [
                    Input::Floats(x),
                    Input::Floats(&angles.table),
                    Input::Indices(step),
                    Input::Indices(keys),
                    Input::Indices(values),
                ];
                write_on_host(gpu, "rope", &inputs, &[&y, keys, values], move |_, x, _| {
                    let before = Step::fetched(&x[2]).position();
                    let [queries, k, v] = how.turn(x[0].f32s(), x[1].f32s(), before);
                    let stored = |at: usize, rows| {
                        let mut words = x[at].u32s().to_vec();
                        place.put(&Tensor::from_f32(&kv_shape, rows), before, &mut words);
                        Tensor::from_u32(x[at].shape(), words)
                    };
                    vec![Tensor::from_f32(&shape, queries), stored(3, k), stored(4, v)]
                });
                return y;
            };
            dispatch(gpu, &kernel, x, angles, cache, how, [&y, keys, values]);
            y
        }
        _ => unreachable!("the device made the cache"),
    }
}

/// Queries, keys and values, those that turn turned: each `[B, T, H · D]`.
fn apart(device: &Device, x: &Tensor, angles: &Angles, cache: &KvCache, how: Heads) -> [Tensor; 3] {
    let Heads { heads, kv_heads, width, .. } = how;
    let [batch, tokens, _] = x.shape()[..] else { panic!("three axes wanted") };
    let shapes = [heads, kv_heads, kv_heads].map(|heads| [batch, tokens, heads * width]);
    let named = move |parts: [Vec<f32>; 3]| {
        let mut parts = parts.into_iter();
        shapes.map(|shape| Tensor::from_f32(&shape, parts.next().expect("three parts")))
    };
    match device {
        Device::Cpu(_) => named(how.turn(x.f32s(), angles.table.f32s(), cache.step().position())),
        Device::Gpu(gpu) => {
            let parts = shapes.map(|shape| gpu.alloc(&shape));
            let step = cache.step().tensor();
            match gpu.choose(APART) {
                Some(kernel) => {
                    dispatch(gpu, &kernel, x, angles, cache, how, parts.each_ref());
                }
                None => {
                    let inputs =
                        [Input::Floats(x), Input::Floats(&angles.table), Input::Indices(step)];
                    write_on_host(gpu, "rope", &inputs, &parts.each_ref(), move |_, x, _| {
                        let before = Step::fetched(&x[2]).position();
                        named(how.turn(x[0].f32s(), x[1].f32s(), before)).into()
                    });
                }
            }
            parts
        }
    }
}

fn dispatch(
    gpu: &Gpu,
    kernel: &Kernel,
    x: &Tensor,
    angles: &Angles,
    cache: &KvCache,
    Heads { tokens, heads, kv_heads, width }: Heads,
    [queries, keys, values]: [&Tensor; 3],
) {
    let count = x.count() / 2;
    let params = [count, tokens, heads, kv_heads, width / 2, cache.capacity()].map(|n| n as u32);
    let binds = [
        Bind::Read(1, x),
        Bind::Read(2, &angles.table),
        Bind::Read(3, cache.step().tensor()),
        Bind::Write(4, queries),
        Bind::Write(5, keys),
        Bind::Write(6, values),
    ];
    gpu.dispatch(kernel, &params, &binds, [count, 1]);
}

/// The sizes of a call.
#[derive(Clone, Copy)]
pub(super) struct Heads {
    pub tokens: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub width: usize,
}

impl Heads {
    /// The CPU's path, behind `before` positions: queries, keys and values, row by row.
    pub(super) fn turn(&self, x: &[f32], table: &[f32], before: usize) -> [Vec<f32>; 3] {
        let Heads { tokens, heads, kv_heads, width } = *self;
        let all_heads = heads + 2 * kv_heads;
        let rows = x.len() / width / all_heads;
        let mut parts =
            [heads, kv_heads, kv_heads].map(|heads| Vec::with_capacity(rows * heads * width));
        for (at, x) in x.chunks_exact(width).enumerate() {
            let (head, position) = (at % all_heads, before + at / all_heads % tokens);
            if head >= heads + kv_heads {
                parts[2].extend(x);
                continue;
            }
            let turned = turned(x, &table[position * width..][..width]);
            parts[usize::from(head >= heads)].extend(turned);
        }
        parts
    }
}

/// A head turned by cosines and sines.
pub(super) fn turned(head: &[f32], turns: &[f32]) -> Vec<f32> {
    let (first, second) = head.split_at(head.len() / 2);
    let pairs = || first.iter().zip(second).zip(turns.chunks_exact(2));
    let firsts = pairs().map(|((a, b), turn)| a * turn[0] - b * turn[1]);
    firsts.chain(pairs().map(|((a, b), turn)| b * turn[0] + a * turn[1])).collect()
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("rope", "", KERNELS), Choice::new("rope", "apart", APART)]
}

pub(super) fn checks() -> Vec<Check> {
    use super::{Attention, KeysValues, attention};
    // Two passes, so that the second has positions before it; attention sees what was stored.
    vec![Check::new("rope and cached attention", |device| {
        let shape =
            CacheShape { format: KvFormat::F32, batch: 2, heads: 2, width: 24, capacity: 12 };
        let cache = KvCache::new(device, 2, shape);
        let angles = Angles::new(device, 12, 24, 10_000.0, RopeScaling::Default);
        let how = Attention { kv_heads: 2, causal: true, ..Attention::new(4, 24) };
        let pass = |seed, tokens| {
            let x = device.upload(&[2, tokens, 8 * 24], normal(seed, 2 * tokens * 8 * 24));
            let q = rope(device, &x, 4, &angles, &cache, 1);
            let y = attention(device, &q, KeysValues::Cached(&cache, 1), how);
            cache.advance(device, tokens);
            [q, y]
        };
        [pass(1, 7), pass(2, 1), pass(3, 2)].concat()
    })]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_one_turns_the_first_pair_by_one_radian() {
        let device = Device::cpu();
        let angles = Angles::new(&device, 2, 4, 10_000.0, RopeScaling::Default);
        let shape = CacheShape { format: KvFormat::F32, batch: 1, heads: 1, width: 4, capacity: 2 };
        let cache = KvCache::new(&device, 1, shape);
        cache.advance(&device, 1);
        let head = [1.0, 1.0, 0.0, 0.0];
        let x = Tensor::from_f32(&[1, 1, 12], [head, head, [5.0, 6.0, 7.0, 8.0]].concat());
        let y = rope(&device, &x, 1, &angles, &cache, 0);
        let expected = [1f32.cos(), 0.01f32.cos(), 1f32.sin(), 0.01f32.sin()];
        let [keys, values] =
            cache.cpu(0).map(|words| bytemuck::cast_vec::<u32, f32>(words.clone()));
        for turned in [y.f32s(), &keys[4..]] {
            for (got, want) in turned.iter().zip(expected) {
                assert!((got - want).abs() < 1e-6);
            }
        }
        assert_eq!(values[..], [0.0, 0.0, 0.0, 0.0, 5.0, 6.0, 7.0, 8.0]);
    }

    /// Frequencies of transformers 5.23 for `head_dim` 8, `rope_theta` 10000, factor 8, low 1,
    /// high 4, original 64.
    #[test]
    fn llama3_stretches_low_frequencies_only() {
        let scaling = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 64.0 };
        assert_eq!(scaled(0, 1.0, scaling), 1.0);
        assert_eq!(scaled(2, 0.01, scaling), 0.01 / 8.0);
        // Wavelength 62.83 lies on the ramp: smooth = (64 / 62.83 − 1) / 3 = 0.006197.
        assert!((scaled(1, 0.1, scaling) - 0.013_042_27).abs() < 1e-6);
    }

    /// Frequencies of transformers 5.23 for `head_dim` 16, `rope_theta` 10000, factor 4, original 32,
    /// with the bounds of the ramp rounded and not.
    #[test]
    fn yarn_stretches_low_frequencies_only() {
        for (fast, truncate, second) in [(32.0, true, 0.197_642_36), (16.0, false, 0.148_490_25)] {
            let scaling =
                RopeScaling::yarn(4.0, (fast, 1.0), truncate, 1.138_629_4, (1e4, 16, 32.0));
            let expected = [1.0, second, 0.025, 0.007_905_695];
            for (i, want) in expected.into_iter().enumerate() {
                let got = scaled(i, (1.0 / 1e4f64.powf(i as f64 / 8.0)) as f32, scaling);
                assert!((got - want).abs() < 2e-7 * want, "frequency {i}: {got} {want}");
            }
        }
    }
}
