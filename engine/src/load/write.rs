//! Writes an artefact: packs one entry after another, so that the largest of them is all that is held.

use super::{
    Declared, Entry, LoadPlan,
    artefact::{codes, scales, words},
    execute::Reader,
    plan::hex,
    slot::Weight,
};
use crate::{
    device::Device,
    error::{Error, Result},
    quant::{Matrix, Words},
    weights::{Source, artefact::VERSION},
};
use record::Precision;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    io::{self, Seek, SeekFrom, Write},
};

impl<T> Declared<T> {
    /// Packs the weights into `out`, an empty file, and gives the plan that was carried out. Matrices that
    /// are `made` already, by the names of their entries, are not made anew.
    /// `progress` hears the bytes read and the bytes there are.
    ///
    /// # Errors
    /// When weights cannot be read or packed, or the file, called `file`, cannot be written.
    pub async fn write(
        mut self,
        source: &dyn Source,
        mut made: BTreeMap<String, Vec<Matrix>>,
        (precision, config): (&Precision, &Value),
        file: &str,
        out: &mut (impl Write + Seek),
        progress: &dyn Fn(u64, u64),
    ) -> Result<LoadPlan> {
        if let Some(packed) = &self.artefact {
            let message = "it is packed already; pack the model that it was made of";
            return Err(Error::malformed(&packed.file, message));
        }
        self.settle(source).await?;
        let failed =
            |error: io::Error| Error::Write { file: file.into(), message: error.to_string() };
        let Declared { plan, quantiser, .. } = self;
        let mut header = Header::new(&plan, precision, config);
        // Checksums are known in the end, and as long as these.
        out.write_all(&header.bytes()).map_err(failed)?;
        let device = Device::cpu();
        let reader = Reader::new(&plan, source, progress);
        for entry in plan.entries.iter().filter(|entry| entry.tied_to().is_none()) {
            let weight = match made.remove(&entry.name) {
                Some(matrices) => Weight::Matrices(matrices),
                None => reader.make(entry, &device, quantiser).await?,
            };
            for (name, parts) in parts(entry, &weight) {
                let mut sum = Sha256::new();
                for words in parts {
                    let bytes = bytemuck::cast_slice(words);
                    sum.update(bytes);
                    out.write_all(bytes).map_err(failed)?;
                }
                header.sums.insert(name, hex(&sum.finalize()));
            }
        }
        drop(reader);
        out.seek(SeekFrom::Start(0)).map_err(failed)?;
        out.write_all(&header.bytes()).map_err(failed)?;
        out.flush().map_err(failed)?;
        Ok(plan)
    }
}

/// The tensors of an entry, each in the pieces that it was packed in.
fn parts<'a>(entry: &Entry, weight: &'a Weight) -> Vec<(String, Vec<&'a [u32]>)> {
    let name = &entry.name;
    match weight {
        Weight::Tensor(tensor, _) => {
            vec![(name.clone(), vec![bytemuck::cast_slice(tensor.f32s())])]
        }
        Weight::Numbers(numbers) => vec![(name.clone(), vec![bytemuck::cast_slice(numbers)])],
        Weight::Matrices(matrices) => {
            let shards = || matrices.iter().flat_map(|matrix: &Matrix| matrix.shards.iter());
            let mut parts = vec![(codes(name), shards().map(|s| s.codes.cpu()).collect())];
            if words(entry)[1] > 0 {
                parts.push((scales(name), shards().map(|s| Words::cpu(&s.scales)).collect()));
            }
            parts
        }
    }
}

/// A header whose length does not depend on the checksums.
struct Header {
    metadata: Map<String, Value>,
    tensors: Map<String, Value>,
    sums: BTreeMap<String, String>,
}

impl Header {
    fn new(plan: &LoadPlan, precision: &Precision, config: &Value) -> Header {
        let mut tensors = Map::new();
        let mut offset = 0;
        let mut add = |name: String, dtype: &str, shape: &[usize]| {
            let end = offset + shape.iter().product::<usize>() as u64 * 4;
            let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [offset, end]});
            tensors.insert(name, entry);
            offset = end;
        };
        for entry in plan.entries.iter().filter(|entry| entry.tied_to().is_none()) {
            let name = &entry.name;
            if !entry.is_matrix() {
                add(name.clone(), "F32", &entry.shape);
                continue;
            }
            let [row_words, scale_words] = words(entry);
            let rows = entry.matrices() * entry.rows_columns()[0];
            add(codes(name), "I32", &[rows, row_words]);
            if scale_words > 0 {
                add(scales(name), "I32", &[entry.matrices() * scale_words]);
            }
        }
        let metadata = [
            ("version", VERSION.to_owned()),
            ("precision", json!(precision).to_string()),
            ("config", config.to_string()),
            ("plan", json!(plan).to_string()),
        ];
        let unknown = "0".repeat(64);
        Header {
            sums: tensors.keys().map(|name| (name.clone(), unknown.clone())).collect(),
            metadata: metadata
                .map(|(key, text)| (format!("fewbit.{key}"), Value::String(text)))
                .into_iter()
                .collect(),
            tensors,
        }
    }

    /// The beginning of the file. Spaces behind the header keep all tensors at whole words.
    fn bytes(&self) -> Vec<u8> {
        let mut metadata = self.metadata.clone();
        metadata.insert("fewbit.sha256".to_owned(), json!(json!(self.sums).to_string()));
        let mut header = Map::from_iter([("__metadata__".to_owned(), Value::Object(metadata))]);
        header.extend(self.tensors.clone());
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        [&(header.len() as u64).to_le_bytes()[..], &header].concat()
    }
}
