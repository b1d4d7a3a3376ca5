//! Attention in a cache that is shorter than its text (see `kv/ring.rs`): what a token of a pass drops, the one before it
//! still sees, so tokens take turns. On a GPU each is a dispatch of `attention_step.wgsl` or `attention_lanes.wgsl`.

use super::{Attention, Layout, Sizes, cpu::Numbers, cpu::cpu, step};
use crate::{
    device::{Analysis, Device, Gpu, Store},
    kv::{KvCache, Ring, Step},
    ops::{
        Angles,
        host::{Input, write_on_host},
        kv_append::Place,
        rope::{Heads, turned},
        rotate::rotated,
    },
    tensor::Tensor,
};

/// What is known of a call before its numbers are.
#[derive(Clone, Copy)]
struct Turns {
    batch: usize,
    heads: Heads,
    ring: Ring,
    /// Of the keys and of the values.
    places: [Place; 2],
    how: Attention<'static>,
}

/// Attention of `x: [B, T, (H + 2 · KV) · D]` to what `cache` still holds in a layer when each token comes.
pub(super) fn in_turn(
    device: &Device,
    x: &Tensor,
    angles: &Angles,
    (cache, layer): (&KvCache, usize),
    ring: Ring,
    how: Attention<'_>,
) -> Tensor {
    let turns = Turns::of(x, cache, ring, how);
    let shape = device.call("self-attention", &[x.shape()], turns.analysis(cache.len()));
    match (device, cache.stores(layer)) {
        (_, [Store::Cpu(keys), Store::Cpu(values)]) => {
            let words = [&mut *keys.borrow_mut(), &mut *values.borrow_mut()];
            let table = angles.table().f32s();
            Tensor::from_f32(&shape, turns.take(x, table, cache.len(), how.mask, words))
        }
        (Device::Gpu(gpu), [Store::Gpu(keys), Store::Gpu(values)]) => {
            let y = gpu.alloc(&shape);
            let kernel = how.mask.is_none().then(|| step::for_ring(gpu, cache)).flatten();
            match kernel {
                Some(kernel) => (0..x.shape()[1]).for_each(|token| {
                    step::dispatch(gpu, &kernel, [x, &y], (token, 1), angles, (cache, layer), how);
                }),
                None => turns.on_host(gpu, [x, &y, keys, values], angles, cache, how.mask),
            }
            y
        }
        _ => unreachable!("the device made the cache"),
    }
}

/// What such a call takes.
pub(super) fn in_turn_analysis(
    x: &Tensor,
    cache: &KvCache,
    ring: Ring,
    how: Attention<'_>,
) -> Analysis {
    Turns::of(x, cache, ring, how).analysis(cache.len())
}

impl Turns {
    fn of(x: &Tensor, cache: &KvCache, ring: Ring, how: Attention<'_>) -> Turns {
        let [batch, tokens, _] = x.shape()[..] else { panic!("three axes wanted") };
        let [kv_heads, width, capacity] = cache.shape();
        assert!(how.causal && how.bias.is_none(), "decoders of rotary positions look back");
        let heads = Heads { tokens, heads: how.heads, kv_heads, width };
        let given = cache.is_given();
        let places =
            cache.rows().map(|rows| Place { heads: kv_heads, width, capacity, rows, given });
        // A window of the model's own is no smaller: models see to that when they load.
        let how = Attention { window: None, ..how.alone() };
        Turns { batch, heads, ring, places, how }
    }

    fn analysis(&self, before: usize) -> Analysis {
        let Turns { batch, heads: Heads { tokens, heads, kv_heads, width }, ring, .. } = *self;
        let seen: usize = (0..tokens).map(|token| ring.seen(before + token)).sum();
        let kept =
            self.places.map(|place| [batch, ring.seen(before) - 1, kv_heads * place.rows.words()]);
        let turned = 3 * batch * tokens * (heads + kv_heads) * width;
        Analysis::writes([batch, tokens, heads * width])
            .reads([&[batch, tokens, (heads + 2 * kv_heads) * width], &[tokens, width]])
            .reads(kept.each_ref().map(|shape| &shape[..]))
            .operations((batch * heads * seen * (4 * width + 6) + turned) as u64)
    }

