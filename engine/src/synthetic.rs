//! Numbers for models that are published and not at hand: seeded weights and inputs of their shapes.
//!
//! Speed, memory and the kernels' rightness do not depend on what the weights say, so a case may hold
//! a list of names and shapes in their place. Every number is a function of a seed, its tensor's name
//! and its place alone: nothing is stored, and any part can be computed without the rest.

use crate::{
    error::{Error, Result},
    published::Inputs,
    threads,
    weights::{Checkpoint, LocalFuture, Source, TensorInfo},
};
use record::SeededInput;
use std::{collections::BTreeMap, ops::Range};

/// The file that seeded weights are thought to be in.
pub(crate) const VALUES: &str = "synthetic weights";

/// What a number takes, in multiplications and additions.
const OPERATIONS: usize = 16;

/// Most numbers of one input: nine minutes of sound, or a video of 160 frames.
const MAX_INPUT: usize = 1 << 24;

/// Seeded weights, as a file that is computed where it is read.
pub(crate) struct Weights {
    seed: u64,
    /// By where they begin.
    tensors: BTreeMap<u64, TensorInfo>,
    size: u64,
}

impl Weights {
    /// The weights of a checkpoint that was read from a list.
    pub(crate) fn new(seed: u64, checkpoint: &Checkpoint) -> Weights {
        let mut tensors = BTreeMap::new();
        for info in checkpoint.tensors.values().filter(|info| !info.is_empty()) {
            // Of copies the first by name is kept: they are one tensor, and must have one name.
            tensors.entry(info.offset()).or_insert_with(|| info.clone());
        }
        let size = tensors.values().map(|info| info.offset() + info.bytes()).max().unwrap_or(0);
        Weights { seed, tensors, size }
    }
}

impl Source for Weights {
    fn size(&self, file: &str) -> Option<u64> {
        (file == VALUES).then_some(self.size)
    }

    fn read<'a>(&'a self, file: &'a str, range: Range<u64>) -> LocalFuture<'a, Result<Vec<u8>>> {
        let read = || {
            let is_whole = range.start % 4 + range.end % 4 == 0 && range.start <= range.end;
            if file != VALUES || range.end > self.size || !is_whole {
                let message = format!("bytes {range:?} are not whole numbers of it");
                return Err(Error::Read { file: file.to_owned(), message });
            }
            let mut bytes = vec![0; (range.end - range.start) as usize];
            let mut left = bytes.as_mut_slice();
            let mut at = range.start;
            while at < range.end {
                let (first, info) = self.tensors.range(..=at).next_back().expect("one begins at 0");
                let end = range.end.min(first + info.bytes());
                let words;
                (words, left) = left.split_at_mut((end - at) as usize);
                Distribution::of(info).write(self.seed, (at - first) / 4..(end - first) / 4, words);
                at = end;
            }
            Ok(bytes)
        };
        let bytes = read();
        Box::pin(async move { bytes })
    }
}

/// What the numbers of a tensor are like.
#[derive(Debug, PartialEq)]
enum Distribution {
    /// All the same.
    Constant(f32),
    /// Bell-shaped around 0.
    Bell { key: u64, spread: f32 },
}

impl Distribution {
    /// Activations keep their size on the way through a model: norms do nothing, biases add nothing,
    /// and each output of a matrix is a sum of as many products as its spread makes up for.
    fn of(info: &TensorInfo) -> Distribution {
        let last = info.name.rsplit('.').next().unwrap_or_default();
        let inputs = info.row_len();
        match (info.shape.len(), last) {
            // Lengths that the directions of a normed weight are given.
            (_, "weight_g" | "original0") => Distribution::Constant(1.0),
            (1, "weight" | "gamma" | "running_var") => Distribution::Constant(1.0),
            (1, "bias" | "beta" | "running_mean") => Distribution::Constant(0.0),
            // Scalars are logarithms of what cosines are multiplied by.
            (0, _) => Distribution::Constant(1.0),
            (1, _) => Distribution::Bell { key: key(&info.name), spread: 0.02 },
            _ => {
                let mut spread = 1.0 / (inputs as f32).sqrt();
                // T5 does not divide scores by the root of a head's width, which is 64: its queries
                // are that much smaller. Others would attend to one key each, and any rounding
                // could make that another one.
                if info.name.ends_with("Attention.q.weight") {
                    spread /= 8.0;
                }
                Distribution::Bell { key: key(&info.name), spread }
            }
        }
    }

    /// Writes the numbers at these places into as many words.
    fn write(&self, seed: u64, range: Range<u64>, words: &mut [u8]) {
        match self {
            Distribution::Constant(value) => {
                let words = words.chunks_exact_mut(4);
                words.for_each(|word| word.copy_from_slice(&value.to_le_bytes()));
            }
            Distribution::Bell { key, spread } => {
                let key = mix(key ^ seed);
                threads::rows(words, 4, OPERATIONS, |first, words| {
                    let places = range.start + first as u64..;
                    for (word, at) in words.chunks_exact_mut(4).zip(places) {
                        word.copy_from_slice(&(spread * bell(key, at)).to_le_bytes());
                    }
                });
            }
        }
    }
}

