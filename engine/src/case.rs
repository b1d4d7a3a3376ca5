//! A case folder: what to compute and what should come out.

use crate::{
    error::{Error, Result},
    published::{Inputs, Published, json},
    synthetic,
    weights::{Checkpoint, Source},
};
use record::{CaseInputs, CaseManifest, Reference, SeededWeights};
use std::collections::BTreeMap;

/// A case, its weights apart.
pub(crate) struct Case {
    pub published: Published,
    /// Where the weights are computed, if no file holds them.
    pub synthetic: Option<synthetic::Weights>,
    pub inputs: Inputs,
    /// Whether those are seeded numbers.
    pub synthetic_inputs: bool,
    /// Tokens that are generated of each prompt, where that is asked for.
    pub new_tokens: Option<usize>,
    pub expected: Expected,
    /// The file with labelled samples, if there is one.
    pub samples: Option<String>,
}

/// What the f32 model gives, as somebody else computed it.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// Whose it is; none where nothing is expected.
    pub reference: Option<Reference>,
    /// By the names of Hugging Face's output fields.
    pub outputs: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Sequences of greedy generation, prompts included.
    pub generated: Vec<Vec<u32>>,
}

impl Case {
    pub(crate) async fn open(source: &dyn Source, files: &[String]) -> Result<Case> {
        let malformed = |problem: String| Error::malformed("case.json", problem);
        let manifest: CaseManifest = serde_json::from_value(json(source, "case.json").await?)
            .map_err(|error| malformed(error.to_string()))?;
        if let Some(problem) = manifest.problem() {
            return Err(malformed(problem.to_owned()));
        }
        let (checkpoint, synthetic) = match &manifest.weights {
            Some(SeededWeights { tensors, seed }) => {
                let checkpoint = Checkpoint::listed(source, tensors, synthetic::VALUES).await?;
                let weights = synthetic::Weights::new(*seed, &checkpoint);
                (checkpoint, Some(weights))
            }
            None => {
                let named = manifest.files();
                let is_weights = |file: &&String| named.iter().all(|(_, name)| name != file);
                let files: Vec<String> = files.iter().filter(is_weights).cloned().collect();
                (Checkpoint::open(source, &files).await?, None)
            }
        };
        let published = Published::of(checkpoint, source).await?;
        if published.class != manifest.class {
            let (class, name) = (published.class, published.config.architecture()?);
            let problem = format!("it says {}, and {name} is of the class {class}", manifest.class);
            return Err(malformed(problem));
        }
        let inputs = match &manifest.inputs {
            CaseInputs::File(file) => read_inputs(source, file).await?,
            CaseInputs::Seeded(inputs) => {
                let seed = manifest.weights.as_ref().map_or(0, |weights| weights.seed);
                synthetic::inputs(seed, inputs)?
            }
        };
        let mut expected = match &manifest.expected {
            Some(file) => read_expected(source, file).await?,
            None => Expected::default(),
        };
        expected.reference = manifest.reference();
        let synthetic_inputs = matches!(manifest.inputs, CaseInputs::Seeded(_));
        let samples = manifest.samples;
        let new_tokens = None;
        Ok(Case { published, synthetic, inputs, synthetic_inputs, new_tokens, expected, samples })
    }

    /// Where the weights are read: in the case's files, unless they are computed.
    pub(crate) fn weights<'a>(&'a self, files: &'a dyn Source) -> &'a dyn Source {
        self.synthetic.as_ref().map_or(files, |weights| weights)
    }
}

pub(crate) async fn read_inputs(source: &dyn Source, file: &str) -> Result<Inputs> {
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
