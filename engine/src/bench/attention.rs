//! Attention: over a prompt, of one token to a cache of some depth, and within pictures and recordings.

use super::{Bench, Calls, Subject, numbers, spread};
use crate::{
    device::{Caches, Device},
    kv::{CacheShape, KvCache, Rows},
    ops::{Angles, Attention, KeysValues, RopeScaling, attention, kv_append, self_attention},
    tensor::Tensor,
};
use record::{BenchRow, KvFormat};

/// Whose it is, heads of queries, of keys and values, their width, queries, keys, and in which cache these lie, if they
/// lie in one: then a query sees those up to its own.
type Case = (&'static str, [usize; 3], usize, usize, Option<KvFormat>);

const WHOLE: Option<KvFormat> = Some(KvFormat::F32);

const TINYLLAMA: [usize; 3] = [32, 4, 64];
const LLAMA_7B: [usize; 3] = [32, 32, 128];
const BERT: [usize; 3] = [12, 12, 64];
const CASES: &[Case] = &[
    ("TinyLlama, one token", TINYLLAMA, 1, 128, WHOLE),
    ("TinyLlama, one token", TINYLLAMA, 1, 1024, WHOLE),
    ("TinyLlama, one token", TINYLLAMA, 1, 4096, WHOLE),
    ("TinyLlama, one token", TINYLLAMA, 1, 16_384, WHOLE),
    ("Llama-2-7B, one token", LLAMA_7B, 1, 128, WHOLE),
    ("Llama-2-7B, one token", LLAMA_7B, 1, 1024, WHOLE),
    ("Llama-2-7B, one token", LLAMA_7B, 1, 4096, WHOLE),
    ("Llama-2-7B, one token", LLAMA_7B, 1, 4096, Some(KvFormat::F16)),
    ("Llama-2-7B, one token", LLAMA_7B, 1, 4096, Some(KvFormat::Q8)),
    ("Llama-2-7B, one token", LLAMA_7B, 1, 4096, Some(KvFormat::K8V4)),
    ("Llama-2-7B, one token", LLAMA_7B, 1, 4096, Some(KvFormat::Q4)),
    ("Whisper base, one token to a recording", [8, 8, 64], 1, 1500, None),
    ("TinyLlama, a prompt", TINYLLAMA, 128, 128, WHOLE),
    ("TinyLlama, a prompt", TINYLLAMA, 512, 512, WHOLE),
    ("BERT, a text", BERT, 128, 128, None),
    ("BERT, a text", BERT, 512, 512, None),
    ("ViT, a picture", BERT, 197, 197, None),
    ("Whisper base, a recording", [8, 8, 64], 1500, 1500, None),
];
/// What a software adapter does in seconds.
const QUICK: &[Case] = &[
    ("SmolLM2-135M, one token", [9, 3, 64], 1, 128, WHOLE),
    ("SmolLM2-135M, one token", [9, 3, 64], 1, 1024, WHOLE),
    ("SmolLM2-135M, one token", [9, 3, 64], 1, 1024, Some(KvFormat::Q8)),
    ("SmolLM2-135M, one token", [9, 3, 64], 1, 1024, Some(KvFormat::Q4)),
    ("SmolLM2-135M, a prompt", [9, 3, 64], 64, 64, WHOLE),
    ("MiniLM, a text", [12, 12, 32], 128, 128, None),
];

/// Queries whose outputs are judged.
const JUDGED: usize = 4;
/// Calls of a piece that takes no copies in turn.
const CALLS: usize = 8;
/// Layers of the largest cache: a binding each.
const MOST_LAYERS: usize = 64;

pub(super) async fn measure(bench: &mut Bench<'_>) {
    if !bench.wants("attention") {
        return;
    }
    let cases = if bench.quick { QUICK } else { CASES };
    for case in cases {
        of_case(bench, case).await;
    }
}

async fn of_case(bench: &mut Bench<'_>, case: &Case) {
    let &(who, [heads, kv_heads, width], tokens, keys, format) = case;
    let cached = format.is_some();
    let row = BenchRow {
        op: "attention".to_owned(),
        call: format!("{who}, {keys} keys"),
        shape: format!("{tokens}×{keys}, {heads}/{kv_heads} heads of {width}"),
        format: format
            .filter(|kv| Some(*kv) != WHOLE)
            .map_or_else(String::new, |kv| format!("kv {kv}")),
        ..BenchRow::default()
    };
    if bench.is_late(&row) {
        return;
    }
    let words: usize = Rows::of(format.unwrap_or_default(), width).map(Rows::words).iter().sum();
    let bytes = (keys * kv_heads * words * 4) as u64;
    let Some(copies) = bench.copies(bytes) else {
        return bench
            .skip(row, format!("a cache takes {bytes} bytes, more than there is room for"));
    };
    // What a prompt's queries see was written just before.
    let copies = if tokens == 1 { copies.min(MOST_LAYERS) } else { 1 };

    let how = Attention { kv_heads, causal: cached, ..Attention::new(heads, width) };
    // A token to a cache comes with its key and value, as a decoder's step has it.
    let is_step = cached && tokens == 1;
    let columns = heads * width;
    let given = if is_step { columns + 2 * kv_heads * width } else { columns };
    let q = numbers(1, tokens * given);
    let angles_on =
        |device: &Device| Angles::new(device, keys, width, 10_000.0, RopeScaling::Default);
    let attend = |device: &Device, q: &Tensor, angles: &Angles, cache: &KvCache, layer| {
        if is_step {
            return self_attention(device, q, angles, (cache, layer), how);
        }
        attention(device, q, KeysValues::Cached(cache, layer), how)
    };
    let [k, v] = [2, 3].map(|seed| numbers(seed, keys * kv_heads * width));
    let kv_on = |device: &Device| {
        [&k, &v].map(|values| device.upload(&[1, keys, kv_heads * width], values.clone()))
    };
    let cache_on = |device: &Device, layers: usize, before: usize| {
        let format = format.unwrap_or_default();
        let shape = CacheShape { format, batch: 1, heads: kv_heads, width, capacity: keys };
        let cache = KvCache::new(device, layers, shape);
        let [k, v] = kv_on(device);
        (0..layers).for_each(|layer| kv_append(device, &cache, layer, &k, &v));
        cache.advance(device, before);
        cache
    };
    // Of a prompt the last queries, which see most.
    let picks = match cached {
        true => (tokens - JUDGED.min(tokens)..tokens).collect(),
        false => spread(tokens, JUDGED),
    };
    let sample = |all: &[f32]| -> Vec<f32> {
        picks.iter().flat_map(|t| all[t * columns..(t + 1) * columns].to_vec()).collect()
    };
    // Of numbers that lie between two codes, the reference has the device's.
    let device = bench.device;
    let stored = match format {
        Some(KvFormat::F32) | None => Caches::default(),
        Some(_) => {
            let keeping = device.with_caches(Caches::kept());
            cache_on(&keeping, 1, keys - picks.len());
            match keeping.caches().fetch(device).await {
                Ok(kept) => kept.given(),
                Err(error) => return bench.skip(row, error.to_string()),
            }
        }
    };
    let expected = || {
        let device = Device::reference().with_caches(stored.clone());
        let picked = if is_step { q.clone() } else { sample(&q) };
        let q = device.upload(&[1, picks.len(), given], picked);
        if cached {
            let cache = cache_on(&device, 1, keys - picks.len());
            return attend(&device, &q, &angles_on(&device), &cache, 0);
        }
        let [k, v] = kv_on(&device);
        attention(&device, &q, KeysValues::Plain { k: &k, v: &v }, how)
    };

    let x = device.upload(&[1, tokens, given], q.clone());
    let angles = angles_on(device);
    let cache = cached.then(|| cache_on(device, copies, keys - tokens));
    let plain: Vec<[Tensor; 2]> = match &cache {
        Some(_) => Vec::new(),
        None => (0..copies).map(|_| kv_on(device)).collect(),
    };
    let call = |at: usize| {
        if let Some(cache) = &cache {
            return attend(device, &x, &angles, cache, at % copies);
        }
        let [k, v] = &plain[at % copies];
        attention(device, &x, KeysValues::Plain { k, v }, how)
    };
    let row = BenchRow { copies: copies as u32, copied_bytes: bytes * copies as u64, ..row };
    let calls = Calls { count: copies.max(CALLS), call: &call };
    bench.measure(Subject { row, calls, expected: &expected, sample: &sample }).await;
}
