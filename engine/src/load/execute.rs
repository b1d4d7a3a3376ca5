//! Carries out a plan: reads the sources of each entry, packs them, and fills the model's slots.

use super::{
    Entry, LoadPlan, Place, Step,
    artefact::PackedReader,
    plan::hex,
    slot::{Target, Weight},
    steps,
};
use crate::{
    device::Device,
    error::Result,
    quant::{Matrix, MatrixBuilder, Quantiser, Span, WordSum},
    weights::{Artefact, Source, TensorInfo, codes::Codes},
};
use sha2::{Digest, Sha256};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    sync::Arc,
};

/// Bytes of two tensors that are compared at a time.
const EQUAL_PIECE: usize = 4 << 20;

/// A model whose weights are yet to be loaded.
pub struct Declared<T> {
    pub(super) model: T,
    pub(super) plan: LoadPlan,
    pub(super) targets: Vec<Target>,
    pub(super) quantiser: &'static dyn Quantiser,
    /// Where the weights are, if they are packed already.
    pub(super) artefact: Option<Arc<Artefact>>,
}

/// A model with its weights.
pub struct Loaded<T> {
    /// The model.
    pub model: T,
    /// The plan that was carried out.
    pub plan: LoadPlan,
    /// Bytes that were allocated for it.
    pub allocated: u64,
    pub(super) targets: Vec<Target>,
    /// Of the words of each entry that a GPU was given.
    pub(super) sums: Vec<Vec<WordSum>>,
}

impl<T> Declared<T> {
    /// The model, which has no weights yet.
    pub(crate) fn model(&self) -> &T {
        &self.model
    }

    /// What will be loaded.
    pub fn plan(&self) -> &LoadPlan {
        &self.plan
    }

    /// The same, its codes chosen in another way than the precision names.
    #[cfg(not(target_arch = "wasm32"))]
    #[must_use]
    pub(crate) fn by(self, quantiser: &'static dyn Quantiser) -> Declared<T> {
        Declared { quantiser, ..self }
    }

    /// Finds out whether matrices that the configuration ties are the same in the file as well, if it
    /// holds both. From then on the sums of the plan are exact in every case.
    pub async fn settle(&mut self, source: &dyn Source) -> Result<()> {
        for at in 0..self.plan.entries.len() {
            let entry = &self.plan.entries[at];
            let Some(Step::TiedIfEqual { to, .. }) = entry.steps.first() else { continue };
            let other = &self.plan.entries[self.plan.position(to)];
            let equal = equal(source, &entry.sources[0], &other.sources[0]).await?;
            let entry = &mut self.plan.entries[at];
            if equal { entry.tie() } else { entry.untie() }
        }
        Ok(())
    }

    /// Loads the weights; `progress` hears the bytes read and the bytes there are.
    pub async fn load(
        mut self,
        source: &dyn Source,
        device: &Device,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Loaded<T>> {
        self.settle(source).await?;
        let Declared { model, plan, targets, quantiser, artefact } = self;
        let reader = Reader::new(&plan, source, progress);
        let packed = artefact.as_deref().map(|artefact| PackedReader {
            artefact,
            source,
            progress,
            done: Cell::new(0),
            total: plan.bytes(),
        });
        let (mut allocated, mut sums) = (0, Vec::new());
        for (entry, target) in plan.entries.iter().zip(&targets) {
            match entry.tied_to() {
                Some(to) => {
                    sums.push(Vec::new());
                    target.share(&targets[plan.position(to)]);
                }
                None => {
                    let weight = match &packed {
                        Some(packed) => packed.make(entry, device).await?,
                        None => reader.make(entry, device, quantiser).await?,
                    };
                    allocated += weight.bytes();
                    sums.push(weight.sums());
                    target.fill(weight);
                }
            }
        }
        Ok(Loaded { model, plan, allocated, targets, sums })
    }
}

impl<T> Loaded<T> {
    /// The matrices of each entry that has some of its own, by its name.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn matrices(&self) -> Vec<(&str, Vec<Matrix>)> {
        let entries = self.plan.entries.iter().zip(&self.targets);
        let own = entries.filter(|(entry, _)| entry.tied_to().is_none());
        own.filter_map(|(entry, target)| Some((entry.name.as_str(), target.matrices()?))).collect()
    }

