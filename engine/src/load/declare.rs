//! What a class says of its weights: names, shapes, and what is done with them on the way.

use super::{Declared, Entry, LoadPlan, Place, Slot, Step, artefact, slot::Target, stored};
use crate::{
    error::{Error, Result},
    quant::{self, Format, Layout, Matrix},
    tensor::Tensor,
    weights::{Checkpoint, TensorInfo},
};
use record::{Bits, KvFormat, Mix, Precision, Quantizer, Scheme, Window};
use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
};

/// Takes down what a class declares and checks it against the headers of a checkpoint.
///
/// A class is written as if its weights were there: each call gives the [`Slot`] of one, which the
/// model keeps. No weight is read; what was declared is a [`LoadPlan`], and carrying it out fills the
/// slots.
pub struct Declaration<'a> {
    checkpoint: &'a Checkpoint,
    /// Of matrices that are not mixed, or before they are.
    precision: Precision,
    /// How widths are mixed in the end.
    mix: Option<Mix>,
    /// Whether codes run as the file holds them, and numbers of 16 bits and more as f16.
    as_stored: bool,
    /// The format that was asked for in so many words: codes that have it run as the file holds them, too.
    asked: Option<Format>,
    renames: Cell<&'static [(&'static str, &'static str)]>,
    used: RefCell<BTreeSet<String>>,
    plan: RefCell<LoadPlan>,
    targets: RefCell<Vec<Target>>,
    /// Places of entries in the plan, by name.
    known: RefCell<BTreeMap<String, usize>>,
}

impl<'a> Declaration<'a> {
    /// For the tensors of `checkpoint`.
    pub fn new(checkpoint: &'a Checkpoint, precision: &Precision) -> Declaration<'a> {
        let mix = precision.mix();
        let bits = match &mix {
            None => precision.bits,
            Some(Mix::Rule { bits, .. }) => Bits::Fixed(*bits),
            // Each matrix will have another.
            Some(Mix::Plan(_)) => Bits::Fixed(4),
        };
        // Codes that are chosen anew are none that the file has.
        let may_keep = precision.quantizer == Quantizer::Rtn && mix.is_none();
        let is_said = precision.scheme != Scheme::Auto;
        Declaration {
            checkpoint,
            precision: Precision { bits, ..precision.clone() },
            mix,
            as_stored: may_keep
                && !is_said
                && stored::bits(checkpoint).map(Bits::Fixed) == Some(precision.bits),
            asked: Format::of(precision).ok().filter(|_| may_keep && is_said),
            renames: Cell::new(&[]),
            used: RefCell::default(),
            plan: RefCell::default(),
            targets: RefCell::default(),
            known: RefCell::default(),
        }
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

    fn find(&self, name: &str) -> Option<&'a TensorInfo> {
        self.checkpoint.tensors.get(self.resolve(name).as_ref())
    }

    /// Whether the checkpoint has a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Shape of a tensor, where the checkpoint has it.
    pub fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.find(name).map(|info| info.shape.as_slice())
    }

    /// Marks a tensor as known though its values are not wanted.
    pub fn skip(&self, name: &str) {
        if let Some(info) = self.find(name)
            && self.used.borrow_mut().insert(info.name.clone())
        {
            self.plan.borrow_mut().skipped.push(info.clone());
        }
    }

    /// How a decoder's key-value cache is stored, and which tokens it keeps, if not all.
    pub fn kv(&self) -> (KvFormat, Option<Window>) {
        (self.precision.kv, self.precision.window)
    }

    /// The same of a class whose positions are no rotations.
    pub(crate) fn kv_of_all_tokens(&self) -> Result<KvFormat> {
        let Some(window) = self.precision.window else { return Ok(self.precision.kv) };
        let message = format!("a cache of {window} tokens: in this class a gap would be left");
        Err(Error::unsupported(message))
    }

    /// A matrix that the precision applies to.
    pub fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Slot<Matrix>> {
        let info = self.expect(name, &[rows, columns])?;
        let slot = Slot::<Matrix>::empty();
        self.packed(info, &[rows, columns], vec![info], vec![], Target::Matrix(slot.clone()))?;
        Ok(slot)
    }

    /// Matrices over the same `columns` as one, the rows of each below those before; each on its own where
    /// the file keeps them in codes that are taken as they are and are not all of one kind.
    pub(super) fn stacked(
        &self,
        names: &[String],
        rows: &[usize],
        columns: usize,
    ) -> Result<Vec<Slot<Matrix>>> {
        let sources =
            names.iter().zip(rows).map(|(name, rows)| self.expect(name, &[*rows, columns]));
        let sources: Vec<&TensorInfo> = sources.collect::<Result<_>>()?;
        let kind =
            |source: &TensorInfo| (self.as_stored.then(|| source.kind()), self.stored(source));
        if sources.iter().any(|source| kind(source) != kind(sources[0])) {
            return names
                .iter()
                .zip(rows)
                .map(|(it, rows)| self.matrix(it, *rows, columns))
                .collect();
        }
        let slot = Slot::<Matrix>::empty();
        let shape = [rows.iter().sum(), columns];
        let first = sources[0];
        self.packed(first, &shape, sources, vec![Step::Stack], Target::Matrix(slot.clone()))?;
        Ok(vec![slot])
    }

