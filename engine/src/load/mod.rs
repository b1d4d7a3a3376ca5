//! Puts a checkpoint's tensors on a device in the precision that was asked for, a few rows at a
//! time, and keeps account of what it used.
//!
//! A loader may also only plan: it checks that the class and the checkpoint are of one mind on every
//! name and shape, and says what the model would take, without reading a weight.
//!
//! This file reads tensors; `layers.rs` makes layers of them.

mod layers;

pub use layers::{Conv, ConvShape, LayerNorm, Linear};

use crate::{
    device::{Cpu, Device},
    error::{Error, Result},
    quant::{Format, Matrix, MatrixBuilder, RoundToNearest},
    tensor::Tensor,
    weights::{Checkpoint, Dtype, Memory, Source},
};
use record::{Bits, PlanEntry, Precision, Scheme};
use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// Bytes of two tensors that are compared at a time.
const EQUAL_PIECE: usize = 4 << 20;

/// Reads tensors for one model.
pub struct Loader<'a> {
    source: &'a dyn Source,
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    precision: Precision,
    /// Whether blocks of few bits run as the file holds them.
    as_stored: bool,
    /// Whether names, shapes and bytes are all that is wanted.
    plans: bool,
    progress: &'a dyn Fn(u64, u64),
    done: Cell<u64>,
    used: RefCell<BTreeSet<String>>,
    account: RefCell<Account>,
    renames: Cell<&'static [(&'static str, &'static str)]>,
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
    pub fn memory(&self) -> record::Memory {
        record::Memory {
            weights_fp16_bytes: self.all_weights * 2,
            weights_bytes: self.all_bytes,
            bpw: self.matrix_bytes as f64 * 8.0 / self.matrix_weights.max(1) as f64,
            ..record::Memory::default()
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
        precision: &Precision,
        progress: &'a dyn Fn(u64, u64),
    ) -> Loader<'a> {
        Loader {
            source,
            checkpoint,
            device,
            precision: precision.clone(),
            as_stored: precision.scheme == Scheme::Auto
                && stored_bits(checkpoint).map(Bits::Fixed) == Some(precision.bits),
            plans: false,
            progress,
            done: Cell::new(0),
            used: RefCell::default(),
            account: RefCell::default(),
            renames: Cell::new(&[]),
        }
    }

    /// Reads nothing: matrices that it gives have no weights and other tensors are zeros.
    pub fn planning(checkpoint: &'a Checkpoint, precision: &Precision) -> Loader<'a> {
        const NO_FILES: &Memory = &Memory::new();
        const HOST: &Device = &Device::Cpu(Cpu { exact: false });
        Loader { plans: true, ..Loader::new(NO_FILES, checkpoint, HOST, precision, &|_, _| {}) }
    }

    /// Parts of names as the class asks for them, and what older files have in their place: a name
    /// that the file lacks is looked for with all of them put in.
    pub fn rename(&self, table: &'static [(&'static str, &'static str)]) {
        self.renames.set(table);
    }

    /// The name under which the file has a tensor.
    fn resolve<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.checkpoint.tensors.contains_key(name) || self.renames.get().is_empty() {
            return Cow::Borrowed(name);
        }
        let put_in = |name: String, (new, old): &(&str, &str)| name.replace(new, old);
        let old = self.renames.get().iter().fold(name.to_owned(), put_in);
        match self.checkpoint.tensors.contains_key(&old) {
            true => Cow::Owned(old),
            // A tensor that is missing is missed under the name that the class knows.
            false => Cow::Borrowed(name),
        }
    }

    /// The device that tensors are put on.
    pub fn device(&self) -> &'a Device {
        self.device
    }

    /// Whether the checkpoint has a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.checkpoint.tensors.contains_key(self.resolve(name).as_ref())
    }

    /// Marks a tensor as known though its values are not wanted, such as a copy of a tied one.
    pub fn skip(&self, name: &str) {
        self.used.borrow_mut().insert(self.resolve(name).into_owned());
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
        let name = self.resolve(name);
        let name = name.as_ref();
        let info = self.expect(name, &[rows, columns])?;
        let (dtype, bytes) = (info.dtype, info.bytes());
        let stored = stored_format(dtype).filter(|_| self.as_stored);
        let format = match stored {
            Some(format) => format,
            // Blocks of five or six bits that have no format here lose next to nothing at eight.
            None if self.as_stored && dtype.is_quantised() => EIGHT,
            None => Format::of(&self.precision)?,
        };
        if self.plans {
            return Ok(self.plan_matrix(rows, columns, format));
        }
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
        self.count_matrix(&matrix, matrix.bytes());
        Ok(matrix)
    }

    /// A matrix without its weights.
    fn plan_matrix(&self, rows: usize, columns: usize, format: Format) -> Matrix {
        let matrix = Matrix { rows, columns, format, shards: Rc::default() };
        self.count_matrix(&matrix, format.bytes(rows, columns));
        matrix
    }

    /// The matrix `name` of a model whose configuration ties it to `shared`, which was read from
    /// `source`: as in transformers they are one unless the file holds both and they differ.
    pub async fn tied(&self, name: &str, source: &str, shared: &Matrix) -> Result<Matrix> {
        if !self.has(name) || self.equal(name, source).await? {
            self.skip(name);
            return Ok(shared.clone());
        }
        self.matrix(name, shared.rows, shared.columns).await
    }

    /// Whether two tensors hold the same bytes.
    async fn equal(&self, a: &str, b: &str) -> Result<bool> {
        let (a, b) = (self.checkpoint.info(a)?, self.checkpoint.info(b)?);
        if (&a.shape, a.dtype) != (&b.shape, b.dtype) {
            return Ok(false);
        }
        // A plan does not read: what can be one matrix is expected to be one.
        if self.plans || a.is_same_place(b) {
            return Ok(true);
        }
        let piece = (EQUAL_PIECE / (a.bytes() as usize / a.rows().max(1)).max(1)).max(1);
        for first in (0..a.rows()).step_by(piece) {
            let rows = first..(first + piece).min(a.rows());
            let left = self.checkpoint.rows(self.source, &a.name, rows.clone()).await?;
            if left != self.checkpoint.rows(self.source, &b.name, rows).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A vector that stays in f32, whatever the precision: norms, biases.
    pub async fn vector(&self, name: &str, len: usize) -> Result<Tensor> {
        self.tensor(name, &[len]).await
    }

    /// A tensor of any shape that stays in f32: class tokens, scales.
    pub async fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let values = self.values(name, shape).await?;
        Ok(self.keep(shape, values))
    }

    /// The numbers of a tensor, for what is folded or resized before it goes to the device by
    /// [`Loader::keep`] or [`Loader::pack`].
    pub async fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let name = self.resolve(name);
        let name = name.as_ref();
        let info = self.expect(name, shape)?;
        let bytes = info.bytes();
        if self.plans {
            return info.zeros();
        }
        let values = self.checkpoint.tensor_f32(self.source, name).await?;
        self.done.set(self.done.get() + bytes);
        self.report(0);
        Ok(values)
    }

    /// Shape of a tensor, where the checkpoint has it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.checkpoint.tensors.get(self.resolve(name).as_ref()).map(|info| info.shape.as_slice())
    }

    /// Numbers that stay in f32.
    pub fn keep(&self, shape: &[usize], values: Vec<f32>) -> Tensor {
        let tensor = self.device.keep(shape, values);
        let count = tensor.count() as u64;
        self.account.borrow_mut().add("f32".to_owned(), count, tensor.bytes());
        tensor
    }

    /// A matrix, from numbers, that the precision applies to.
    pub fn pack(&self, name: &str, rows: usize, columns: usize, values: &[f32]) -> Result<Matrix> {
        let format = Format::of(&self.precision)?;
        if self.plans {
            return Ok(self.plan_matrix(rows, columns, format));
        }
        let mut builder = MatrixBuilder::new(self.device, name, rows, columns, format);
        let mut row = 0;
        while row < rows {
            let piece = row..row + builder.piece_rows();
            row = piece.end;
            let piece = &values[piece.start * columns..piece.end * columns];
            builder.push_f32(piece, &RoundToNearest)?;
        }
        let matrix = builder.finish();
        self.count_matrix(&matrix, matrix.bytes());
        Ok(matrix)
    }

    fn count_matrix(&self, matrix: &Matrix, bytes: u64) {
        let mut account = self.account.borrow_mut();
        account.add(matrix.format.to_string(), matrix.weights(), bytes);
        account.matrix_weights += matrix.weights();
        account.matrix_bytes += bytes;
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

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{device::Gpu, models, published::Published, weights::Folder};

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
                let files = ["model.safetensors".to_owned()];
                let published = Published::open(&source, &files).await.unwrap();
                let precision = Precision::of(Bits::Fixed(bits));
                let loader =
                    Loader::new(&source, &published.checkpoint, &device, &precision, &|_, _| {});
                let model =
                    models::load(published.class, &published.config, &loader).await.unwrap();
                let memory = loader.account().memory();
                assert_eq!(memory.weights_bytes, gpu.allocated_bytes());
                assert_eq!(memory.bpw, bpw);
                let plan = Loader::planning(&published.checkpoint, &precision);
                models::load(published.class, &published.config, &plan).await.unwrap();
                assert_eq!(plan.account().plan(), loader.account().plan());
                drop(model);
            });
        }
    }
}
