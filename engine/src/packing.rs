//! What can be done with weights where no model computes: to plan them, and to pack them into a file.

use crate::{
    case::Case,
    error::Result,
    load::{Declared, LoadPlan, PrecisionPlan},
    models::{self, Model},
    published::{Inputs, Published},
    synthetic,
    weights::{Folder, Source},
};
use pollster::block_on;
use record::{Bits, Class, Precision};
use std::{
    collections::BTreeMap,
    io::{Seek, Write},
    path::Path,
};

/// The weights of a model in a folder.
pub struct Weights {
    pub(crate) folder: Folder,
    pub(crate) published: Published,
    /// Where they are computed, if no file holds them.
    synthetic: Option<synthetic::Weights>,
    /// What the model is run on, in a case.
    inputs: Option<Inputs>,
    /// The file with labelled samples, in a case that has one.
    pub(crate) samples: Option<String>,
    /// The formats that a precision may name by their hash.
    formats: Option<PrecisionPlan>,
}

impl Weights {
    /// Opens the model among `files` of a folder: a case, or a model as it was published.
    ///
    /// # Errors
    /// When a file is missing or malformed, or no class loads the model.
    pub fn open(folder: &Path, files: &[String]) -> Result<Weights> {
        let folder = Folder::new(folder);
        let (published, synthetic, inputs, samples) =
            match files.iter().any(|file| file == "case.json") {
                true => {
                    let case = block_on(Case::open(&folder, files))?;
                    (case.published, case.synthetic, Some(case.inputs), case.samples)
                }
                false => (block_on(Published::open(&folder, files))?, None, None, None),
            };
        Ok(Weights { folder, published, synthetic, inputs, samples, formats: None })
    }

    /// The same with a precision plan. The precision that names it, all else as in `precision`.
    #[must_use]
    pub fn mixed(self, formats: PrecisionPlan, precision: &Precision) -> (Weights, Precision) {
        let plan = Some(formats.mix());
        let precision = Precision { bits: Bits::Adaptive, plan, ..precision.clone() };
        (Weights { formats: Some(formats), ..self }, precision)
    }

    /// The class that loads it.
    pub fn class(&self) -> Class {
        self.published.class
    }

    /// The precision that its weights are packed in, if they are.
    pub fn packed_in(&self) -> Option<&Precision> {
        self.published.checkpoint.artefact.as_deref().map(|artefact| &artefact.precision)
    }

    /// What the model is run on, if the folder is a case.
    pub fn inputs(&self) -> Option<&Inputs> {
        self.inputs.as_ref()
    }

    /// Whether it is a case with samples that have right answers.
    pub fn has_samples(&self) -> bool {
        self.samples.is_some()
    }

    /// Files that belong beside packed weights and are not in the folder, since a GGUF file says what they
    /// would.
    ///
    /// # Errors
    /// When the tokenizer of the GGUF file is malformed or unknown.
    pub fn unfiled(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let Published { config, checkpoint, .. } = &self.published;
        let config = ("config.json", config.value().to_string().into_bytes());
        #[cfg(feature = "infer")]
        let tokenizer = match &checkpoint.metadata {
            Some(metadata) => crate::preprocess::as_files(metadata)?,
            None => Vec::new(),
        };
        #[cfg(not(feature = "infer"))]
        let tokenizer = Vec::new();
        let files = [config].into_iter().chain(tokenizer);
        Ok(files.filter(|(name, _)| self.folder.size(name).is_none()).collect())
    }

    /// Where its weights are read.
    pub(crate) fn source(&self) -> &dyn Source {
        self.synthetic.as_ref().map_or(&self.folder, |source| source)
    }

    /// What the model would be loaded as. No weight is read.
    ///
    /// # Errors
    /// When the class and the files are not of one mind.
    pub fn plan(&self, precision: &Precision) -> Result<LoadPlan> {
        Ok(self.declare(precision)?.plan().clone())
    }

    /// Packs the weights into `out`, an empty file called `file`, and gives the plan that was carried
    /// out. `progress` hears the bytes read and the bytes there are.
    ///
    /// # Errors
    /// As [`Weights::plan`], and when weights cannot be read or the file cannot be written.
    pub fn pack(
        &self,
        precision: &Precision,
        file: &str,
        out: &mut (impl Write + Seek),
        progress: &dyn Fn(u64, u64),
    ) -> Result<LoadPlan> {
        let source = self.source();
        let recipe = (precision, self.published.config.value());
        let made = BTreeMap::new();
        block_on(self.declare(precision)?.write(source, made, recipe, file, out, progress))
    }

    pub(crate) fn declare(&self, precision: &Precision) -> Result<Declared<Box<dyn Model>>> {
        let Published { class, config, checkpoint, .. } = &self.published;
        let by = |precision| models::declare(*class, config, checkpoint, precision);
        let declared = match &self.formats {
            Some(formats) if precision.mix() == Some(formats.mix()) => {
                by(&Precision { plan: None, ..precision.clone() })?
                    .mixed(formats, precision.quantizer)?
            }
            _ => by(precision)?,
        };
        // Nobody writes here, so there is no cache.
        match precision.limit {
            Some(limit) => declared.within(limit, 0, precision),
            None => Ok(declared),
        }
    }
}