/// The inputs of these descriptions.
pub(crate) fn inputs(seed: u64, described: &BTreeMap<String, SeededInput>) -> Result<Inputs> {
    let mut inputs = Inputs::default();
    for (name, described) in described {
        let key = mix(key(name) ^ seed);
        let wrong = |message: String| Error::input(name, message);
        let count = |sizes: &[usize]| {
            let count = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
            count.filter(|count| *count <= MAX_INPUT).ok_or_else(|| {
                wrong(format!("{sizes:?} are more numbers than {MAX_INPUT}, which is the most"))
            })
        };
        match described {
            SeededInput::Normal(shape) => {
                let values = (0..count(shape)? as u64).map(|at| bell(key, at)).collect();
                inputs.floats.insert(name.clone(), (shape.clone(), values));
            }
            SeededInput::Ids { below: 0, .. } => return Err(wrong("no id is below 0".to_owned())),
            SeededInput::Ids { shape, below } => {
                let id = |at: u64| (word(key, at) % u64::from(*below)) as i64;
                let values = (0..count(shape)? as u64).map(id).collect();
                inputs.ints.insert(name.clone(), (shape.clone(), values));
            }
            SeededInput::Runs(runs) => {
                let mut values = Vec::new();
                for (value, times) in runs {
                    count(&[values.len().saturating_add(*times)])?;
                    values.resize(values.len() + times, *value);
                }
                inputs.ints.insert(name.clone(), (vec![1, values.len()], values));
            }
        }
    }
    Ok(inputs)
}

/// A number for a name (FNV-1a).
fn key(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

/// The last step of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The 64 random bits at a place.
fn word(key: u64, at: u64) -> u64 {
    mix(key.wrapping_add(at.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
}

/// The roughly normal number of variance 1 at a place: the sum of four uniform ones, less its mean.
/// It is rounded once, so it is the same on every target.
fn bell(key: u64, at: u64) -> f32 {
    /// Of four numbers that are uniform in 0 … 65535: `√(4 · 65536² / 12)`.
    const SPREAD: f32 = 37_837.23;
    let word = word(key, at);
    let sum = (word & 0xFFFF) + (word >> 16 & 0xFFFF) + (word >> 32 & 0xFFFF) + (word >> 48);
    (sum as i32 - 131_070) as f32 / SPREAD
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::weights::Memory;
    use pollster::block_on;
    use serde_json::json;

    const LIST: &str = "norm.weight 4\nnorm.bias 4\nlm.weight 64 256\ncopy.weight = lm.weight\n\
                        logit_scale\nconv.weight_g 1 1 3\nclass_token 8\n\
                        SelfAttention.q.weight 64 64";

    fn weights(seed: u64) -> (Checkpoint, Weights) {
        let list = Memory::new().with("tensors.txt", LIST);
        let checkpoint = block_on(Checkpoint::listed(&list, "tensors.txt", VALUES)).unwrap();
        let weights = Weights::new(seed, &checkpoint);
        (checkpoint, weights)
    }

    fn values(seed: u64, name: &str) -> Vec<f32> {
        let (checkpoint, weights) = weights(seed);
        block_on(checkpoint.tensor_f32(&weights, name)).unwrap()
    }

    #[test]
    fn norms_do_nothing_and_matrices_keep_sizes() {
        assert_eq!(values(1, "norm.weight"), [1.0; 4]);
        assert_eq!(values(1, "norm.bias"), [0.0; 4]);
        assert_eq!(values(1, "conv.weight_g"), [1.0; 3]);
        assert_eq!(values(1, "logit_scale"), [1.0]);
        let matrix = values(1, "lm.weight");
        let count = matrix.len() as f64;
        let mean = matrix.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
        let variance = matrix.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() < 0.002, "{mean}");
        assert!((variance * 256.0 - 1.0).abs() < 0.05, "{variance}");
        let queries = values(1, "SelfAttention.q.weight");
        assert!(queries.iter().all(|x| x.abs() * 64.0 < 4.0), "four spreads of 1/√64 · 1/8");
        assert!(values(1, "class_token").iter().all(|x| x.abs() < 0.1 && *x != 0.0));
    }

    #[test]
    fn a_part_is_what_the_whole_has_there() {
        let (checkpoint, weights) = weights(1);
        let whole = values(1, "lm.weight");
        let rows = block_on(checkpoint.rows_f32(&weights, "lm.weight", 3..5)).unwrap();
        assert_eq!(rows, whole[3 * 256..5 * 256]);
        assert_eq!(values(1, "copy.weight"), whole);
        assert_ne!(values(2, "lm.weight"), whole);
        let size = weights.size(VALUES).unwrap();
        assert_eq!(block_on(weights.read(VALUES, 0..size)).unwrap().len() as u64, size);
        assert!(block_on(weights.read(VALUES, 0..size + 4)).is_err());
        assert!(block_on(weights.read(VALUES, 1..5)).is_err());
    }

    fn described(inputs: serde_json::Value) -> Result<Inputs> {
        super::inputs(1, &serde_json::from_value(inputs).unwrap())
    }

    #[test]
    fn inputs_are_as_described() {
        let inputs = described(json!({
            "pixel_values": {"normal": [1, 3, 8, 8]},
            "input_ids": {"ids": {"shape": [1, 500], "below": 7}},
            "image_sizes": {"runs": [[480, 1], [640, 2]]},
        }))
        .unwrap();
        let (shape, values) = &inputs.floats["pixel_values"];
        assert_eq!((shape.as_slice(), values.len()), (&[1, 3, 8, 8][..], 192));
        let (_, ids) = &inputs.ints["input_ids"];
        assert!((0..7).all(|id| ids.contains(&id)) && ids.iter().all(|id| *id < 7));
        assert_eq!(inputs.ints["image_sizes"], (vec![1, 3], vec![480, 640, 640]));
    }

    #[test]
    fn inputs_too_large_are_refused() {
        for wrong in [
            json!({"x": {"normal": [1 << 20, 1 << 20]}}),
            json!({"x": {"runs": [[1, 1u64 << 40]]}}),
            json!({"x": {"ids": {"shape": [2], "below": 0}}}),
        ] {
            let message = described(wrong).unwrap_err().to_string();
            assert!(message.starts_with("input x: "), "{message}");
        }
    }
}