    /// The CPU's path.
    fn take(
        &self,
        x: &Tensor,
        table: &[f32],
        before: usize,
        mask: Option<&Tensor>,
        words: [&mut Vec<u32>; 2],
    ) -> Vec<f32> {
        let Turns { batch, heads: Heads { tokens, heads, kv_heads, width }, ring, places, how } =
            *self;
        let [keys, values] = words;
        let all = self.heads.turn(x.f32s(), table, before);
        let columns = [heads, kv_heads, kv_heads].map(|heads| heads * width);
        let given = x.columns();
        let layout = self.layout();
        let mut y = vec![0.0; batch * tokens * columns[0]];
        for token in 0..tokens {
            let position = before + token;
            let at = |row: usize| row * tokens + token;
            let [query, key, value] = [0, 1, 2].map(|part| {
                let rows =
                    (0..batch).flat_map(|b| &all[part][at(b) * columns[part]..][..columns[part]]);
                rows.copied().collect::<Vec<f32>>()
            });
            let turns = &table[ring.position_for_sinks(position) * width..][..width];
            let queries = (0..batch)
                .flat_map(|b| x.f32s()[at(b) * given..][..columns[0]].chunks_exact(width));
            let for_sinks = queries.flat_map(|head| turned(head, turns)).collect();
            let [query, for_sinks, key] =
                [query, for_sinks, key].map(|numbers| self.stored(0, numbers));
            let value = self.stored(1, value);
            let shape = [batch, 1, columns[1]];
            places[0].put(&Tensor::from_f32(&shape, key), ring.place(position), keys);
            places[1].put(&Tensor::from_f32(&shape, value), ring.place(position), values);

            let seen = ring.seen(position);
            let sizes = Sizes { batch, tokens: 1, width, keys: seen, before: seen - 1 };
            let mask = mask.map(|mask| self.mask(mask, position));
            let how = Attention { mask: mask.as_ref(), ..how };
            let rows = places.map(|place| (place.rows.bits() < 32).then_some(place.rows));
            let kv = [Numbers::of(keys, rows[0]), Numbers::of(values, rows[1])];
            let sinks = Some((&for_sinks[..], ring.sinks()));
            let found = self.stored(1, cpu(&query, kv, &sizes, &layout, how, sinks));
            for (b, found) in found.chunks_exact(columns[0]).enumerate() {
                y[at(b) * columns[0]..][..columns[0]].copy_from_slice(found);
            }
        }
        y
    }

    /// Numbers as the keys, or the values, are stored: turned, or as they are. To turn twice is to turn back.
    fn stored(&self, which: usize, numbers: Vec<f32>) -> Vec<f32> {
        match self.places[which].rows.is_rotated() {
            true => rotated(&numbers, self.heads.width),
            false => numbers,
        }
    }

    fn layout(&self) -> Layout {
        let Place { heads, width, capacity, rows, .. } = self.places[0];
        let token = if rows.bits() == 32 { width } else { 1 };
        Layout { batch: heads * capacity * token, head: capacity * token, token }
    }

    /// Which of the places that the token at a position sees hold padding.
    fn mask(&self, mask: &Tensor, position: usize) -> Tensor {
        let (seen, columns) = (self.ring.seen(position), mask.columns());
        let places = (0..seen).map(|place| self.ring.held(place, position));
        let places: Vec<usize> = places.collect();
        let row = |b: usize| places.iter().map(move |at| mask.f32s()[b * columns + at]);
        Tensor::from_f32(&[self.batch, seen], (0..self.batch).flat_map(row).collect())
    }

