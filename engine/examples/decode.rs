//! Where the microseconds of a decode step go, kernel by kernel, on this machine's GPU.
//!
//! `cargo run --release -p engine --example decode -- tests/published/tinyllama-1.1b 4 64` loads a list of
//! names and shapes with arbitrary weights at so many bits, reads a prompt of so many tokens, and prints
//! the GPU time of each kernel of one step, a dispatch at a time, beside the wall time of steps as they
//! are decoded. Timestamps have their own cost: what a dispatch takes here is more than in a row of them.

use engine::{
    device::{Device, Gpu},
    error::Result,
    models::{self, Rows},
    ops,
    published::{Inputs, Published},
    weights::{Checkpoint, Folder, LocalFuture, Memory, Source},
};
use pollster::block_on;
use record::{Bits, Precision};
use std::{collections::BTreeMap, env, ops::Range, path::Path, rc::Rc, time::Instant};

/// Any number of small floats, the same block again and again.
struct Arbitrary(Vec<u8>);

impl Source for Arbitrary {
    fn size(&self, _: &str) -> Option<u64> {
        None
    }

    fn read<'a>(&'a self, _: &'a str, range: Range<u64>) -> LocalFuture<'a, Result<Vec<u8>>> {
        let count = (range.end - range.start) as usize;
        Box::pin(async move {
            let mut bytes = self.0.repeat(count.div_ceil(self.0.len()));
            bytes.truncate(count);
            Ok(bytes)
        })
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let [path, bits, tokens] = &words[..] else {
        panic!("give a folder of tests/published, bits, and the tokens of a prompt")
    };
    let (bits, tokens) = (bits.parse().expect("bits"), tokens.parse().expect("tokens"));
    let folder = Folder::new(Path::new(path));
    let config = folder.size("config.json").expect("config.json");
    let config = block_on(folder.read("config.json", 0..config))?;
    let lists = Memory::new().with("config.json", config);
    let checkpoint = block_on(Checkpoint::listed(&folder, "tensors.txt", "values"))?;
    let Published { class, config, checkpoint, .. } = block_on(Published::of(checkpoint, &lists))?;
    let gpu = block_on(Gpu::open(None))?;
    let device = Device::Gpu(Rc::clone(&gpu));
    let declared = models::declare(class, &config, &checkpoint, &Precision::of(Bits::Fixed(bits)))?;
    let block = engine::testing::normal(1, 1 << 18).into_iter().map(|x| x * 0.02);
    let source = Arbitrary(block.flat_map(f32::to_le_bytes).collect());
    let start = Instant::now();
    let loaded = block_on(declared.load(&source, &device, &|_, _| {}))?;
    println!("{:?}, loaded in {:.1} s", gpu, start.elapsed().as_secs_f64());

    let decoder = loaded.model.decoder().expect("a decoder");
    let mut inputs = Inputs::default();
    let ids: Vec<i64> = (0..tokens as i64).collect();
    inputs.ints.insert("input_ids".to_owned(), (vec![1, tokens], ids.clone()));
    let state = decoder.begin(&device, &inputs, tokens + 256)?;
    let rows = Rows { last: true, mask: None };
    let input = device.upload_u32(&[1, tokens], ids.iter().map(|id| *id as u32).collect());
    let laps = gpu.laps();
    for _ in 0..4 {
        laps.start();
        decoder.prefill(&device, &state, &inputs, &input, rows)?;
    }
    let times = block_on(laps.end())?.unwrap_or_default();
    println!(
        "{tokens} tokens of a prompt: {:.2} ms on the GPU",
        times[1..].iter().sum::<f64>() / 3.0
    );
    state.cache.advance(&device, tokens);
    let input = device.upload_u32(&[1, 1], vec![1]);
    let emitted = device.upload_u32(&[256], vec![0; 256]);
    let list = gpu.record(|| {
        let logits = decoder.step(&device, &state, &input, rows);
        let logits = logits.reshape(&[1, logits.count()]);
        let token = ops::argmax(&device, &logits);
        ops::emit_token(&gpu, &token, &input, &emitted, state.cache.step());
        token
    });
    let mut sums: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for turn in 0..4 {
        for (kernel, ms) in block_on(gpu.profile(&list))?.into_iter().flatten() {
            if turn > 0 {
                sums.entry(kernel.to_string()).or_default().push(ms * 1e3);
            }
        }
    }
    let mut rows: Vec<(f64, usize, String)> = sums
        .into_iter()
        .map(|(name, times)| (times.iter().sum::<f64>() / 3.0, times.len() / 3, name))
        .collect();
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("{:>10} {:>10} {:>10}  kernel", "µs a step", "dispatches", "µs each");
    for (us, count, name) in &rows {
        println!("{us:10.1} {count:10} {:10.2}  {name}", us / *count as f64);
    }
    let (us, count) = rows.iter().fold((0.0, 0), |sum, row| (sum.0 + row.0, sum.1 + row.1));
    println!("{us:10.1} {count:10}             all");

    for steps in [16, 64, 64] {
        state.cache.step().set(&device, tokens, 0);
        block_on(gpu.read(&[&emitted]))?;
        let start = Instant::now();
        (0..steps).for_each(|_| gpu.replay(&list));
        block_on(gpu.read(&[&emitted]))?;
        let us = start.elapsed().as_secs_f64() * 1e6 / f64::from(steps);
        println!("{steps} steps: {us:.0} µs each, {:.0} tokens a second", 1e6 / us);
    }
    Ok(())
}
