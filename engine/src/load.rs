//! Puts a checkpoint's tensors on a device in the precision that was asked for, a few rows at a
//! time, and keeps account of what it used.

use crate::{
    device::Device,
    error::{Error, Result},
    ops,
    quant::{Format, Matrix, MatrixBuilder, Precision, RoundToNearest},
    tensor::Tensor,
    weights::{Checkpoint, Dtype, Source},
};
use record::{Bits, Memory, PlanEntry, Scheme};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

/// Reads tensors for one model.
pub struct Loader<'a> {
    source: &'a dyn Source,
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    precision: Precision,
    /// Whether blocks of few bits run as the file holds them.
    as_stored: bool,
    progress: &'a dyn Fn(u64, u64),
    done: Cell<u64>,
    used: RefCell<BTreeSet<String>>,
    account: RefCell<Account>,
}

/// What a model's weights take.
#[derive(Clone, Debug, Default)]
pub struct Account {
    formats: BTreeMap<String, PlanEntry>,
    matrix_weights: u64,
    matrix_bytes: u64,
    all_weights: u64,
    all_bytes: u64,
}

impl Account {
    /// The figures for a record, caches and peaks apart.
    pub fn memory(&self) -> Memory {
        Memory {
            weights_fp16_bytes: self.all_weights * 2,
            weights_bytes: self.all_bytes,
            bpw: self.matrix_bytes as f64 * 8.0 / self.matrix_weights.max(1) as f64,
            ..Memory::default()
        }
    }

    /// One entry a format.
    pub fn plan(&self) -> Vec<PlanEntry> {
        self.formats.values().cloned().collect()
    }

    fn add(&mut self, format: String, weights: u64, bytes: u64) {
        let entry = self
            .formats
            .entry(format.clone())
            .or_insert_with(|| PlanEntry { format, ..PlanEntry::default() });
        entry.tensors += 1;
        entry.weights += weights;
        entry.bytes += bytes;
        self.all_weights += weights;
        self.all_bytes += bytes;
    }
}

impl<'a> Loader<'a> {
    /// Reads from `checkpoint`; `progress` hears the bytes read and the bytes there are.
    pub fn new(
        source: &'a dyn Source,
        checkpoint: &'a Checkpoint,
        device: &'a Device,
        precision: Precision,
        progress: &'a dyn Fn(u64, u64),
    ) -> Loader<'a> {
        Loader {
            source,
            checkpoint,
            device,
            precision,
            as_stored: precision.scheme == Scheme::Auto
                && stored_bits(checkpoint).map(Bits::Fixed) == Some(precision.bits),
            progress,
            done: Cell::new(0),
            used: RefCell::default(),
            account: RefCell::default(),
        }
    }

    /// The device that tensors are put on.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// Whether the checkpoint has a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.checkpoint.tensors.contains_key(name)
    }

    /// Marks a tensor as known though its values are not wanted, such as a copy of a tied one.
    pub fn skip(&self, name: &str) {
        self.used.borrow_mut().insert(name.to_owned());
    }

    /// What was read.
    pub fn account(&self) -> Account {
        self.account.borrow().clone()
    }

    /// Fails on tensors that the class did not ask for: a model that leaves weights out computes
    /// something else than what was published.
    pub fn finish(&self) -> Result<Account> {
        let used = self.used.borrow();
        let unknown: Vec<&str> =
            self.checkpoint.names().filter(|name| !used.contains(*name)).collect();
        match unknown.split_first() {
            None => Ok(self.account()),
            Some((first, rest)) => Err(Error::tensor(
                *first,
                match rest.len() {
                    0 => "is unknown to this class".to_owned(),
                    more => format!("and {more} more are unknown to this class: {rest:?}"),
                },
            )),
        }
    }

    /// A matrix that the precision applies to.
    pub async fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix> {
        let info = self.expect(name, &[rows, columns])?;
        let (dtype, bytes) = (info.dtype, info.bytes());
        let stored = stored_format(dtype).filter(|_| self.as_stored);
        let format = match stored {
            Some(format) => format,
            // Blocks of five or six bits that have no format here lose next to nothing at eight.
            None if self.as_stored && dtype.is_quantised() => EIGHT,
            None => self.precision.format()?,
        };
        let mut builder = MatrixBuilder::new(self.device, name, rows, columns, format);
        let mut row = 0;
        while row < rows {
            let piece = row..row + builder.piece_rows();
            row = piece.end;
            if stored.is_some() {
                builder.push_blocks(&self.checkpoint.rows(self.source, name, piece).await?)?;
            } else {
                let values = self.checkpoint.rows_f32(self.source, name, piece).await?;
                builder.push_f32(&values, &RoundToNearest)?;
            }
            let share = bytes as f64 * row as f64 / rows as f64;
            self.report(share as u64);
        }
        self.done.set(self.done.get() + bytes);
        let matrix = builder.finish();
        let mut account = self.account.borrow_mut();
        account.add(format.to_string(), matrix.weights(), matrix.bytes());
        account.matrix_weights += matrix.weights();
        account.matrix_bytes += matrix.bytes();
        Ok(matrix)
    }

    /// A tensor that stays in f32, whatever the precision: norms, biases.
    pub async fn vector(&self, name: &str, len: usize) -> Result<Tensor> {
        let bytes = self.expect(name, &[len])?.bytes();
        let values = self.checkpoint.tensor_f32(self.source, name).await?;
        self.done.set(self.done.get() + bytes);
        self.report(0);
        let tensor = self.device.keep(&[len], values);
        self.account.borrow_mut().add("f32".to_owned(), len as u64, tensor.bytes());
        Ok(tensor)
    }

    /// A linear layer: `{name}.weight`, and `{name}.bias` where `bias` says so.
    pub async fn linear(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
        bias: bool,
    ) -> Result<Linear> {
        let weight = self.matrix(&format!("{name}.weight"), rows, columns).await?;
        let bias = match bias {
            true => Some(self.vector(&format!("{name}.bias"), rows).await?),
            false => None,
        };
        Ok(Linear { weight, bias })
    }

    /// A layer norm: `{name}.weight` and `{name}.bias`.
    pub async fn layer_norm(&self, name: &str, width: usize, eps: f32) -> Result<LayerNorm> {
        // Checkpoints converted from TensorFlow call them gamma and beta.
        let old = self.has(&format!("{name}.gamma"));
        let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        Ok(LayerNorm {
            weight: self.vector(&format!("{name}.{weight}"), width).await?,
            bias: self.vector(&format!("{name}.{bias}"), width).await?,
            eps,
        })
    }

    fn report(&self, extra: u64) {
        let total = self.checkpoint.tensors.values().map(|info| info.bytes()).sum();
        (self.progress)((self.done.get() + extra).min(total), total);
    }

    fn expect(&self, name: &str, shape: &[usize]) -> Result<&crate::weights::TensorInfo> {
        let info = self.checkpoint.info(name)?;
        if info.shape != shape {
            let message = format!("has shape {:?}, the config asks for {shape:?}", info.shape);
            return Err(Error::tensor(name, message));
        }
        self.used.borrow_mut().insert(name.to_owned());
        Ok(info)
    }
}

