//! The rope scaling of Llama 3, recovered from the factors that llama.cpp's converter left of it.
//!
//! `config.json` says `{rope_type: llama3, factor, low_freq_factor, high_freq_factor,
//! original_max_position_embeddings}`; the file has only `rope_freqs.weight`, what each frequency is
//! divided by. All published models share the last three numbers, so the factor is read off the
//! factors, and what follows from the formula must then equal every one of them.

use serde_json::{Value, json};
use std::f64::consts::TAU;

/// Name of the factors in the file.
pub(super) const TENSOR: &str = "rope_freqs.weight";

const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;
const ORIGINAL: f64 = 8192.0;

/// The scaling that makes these factors, or none when no published one does.
pub(super) fn scaling(factors: &[f32], theta: f64) -> Option<Value> {
    let factor = f64::from(factors.iter().copied().reduce(f32::max)?);
    let made = |i: usize| divisor(theta.powf(-(i as f64) / factors.len() as f64), factor);
    let same = |i: usize, given: f32| (f64::from(given) / made(i) - 1.0).abs() < 1e-4;
    factors.iter().enumerate().all(|(i, &given)| same(i, given)).then(|| {
        json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": LOW,
            "high_freq_factor": HIGH,
            "original_max_position_embeddings": ORIGINAL as u64,
        })
    })
}

/// What a frequency is divided by (`_compute_llama3_parameters` of transformers' rope utilities).
fn divisor(frequency: f64, factor: f64) -> f64 {
    // Turns of this frequency in the context that the model was first trained on.
    let turns = ORIGINAL * frequency / TAU;
    if turns > HIGH {
        1.0
    } else if turns < LOW {
        factor
    } else {
        let smooth = (turns - LOW) / (HIGH - LOW);
        1.0 / ((1.0 - smooth) / factor + smooth)
    }
}
