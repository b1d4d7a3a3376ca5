//! Fewer bits for weights that a device holds: matrices whose format changes are chosen anew from the codes that are
//! there, all others stay where they are, and no file is read.

use super::{
    Declared, Entry, Held, Loaded, PrecisionPlan,
    slot::{Target, Weight},
};
use crate::{
    device::Device,
    error::Result,
    quant::{CHUNK, Matrix, MatrixBuilder, RoundToNearest},
    threads,
};
use record::Quantizer;

impl<T> Declared<T> {
    /// Fills the slots of the same model with what `device` holds, in other formats. Each matrix that becomes another
    /// is freed there before the next one is fetched.
    pub async fn lower(
        self,
        held: Held,
        formats: &PrecisionPlan,
        device: &Device,
    ) -> Result<Loaded<T>> {
        let Held { plan: before, targets: theirs, sums } = held;
        // Not the plan that was declared, as that does not know yet which matrices are the same.
        let declared = Declared { plan: before.clone(), ..self }.mixed(formats, Quantizer::Rtn)?;
        let Declared { model, plan, targets, .. } = declared;
        let (mut allocated, mut all_sums) = (0, Vec::new());
        let entries = plan.entries.iter().zip(&before.entries).zip(theirs).zip(sums);
        for ((((entry, before), theirs), sums), target) in entries.zip(&targets) {
            if let Some(to) = entry.tied_to() {
                target.share(&targets[plan.position(to)]);
                all_sums.push(Vec::new());
                continue;
            }
            let weight = match entry.format == before.format {
                true => theirs.kept(),
                false => {
                    let words = theirs.words(device).await?;
                    let Weight::Matrices(wide) = theirs.of_words(&before.shape, words) else {
                        unreachable!("only matrices have formats to choose from")
                    };
                    drop(theirs);
                    Weight::Matrices(narrowed(entry, &wide, device)?)
                }
            };
            allocated += weight.bytes();
            all_sums.push(if entry.format == before.format { sums } else { weight.sums() });
            target.fill(weight);
        }
        Ok(Loaded { model, plan, allocated, targets, sums: all_sums })
    }
}

/// The matrices of an entry in its format, rounded to nearest from what is in main memory.
fn narrowed(entry: &Entry, wide: &[Matrix], device: &Device) -> Result<Vec<Matrix>> {
    let one = |wide: &Matrix| {
        let [rows, columns] = wide.shape();
        let mut builder = MatrixBuilder::new(device, &entry.name, rows, columns, entry.format);
        let (view, width) = (wide.view(), wide.chunks() * CHUNK);
        let mut row = 0;
        while row < rows {
            let piece = builder.piece_rows();
            let mut values = vec![0.0; piece * width];
            threads::rows(&mut values, width, 4 * width, |first, rows| {
                for (at, values) in rows.chunks_exact_mut(width).enumerate() {
                    view.dequantise_row(row + first + at, values);
                }
            });
            if width > columns {
                let rows = values.chunks_exact(width);
                values = rows.flat_map(|row| &row[..columns]).copied().collect();
            }
            builder.push_f32(&values, &RoundToNearest)?;
            row += piece;
        }
        Ok(builder.finish())
    };
    wide.iter().map(one).collect()
}

impl Target {
    /// What it holds, shared and not copied.
    fn kept(&self) -> Weight {
        match self {
            Target::Matrix(slot) => Weight::Matrices(vec![Matrix::clone(slot)]),
            Target::Matrices(slot) => Weight::Matrices(slot.to_vec()),
            Target::Tensor(slot) => Weight::Tensor((**slot).clone(), Default::default()),
            Target::Numbers(slot) => Weight::Numbers(slot.to_vec()),
        }
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use crate::{
        device::{Device, Gpu},
        load::{Declaration, Declared, Slot},
        quant::Matrix,
        tensor::Tensor,
        testing::normal,
        weights::{Checkpoint, Memory},
    };
    use pollster::block_on;
    use record::{MemoryLimit, Precision};

    type Weights = (Vec<Slot<Matrix>>, Slot<Matrix>, Slot<Tensor>);

    const NAMES: [&str; 4] = ["embed", "layers.0.fc", "layers.1.fc", "layers.2.fc"];

    fn source() -> (Memory, Checkpoint) {
        let list: String = NAMES.iter().map(|name| format!("{name} 40 96\n")).collect();
        let numbers = normal(3, NAMES.len() * 40 * 96 + 7);
        let values: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        let source = Memory::new().with("list", list + "v 7\n").with("values", values);
        let checkpoint = block_on(Checkpoint::listed(&source, "list", "values")).unwrap();
        (source, checkpoint)
    }

    fn declared(checkpoint: &Checkpoint, precision: &Precision) -> Declared<Weights> {
        let weights = Declaration::new(checkpoint, precision);
        let all: Vec<_> = NAMES.iter().map(|name| weights.matrix(name, 40, 96).unwrap()).collect();
        let tied = weights.tied("head", NAMES[0], &all[0]).unwrap();
        let vector = weights.vector("v", 7).unwrap();
        weights.finish((all, tied, vector)).unwrap()
    }

    /// What is lowered is what the codes before would be rounded to, and all else the very words that were there.
    #[test]
    fn matrices_that_change_are_rounded_anew_and_others_stay() {
        let gpu = Device::Gpu(block_on(Gpu::open(None)).expect("a GPU or lavapipe"));
        let (source, checkpoint) = source();
        let precision: Precision = "adaptive".parse().unwrap();
        let mut results = Vec::new();
        for device in [Device::cpu(), gpu] {
            let model = declared(&checkpoint, &precision);
            let limit = MemoryLimit { bytes: model.plan().bytes() - 3000 };
            let loaded = block_on(model.load(&source, &device, &|_, _| ())).unwrap();
            let before = block_on(loaded.checksums(&device)).unwrap();
            let (model, plan, held) = loaded.split();
            drop(model);
            let formats = plan.smaller(limit.bytes, &precision).unwrap();
            let target = declared(&checkpoint, &precision);
            let lowered = block_on(target.lower(held, &formats, &device)).unwrap();
            assert!(lowered.allocated <= limit.bytes);
            assert_eq!(lowered.allocated, lowered.plan.bytes());
            assert_eq!(lowered.model.0[0].id(), lowered.model.1.id(), "tied");
            let after = block_on(lowered.checksums(&device)).unwrap();
            let whole = declared(&checkpoint, &precision);
            for (entry, was) in lowered.plan.entries.iter().zip(&whole.plan().entries) {
                if entry.tied_to().is_none() {
                    let stays = entry.format == was.format;
                    assert_eq!(before[&entry.name] == after[&entry.name], stays, "{}", entry.name);
                }
            }
            assert!(before != after);
            // It is still a model whose weights can be taken back.
            let (model, _, held) = lowered.split();
            drop(model);
            let back = declared(&checkpoint, &precision);
            let back = block_on(back.take(held, &device)).unwrap();
            assert_eq!(block_on(back.checksums(&Device::cpu())).unwrap(), after);
            results.push(after);
        }
        assert_eq!(results[0], results[1], "on either device");
    }
}
