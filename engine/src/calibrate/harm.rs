//! What it costs to store one matrix in fewer bits: how far a model's outputs move when that matrix alone is
//! quantised, all others as they are.
//!
//! The model reads a sample once as it is, and once for each matrix and format. What it computes before it
//! meets the matrix is the same each time, so products of the first pass are kept and given again.

use super::{
    Heard,
    learner::{dequantised, floats, look_up, product, quantised, unpadded},
    logits, use_all_processors,
};
use crate::{
    device::{Device, MatrixId, Products},
    error::{Error, Result},
    load::{Choice, Harm, Loaded},
    models::{Model, Rows},
    packing::Weights,
    published::Inputs,
    quant::{CHUNK, Format, Gptq, Layout, Matrix, Moments, Quantiser, RoundToNearest},
};
use pollster::block_on;
use record::{Bits, Precision, Quantizer};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// Measures every matrix of a model at each of `widths`, all else as in `precision`, by what comes of `sample`.
/// `heard` is told how many trials are done: one a matrix and width.
///
/// # Errors
/// When weights cannot be read, or the model does not take the sample.
pub fn harms(
    weights: &Weights,
    precision: &Precision,
    widths: &[u8],
    sample: &Inputs,
    heard: &Heard,
) -> Result<Vec<Harm>> {
    super::must_be_whole(weights)?;
    use_all_processors();
    let format = |bits: &u8| {
        let bits = Bits::Fixed(*bits);
        Format::of(&Precision { bits, plan: None, ..precision.clone() })
    };
    let formats: Vec<Format> = widths.iter().map(format).collect::<Result<_>>()?;
    let declared = weights.declare(&Precision::of(Bits::Fixed(32)))?;
    let loaded = block_on(declared.load(weights.source(), &Device::reference(), &|_, _| ()))?;
    let entries = loaded.matrices();
    let trial = Rc::new(Trial::new(&entries, precision.quantizer));
    let device = Device::with_products(Rc::<Trial>::clone(&trial));
    let whole = Seen::of(&loaded, &device, sample)?;
    let mut done = 0;
    let mut harms = Vec::new();
    for (entry, (name, matrices)) in entries.iter().enumerate() {
        let size = |format| {
            let bytes = |matrix: &Matrix| Layout::Chunks.bytes(format, matrix.rows, matrix.columns);
            matrices.iter().map(bytes).sum()
        };
        let mut choices = Vec::new();
        for format in &formats {
            trial.begin(entry, *format);
            let seen = Seen::of(&loaded, &device, sample)?;
            trial.problem()?;
            let harm = seen.distance(&whole);
            choices.push(Choice { format: *format, bytes: size(*format), harm });
            done += 1;
            heard(done);
        }
        let weights = matrices.iter().map(|matrix| (matrix.rows * matrix.columns) as u64).sum();
        harms.push(Harm { name: (*name).to_owned(), weights, choices });
    }
    Ok(harms)
}

/// Outputs of a pass.
struct Seen {
    outputs: Vec<Vec<f32>>,
    /// Where they are logits: how many tokens there are to choose from.
    vocabulary: Option<usize>,
}

impl Seen {
    fn of(loaded: &Loaded<Box<dyn Model>>, device: &Device, sample: &Inputs) -> Result<Seen> {
        let model = &loaded.model;
        let (outputs, vocabulary) = match model.decoder() {
            Some(decoder) => {
                let ids = sample.ids(decoder.prompt_input(), decoder.vocabulary())?;
                let state = decoder.begin(device, sample, ids.tokens)?;
                let rows = Rows { last: false, mask: None };
                let ids = ids.upload(device);
                let logits = decoder.prefill(device, &state, sample, &ids, rows)?;
                let vocabulary = logits.columns();
                (vec![logits], Some(vocabulary))
            }
            None => {
                let outputs = model.forward(device, sample)?;
                (outputs.into_iter().map(|(_, output)| output).collect(), None)
            }
        };
        Ok(Seen { outputs: block_on(device.take(outputs))?, vocabulary })
    }

    fn distance(&self, whole: &Seen) -> f64 {
        let pairs = || whole.outputs.iter().zip(&self.outputs);
        match self.vocabulary {
            Some(vocabulary) => {
                pairs().map(|(whole, own)| logits::divergence(whole, own, vocabulary)).sum()
            }
            None => {
                let sum = pairs().map(|(whole, own)| relative(whole, own)).sum::<f64>();
                sum / self.outputs.len().max(1) as f64
            }
        }
    }
}

/// The squared error as a share of the squares.
fn relative(whole: &[f32], own: &[f32]) -> f64 {
    let square = |value: f64| value * value;
    let error = |(a, b): (&f32, &f32)| square(f64::from(*a) - f64::from(*b));
    let squares: f64 = whole.iter().map(|value| square(f64::from(*value))).sum();
    whole.iter().zip(own).map(error).sum::<f64>() / squares.max(f64::MIN_POSITIVE)
}

/// A matrix of the model.
struct Known {
    entry: usize,
    name: String,
    matrix: Matrix,
}

