//! Sees what each matrix is multiplied with, and quantises it by that.

use super::{Heard, Windows};
use crate::{
    device::{Device, MatrixId, Products},
    error::{Error, Result},
    gemm,
    quant::{CHUNK, Format, Gptq, Matrix, MatrixBuilder, Moments, Quantiser},
};
use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    rc::Rc,
};

/// A matrix of the model and what becomes of it.
struct Known {
    name: String,
    format: Format,
    matrix: Matrix,
    /// Whether rows of it are looked up, too.
    is_table: bool,
    /// How often a pass multiplies with it.
    products: usize,
    /// What it is multiplied with, if that was looked for ahead.
    moments: Option<Moments>,
    made: Option<Matrix>,
}

/// Takes over the products of a pass.
pub(super) struct Learner {
    /// Sequences of the text.
    batch: usize,
    /// Tokens of the text.
    tokens: usize,
    /// Whether this pass is one of the model as it is.
    looks_ahead: Cell<bool>,
    known: RefCell<BTreeMap<MatrixId, Known>>,
    /// The matrix that a pass multiplies with last.
    last: Cell<Option<MatrixId>>,
    done: Cell<u64>,
    heard: Heard,
    failed: RefCell<Option<Error>>,
}

impl fmt::Debug for Learner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learner").field("batch", &self.batch).finish_non_exhaustive()
    }
}

impl Learner {
    /// Of a model whose `matrices` are floats and shall be stored in these formats.
    pub(super) fn new(
        matrices: &[(&str, Vec<Matrix>)],
        formats: &BTreeMap<String, Format>,
        text: &Windows,
        heard: Heard,
    ) -> Learner {
        let each = |(name, matrices): &(&str, Vec<Matrix>)| {
            let format = formats[*name];
            let known = |matrix: &Matrix| {
                let known = Known {
                    name: (*name).to_owned(),
                    format,
                    matrix: matrix.clone(),
                    is_table: false,
                    products: 0,
                    moments: None,
                    made: None,
                };
                (matrix.id(), known)
            };
            matrices.iter().map(known).collect::<Vec<_>>()
        };
        Learner {
            batch: text.count,
            tokens: text.count * text.length,
            looks_ahead: Cell::new(true),
            known: RefCell::new(matrices.iter().flat_map(each).collect()),
            last: Cell::new(None),
            done: Cell::new(0),
            heard,
            failed: RefCell::default(),
        }
    }

    /// A device whose products are seen here.
    pub(super) fn device(self: &Rc<Self>) -> Device {
        Device::with_products(Rc::<Learner>::clone(self))
    }

    /// From now on passes read the text twice at once, and matrices are quantised.
    pub(super) fn begin(&self) {
        self.looks_ahead.set(false);
    }

    /// Matrices that are quantised.
    pub(super) fn done(&self) -> u64 {
        self.done.get()
    }

    /// The matrices of each entry all of which were multiplied with.
    pub(super) fn take(&self) -> Result<BTreeMap<String, Vec<Matrix>>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let known = std::mem::take(&mut *self.known.borrow_mut());
        let mut wanted: BTreeMap<String, usize> = BTreeMap::new();
        // Matrices of one entry lie in the order of their addresses, which is not that of the entry.
        for known in known.values() {
            *wanted.entry(known.name.clone()).or_default() += 1;
        }
        let mut made: BTreeMap<String, Vec<Matrix>> = BTreeMap::new();
        for known in known.into_values().filter(|known| wanted[&known.name] == 1) {
            made.entry(known.name).or_default().extend(known.made);
        }
        made.retain(|_, matrices| !matrices.is_empty());
        Ok(made)
    }

    /// Quantises a matrix, unless it is done.
    fn make(&self, known: &mut Known, moments: Option<&Moments>) {
        if known.made.is_some() {
            return;
        }
        match quantised((&known.name, &known.matrix), known.format, &Gptq, moments) {
            Ok(made) => known.made = Some(made),
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
            }
        }
        self.done.set(self.done.get() + 1);
        (self.heard)(self.done.get());
    }
}

