//! A case made of a model as it was published: inputs for it, and what is to be expected of them.
//!
//! What a model should give is best told by others: transformers. Where nobody has computed that, the
//! exact path of this engine stands in, with weights and products in f32, and every figure that comes
//! of it says so. It shows what a width costs, and not that the engine is right.

use crate::{
    case::read_inputs,
    device::Device,
    error::{Error, Result},
    generate::{Options, generate, prompts, stop_tokens},
    load::Declared,
    models::{self, Decoder, Model},
    ops::Sampling,
    preprocess::{Given, Processor, taken},
    published::{Inputs, Published, seeded},
    synthetic,
    weights::{Folder, Source},
};
use pollster::block_on;
use record::{Bits, Class, Precision, Question, Reference, SeededInput};
use std::{collections::BTreeMap, path::Path, time::Instant};

/// Room that is left beside the weights: activations, outputs, and all else that runs here.
const BESIDE_WEIGHTS: u64 = 1 << 30;

/// Tokens that are generated of each text.
const NEW_TOKENS: usize = 16;

/// A model in a folder of this machine.
#[derive(Debug)]
pub struct LocalModel {
    source: Folder,
    published: Published,
}

/// What the model gives.
#[derive(Debug)]
pub struct Computed {
    /// With which weights it was computed.
    pub by: Reference,
    /// Shapes and values by the names of Hugging Face's output fields.
    pub outputs: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// A sequence of greedy generation for each prompt, which it begins with; all are as long as the
    /// shortest. None where nothing is generated.
    pub generated: Vec<Vec<u32>>,
}

impl LocalModel {
    /// Opens the model among the files of a folder.
    ///
    /// # Errors
    /// When a file is missing or malformed, or no class loads the model.
    pub fn open(folder: &Path, files: &[String]) -> Result<LocalModel> {
        let source = Folder::new(folder);
        let published = block_on(Published::open(&source, files))?;
        Ok(LocalModel { source, published })
    }

    /// The class that loads it.
    pub fn class(&self) -> Class {
        self.published.class
    }