    /// SHA-256 of the words of each entry as the device holds them, tied matrices apart.
    pub async fn checksums(&self, device: &Device) -> Result<BTreeMap<String, String>> {
        let mut sums = BTreeMap::new();
        for (entry, target) in self.plan.entries.iter().zip(&self.targets) {
            if entry.tied_to().is_none() {
                let mut sum = Sha256::new();
                for words in target.words(device).await? {
                    sum.update(bytemuck::cast_slice(&words));
                }
                sums.insert(entry.name.clone(), hex(&sum.finalize()));
            }
        }
        Ok(sums)
    }
}

/// Whether two tensors of one shape and type hold the same bytes.
async fn equal(source: &dyn Source, a: &TensorInfo, b: &TensorInfo) -> Result<bool> {
    let piece = (EQUAL_PIECE / (a.bytes() as usize / a.rows().max(1)).max(1)).max(1);
    for first in (0..a.rows()).step_by(piece) {
        let rows = first..(first + piece).min(a.rows());
        if a.read(source, rows.clone()).await? != b.read(source, rows).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads what entries are made of, small tensors that several are made of once.
pub(super) struct Reader<'a> {
    source: &'a dyn Source,
    progress: &'a dyn Fn(u64, u64),
    done: Cell<u64>,
    total: u64,
    /// How many entries still want the numbers of a tensor.
    wanted: RefCell<BTreeMap<&'a str, usize>>,
    kept: RefCell<BTreeMap<&'a str, Vec<f32>>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        plan: &'a LoadPlan,
        source: &'a dyn Source,
        progress: &'a dyn Fn(u64, u64),
    ) -> Reader<'a> {
        let mut wanted = BTreeMap::new();
        for entry in plan.entries.iter().filter(|entry| !entry.streams()) {
            for source in &entry.sources {
                *wanted.entry(source.name.as_str()).or_default() += 1;
            }
        }
        Reader {
            source,
            progress,
            done: Cell::new(0),
            total: plan.source_bytes(),
            wanted: RefCell::new(wanted),
            kept: RefCell::default(),
        }
    }

    /// What an entry becomes.
    pub(super) async fn make(
        &self,
        entry: &'a Entry,
        device: &Device,
        quantiser: &dyn Quantiser,
    ) -> Result<Weight> {
        if entry.is_matrix() {
            return Ok(Weight::Matrices(self.matrices(entry, device, quantiser).await?));
        }
        let values = self.numbers(entry).await?;
        Ok(match entry.place {
            Place::Device => Weight::kept(device, &entry.shape, values),
            Place::Host => Weight::Numbers(values),
        })
    }

    async fn matrices(
        &self,
        entry: &'a Entry,
        device: &Device,
        quantiser: &dyn Quantiser,
    ) -> Result<Vec<Matrix>> {
        let [rows, columns] = entry.rows_columns();
        // What is only packed is read a few rows at a time, and never there as a whole.
        let values = match entry.streams() {
            true => None,
            false => Some(self.numbers(entry).await?),
        };
        let before = self.done.get();
        let bytes: u64 = entry.sources.iter().map(TensorInfo::bytes).sum();
        let mut matrices = Vec::new();
        for group in 0..entry.matrices() {
            let mut builder = MatrixBuilder::new(device, &entry.name, rows, columns, entry.format);
            let mut row = 0;
            while row < rows {
                let piece = match quantiser.span() {
                    Span::Matrix if entry.is_quantised() => rows,
                    _ if !entry.sources.iter().all(TensorInfo::is_by_rows) => rows,
                    _ => builder.piece_rows(),
                };
                let (first, end) = (group * rows + row, group * rows + row + piece);
                row += piece;
                match &values {
                    Some(values) => {
                        builder.push_f32(&values[first * columns..end * columns], quantiser)?;
                    }
                    None if entry.steps.contains(&Step::TakeBlocks) => {
                        let mut blocks = Vec::new();
                        for (source, rows) in entry.rows_of_sources(first..end) {
                            blocks.extend(source.read(self.source, rows).await?);
                        }
                        builder.push_blocks(&blocks);
                    }
                    None if entry.steps.contains(&Step::TakeCodes) => {
                        let mut codes = Codes::default();
                        for (source, rows) in entry.rows_of_sources(first..end) {
                            codes.extend(source.read_codes(self.source, rows).await?);
                        }
                        builder.push_codes(&codes.codes, &codes.lines)?;
                    }
                    None => {
                        let mut values = Vec::new();
                        for (source, rows) in entry.rows_of_sources(first..end) {
                            values.extend(source.read_f32(self.source, rows).await?);
                        }
                        builder.push_f32(&values, quantiser)?;
                    }
                }
                if values.is_none() {
                    let share = bytes as f64 * row as f64 / rows as f64;
                    self.report(before + share as u64);
                }
            }
            matrices.push(builder.finish());
        }
        Ok(matrices)
    }

    /// The numbers of an entry, after all that is done to them.
    async fn numbers(&self, entry: &'a Entry) -> Result<Vec<f32>> {
        let mut sources = Vec::new();
        for source in &entry.sources {
            sources.push(self.read(source).await?);
        }
        Ok(steps::apply(entry, sources))
    }

    /// A whole tensor, which is kept for as long as later entries want it too.
    async fn read(&self, info: &'a TensorInfo) -> Result<Vec<f32>> {
        let name = info.name.as_str();
        let left = {
            let mut wanted = self.wanted.borrow_mut();
            let left = wanted.get_mut(name).expect("entries were counted");
            *left -= 1;
            *left
        };
        let kept = self.kept.borrow_mut().remove(name);
        let values = match kept {
            Some(values) => values,
            None => info.f32s(self.source).await?,
        };
        if left > 0 {
            self.kept.borrow_mut().insert(name, values.clone());
        }
        self.report(self.done.get() + info.bytes());
        Ok(values)
    }

    fn report(&self, done: u64) {
        self.done.set(done);
        (self.progress)(done.min(self.total), self.total);
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{
        load::Declaration,
        quant::{GroupCodes, RoundToNearest, Subject},
        testing::normal,
        weights::{Checkpoint, Memory},
    };
    use pollster::block_on;
    use record::{Bits, Precision};

    /// Rounds, but only when it sees a matrix as a whole.
    struct Whole;

    impl Quantiser for Whole {
        fn span(&self) -> Span {
            Span::Matrix
        }

        fn quantise(
            &self,
            matrix: &Subject<'_>,
            first: usize,
            weights: &[f32],
            give: &mut dyn FnMut([usize; 2], &GroupCodes) -> Result<()>,
        ) -> Result<()> {
            assert_eq!((matrix.name, first), ("w", 0));
            assert_eq!(weights.len(), matrix.rows * matrix.columns);
            RoundToNearest.quantise(matrix, first, weights, give)
        }
    }

    /// A matrix of three pieces comes whole to who asks for that, and becomes the same words.
    #[test]
    fn a_quantiser_sees_as_much_as_it_asks_for() {
        let (rows, columns) = (2500, 1000);
        let values: Vec<u8> =
            normal(3, rows * columns).into_iter().flat_map(f32::to_le_bytes).collect();
        let source = Memory::new().with("list", "w 2500 1000\n").with("values", values);
        let checkpoint = block_on(Checkpoint::listed(&source, "list", "values")).unwrap();
        let load = |quantiser: Option<&'static dyn Quantiser>| {
            let weights = Declaration::new(&checkpoint, &Precision::of(Bits::Fixed(2)));
            let matrix = weights.matrix("w", rows, columns).unwrap();
            let mut declared = weights.finish(matrix).unwrap();
            declared.quantiser = quantiser.unwrap_or(declared.quantiser);
            let told = RefCell::new(Vec::new());
            let progress = |done, total| told.borrow_mut().push((done, total));
            let loaded = block_on(declared.load(&source, &Device::cpu(), &progress)).unwrap();
            let bytes = 4 * (rows * columns) as u64;
            assert_eq!(told.borrow().last(), Some(&(bytes, bytes)));
            let pieces = told.borrow().len();
            (pieces, block_on(loaded.checksums(&Device::cpu())).unwrap())
        };
        let (streamed, whole) = (load(None), load(Some(&Whole)));
        assert_eq!((streamed.0, whole.0), (3, 1));
        assert_eq!(streamed.1, whole.1);
    }
}
