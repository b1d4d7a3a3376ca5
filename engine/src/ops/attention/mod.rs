//! Scaled dot-product attention with causal and padding masks, sliding windows and grouped queries.

mod checks;
mod cpu;
#[cfg(not(target_arch = "wasm32"))]
mod gradient;
mod kernels;
mod ring;
mod step;

#[cfg(test)]
pub(super) use checks::all_checks;
pub(super) use checks::checks;
pub use step::self_attention;

use super::{
    Choice,
    host::{Input, on_host},
    rotate::rotate,
};
use crate::{
    device::{Analysis, Bind, Device},
    kv::{KvCache, Rows},
    tensor::Tensor,
};
use cpu::{Numbers, cpu};
use kernels::{Attended, invocations, kernels, queries};
use std::ops::Range;

/// Widest head the GPU kernel holds.
pub const MAX_WIDTH: usize = 256;

/// Where keys and values lie.
#[derive(Clone, Copy)]
pub enum KeysValues<'a> {
    /// In tensors `[B, S, H · D]`.
    Plain {
        /// Keys.
        k: &'a Tensor,
        /// Values.
        v: &'a Tensor,
    },
    /// In one layer of a cache that already holds those of this pass.
    Cached(&'a KvCache, usize),
}

/// What a query sees, and how much of it.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; `heads` is a multiple.
    pub kv_heads: usize,
    /// Factor on the scores, usually `1 / √D`.
    pub scale: f32,
    /// Whether later keys are hidden.
    pub causal: bool,
    /// `[B, S]` of ones and zeros: keys at zeros are hidden. A query that sees nothing gets zeros.
    pub mask: Option<&'a Tensor>,
    /// `[G, H, R, C]`, added to the scores: batch `b` uses group `b mod G`, and a query's row is its
    /// position, those in the cache counted. R and C may exceed what a pass needs.
    pub bias: Option<&'a Tensor>,
    /// How many keys up to its own position a causal query sees; all where there is none.
    pub window: Option<usize>,
}

impl Attention<'_> {
    /// Plain attention between `heads` of `width`: scaled by `1 / √width`, nothing hidden.
    pub fn new(heads: usize, width: usize) -> Attention<'static> {
        Attention {
            heads,
            kv_heads: heads,
            scale: 1.0 / (width as f32).sqrt(),
            causal: false,
            mask: None,
            bias: None,
            window: None,
        }
    }

    /// The same without the tensors that it points to.
    fn alone(&self) -> Attention<'static> {
        let Attention { heads, kv_heads, scale, causal, window, .. } = *self;
        Attention { heads, kv_heads, scale, causal, mask: None, bias: None, window }
    }
}

/// How elements, or rows in few bits, of keys and values are found.
#[derive(Clone, Copy)]
struct Layout {
    batch: usize,
    head: usize,
    token: usize,
}

/// What the shapes of an attention are made of.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    tokens: usize,
    width: usize,
    keys: usize,
    /// Of the keys, those from before this pass.
    before: usize,
}

/// The keys that query `t` of a pass sees.
fn seen(how: &Attention<'_>, sizes: &Sizes, t: usize) -> Range<usize> {
    let Sizes { keys, before, .. } = *sizes;
    let end = if how.causal { (before + t + 1).min(keys) } else { keys };
    let start = how.window.map_or(0, |window| (before + t + 1).saturating_sub(window));
    start..end
}

/// Of each query and key that it sees: a product and a sum for each of D, for the score and for the
/// output; the scale, and a bias where there is one; the five operations of a softmax. Padding is
/// seen, as shapes do not tell it.
fn analysis(sizes: &Sizes, how: &Attention<'_>) -> Analysis {
    let Sizes { batch, tokens, width, keys, .. } = *sizes;
    // In a page a usize has 32 bits.
    let pairs: u64 = (0..tokens).map(|t| seen(how, sizes, t).len() as u64).sum();
    let each = 4 * width + 6 + usize::from(how.bias.is_some());
    let read = keys - seen(how, sizes, 0).start;
    let q = [batch, tokens, how.heads * width];
    let kv = [batch, read, how.kv_heads * width];
    let mask: &[usize] = if how.mask.is_some() { &[batch, read] } else { &[0] };
    let bias = how.bias.map_or([0; 4], |bias| [bias.shape()[0], how.heads, tokens, read]);
    Analysis::writes(q)
        .reads([&q, &kv, &kv, mask, &bias])
        .operations((batch * how.heads) as u64 * pairs * each as u64)
}

