//! One model's tensors, whatever files they are in.

use super::{
    MAX_TENSORS, Source, TensorInfo,
    artefact::{Artefact, Opened},
    gguf, list, quantised, safetensors,
};
use crate::error::{Error, Result};
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// Files of a case that hold inputs and outputs, not weights.
const NOT_WEIGHTS: [&str; 2] = ["inputs.safetensors", "expected.safetensors"];

/// One model's tensors. Opening reads headers only; rows are read from the same source later.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// The tensors by name.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// What Hugging Face's `config.json` would say, where the file is a GGUF, or says, where it is an
    /// artefact.
    pub config: Option<serde_json::Value>,
    /// The key-value pairs, where the file is a GGUF; its tokenizer is in them.
    pub metadata: Option<gguf::Metadata>,
    /// Its packed weights, where the file is an artefact: the tensors are those of the checkpoint that
    /// it was made of, and cannot be read.
    pub artefact: Option<Arc<Artefact>>,
}

impl Checkpoint {
    /// Opens the checkpoint among `files`: `model.safetensors`, else the shards that
    /// `model.safetensors.index.json` names, else the only `.gguf` or other `.safetensors`.
    ///
    /// Layers that somebody has quantised, as `config.json` says, have one weight like all others.
    ///
    /// # Errors
    /// When there is none or more than one, its files are malformed, or weights are quantised in a way
    /// that nobody here knows.
    pub async fn open(source: &dyn Source, files: &[String]) -> Result<Checkpoint> {
        let quantised = quantised::Config::read(source, files).await?;
        let mut checkpoint = Checkpoint::among(source, files).await?;
        quantised::join(source, &mut checkpoint.tensors, quantised.as_ref()).await?;
        Ok(checkpoint)
    }

    async fn among(source: &dyn Source, files: &[String]) -> Result<Checkpoint> {
        let has = |name: &str| files.iter().any(|file| file == name);
        if has("model.safetensors") {
            return Checkpoint::safetensors(source, &["model.safetensors".into()]).await;
        }
        if has("model.safetensors.index.json") {
            return sharded(source, "model.safetensors.index.json").await;
        }
        let weights = |file: &&String| {
            let other = files.len() > 1 && NOT_WEIGHTS.contains(&file.as_str());
            (file.ends_with(".gguf") || file.ends_with(".safetensors")) && !other
        };
        match files.iter().filter(weights).collect::<Vec<_>>()[..] {
            [file] if file.ends_with(".gguf") => Checkpoint::gguf(source, file).await,
            [file] => Checkpoint::safetensors(source, std::slice::from_ref(file)).await,
            [] => Err(Error::Read {
                file: "model.safetensors".into(),
                message: "the folder has no *.safetensors and no *.gguf; put one there".into(),
            }),
            ref many => Err(Error::Read {
                file: "model.safetensors".into(),
                message: format!(
                    "the folder has {many:?}; leave one, or name it model.safetensors"
                ),
            }),
        }
    }

    /// Opens one GGUF file.
    ///
    /// # Errors
    /// When it is malformed, or of an architecture that has no class here.
    pub async fn gguf(source: &dyn Source, file: &str) -> Result<Checkpoint> {
        let mut header = gguf::read(source, file).await?;
        let factors = match gguf::take_rope_factors(&mut header)? {
            Some(info) => info.f32s(source).await?,
            None => Vec::new(),
        };
        let (header, config) = gguf::translate(header, &factors)?;
        let mut tensors = BTreeMap::new();
        join(&mut tensors, header.tensors)?;
        let metadata = Some(header.metadata);
        Ok(Checkpoint { tensors, config: Some(config), metadata, artefact: None })
    }

    /// Opens safetensors files as one checkpoint.
    ///
    /// # Errors
    /// When one is malformed, or two hold a tensor of the same name.
    pub async fn safetensors(source: &dyn Source, files: &[String]) -> Result<Checkpoint> {
        let mut tensors = BTreeMap::new();
        for file in files {
            let header = safetensors::read(source, file).await?;
            if header.metadata.version.is_some() {
                return Checkpoint::packed(file, header, files.len());
            }
            join(&mut tensors, header.tensors)?;
        }
        Ok(Checkpoint { tensors, ..Checkpoint::default() })
    }

