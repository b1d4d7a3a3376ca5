//! Draws the next token on the device.

use super::{
    Check, Choice, argmax,
    host::{Input, on_host},
};
use crate::{
    device::{Analysis, Bind, Device, Geometry, Kernel, numbers},
    kv::Step,
    tensor::Tensor,
    testing::normal,
};

/// Most candidates that `top_k` may keep.
pub const MAX_TOP_K: u32 = 256;

const WIDE: Kernel = Kernel::new("sample", Geometry::rows(256));
const KERNELS: [Kernel; 2] = [WIDE.narrow(), WIDE];

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// The most likely.
    Greedy,
    /// At random from the most likely.
    Random {
        /// Divides the logits; above 0.
        temperature: f32,
        /// Keeps this many, 1 to [`MAX_TOP_K`].
        top_k: u32,
        /// Of those, keeps the fewest that hold this share of their mass.
        top_p: f32,
        /// Makes runs repeat.
        seed: u32,
    },
}

/// A comparison of each number; the candidates that it leaves are few.
fn analysis(logits: &[usize]) -> Analysis {
    Analysis::writes([1]).reads([logits]).operations(numbers(logits))
}

/// One token `[1]` from the `logits: [1, V]` that follow `step`.
pub fn sample(device: &Device, logits: &Tensor, how: Sampling, step: &Step) -> Tensor {
    let Sampling::Random { temperature, top_k, top_p, seed } = how else {
        return argmax(device, logits);
    };
    assert_eq!(logits.rows(), 1);
    let columns = logits.columns();
    let shape = device.call("sample", &[logits.shape()], analysis(logits.shape()));
    let top_k = top_k.clamp(1, MAX_TOP_K.min(columns as u32));
    let inverse = 1.0 / temperature.max(1e-4);
    match device {
        Device::Cpu(_) => {
            let position = step.position() as u32;
            let token = cpu(logits.f32s(), inverse, top_k as usize, top_p, seed, position);
            Tensor::from_u32(&shape, vec![token])
        }
        Device::Gpu(gpu) => {
            let y = gpu.alloc(&shape);
            let step = step.tensor();
            let Some(kernel) = gpu.choose(KERNELS) else {
                let inputs = [Input::Floats(logits), Input::Indices(step)];
                return on_host(gpu, "sample", &inputs, y, move |cpu, x, _| {
                    sample(cpu, &x[0], how, &Step::fetched(&x[1]))
                });
            };
            let params = [columns as u32, top_k, top_p.to_bits(), inverse.to_bits(), seed];
            let binds = [Bind::Read(1, logits), Bind::Read(2, step), Bind::Write(3, &y)];
            gpu.dispatch(&kernel, &params, &binds, [1, 1]);
            y
        }
    }
}

fn cpu(logits: &[f32], inverse: f32, top_k: usize, top_p: f32, seed: u32, position: u32) -> u32 {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    let by_value =
        |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if top_k < order.len() {
        order.select_nth_unstable_by(top_k, by_value);
        order.truncate(top_k);
    }
    order.sort_by(by_value);
    let largest = logits[order[0] as usize];
    let masses: Vec<f32> = order
        .iter()
        .map(|i| ((logits[*i as usize] - largest) * inverse).max(-80.0).exp())
        .collect();
    let limit = top_p * masses.iter().sum::<f32>();
    let (mut kept, mut kept_mass) = (0, 0.0);
    while kept < order.len() && (kept == 0 || kept_mass < limit) {
        kept_mass += masses[kept];
        kept += 1;
    }
    let draw = (pcg(seed ^ pcg(position)) >> 8) as f32 / 16_777_216.0 * kept_mass;
    let mut below = 0.0;
    for (token, mass) in order[..kept].iter().zip(&masses) {
        below += mass;
        if below > draw {
            return *token;
        }
    }
    order[kept - 1]
}

/// PCG-RXS-M-XS of 32 bits as a hash (O'Neill 2014).
fn pcg(seed: u32) -> u32 {
    let state = seed.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
    (word >> 22) ^ word
}

pub(super) fn choices() -> Vec<Choice> {
    vec![Choice::new("sample", "", KERNELS)]
}

pub(super) fn checks() -> Vec<Check> {
    [(1, 1.0, 1.0), (40, 0.95, 0.8), (256, 0.6, 1.5), (255, 1.0, 9.0)]
        .map(|(top_k, top_p, temperature)| {
            Check::indices(format!("sample top_k={top_k}"), move |device| {
                let mut logits: Vec<f32> = normal(1, 2000).iter().map(|x| x * 3.0).collect();
                // Ties across the border of the top k must be cut at the lowest ids.
                logits[1000..1200].fill(4.0);
                let logits = device.upload(&[1, 2000], logits);
                (0..12)
                    .map(|seed| {
                        let how = Sampling::Random { temperature, top_k, top_p, seed };
                        sample(device, &logits, how, &Step::new(device, seed as usize))
                    })
                    .collect()
            })
        })
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let mut counts = [0u32; 3];
        for position in 0..20_000 {
            counts[cpu(&logits, 1.0, 3, 1.0, 42, position) as usize] += 1;
        }
        for (count, share) in counts.iter().zip([0.5, 0.3, 0.2]) {
            // Four standard deviations of 20,000 draws.
            let deviation = f64::sqrt(20_000.0 * share * (1.0 - share));
            assert!((f64::from(*count) - 20_000.0 * share).abs() < 4.0 * deviation, "{counts:?}");
        }
    }

    #[test]
    fn cuts_keep_the_most_likely() {
        let logits = [0.1f32.ln(), 0.6f32.ln(), 0.3f32.ln()];
        for position in 0..200 {
            assert_eq!(cpu(&logits, 1.0, 1, 1.0, 7, position), 1);
            assert_ne!(cpu(&logits, 1.0, 2, 1.0, 7, position), 0);
            assert_eq!(cpu(&logits, 1.0, 3, 0.5, 7, position), 1);
        }
    }
}