/// `[B, T, H · D]` from `q: [B, T, H · D]`.
pub fn attention(device: &Device, q: &Tensor, kv: KeysValues<'_>, how: Attention<'_>) -> Tensor {
    let KeysValues::Cached(cache, _) = kv else { return attend(device, q, kv, how) };
    // Queries meet keys as these are stored, and what comes of values is turned back.
    let [turns_keys, turns_values] = cache.rows().map(Rows::is_rotated);
    let [_, width, _] = cache.shape();
    let turned = turns_keys.then(|| rotate(device, q, width));
    let y = attend(device, turned.as_ref().unwrap_or(q), kv, how);
    if turns_values { rotate(device, &y, width) } else { y }
}

fn attend(device: &Device, q: &Tensor, kv: KeysValues<'_>, how: Attention<'_>) -> Tensor {
    let [batch, tokens, columns] = q.shape()[..] else { panic!("three axes wanted") };
    let width = columns / how.heads;
    assert_eq!((columns % how.heads, how.heads % how.kv_heads), (0, 0));
    assert!(width <= MAX_WIDTH, "models refuse wider heads when they load");
    assert!(how.causal || how.window.is_none(), "a window ends at the query");
    let (keys, before, layout) = match kv {
        KeysValues::Plain { k, .. } => {
            let keys = k.shape()[1];
            assert_eq!(k.shape(), [batch, keys, how.kv_heads * width]);
            let columns = k.columns();
            (keys, 0, Layout { batch: keys * columns, head: width, token: columns })
        }
        KeysValues::Cached(cache, _) => {
            let token = if cache.is_plain() { width } else { 1 };
            let head = cache.capacity() * token;
            let layout = Layout { batch: how.kv_heads * head, head, token };
            (cache.len() + tokens, cache.len(), layout)
        }
    };
    let rows = match kv {
        KeysValues::Cached(cache, _) if !cache.is_plain() => Some(cache.rows()),
        _ => None,
    };
    assert!(how.mask.is_none_or(|mask| mask.shape()[0] == batch && mask.shape()[1] >= keys));
    if let Some(bias) = how.bias {
        assert_eq!(bias.shape()[1], how.heads);
        assert!(bias.shape()[2] >= tokens && bias.shape()[3] >= keys);
    }
    let sizes = Sizes { batch, tokens, width, keys, before };
    let kv_shape = [batch, keys, how.kv_heads * width];
    let shapes = [q.shape(), &kv_shape, &kv_shape];
    let shape = device.call("attention", &shapes, analysis(&sizes, &how));
    match device {
        Device::Cpu(_) => {
            let values = match kv {
                KeysValues::Plain { k, v } => {
                    let kv = [k, v].map(|numbers| Numbers::Plain(numbers.f32s()));
                    cpu(q.f32s(), kv, &sizes, &layout, how, None)
                }
                KeysValues::Cached(cache, layer) => {
                    let words = cache.cpu(layer);
                    let kv = [0, 1].map(|at| Numbers::of(&words[at], rows.map(|rows| rows[at])));
                    cpu(q.f32s(), kv, &sizes, &layout, how, None)
                }
            };
            Tensor::from_f32(&shape, values)
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let (k, v, step, most_keys) = match kv {
                KeysValues::Plain { k, v } => (k, v, None, keys),
                KeysValues::Cached(cache, layer) => {
                    let (k, v) = cache.gpu(layer);
                    (k, v, Some(cache.step().tensor()), cache.capacity())
                }
            };
            let invocations = invocations(tokens, most_keys, width);
            let (cached, seen) = (step.is_some(), [tokens, most_keys, width]);
            let bits = rows.map(|rows| rows.map(Rows::bits));
            let attended = Attended::of(&how, cached, batch, seen, bits);
            let kernels = kernels(&how, cached, invocations, seen, bits, gpu.wants_all());
            let Some(kernel) = gpu.choose_for(&attended, &kernels) else {
                let mut inputs = vec![Input::Floats(q)];
                inputs.extend([k, v].map(match rows {
                    None => Input::Floats,
                    Some(_) => Input::Indices,
                }));
                inputs.extend(how.mask.map(Input::Floats));
                inputs.extend(how.bias.map(Input::Floats));
                inputs.extend(step.map(Input::Indices));
                let (masked, biased) = (how.mask.is_some(), how.bias.is_some());
                let (how, cached) = (how.alone(), step.is_some());
                return on_host(gpu, "attention", &inputs, y, move |_, x, _| {
                    let mut rest = x[3..].iter();
                    let mut next = |there: bool| there.then(|| rest.next().expect("an input"));
                    let how = Attention { mask: next(masked), bias: next(biased), ..how };
                    // A recorded step is replayed with more keys: the device counts them.
                    let before = next(cached).map_or(0, |step| step.u32s()[0] as usize);
                    let keys = if cached { before + tokens } else { keys };
                    let sizes = Sizes { keys, before, ..sizes };
                    let kv = [0, 1].map(|at| match rows {
                        None => Numbers::Plain(x[1 + at].f32s()),
                        Some(rows) => Numbers::Rows(x[1 + at].u32s(), rows[at]),
                    });
                    Tensor::from_f32(x[0].shape(), cpu(x[0].f32s(), kv, &sizes, &layout, how, None))
                });
            };
            let blocks = tokens.div_ceil(queries(&kernel));
            let rows = batch * blocks * how.heads;
            let mut params = [
                rows,
                tokens,
                // As above.
                if step.is_some() { 0 } else { keys },
                how.heads,
                how.kv_heads,
                width,
                layout.batch,
                layout.head,
                layout.token,
                how.mask.map_or(0, Tensor::columns),
                how.bias.map_or(0, |bias| bias.shape()[0]),
                how.bias.map_or(0, |bias| bias.shape()[2]),
                how.bias.map_or(0, |bias| bias.shape()[3]),
            ]
            .map(|n| n as u32)
            .to_vec();
            params.push(how.window.map_or(u32::MAX, |window| window as u32));
            params.push(how.scale.to_bits());
            let mut binds =
                vec![Bind::Read(1, q), Bind::Read(2, k), Bind::Read(3, v), Bind::Write(4, &y)];
            binds.extend(step.map(|step| Bind::Read(5, step)));
            binds.extend(how.mask.map(|mask| Bind::Read(6, mask)));
            binds.extend(how.bias.map(|bias| Bind::Read(7, bias)));
            gpu.dispatch(&kernel, &params, &binds, [rows, 1]);
            y
        }
    }
}