    /// A matrix `[N, K]` that the file has as `[K, N]`.
    pub fn transposed(&self, name: &str, rows: usize, columns: usize) -> Result<Slot<Matrix>> {
        let info = self.expect(name, &[columns, rows])?;
        let (slot, steps) = (Slot::<Matrix>::empty(), vec![Step::Transpose]);
        self.packed(info, &[rows, columns], vec![info], steps, Target::Matrix(slot.clone()))?;
        Ok(slot)
    }

    /// Matrices `[N, K]` of G groups, from the first of `sources` as `steps` say.
    pub(super) fn groups(
        &self,
        shape: [usize; 3],
        sources: Vec<&TensorInfo>,
        steps: Vec<Step>,
    ) -> Result<Slot<Vec<Matrix>>> {
        let slot = Slot::<Vec<Matrix>>::empty();
        // One group is a matrix like any other.
        let shape = if shape[0] == 1 { &shape[1..] } else { &shape[..] };
        self.packed(sources[0], shape, sources, steps, Target::Matrices(slot.clone()))?;
        Ok(slot)
    }

    /// The matrix `name` of a model whose configuration ties it to `shared`, which was declared as
    /// `source`: as in transformers they are one unless the file holds both and they differ.
    pub fn tied(&self, name: &str, source: &str, shared: &Slot<Matrix>) -> Result<Slot<Matrix>> {
        let (Some(own), Some(other)) = (self.find(name), self.find(source)) else {
            return self.same(name, source, shared);
        };
        if own.is_same_place(other) {
            return self.same(name, source, shared);
        }
        let [rows, columns] = other.shape[..] else { panic!("{source} was declared a matrix") };
        let is_alike = (&own.shape, own.dtype) == (&other.shape, other.dtype);
        if !is_alike || !own.is_by_rows() || !other.is_by_rows() {
            return self.matrix(name, rows, columns);
        }
        let slot = self.matrix(name, rows, columns)?;
        let mut plan = self.plan.borrow_mut();
        let entry = plan.entries.last_mut().expect("just declared");
        let otherwise = std::mem::take(&mut entry.bytes);
        entry.steps.insert(0, Step::TiedIfEqual { to: other.name.clone(), otherwise });
        Ok(slot)
    }

    /// The matrix `name` of a model that has only `shared`, declared as `source`, in its place,
    /// whatever the file holds for it.
    pub fn same(&self, name: &str, source: &str, shared: &Slot<Matrix>) -> Result<Slot<Matrix>> {
        let info = self.find(name);
        self.used.borrow_mut().extend(info.map(|info| info.name.clone()));
        let to = self.resolve(source).into_owned();
        let mut entry = match self.known.borrow().get(&to) {
            Some(&at) => self.plan.borrow().entries[at].clone(),
            None => panic!("{source} was declared before {name}"),
        };
        entry.name = info.map_or(name, |info| &info.name).to_owned();
        entry.sources = info.into_iter().cloned().collect();
        entry.steps = vec![Step::Tied { to }];
        entry.bytes = 0;
        self.add(entry, Target::Matrix(shared.clone()))?;
        Ok(shared.clone())
    }

    /// A vector that stays in f32, whatever the precision: norms, biases.
    pub fn vector(&self, name: &str, len: usize) -> Result<Slot<Tensor>> {
        self.tensor(name, &[len])
    }