/// Takes over the products of a pass in which one entry is quantised.
struct Trial {
    known: BTreeMap<MatrixId, Known>,
    quantizer: Quantizer,
    /// The entry and its format; none in the pass of the model as it is.
    tried: Cell<Option<(usize, Format)>>,
    /// Products of this pass so far.
    calls: Cell<usize>,
    /// What each gave in the pass of the model as it is.
    kept: RefCell<Vec<Vec<f32>>>,
    /// Products before each entry is met.
    first: RefCell<BTreeMap<usize, usize>>,
    /// Matrices that are looked up, and what those of them are multiplied with that are multiplied as well.
    tables: RefCell<BTreeMap<MatrixId, Option<Moments>>>,
    /// What the entry was quantised to.
    made: RefCell<BTreeMap<MatrixId, Matrix>>,
    failed: RefCell<Option<Error>>,
}

impl std::fmt::Debug for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trial").field("tried", &self.tried).finish_non_exhaustive()
    }
}

impl Trial {
    fn new(entries: &[(&str, Vec<Matrix>)], quantizer: Quantizer) -> Trial {
        let known = entries.iter().enumerate().flat_map(|(entry, (name, matrices))| {
            let known = move |matrix: &Matrix| {
                let known = Known { entry, name: (*name).to_owned(), matrix: matrix.clone() };
                (matrix.id(), known)
            };
            matrices.iter().map(known)
        });
        Trial {
            known: known.collect(),
            quantizer,
            tried: Cell::new(None),
            calls: Cell::new(0),
            kept: RefCell::default(),
            first: RefCell::default(),
            tables: RefCell::default(),
            made: RefCell::default(),
            failed: RefCell::default(),
        }
    }

    /// The next pass is one in which `entry` has this format.
    fn begin(&self, entry: usize, format: Format) {
        self.tried.set(Some((entry, format)));
        self.calls.set(0);
        self.made.borrow_mut().clear();
    }

    /// What went wrong in a pass.
    fn problem(&self) -> Result<()> {
        self.failed.take().map_or(Ok(()), Err)
    }

    /// What stands for a matrix of the entry that is tried, chosen by its inputs if they are known.
    fn quantised(&self, id: MatrixId, format: Format, inputs: Option<&Moments>) -> Matrix {
        let Known { name, matrix, .. } = &self.known[&id];
        let quantiser: &'static dyn Quantiser = match self.quantizer {
            Quantizer::Rtn => &RoundToNearest,
            Quantizer::Gptq => &Gptq,
        };
        let make = || match quantised((name, matrix), format, quantiser, inputs) {
            Ok(made) => made,
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                matrix.clone()
            }
        };
        self.made.borrow_mut().entry(id).or_insert_with(make).clone()
    }

    /// The format in which a matrix is tried, if it is.
    fn format(&self, id: MatrixId) -> Option<Format> {
        let (entry, format) = self.tried.get()?;
        (self.known[&id].entry == entry).then_some(format)
    }
}

impl Products for Trial {
    fn multiply(&self, x: &[f32], id: MatrixId) -> Vec<f32> {
        let Known { entry, matrix, .. } = &self.known[&id];
        let width = matrix.chunks() * CHUNK;
        let call = self.calls.replace(self.calls.get() + 1);
        let Some((tried, _)) = self.tried.get() else {
            self.first.borrow_mut().entry(*entry).or_insert(call);
            if let Some(moments) = self.tables.borrow_mut().get_mut(&id) {
                let inputs = Moments::of(&unpadded(x, matrix), matrix.columns);
                *moments = Some(inputs.levelled(matrix.columns));
            }
            let y = product(x, floats(matrix), width);
            self.kept.borrow_mut().push(y.clone());
            return y;
        };
        // An entry that no pass meets changes nothing.
        if self.first.borrow().get(&tried).is_none_or(|first| call < *first) {
            return self.kept.borrow()[call].clone();
        }
        let Some(format) = self.format(id) else { return product(x, floats(matrix), width) };
        let inputs = (self.quantizer == Quantizer::Gptq && !self.made.borrow().contains_key(&id))
            .then(|| Moments::of(&unpadded(x, matrix), matrix.columns));
        product(x, &dequantised(&self.quantised(id, format, inputs.as_ref())), width)
    }

    fn rows(&self, ids: &[u32], id: MatrixId) -> Vec<f32> {
        let Known { entry, matrix, .. } = &self.known[&id];
        if self.tried.get().is_none() {
            self.first.borrow_mut().entry(*entry).or_insert(self.calls.get());
            self.tables.borrow_mut().entry(id).or_default();
            return look_up(matrix, ids);
        }
        match self.format(id) {
            Some(format) => {
                let tables = self.tables.borrow();
                let inputs = tables.get(&id).and_then(Option::as_ref);
                look_up(&self.quantised(id, format, inputs), ids)
            }
            None => look_up(matrix, ids),
        }
    }
}

/// The names of entries that the sample does not reach: any format of theirs is as good as any other.
pub fn unmoved(harms: &[Harm]) -> BTreeSet<&str> {
    let is_unmoved = |harm: &&Harm| harm.choices.iter().all(|choice| choice.harm == 0.0);
    harms.iter().filter(is_unmoved).map(|harm| harm.name.as_str()).collect()
}

#[cfg(test)]
mod tests;
