//! A plan with its bytes: reads weights from an artefact, and writes one.
//! [`crate::weights::artefact`] describes the file.

use super::{Entry, LoadPlan, Place, Step, plan::hex, slot::Weight};
use crate::{
    device::Device,
    error::{Error, Result},
    quant::{Format, MatrixBuilder, PackedRows},
    weights::{Artefact, Dtype, Source, TensorInfo},
};
use record::{Mix, Quantizer};
use sha2::{Digest, Sha256};
use std::{cell::Cell, collections::BTreeMap, ops::Range};

/// The name of the tensor with an entry's codes.
pub(super) fn codes(name: &str) -> String {
    format!("{name}.codes")
}

/// The name of the tensor with an entry's scales.
pub(super) fn scales(name: &str) -> String {
    format!("{name}.scales")
}

/// Words of the codes of a row, and of the scales of a matrix.
pub(super) fn words(entry: &Entry) -> [usize; 2] {
    let [rows, columns] = entry.rows_columns();
    let Entry { format, layout, .. } = *entry;
    let chunks = columns.div_ceil(crate::quant::CHUNK);
    [layout.code_words(format, chunks), layout.scale_words(format, format.groups(chunks) * rows)]
}

/// Gives a plan that was declared the formats of an artefact whose widths are mixed.
pub(super) fn mix(
    plan: &mut LoadPlan,
    artefact: &Artefact,
    (asked, quantizer): (&Mix, Quantizer),
) -> Result<()> {
    let Artefact { file, precision, .. } = artefact;
    // Whoever asks for no mix in particular takes what is there.
    let is_asked = *asked == Mix::default() || precision.mix().as_ref() == Some(asked);
    if precision.mix().is_none() || !is_asked || precision.quantizer != quantizer {
        let message = format!(
            "its weights are packed for {precision}, and adaptive by {asked} with {quantizer} is asked for"
        );
        return Err(Error::malformed(file, message));
    }
    let packed: BTreeMap<String, Format> =
        entries(artefact)?.into_iter().map(|entry| (entry.name, entry.format)).collect();
    // What is missing there is told by name when the plans are compared.
    plan.mix(precision.quantizer, |entry| {
        Ok(packed.get(&entry.name).copied().unwrap_or(entry.format))
    })
}

/// The entries of an artefact's own plan.
fn entries(artefact: &Artefact) -> Result<Vec<Entry>> {
    let plan: LoadPlan = serde_json::from_str(&artefact.plan)
        .map_err(|error| Error::malformed(&artefact.file, format!("fewbit.plan: {error}")))?;
    Ok(plan.entries)
}

/// Holds a plan that was declared to an artefact's own, and settles by it which matrices are tied.
pub(super) fn settle(plan: &mut LoadPlan, artefact: &Artefact) -> Result<()> {
    let file = &artefact.file;
    let packed = entries(artefact)?;
    for (at, entry) in plan.entries.iter_mut().enumerate() {
        let name = entry.name.clone();
        let wrong = |message: String| Err(Error::tensor(&name, message));
        let Some(found) = packed.get(at).filter(|found| found.name == entry.name) else {
            return wrong(format!("is not where it should be in {file}; pack it again"));
        };
        if let Some(Step::TiedIfEqual { .. }) = entry.steps.first() {
            let differs = |step: &Step| matches!(step, Step::TiedIfEqual { .. });
            match found.tied_to() {
                Some(_) => entry.tie(),
                None if !found.steps.iter().any(differs) => entry.untie(),
                None => return wrong(format!("is undecided in {file}; pack it again")),
            }
        }
        if found.format != entry.format {
            return wrong(format!(
                "is packed as {} in {file}, and {} is asked for; it was packed for {}",
                found.format, entry.format, artefact.precision
            ));
        }
        if found != entry {
            return wrong(format!("is packed as something else in {file}; pack it again"));
        }
    }
    match packed.get(plan.entries.len()) {
        Some(more) => Err(Error::tensor(&more.name, format!("of {file} is unknown to this class"))),
        None => Ok(()),
    }
}

/// Reads entries from an artefact.
pub(super) struct PackedReader<'a> {
    pub(super) artefact: &'a Artefact,
    pub(super) source: &'a dyn Source,
    pub(super) progress: &'a dyn Fn(u64, u64),
    pub(super) done: Cell<u64>,
    pub(super) total: u64,
}

impl PackedReader<'_> {
    /// What an entry was packed as.
    pub(super) async fn make(&self, entry: &Entry, device: &Device) -> Result<Weight> {
        let name = &entry.name;
        if !entry.is_matrix() {
            let mut tensor = self.open(name, Dtype::F32, &entry.shape)?;
            let values = tensor.words(0..tensor.info.rows()).await?;
            tensor.close(name)?;
            let values = bytemuck::cast_vec(values);
            return Ok(match entry.place {
                Place::Device => Weight::kept(device, &entry.shape, values),
                Place::Host => Weight::Numbers(values),
            });
        }
        let [rows, columns] = entry.rows_columns();
        let [row_words, scale_words] = words(entry);
        let mut codes =
            self.open(&codes(name), Dtype::I32, &[entry.matrices() * rows, row_words])?;
        let mut scales = match scale_words {
            0 => None,
            count => Some(self.open(&scales(name), Dtype::I32, &[entry.matrices() * count])?),
        };
        let groups = entry.format.groups(columns.div_ceil(crate::quant::CHUNK));
        let mut matrices = Vec::new();
        for group in 0..entry.matrices() {
            let scales = match &mut scales {
                Some(scales) => {
                    scales.words(group * scale_words..(group + 1) * scale_words).await?
                }
                None => Vec::new(),
            };
            let mut builder = MatrixBuilder::new(device, name, rows, columns, entry.format);
            let mut row = 0;
            while row < rows {
                let end = row + builder.piece_rows();
                let groups = groups * row..groups * end;
                builder.push(&PackedRows {
                    codes: codes.words(group * rows + row..group * rows + end).await?,
                    scales: entry.layout.scales_of(entry.format, &scales, groups),
                });
                row = end;
            }
            matrices.push(builder.finish());
        }
        codes.close(name)?;
        scales.map_or(Ok(()), |scales| scales.close(name))?;
        Ok(Weight::Matrices(matrices))
    }

    fn open(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Checked<'_>> {
        let (info, sum) = self.artefact.tensor(name, dtype, shape)?;
        Ok(Checked { reader: self, info, sum, seen: Sha256::new() })
    }
}

/// A tensor of an artefact that is read from its beginning to its end, and then compared with its
/// checksum.
struct Checked<'a> {
    reader: &'a PackedReader<'a>,
    info: &'a TensorInfo,
    sum: &'a str,
    seen: Sha256,
}

impl Checked<'_> {
    async fn words(&mut self, rows: Range<usize>) -> Result<Vec<u32>> {
        let PackedReader { source, progress, done, total, .. } = self.reader;
        let bytes = self.info.read(*source, rows).await?;
        self.seen.update(&bytes);
        done.set(done.get() + bytes.len() as u64);
        progress(done.get().min(*total), *total);
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    fn close(self, name: &str) -> Result<()> {
        match hex(&self.seen.finalize()) == self.sum {
            true => Ok(()),
            false => {
                let file = &self.reader.artefact.file;
                let message =
                    format!("is damaged in {file}: its checksum is another; pack it again");
                Err(Error::tensor(name, message))
            }
        }
    }
}