const EIGHT: Format = Format::Grouped { bits: 8, asymmetric: false, group: 32 };

/// Bits of the blocks that hold most of a checkpoint's weights.
fn stored_bits(checkpoint: &Checkpoint) -> Option<u8> {
    let mut weights: BTreeMap<u8, usize> = BTreeMap::new();
    for info in checkpoint.tensors.values().filter(|info| info.dtype.is_quantised()) {
        let bits = stored_format(info.dtype).map_or(0, |format| format.bits() as u8);
        *weights.entry(bits).or_default() += info.len();
    }
    let (bits, _) = weights.into_iter().max_by_key(|(_, weights)| *weights)?;
    (bits != 0).then_some(bits)
}

/// The format whose words are these blocks' own.
fn stored_format(dtype: Dtype) -> Option<Format> {
    let (bits, asymmetric) = match dtype {
        Dtype::Q8_0 => (8, false),
        Dtype::Q4_0 => (4, false),
        Dtype::Q4_1 => (4, true),
        _ => return None,
    };
    Some(Format::Grouped { bits, asymmetric, group: 32 })
}

/// `y = x · weightᵀ + bias`.
#[derive(Clone, Debug)]
pub struct Linear {
    /// `[N, K]`.
    pub weight: Matrix,
    /// `[N]`.
    pub bias: Option<Tensor>,
}

impl Linear {
    /// Applies the layer to the last axis of `x`.
    pub fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        ops::matmul(device, x, &self.weight, self.bias.as_ref())
    }
}

/// A layer norm with its parameters.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    /// Normalises the last axis of `x`.
    pub fn forward(&self, device: &Device, x: &Tensor) -> Tensor {
        ops::layer_norm(device, x, &self.weight, &self.bias, self.eps)
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{device::Gpu, models, weights::Folder};
    use std::rc::Rc;

    /// The account is what the GPU gave out, byte for byte, and the widths are what the format says.
    #[test]
    fn the_account_equals_what_was_allocated() {
        let zoo = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/zoo/llama/llama-bias");
        let source = Folder::new(zoo);
        let gpu = pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe");
        let device = Device::Gpu(Rc::clone(&gpu));
        for (bits, bpw) in [(16, 16.0), (8, 8.5), (4, 4.5), (3, 3.5), (2, 2.5)] {
            gpu.forget();
            assert_eq!(gpu.allocated_bytes(), 0);
            pollster::block_on(async {
                let files = source.files().unwrap();
                let case = crate::case::Case::open(&source, &files).await.unwrap();
                let bits = Bits::Fixed(bits);
                let precision = Precision { bits, scheme: Scheme::Auto, group_size: 32 };
                let loader = Loader::new(&source, &case.checkpoint, &device, precision, &|_, _| {});
                let model = models::load(case.class, &case.config, &loader).await.unwrap();
                let memory = loader.account().memory();
                assert_eq!(memory.weights_bytes, gpu.allocated_bytes());
                assert_eq!(memory.bpw, bpw);
                drop(model);
            });
        }
    }
}
