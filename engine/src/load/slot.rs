//! Places in a model for weights that are yet to be loaded.

use crate::{
    device::Device,
    error::Result,
    quant::{Matrix, Shard, WordSum, Words},
    tensor::Tensor,
};
use std::{cell::OnceCell, fmt, ops::Deref, rc::Rc};

/// A place for a weight: empty while a model is only declared, and filled once, when its plan is
/// carried out. Cloning shares the place.
pub struct Slot<T>(Rc<OnceCell<T>>);

impl<T> Slot<T> {
    pub(super) fn empty() -> Slot<T> {
        Slot(Rc::default())
    }

    /// A place that is filled.
    #[cfg(test)]
    pub(crate) fn of(weight: T) -> Slot<T> {
        let slot = Slot::<T>::empty();
        slot.fill(weight);
        slot
    }

    pub(super) fn fill(&self, weight: T) {
        assert!(self.0.set(weight).is_ok(), "a plan is carried out once");
    }
}

impl<T> Deref for Slot<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.get().expect("a model is loaded before it computes")
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Slot<T> {
        Slot(Rc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The slot of an entry, by what it holds.
#[derive(Clone, Debug)]
pub(super) enum Target {
    Matrix(Slot<Matrix>),
    Matrices(Slot<Vec<Matrix>>),
    Tensor(Slot<Tensor>),
    Numbers(Slot<Vec<f32>>),
}

/// What an entry has become.
#[derive(Debug)]
pub(super) enum Weight {
    Matrices(Vec<Matrix>),
    Tensor(Tensor, WordSum),
    Numbers(Vec<f32>),
}

impl Weight {
    /// A tensor on the device.
    pub(super) fn kept(device: &Device, shape: &[usize], values: Vec<f32>) -> Weight {
        let sum = match device {
            Device::Cpu(_) => WordSum::default(),
            Device::Gpu(_) => WordSum::of(bytemuck::cast_slice(&values)),
        };
        Weight::Tensor(device.keep(shape, values), sum)
    }

    /// Of the words that a GPU was given, in the order of [`Target::words`].
    pub(super) fn sums(&self) -> Vec<WordSum> {
        match self {
            Weight::Matrices(matrices) => {
                let shards = || matrices.iter().flat_map(|matrix| matrix.shards.iter());
                let parts = [0, 1].map(|part| shards().map(move |shard| shard.sums[part]));
                parts.into_iter().flatten().collect()
            }
            Weight::Tensor(_, sum) => vec![*sum],
            Weight::Numbers(_) => Vec::new(),
        }
    }

    /// Bytes that were allocated.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Weight::Matrices(matrices) => matrices.iter().map(Matrix::bytes).sum(),
            Weight::Tensor(tensor, _) => tensor.bytes(),
            Weight::Numbers(numbers) => numbers.capacity() as u64 * 4,
        }
    }
}

impl Target {
    /// Its matrices, if that is what it holds.
    #[cfg(not(target_arch = "wasm32"))]
    pub(super) fn matrices(&self) -> Option<Vec<Matrix>> {
        match self {
            Target::Matrix(slot) => Some(vec![Matrix::clone(slot)]),
            Target::Matrices(slot) => Some(slot.to_vec()),
            Target::Tensor(_) | Target::Numbers(_) => None,
        }
    }

    pub(super) fn fill(&self, weight: Weight) {
        match (self, weight) {
            (Target::Matrix(slot), Weight::Matrices(mut one)) => {
                slot.fill(one.pop().expect("an entry of a matrix gives one"));
            }
            (Target::Matrices(slot), Weight::Matrices(all)) => slot.fill(all),
            (Target::Tensor(slot), Weight::Tensor(tensor, _)) => slot.fill(tensor),
            (Target::Numbers(slot), Weight::Numbers(numbers)) => slot.fill(numbers),
            (target, weight) => unreachable!("{weight:?} is not for {target:?}"),
        }
    }

    /// Makes it the same matrix as another entry's, if they do not share their slot anyway.
    pub(super) fn share(&self, other: &Target) {
        match (self, other) {
            (Target::Matrix(own), Target::Matrix(other)) if own.0.get().is_none() => {
                own.fill(Matrix::clone(other));
            }
            (Target::Matrix(_), Target::Matrix(_)) => {}
            _ => unreachable!("only matrices are tied"),
        }
    }

    /// The words that it holds, as they lie on the device.
    pub(super) async fn words(&self, device: &Device) -> Result<Vec<Vec<u32>>> {
        let shards: Vec<&Shard> = match self {
            Target::Matrix(slot) => slot.shards.iter().collect(),
            Target::Matrices(slot) => slot.iter().flat_map(|one| one.shards.iter()).collect(),
            Target::Tensor(slot) => {
                let numbers = device.read(&[&**slot]).await?;
                return Ok(numbers.into_iter().map(bytemuck::cast_vec).collect());
            }
            Target::Numbers(slot) => return Ok(vec![bytemuck::cast_slice(slot).to_vec()]),
        };
        let codes = shards.iter().map(|shard| &shard.codes);
        let parts = codes.chain(shards.iter().map(|shard| &shard.scales));
        // What a GPU has is read at once, as each read is a wait; what has no scales has no buffer for them.
        let mut fetched = match device {
            Device::Gpu(gpu) => {
                let buffers: Vec<_> = parts.clone().filter_map(Words::on_gpu).collect();
                gpu.read_buffers(&buffers).await?
            }
            Device::Cpu(_) => Vec::new(),
        }
        .into_iter();
        let words = |words: &Words| match words {
            Words::Cpu(words) => words.clone(),
            Words::Gpu(_) => fetched.next().expect("the device made the words"),
        };
        Ok(parts.map(words).collect())
    }
}