impl Products for Learner {
    fn multiply(&self, x: &[f32], id: MatrixId) -> Vec<f32> {
        let mut known = self.known.borrow_mut();
        let known = known.get_mut(&id).expect("all matrices of the model are known");
        let matrix = known.matrix.clone();
        let (weights, width) = (floats(&matrix), matrix.chunks() * CHUNK);
        let rows = x.len() / width;
        if self.looks_ahead.get() {
            if known.is_table {
                let moments = Moments::of(&unpadded(x, &matrix), matrix.columns);
                known.moments = Some(moments.levelled(matrix.columns));
            }
            known.products += 1;
            self.last.set(Some(id));
            return product(x, weights, width);
        }
        if !rows.is_multiple_of(2 * self.batch) {
            return product(x, weights, width);
        }
        let (exact, own) = x.split_at(x.len() / 2);
        if known.made.is_none() {
            let (own, exact) = (unpadded(own, &matrix), unpadded(exact, &matrix));
            self.make(known, Some(&Moments::beside(&own, &exact, matrix.columns)));
        }
        // Nothing is computed of what this gives, and logits of a text take gigabytes.
        if self.last.get() == Some(id) && known.products == 1 {
            return vec![0.0; rows * matrix.rows];
        }
        let mut y = product(exact, weights, width);
        y.extend(product(own, &dequantised(known.made.as_ref().unwrap_or(&matrix)), width));
        y
    }

    fn rows(&self, ids: &[u32], id: MatrixId) -> Vec<f32> {
        let mut known = self.known.borrow_mut();
        let known = known.get_mut(&id).expect("all matrices of the model are known");
        known.is_table = true;
        let matrix = known.matrix.clone();
        if self.looks_ahead.get() || ids.len() != 2 * self.tokens {
            return look_up(&matrix, ids);
        }
        let moments = known.moments.take();
        self.make(known, moments.as_ref());
        let (exact, own) = ids.split_at(self.tokens);
        let mut rows = look_up(&matrix, exact);
        rows.extend(look_up(known.made.as_ref().unwrap_or(&matrix), own));
        rows
    }
}

/// A matrix of floats in another format, by its inputs where they are known.
pub(super) fn quantised(
    (name, matrix): (&str, &Matrix),
    format: Format,
    quantiser: &'static dyn Quantiser,
    inputs: Option<&Moments>,
) -> Result<Matrix> {
    let device = Device::cpu();
    let mut builder = MatrixBuilder::new(&device, name, matrix.rows, matrix.columns, format);
    if let Some(inputs) = inputs {
        builder = builder.with_inputs(inputs);
    }
    builder.push_f32(&unpadded(floats(matrix), matrix), quantiser)?;
    Ok(builder.finish())
}

/// The padded rows of a matrix of floats.
pub(super) fn floats(matrix: &Matrix) -> &[f32] {
    let [shard] = &matrix.shards[..] else { panic!("matrices in main memory have one shard") };
    bytemuck::cast_slice(shard.codes.cpu())
}

/// Padded rows without their padding.
pub(super) fn unpadded<'a>(rows: &'a [f32], matrix: &Matrix) -> Cow<'a, [f32]> {
    let width = matrix.chunks() * CHUNK;
    match matrix.columns == width {
        true => Cow::Borrowed(rows),
        false => {
            let rows = rows.chunks_exact(width);
            Cow::Owned(rows.flat_map(|row| &row[..matrix.columns]).copied().collect())
        }
    }
}

/// The padded rows that stand for a matrix.
pub(super) fn dequantised(matrix: &Matrix) -> Cow<'_, [f32]> {
    if matrix.format == Format::F32 {
        return Cow::Borrowed(floats(matrix));
    }
    let width = matrix.chunks() * CHUNK;
    let mut rows = vec![0.0; matrix.rows * width];
    let view = matrix.view();
    crate::threads::rows(&mut rows, width, 4 * width, |first, rows| {
        for (at, row) in rows.chunks_exact_mut(width).enumerate() {
            view.dequantise_row(first + at, row);
        }
    });
    Cow::Owned(rows)
}

/// Padded rows by padded rows.
pub(super) fn product(x: &[f32], weights: &[f32], width: usize) -> Vec<f32> {
    gemm::by_rows(x, weights, width)
}

/// Rows of a table without their padding.
pub(super) fn look_up(table: &Matrix, ids: &[u32]) -> Vec<f32> {
    let view = table.view();
    let mut row = vec![0.0; table.chunks() * CHUNK];
    let mut rows = Vec::with_capacity(ids.len() * table.columns);
    for id in ids {
        view.dequantise_row(*id as usize, &mut row);
        rows.extend_from_slice(&row[..table.columns]);
    }
    rows
}