    /// Without a kernel, in the middle of a pass.
    fn on_host(
        self,
        gpu: &Gpu,
        [x, y, keys, values]: [&Tensor; 4],
        angles: &Angles,
        cache: &KvCache,
        mask: Option<&Tensor>,
    ) {
        let mut inputs = vec![
            Input::Floats(x),
            Input::Floats(angles.table()),
            Input::Indices(cache.step().tensor()),
            Input::Indices(keys),
            Input::Indices(values),
        ];
        inputs.extend(mask.map(Input::Floats));
        let shape = y.shape().to_vec();
        write_on_host(gpu, "self-attention", &inputs, &[y, keys, values], move |_, x, _| {
            let before = Step::fetched(&x[2]).position();
            let [mut keys, mut values] = [3, 4].map(|at| x[at].u32s().to_vec());
            let words = [&mut keys, &mut values];
            let found = self.take(&x[0], x[1].f32s(), before, x.get(5), words);
            let stored = |at: usize, words| Tensor::from_u32(x[at].shape(), words);
            vec![Tensor::from_f32(&shape, found), stored(3, keys), stored(4, values)]
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        kv::CacheShape,
        ops::{RopeScaling, attention::step::self_attention},
        testing::normal,
    };
    use record::KvFormat;

    const WIDTH: usize = 8;

    /// The weights of what is kept by the papers' own way: kept tokens are numbered anew, and keys and query turned by
    /// these numbers.
    fn by_places(angles: &Angles, kept: &[&[f32]], query: &[f32]) -> Vec<f32> {
        let table = angles.table().f32s();
        let turned = |head: &[f32], place: usize| turned(head, &table[place * WIDTH..][..WIDTH]);
        let query = turned(query, kept.len() - 1);
        let scores = kept.iter().enumerate().map(|(place, key)| {
            let product: f32 = turned(key, place).iter().zip(&query).map(|(k, q)| k * q).sum();
            f64::from(product / (WIDTH as f32).sqrt()).exp()
        });
        let scores: Vec<f64> = scores.collect();
        let sum: f64 = scores.iter().sum();
        scores.iter().map(|score| (score / sum) as f32).collect()
    }

    #[test]
    fn what_is_kept_is_seen_as_if_it_were_all_there_is() {
        let (sinks, room, tokens) = (2, 6, 20);
        let device = Device::cpu();
        let angles = Angles::new(&device, tokens, WIDTH, 10_000.0, RopeScaling::Default);
        let x = normal(3, tokens * 3 * WIDTH);
        let part = |token: usize, part: usize| &x[(token * 3 + part) * WIDTH..][..WIDTH];
        let how = Attention { causal: true, ..Attention::new(1, WIDTH) };
        let read = |passes: &[usize]| {
            let shape = CacheShape {
                format: KvFormat::F32,
                batch: 1,
                heads: 1,
                width: WIDTH,
                capacity: room,
            };
            let cache = KvCache::new(&device, 1, shape).into_ring(sinks);
            let mut found = Vec::new();
            for tokens in passes {
                let numbers = x[cache.len() * 3 * WIDTH..][..tokens * 3 * WIDTH].to_vec();
                let x = Tensor::from_f32(&[1, *tokens, 3 * WIDTH], numbers);
                found.extend_from_slice(
                    self_attention(&device, &x, &angles, (&cache, 0), how).f32s(),
                );
                cache.advance(&device, *tokens);
            }
            found
        };
        let one_by_one = read(&[1; 20]);
        for (token, found) in one_by_one.chunks_exact(WIDTH).enumerate() {
            let latest = (token + 1).saturating_sub(room - sinks).max(sinks)..token + 1;
            let kept: Vec<usize> = (0..sinks.min(token + 1)).chain(latest).collect();
            let keys: Vec<&[f32]> = kept.iter().map(|token| part(*token, 1)).collect();
            let weights = by_places(&angles, &keys, part(token, 0));
            for (at, found) in found.iter().enumerate() {
                let values = kept.iter().zip(&weights).map(|(kept, by)| by * part(*kept, 2)[at]);
                let wanted: f32 = values.sum();
                assert!((found - wanted).abs() < 2e-5, "token {token}: {found} {wanted}");
            }
        }
        for passes in [&[3, 17][..], &[6, 1, 13], &[20]] {
            let other = read(passes);
            let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
            assert!(other.iter().zip(&one_by_one).all(near), "passes of {passes:?}");
        }
    }
}