    /// The kinds of things that it takes, as [`crate::preprocess::taken`] names them: half of a CLIP
    /// takes half of them.
    pub fn takes(&self) -> Vec<&'static str> {
        let name = self.published.config.architecture().unwrap_or_default();
        let half = match name {
            "CLIPVisionModel" | "CLIPVisionModelWithProjection" | "CLIPForImageClassification" => {
                Some("images")
            }
            "CLIPTextModel" | "CLIPTextModelWithProjection" => Some("texts"),
            _ => None,
        };
        half.map_or_else(|| taken(self.class()).to_vec(), |half| vec![half])
    }

    /// The inputs that its own tokenizer and processor make of a question whose files are in
    /// `folder`. Where a class reads images among words and no text says where, they go first.
    ///
    /// # Errors
    /// When a file cannot be read, or the model does not take what is given.
    pub fn prepared(&self, question: &Question, folder: &Path) -> Result<Inputs> {
        let processor = block_on(Processor::of(&self.published, &self.source))?;
        let mut given = block_on(Given::read(self.class(), question, &Folder::new(folder)))?;
        if let (Some(token), Some(first)) = (processor.image_token(), given.texts.first())
            && given.texts.iter().all(|text| !text.contains(token))
        {
            given.texts[0] = format!("{}{first}", token.repeat(given.images.len()));
        }
        processor.inputs(&given)
    }

    /// Whether the files are there that say how such a question is prepared. Without them the defaults
    /// of a class would stand in, and need not fit the model.
    pub fn can_prepare(&self, question: &Question) -> bool {
        let has = |file: &str| self.source.size(file).is_some();
        let metadata = self.published.checkpoint.metadata.as_ref();
        let has_tokenizer = has("tokenizer.json")
            || metadata.is_some_and(|metadata| metadata.get("tokenizer.ggml.tokens").is_some());
        let says_how = has("preprocessor_config.json") || has("processor_config.json");
        let has_media = !question.images.is_empty() || !question.audio.is_empty();
        (question.texts.is_empty() || has_tokenizer) && (!has_media || says_how)
    }

    /// Inputs that need no such files: seeded numbers in the shapes that the configuration gives.
    ///
    /// # Errors
    /// When a field of the configuration that a shape depends on is wrong.
    pub fn seeded(&self) -> Result<BTreeMap<String, SeededInput>> {
        seeded::inputs(&self.published)
    }

    /// What the model gives for its inputs, in f32 where `memory` bytes hold such weights, and with
    /// weights in f16 where they do not. `progress` hears how many bytes of how many are loaded.
    ///
    /// # Errors
    /// When there is no room, or the model does not load or does not take the inputs.
    pub fn reference(
        &self,
        inputs: &Inputs,
        memory: u64,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Computed> {
        block_on(self.compute(inputs, memory, progress))
    }

    async fn compute(
        &self,
        inputs: &Inputs,
        memory: u64,
        progress: &dyn Fn(u64, u64),
    ) -> Result<Computed> {
        let (by, precision) = self.fitting(memory)?;
        let device = Device::reference();
        let mut declared = self.declared(&precision)?;
        // Matrices that the file has twice are loaded twice where they differ.
        declared.settle(&self.source).await?;
        let model = declared.load(&self.source, &device, progress).await?.model;
        let (names, tensors): (Vec<_>, Vec<_>) =
            model.forward(&device, inputs)?.into_iter().unzip();
        let shapes: Vec<_> = tensors.iter().map(|tensor| tensor.shape().to_vec()).collect();
        let shaped = shapes.into_iter().zip(device.take(tensors).await?);
        let outputs = names.iter().map(|name| (*name).to_owned()).zip(shaped).collect();
        let generated = match model.decoder() {
            Some(decoder) => self.generated(&device, decoder, inputs).await?,
            None => Vec::new(),
        };
        Ok(Computed { by, outputs, generated })
    }

    fn declared(&self, precision: &Precision) -> Result<Declared<Box<dyn Model>>> {
        let Published { class, config, checkpoint, .. } = &self.published;
        models::declare(*class, config, checkpoint, precision)
    }

    /// The most exact weights that there is room for.
    fn fitting(&self, memory: u64) -> Result<(Reference, Precision)> {
        let mut least = 0;
        for (by, bits) in [(Reference::EngineF32, 32), (Reference::EngineF16, 16)] {
            let precision = Precision::of(Bits::Fixed(bits));
            least = self.declared(&precision)?.plan().bytes();
            if least.saturating_add(BESIDE_WEIGHTS) <= memory {
                return Ok((by, precision));
            }
        }
        Err(Error::unsupported(format!(
            "the weights take {least} bytes at 16 bits, and this machine has {memory} free: its \
             reference cannot be computed here; `harness case` makes the case where there is room"
        )))
    }

    /// Greedy continuations of all prompts.
    async fn generated(
        &self,
        device: &Device,
        decoder: &dyn Decoder,
        inputs: &Inputs,
    ) -> Result<Vec<Vec<u32>>> {
        let start = Instant::now();
        let now = || start.elapsed().as_secs_f64() * 1e3;
        let generation = &self.published.generation;
        let mut texts = Vec::new();
        let mut tokens = 0;
        for prompt in prompts(decoder, inputs)? {
            let options = Options {
                max_new_tokens: NEW_TOKENS.min(prompt.room(decoder)),
                sampling: Sampling::Greedy,
                stop_tokens: stop_tokens(decoder, generation),
                suppressed: generation.suppressed.clone(),
            };
            let (inputs, ids) = (&prompt.inputs, &prompt.ids);
            let text = generate(device, decoder, inputs, ids, &options, &now, &|_| {}).await?;
            texts.push([&prompt.given, &text.ids[ids.len()..]].concat());
            tokens = prompt.given.len();
        }
        let shortest = texts.iter().map(Vec::len).min().unwrap_or(0);
        if shortest <= tokens {
            return Ok(Vec::new());
        }
        texts.iter_mut().for_each(|text| text.truncate(shortest));
        Ok(texts)
    }
}

/// The inputs that a file in the folder of a case holds.
///
/// # Errors
/// When the file is missing or malformed.
pub fn held(folder: &Path, file: &str) -> Result<Inputs> {
    block_on(read_inputs(&Folder::new(folder), file))
}

/// The tensors of described inputs.
///
/// # Errors
/// When a description is of no tensor, or of one too large.
pub fn described(inputs: &BTreeMap<String, SeededInput>) -> Result<Inputs> {
    synthetic::inputs(0, inputs)
}