pub(super) fn choices() -> Vec<Choice> {
    [kernels::choices(), step::choices()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_average_the_values_seen() {
        let q = Tensor::from_f32(&[1, 3, 1], vec![0.0; 3]);
        let k = Tensor::from_f32(&[1, 3, 1], vec![1.0, -1.0, 7.0]);
        let v = Tensor::from_f32(&[1, 3, 1], vec![3.0, 5.0, 10.0]);
        let kv = KeysValues::Plain { k: &k, v: &v };
        let how = Attention::new(1, 1);
        let device = Device::cpu();
        assert_eq!(attention(&device, &q, kv, how).f32s(), [6.0; 3]);
        let causal = Attention { causal: true, ..how };
        assert_eq!(attention(&device, &q, kv, causal).f32s(), [3.0, 4.0, 6.0]);
        let windowed = Attention { window: Some(2), ..causal };
        assert_eq!(attention(&device, &q, kv, windowed).f32s(), [3.0, 4.0, 7.5]);
        let mask = Tensor::from_f32(&[1, 3], vec![0.0, 1.0, 1.0]);
        let padded = Attention { mask: Some(&mask), ..causal };
        assert_eq!(attention(&device, &q, kv, padded).f32s(), [0.0, 5.0, 7.5]);
        let bias = Tensor::from_f32(&[1, 1, 3, 3], [-100.0, 0.0, 0.0].repeat(3));
        let biased = Attention { bias: Some(&bias), ..how };
        assert_eq!(attention(&device, &q, kv, biased).f32s(), [7.5; 3]);
    }

    #[test]
    fn larger_scores_weigh_more() {
        // Scores ln 3 and 0: weights 3/4 and 1/4.
        let q = Tensor::from_f32(&[1, 1, 1], vec![3.0f32.ln()]);
        let k = Tensor::from_f32(&[1, 2, 1], vec![1.0, 0.0]);
        let v = Tensor::from_f32(&[1, 2, 1], vec![8.0, 0.0]);
        let how = Attention::new(1, 1);
        let y = attention(&Device::cpu(), &q, KeysValues::Plain { k: &k, v: &v }, how);
        assert!((y.f32s()[0] - 6.0).abs() < 1e-6);
    }
}
