//! Weights that a GPU gives back. The reference of a kernel error multiplies the words that the GPU has, so
//! they are fetched and not packed a second time, which takes most of what a large model's cell does. Each
//! word is held to what the GPU was given: weights that were damaged on the way there would otherwise be
//! damaged in the reference as well.

use super::{Declared, LoadPlan, Loaded, slot::Target, slot::Weight};
use crate::{
    device::Device,
    error::{Error, Result},
    quant::{Matrix, WordSum, Words},
    tensor::Tensor,
};

/// The weights of a model that is gone; cloning shares them.
#[derive(Clone)]
pub struct Held {
    pub(super) plan: LoadPlan,
    pub(super) targets: Vec<Target>,
    pub(super) sums: Vec<Vec<WordSum>>,
}

impl Held {
    /// By which plan they were loaded.
    pub fn plan(&self) -> &LoadPlan {
        &self.plan
    }
}

impl<T> Loaded<T> {
    /// The model and its plan, and the weights for when the model is gone.
    pub fn split(self) -> (T, LoadPlan, Held) {
        let Loaded { model, plan, targets, sums, .. } = self;
        (model, plan.clone(), Held { plan, targets, sums })
    }
}

impl<T> Declared<T> {
    /// Fills the slots of the same model in main memory with what `device` holds. Each entry is freed there
    /// before the next is fetched.
    pub async fn take(self, held: Held, device: &Device) -> Result<Loaded<T>> {
        let Declared { model, targets, .. } = self;
        let Held { plan, targets: theirs, sums } = held;
        let mut allocated = 0;
        let entries = plan.entries.iter().zip(theirs).zip(&sums);
        for (((entry, theirs), sums), target) in entries.zip(&targets) {
            if let Some(to) = entry.tied_to() {
                target.share(&targets[plan.position(to)]);
                continue;
            }
            let words = theirs.words(device).await?;
            let is_right = |(words, sum): (&Vec<u32>, &WordSum)| WordSum::of(words) == *sum;
            if matches!(device, Device::Gpu(_)) && !words.iter().zip(sums).all(is_right) {
                return Err(Error::device(
                    "reading weights back",
                    format!("{}: the GPU gives other words than it was given", entry.name),
                ));
            }
            let weight = theirs.of_words(&entry.shape, words);
            allocated += weight.bytes();
            target.fill(weight);
        }
        Ok(Loaded { model, plan, allocated, targets, sums })
    }
}

impl Target {
    /// What it holds, in main memory: made of the words that [`Target::words`] gave.
    pub(super) fn of_words(&self, shape: &[usize], words: Vec<Vec<u32>>) -> Weight {
        let mut words = words.into_iter();
        match self {
            Target::Matrix(slot) => Weight::Matrices(matrices(&[Matrix::clone(slot)], words)),
            Target::Matrices(slot) => Weight::Matrices(matrices(slot, words)),
            Target::Tensor(_) => {
                let values = bytemuck::cast_vec(words.next().expect("a tensor has words"));
                Weight::Tensor(Tensor::from_f32(shape, values), WordSum::default())
            }
            Target::Numbers(slot) => Weight::Numbers(slot.to_vec()),
        }
    }
}

/// Matrices of these words: the codes of all shards, and then the scales.
fn matrices(like: &[Matrix], words: impl Iterator<Item = Vec<u32>>) -> Vec<Matrix> {
    let mut codes: Vec<Vec<u32>> = words.collect();
    let scales = codes.split_off(codes.len() / 2);
    let mut parts = codes.into_iter().zip(scales).flat_map(|(codes, scales)| [codes, scales]);
    let mut next = |_: &Words| Words::Cpu(parts.next().expect("two parts for each shard"));
    like.iter().map(|matrix| matrix.of_words(&mut next)).collect()
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::{
        device::Gpu,
        load::{Declaration, Slot},
        testing::normal,
        weights::{Checkpoint, Memory},
    };
    use pollster::block_on;
    use record::{Bits, Precision};

    type Weights = (Slot<Matrix>, Slot<Tensor>);

    fn declared(checkpoint: &Checkpoint, bits: u8) -> Declared<Weights> {
        let weights = Declaration::new(checkpoint, &Precision::of(Bits::Fixed(bits)));
        let model = (weights.matrix("w", 40, 96).unwrap(), weights.vector("v", 7).unwrap());
        weights.finish(model).unwrap()
    }

    fn source() -> (Memory, Checkpoint) {
        let values = normal(3, 40 * 96 + 7).into_iter().flat_map(f32::to_le_bytes).collect();
        let source =
            Memory::new().with("list", "w 40 96\nv 7\n").with("values", Vec::<u8>::clone(&values));
        let checkpoint = block_on(Checkpoint::listed(&source, "list", "values")).unwrap();
        (source, checkpoint)
    }

    /// What comes back from a GPU is what the CPU would have packed.
    #[test]
    fn a_gpu_gives_back_what_it_was_given() {
        let device = Device::Gpu(block_on(Gpu::open(None)).expect("a GPU or lavapipe"));
        let (source, checkpoint) = source();
        for bits in [16, 8, 4, 3, 2] {
            let load = |device: &Device| {
                block_on(declared(&checkpoint, bits).load(&source, device, &|_, _| ())).unwrap()
            };
            let (model, _, held) = load(&device).split();
            drop(model);
            let back = block_on(declared(&checkpoint, bits).take(held, &device)).unwrap();
            assert!(matches!(back.model.0.shards[0].codes, Words::Cpu(_)));
            let cpu = Device::cpu();
            let [own, fetched] = [load(&cpu), back].map(|it| block_on(it.checksums(&cpu)).unwrap());
            assert_eq!(own, fetched, "{bits} bits");
        }
    }

    #[test]
    fn a_word_that_was_damaged_on_the_gpu_is_noticed() {
        let gpu = block_on(Gpu::open(None)).expect("a GPU or lavapipe");
        let device = Device::Gpu(std::rc::Rc::clone(&gpu));
        let (source, checkpoint) = source();
        for damaged in ["codes", "scales", "v"] {
            let loaded = block_on(declared(&checkpoint, 4).load(&source, &device, &|_, _| ()));
            let (model, _, held) = loaded.unwrap().split();
            let buffer = match damaged {
                "codes" => model.0.shards[0].codes.gpu(),
                "scales" => model.0.shards[0].scales.gpu(),
                _ => model.1.buffer(),
            };
            gpu.write(buffer, 4, &[0xAA; 4]);
            let error = block_on(declared(&checkpoint, 4).take(held, &device)).err().unwrap();
            assert!(error.to_string().contains("other words than it was given"), "{error}");
        }
    }
}