    /// The checkpoint that an artefact was made of.
    fn packed(file: &str, header: safetensors::Header, files: usize) -> Result<Checkpoint> {
        if files > 1 {
            let message = "it is an artefact, which is a model of its own and no part of one";
            return Err(Error::malformed(file, message));
        }
        let Opened { artefact, config, tensors } =
            Artefact::open(file, header.metadata, header.tensors)?;
        let artefact = Some(Arc::new(artefact));
        Ok(Checkpoint { tensors, config: Some(config), metadata: None, artefact })
    }

    /// Opens a list of names and shapes, whose values are f32 in the file `values` of whatever
    /// source rows are read from later.
    ///
    /// # Errors
    /// When it is malformed.
    pub async fn listed(source: &dyn Source, file: &str, values: &str) -> Result<Checkpoint> {
        let mut tensors = BTreeMap::new();
        join(&mut tensors, list::read(source, file, values).await?)?;
        Ok(Checkpoint { tensors, ..Checkpoint::default() })
    }

    /// The entry of a tensor.
    ///
    /// # Errors
    /// When there is no tensor of this name.
    pub fn info(&self, name: &str) -> Result<&TensorInfo> {
        self.tensors
            .get(name)
            .ok_or_else(|| Error::tensor(name, "is missing; does the config fit this checkpoint?"))
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Stored bytes of consecutive rows of the first axis, in the order of Hugging Face's rows. For
    /// quantised types these are blocks as [`super::blocks`] describes them.
    ///
    /// # Errors
    /// When the rows do not exist or cannot be read, or hold a NaN or an infinity.
    pub async fn rows(
        &self,
        source: &dyn Source,
        name: &str,
        rows: Range<usize>,
    ) -> Result<Vec<u8>> {
        self.info(name)?.read(source, rows).await
    }

    /// Consecutive rows as f32; at most one piece of some MB is held beside the result.
    ///
    /// # Errors
    /// As [`Checkpoint::rows`], and when the tensor holds integers.
    pub async fn rows_f32(
        &self,
        source: &dyn Source,
        name: &str,
        rows: Range<usize>,
    ) -> Result<Vec<f32>> {
        self.info(name)?.read_f32(source, rows).await
    }

    /// The whole tensor as f32.
    ///
    /// # Errors
    /// As [`Checkpoint::rows_f32`].
    pub async fn tensor_f32(&self, source: &dyn Source, name: &str) -> Result<Vec<f32>> {
        self.info(name)?.f32s(source).await
    }

    /// The whole tensor as integers, booleans as 0 and 1.
    ///
    /// # Errors
    /// When it cannot be read, or does not hold integers or booleans.
    pub async fn tensor_i64(&self, source: &dyn Source, name: &str) -> Result<Vec<i64>> {
        self.info(name)?.i64s(source).await
    }
}

/// Opens the shards that an index names.
async fn sharded(source: &dyn Source, index: &str) -> Result<Checkpoint> {
    let map = safetensors::read_index(source, index).await?;
    let mut shards: Vec<String> = map.values().map(|shard| shard.to_string()).collect();
    shards.sort();
    shards.dedup();
    let checkpoint = Checkpoint::safetensors(source, &shards).await?;
    for (name, shard) in &map {
        if checkpoint.tensors.get(name).is_none_or(|info| info.file() != &**shard) {
            let message = format!("tensor {name}: is not in {shard}");
            return Err(Error::malformed(index, message));
        }
    }
    Ok(checkpoint)
}

/// Adds one file's tensors to the table.
fn join(table: &mut BTreeMap<String, TensorInfo>, tensors: Vec<TensorInfo>) -> Result<()> {
    for info in tensors {
        let refuse = |message: String| Err(Error::malformed(info.file(), message));
        if let Some(other) = table.get(&info.name) {
            return refuse(format!("tensor {}: is also in {}", info.name, other.file()));
        }
        if table.len() == MAX_TENSORS {
            return refuse(format!("more than {MAX_TENSORS} tensors with the files before it"));
        }
        table.insert(info.name.clone(), info);
    }
    Ok(())
}
