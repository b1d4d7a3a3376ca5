//! A case folder: what to compute and what should come out.

use crate::{
    error::{Error, Result},
    generation_config::GenerationConfig,
    models::{Config, Inputs},
    synthetic::{self, Described, VALUES},
    weights::{Checkpoint, Source},
};
use record::Class;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Largest JSON file that is read whole.
const MAX_JSON_BYTES: u64 = 64 << 20;

/// A case, its weights apart.
pub(crate) struct Case {
    pub class: Class,
    pub config: Config,
    pub checkpoint: Checkpoint,
    /// Where the weights are computed, if no file holds them.
    pub synthetic: Option<synthetic::Weights>,
    pub inputs: Inputs,
    pub expected: Expected,
    pub generation: GenerationConfig,
}

/// What the f32 model gives, as somebody else computed it.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// By the names of Hugging Face's output fields.
    pub outputs: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Sequences of greedy generation, prompts included.
    pub generated: Vec<Vec<u32>>,
}

/// `case.json`.
#[derive(Deserialize)]
struct Manifest {
    class: Class,
    inputs: Given,
    #[serde(default)]
    expected: Option<String>,
    #[serde(default)]
    weights: Option<Seeded>,
}

/// Inputs: the name of a file, or what each of them is like.
#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    File(String),
    Described(BTreeMap<String, Described>),
}

/// Weights that no file holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Seeded {
    /// The list of their names and shapes.
    tensors: String,
    seed: u64,
}

impl Case {
    pub(crate) async fn open(source: &dyn Source, files: &[String]) -> Result<Case> {
        let manifest = json(source, "case.json").await?;
        let manifest: Manifest = serde_json::from_value(manifest)
            .map_err(|error| Error::malformed("case.json", error.to_string()))?;
        let (checkpoint, synthetic) = match &manifest.weights {
            Some(Seeded { tensors, seed }) => {
                let checkpoint = Checkpoint::listed(source, tensors, VALUES).await?;
                let weights = synthetic::Weights::new(*seed, &checkpoint);
                (checkpoint, Some(weights))
            }
            None => (Checkpoint::open(source, &manifest.weights_among(files)).await?, None),
        };
        let config = match (source.size("config.json"), &checkpoint.config) {
            (Some(_), _) => json(source, "config.json").await?,
            (None, Some(config)) => config.clone(),
            (None, None) => {
                let message = "is not there, and the weights carry no configuration".to_owned();
                return Err(Error::Read { file: "config.json".to_owned(), message });
            }
        };
        let inputs = match &manifest.inputs {
            Given::File(file) => read_inputs(source, file).await?,
            Given::Described(described) => {
                let seed = manifest.weights.as_ref().map_or(0, |weights| weights.seed);
                synthetic::inputs(seed, described)?
            }
        };
        let expected = match &manifest.expected {
            Some(file) => read_expected(source, file).await?,
            None => Expected::default(),
        };
        let config = Config::new(config)?;
        let generation = GenerationConfig::read(source, &config).await?;
        Ok(Case {
            class: manifest.class,
            config,
            checkpoint,
            synthetic,
            inputs,
            expected,
            generation,
        })
    }

    /// Where the weights are read: in the case's files, unless they are computed.
    pub(crate) fn weights<'a>(&'a self, files: &'a dyn Source) -> &'a dyn Source {
        self.synthetic.as_ref().map_or(files, |weights| weights)
    }
}

impl Manifest {
    /// The files of a case that may hold weights.
    fn weights_among(&self, files: &[String]) -> Vec<String> {
        let is_weights = |file: &&String| {
            Some(*file) != self.expected.as_ref()
                && !matches!(&self.inputs, Given::File(inputs) if inputs == *file)
        };
        files.iter().filter(is_weights).cloned().collect()
    }
}

/// A JSON file that must be there.
pub(crate) async fn json(source: &dyn Source, file: &str) -> Result<serde_json::Value> {
    let bytes = match source.size(file) {
        Some(bytes) if bytes <= MAX_JSON_BYTES => source.read(file, 0..bytes).await?,
        Some(bytes) => return Err(Error::malformed(file, format!("{bytes} bytes are too many"))),
        None => {
            let message = "is not in the case folder".to_owned();
            return Err(Error::Read { file: file.to_owned(), message });
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| Error::malformed(file, error.to_string()))
}

async fn read_inputs(source: &dyn Source, file: &str) -> Result<Inputs> {
    let table = Checkpoint::safetensors(source, &[file.to_owned()]).await?;
    let mut inputs = Inputs::default();
    for (name, info) in &table.tensors {
        let shape = info.shape.clone();
        if info.dtype.is_integer() {
            let values = table.tensor_i64(source, name).await?;
            inputs.ints.insert(name.clone(), (shape, values));
        } else {
            let values = table.tensor_f32(source, name).await?;
            inputs.floats.insert(name.clone(), (shape, values));
        }
    }
    Ok(inputs)
}

async fn read_expected(source: &dyn Source, file: &str) -> Result<Expected> {
    let table = Checkpoint::safetensors(source, &[file.to_owned()]).await?;
    let mut expected = Expected::default();
    for (name, info) in &table.tensors {
        if name == "generated_ids" {
            let [_, tokens] = info.shape[..] else {
                return Err(Error::tensor(name, format!("has shape {:?}", info.shape)));
            };
            let ids = table.tensor_i64(source, name).await?;
            let id = |&id: &i64| {
                u32::try_from(id).map_err(|_| Error::tensor(name, format!("holds {id}, no token")))
            };
            let ids = ids.iter().map(id).collect::<Result<Vec<u32>>>()?;
            expected.generated = ids.chunks(tokens.max(1)).map(<[u32]>::to_vec).collect();
        } else {
            let values = table.tensor_f32(source, name).await?;
            expected.outputs.insert(name.clone(), (info.shape.clone(), values));
        }
    }
    Ok(expected)
}