    /// A tensor of any shape that stays in f32: class tokens, scales.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Slot<Tensor>> {
        self.tensor_from(name, shape, shape, vec![])
    }

    /// A tensor `[..shape]` that stays in f32, which `steps` make of what the file has as
    /// `[..file_shape]`.
    pub fn tensor_from(
        &self,
        name: &str,
        file_shape: &[usize],
        shape: &[usize],
        steps: Vec<Step>,
    ) -> Result<Slot<Tensor>> {
        let info = self.expect(name, file_shape)?;
        self.kept(info.name.clone(), shape, vec![info], steps)
    }

    /// A tensor that stays in f32, under a name of its own.
    pub(super) fn kept(
        &self,
        name: String,
        shape: &[usize],
        sources: Vec<&TensorInfo>,
        steps: Vec<Step>,
    ) -> Result<Slot<Tensor>> {
        let slot = Slot::<Tensor>::empty();
        self.add(plain(name, shape, sources, steps, Place::Device), Target::Tensor(slot.clone()))?;
        Ok(slot)
    }

    /// The numbers of a tensor in main memory, for what the host computes with.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<Slot<Vec<f32>>> {
        let info = self.expect(name, shape)?;
        let slot = Slot::<Vec<f32>>::empty();
        // The device may have the same tensor under its own name.
        let known = self.known.borrow().contains_key(&info.name);
        let name = if known { format!("{}@host", info.name) } else { info.name.clone() };
        let entry = plain(name, shape, vec![info], vec![], Place::Host);
        self.add(entry, Target::Numbers(slot.clone()))?;
        Ok(slot)
    }

    /// The entry of a tensor that must be there in this shape.
    pub(super) fn expect(&self, name: &str, shape: &[usize]) -> Result<&'a TensorInfo> {
        let info = self.checkpoint.info(self.resolve(name).as_ref())?;
        if info.shape != shape {
            let message = format!("has shape {:?}, the config asks for {shape:?}", info.shape);
            return Err(Error::tensor(&info.name, message));
        }
        self.used.borrow_mut().insert(info.name.clone());
        Ok(info)
    }

    /// How the file's own codes are kept, where the precision asks for them.
    fn stored(&self, info: &TensorInfo) -> Option<(Format, Step)> {
        let is_wanted = |format| self.as_stored || self.asked == Some(format);
        stored::format(info).filter(|(format, _)| is_wanted(*format))
    }

    /// Adds a matrix in the format that the precision, or the file, gives it.
    fn packed(
        &self,
        info: &TensorInfo,
        shape: &[usize],
        sources: Vec<&TensorInfo>,
        mut steps: Vec<Step>,
        target: Target,
    ) -> Result<()> {
        let quantise = |format| match format {
            Format::Grouped { .. } => Some(Step::Quantise { by: self.precision.quantizer }),
            _ => None,
        };
        let is_plain = steps.iter().all(|step| *step == Step::Stack);
        let format = match self.stored(info).filter(|_| is_plain) {
            Some((format, step)) => {
                steps.push(step);
                format
            }
            None => {
                let format = match (self.as_stored, info.is_quantised()) {
                    (true, true) if is_plain => stored::OTHERWISE,
                    // Whoever quantised the others has left these as they are.
                    (true, false) => Format::F16,
                    _ => Format::of(&self.precision)?,
                };
                steps.extend(quantise(format));
                format
            }
        };
        let mut entry = Entry {
            format,
            layout: Layout::Chunks,
            ..plain(info.name.clone(), shape, sources, steps, Place::Device)
        };
        entry.bytes = entry.size();
        self.add(entry, target)
    }

    fn add(&self, entry: Entry, target: Target) -> Result<()> {
        let mut plan = self.plan.borrow_mut();
        if self.known.borrow_mut().insert(entry.name.clone(), plan.entries.len()).is_some() {
            return Err(Error::tensor(entry.name, "is declared twice by this class"));
        }
        plan.entries.push(entry);
        self.targets.borrow_mut().push(target);
        Ok(())
    }

    /// The model with its plan. Fails on tensors that the class did not ask for: a model that leaves
    /// weights out computes something else than what was published.
    pub fn finish<T>(self, model: T) -> Result<Declared<T>> {
        let used = self.used.into_inner();
        let tensors = &self.checkpoint.tensors;
        let unused = tensors.values().filter(|info| !used.contains(&info.name));
        // Early writers of GPTQ gave every layer a bias, of zeros where the model has none.
        let (spare, unknown): (Vec<&TensorInfo>, Vec<&TensorInfo>) = unused.partition(|info| {
            let layer = info.name.strip_suffix(".bias");
            let weight = layer.and_then(|layer| tensors.get(&format!("{layer}.weight")));
            weight.is_some_and(|weight| !weight.is_by_rows())
        });
        let unknown: Vec<&str> = unknown.into_iter().map(|info| info.name.as_str()).collect();
        if let Some((first, rest)) = unknown.split_first() {
            return Err(Error::tensor(
                *first,
                match rest.len() {
                    0 => "is unknown to this class".to_owned(),
                    more => format!("and {more} more are unknown to this class: {rest:?}"),
                },
            ));
        }
        let mut plan = self.plan.into_inner();
        plan.skipped.extend(spare.into_iter().cloned());
        if let Some(mix) = &self.mix {
            plan.mix_as(mix, &self.precision, self.checkpoint.artefact.as_deref())?;
        }
        if let Some(artefact) = &self.checkpoint.artefact {
            artefact::settle(&mut plan, artefact)?;
        }
        Ok(Declared {
            model,
            plan,
            artefact: self.checkpoint.artefact.clone(),
            targets: self.targets.into_inner(),
            quantiser: quant::by_name(self.precision.quantizer),
        })
    }
}

/// An entry of f32.
fn plain(
    name: String,
    shape: &[usize],
    sources: Vec<&TensorInfo>,
    steps: Vec<Step>,
    place: Place,
) -> Entry {
    let mut entry = Entry {
        name,
        shape: shape.to_vec(),
        sources: sources.into_iter().cloned().collect(),
        steps,
        format: Format::F32,
        layout: Layout::Dense,
        place,
        bytes: 0,
    };
    entry.bytes = entry.size();
    entry
}
