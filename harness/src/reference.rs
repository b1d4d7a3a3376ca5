//! A case made of a model as it was published: its files, inputs for it, and what it gives in f32.
//!
//! A case folder holds links to the files of the model, `case.json`, `inputs.safetensors` unless the
//! inputs are described there, and `expected.safetensors`. What is expected is computed once, by this
//! engine on the host or by transformers (`transformers.py`), and says so in `case.json`. Cases of a run
//! are kept in the user's cache, under a hash of the model's files and of the inputs.

mod tensors;
mod transformers;

use crate::{
    cases::Case,
    host,
    input::Input,
    models::{cache, located::Located},
    ui::{Ui, Unit},
};
use anyhow::{Context, Result, bail, ensure};
use engine::{published::Inputs, reference::LocalModel};
use record::{CaseInputs, CaseManifest, Question, Reference, SeededInput};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::Path,
};
use tempfile::TempDir;

/// Rises when the same model and inputs would give another case.
const VERSION: u32 = 1;

/// Files of so many bytes take long to read.
const LARGE: u64 = 1 << 28;

const INPUTS: &str = "inputs.safetensors";
const EXPECTED: &str = "expected.safetensors";

/// Who computes what is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Author {
    /// Hugging Face's transformers, by the `python3` that is found.
    Transformers,
    /// This engine, on the host.
    Engine,
}

/// A model whose files are linked into a folder of their own, and what goes into it.
struct Draft {
    folder: TempDir,
    model: LocalModel,
    inputs: Inputs,
    /// How they are described, where the model says nothing of how inputs are prepared.
    seeded: Option<BTreeMap<String, SeededInput>>,
}

/// The class of a model and what a plan needs to know of it: a case without inputs.
pub(crate) fn outline(model: &Located, selector: Vec<String>) -> Result<Case> {
    let scratch = TempDir::with_prefix("fewbit-model-").context("a scratch folder")?;
    let opened = open(model, scratch.path())?;
    Ok(Case {
        name: model.name.clone(),
        class: opened.class(),
        folder: model.folder.clone(),
        files: model.published().cloned().collect(),
        synthetic_weights: false,
        untrained: false,
        selector,
    })
}

/// The case of a model for a run, from the cache where it was made before; `input` is given to it in
/// place of what is built in.
pub(crate) fn case(
    model: &Located,
    input: Option<&Input>,
    selector: Vec<String>,
    ui: &Ui,
) -> Result<Case> {
    let cached = || -> Result<Case> {
        let cases = cache::cases()?;
        let draft = Draft::of(model, input, cache::begin(&cases)?, ui)?;
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
        let name: String = model.name.chars().map(plain).collect();
        let name = format!("{}-{}", name.trim_start_matches('.'), draft.key(model, ui)?);
        let folder = match cache::model(&cases, &name) {
            Some(folder) => {
                // The model may have moved since.
                link(model, &folder)?;
                folder
            }
            None => {
                draft.write(Author::Engine, &model.name, ui)?;
                cache::keep(draft.folder, &cases, &name)?
            }
        };
        let case = Case::open(&folder, selector)?;
        Ok(Case { name: model.name.clone(), ..case })
    };
    cached().with_context(|| format!("making a case of {}", model.name))
}

/// Writes the case of a model into `folder`, which must not exist.
pub(crate) fn write(
    model: &Located,
    input: Option<&Input>,
    author: Author,
    folder: &Path,
    ui: &Ui,
) -> Result<Case> {
    ensure!(!folder.exists(), "{} exists; name a new folder", folder.display());
    let parent = match folder.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let draft = Draft::of(model, input, cache::begin(parent)?, ui)?;
    draft.write(author, &model.name, ui)?;
    let name = folder.file_name().and_then(|name| name.to_str()).context("it has no name")?;
    let folder = cache::keep(draft.folder, parent, name)?;
    Case::open(&folder, vec!["--cases".to_owned(), folder.display().to_string()])
}

impl Draft {
    fn of(model: &Located, input: Option<&Input>, folder: TempDir, ui: &Ui) -> Result<Draft> {
        let opened = open(model, folder.path())?;
        let given = |input: &Input| -> Result<(Question, Inputs)> {
            let question = input.only(&opened.takes());
            let inputs = opened.prepared(&question, &input.served.folder)?;
            Ok((question, inputs))
        };
        let (inputs, seeded) = match input {
            None if model.is_case() => of_case(&model.folder)?,
            Some(input) => {
                let (question, inputs) = given(input)?;
                ensure!(question != Question::default(), "it takes {:?} alone", opened.takes());
                (inputs, None)
            }
            None => {
                let builtin = Input::builtin(opened.class())?;
                match opened.can_prepare(&builtin.only(&opened.takes())) {
                    true => (given(&builtin)?.1, None),
                    false => {
                        ui.say(format!(
                            "{} has no files that say how its inputs are prepared: it is given \
                             seeded numbers",
                            model.name
                        ));
                        let seeded = opened.seeded()?;
                        (engine::reference::described(&seeded)?, Some(seeded))
                    }
                }
            }
        };
        Ok(Draft { folder, model: opened, inputs, seeded })
    }

    /// The hash of everything that the case depends on.
    fn key(&self, model: &Located, ui: &Ui) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("{VERSION} {} ", env!("CARGO_PKG_VERSION")));
        hash.update(identity(model, ui)?);
        hash.update(json!(self.seeded).to_string());
        if self.seeded.is_none() {
            hash.update(tensors::of_inputs(&self.inputs)?);
        }
        Ok(hex(&hash.finalize())[..16].to_owned())
    }

    fn write(&self, author: Author, name: &str, ui: &Ui) -> Result<()> {
        let folder = self.folder.path();
        let bytes = tensors::of_inputs(&self.inputs)?;
        let reference = match author {
            Author::Engine => {
                let (by, expected) = self.computed(name, ui)?;
                fs::write(folder.join(EXPECTED), expected).context("writing what is expected")?;
                by
            }
            Author::Transformers => {
                transformers::compute(folder, &bytes, &folder.join(EXPECTED), ui)?;
                Reference::Transformers
            }
        };
        let inputs = match &self.seeded {
            Some(seeded) => CaseInputs::Seeded(seeded.clone()),
            None => {
                fs::write(folder.join(INPUTS), bytes).context("writing the inputs")?;
                CaseInputs::File(INPUTS.to_owned())
            }
        };
        let manifest = CaseManifest {
            class: self.model.class(),
            inputs,
            expected: Some(EXPECTED.to_owned()),
            reference: Some(reference),
            weights: None,
            untrained: false,
            samples: None,
        };
        fs::write(folder.join("case.json"), format!("{:#}\n", json!(manifest)))
            .context("writing case.json")
    }

    /// What this engine expects, and with which weights it computed that.
    fn computed(&self, name: &str, ui: &Ui) -> Result<(Reference, Vec<u8>)> {
        let bar = ui.bar(name, None, Unit::Steps);
        bar.message("its reference is computed on the host, once");
        let progress = |done: u64, total: u64| {
            let percent = done * 100 / total.max(1);
            bar.message(format!("its reference is computed on the host, once: load {percent}%"));
        };
        let computed = self.model.reference(&self.inputs, host::free_memory(), &progress)?;
        bar.finish();
        Ok((computed.by, tensors::of_outputs(&computed)?))
    }
}

/// What a case gives its model, and how that is described, where it is.
fn of_case(folder: &Path) -> Result<(Inputs, Option<BTreeMap<String, SeededInput>>)> {
    let text = fs::read_to_string(folder.join("case.json")).context("reading case.json")?;
    let case: CaseManifest = serde_json::from_str(&text).context("case.json is malformed")?;
    Ok(match case.inputs {
        CaseInputs::File(file) => (engine::reference::held(folder, &file)?, None),
        CaseInputs::Seeded(seeded) => (engine::reference::described(&seeded)?, Some(seeded)),
    })
}

/// Opens a model after its files were linked into an empty folder, so that nothing else is read.
fn open(model: &Located, folder: &Path) -> Result<LocalModel> {
    link(model, folder)?;
    let files: Vec<String> = model.published().map(|file| file.name.clone()).collect();
    Ok(LocalModel::open(folder, &files)?)
}

/// Puts links to the files of a model into a folder, in place of those that are there.
fn link(model: &Located, folder: &Path) -> Result<()> {
    for file in model.published() {
        let (from, to) = (model.folder.join(&file.name), folder.join(&file.name));
        let context = || format!("linking {}", to.display());
        fs::create_dir_all(to.parent().context("a file is in a folder")?).with_context(context)?;
        if fs::symlink_metadata(&to).is_ok() {
            if to.canonicalize().ok() == from.canonicalize().ok() {
                continue;
            }
            fs::remove_file(&to).with_context(context)?;
        }
        link_file(&from, &to).with_context(context)?;
    }
    Ok(())
}

/// Small files are copied: a case that somebody made is theirs, whatever becomes of the model.
fn link_file(from: &Path, to: &Path) -> io::Result<()> {
    const SMALL: u64 = 1 << 20;
    if fs::metadata(from)?.len() <= SMALL {
        return fs::copy(from, to).map(drop);
    }
    #[cfg(unix)]
    return std::os::unix::fs::symlink(from.canonicalize()?, to);
    // Elsewhere symlinks need rights that users lack.
    #[cfg(not(unix))]
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop))
}

/// What tells a model from all others: its repository and commit on the Hub, where it comes from
/// there, or else the content of its files.
fn identity(model: &Located, ui: &Ui) -> Result<String> {
    let source = fs::read(model.folder.join("source.json")).unwrap_or_default();
    let source: Value = serde_json::from_slice(&source).unwrap_or_default();
    let mut identity = match source.get("commit").and_then(Value::as_str) {
        Some(commit) => format!("{} {commit}", source["repository"]),
        None => String::new(),
    };
    let by_content = identity.is_empty();
    let bytes = model.published().map(|file| file.bytes).sum();
    // Told of where it takes seconds.
    let bar = (bytes > LARGE).then(|| ui.bar(&model.name, Some(bytes), Unit::Bytes));
    let mut done = 0;
    for file in model.published() {
        identity += &format!(" {} {}", file.name, file.bytes);
        if by_content {
            let path = model.folder.join(&file.name);
            let mut hash = Sha256::new();
            let read = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut hash));
            read.with_context(|| format!("reading {}", path.display()))?;
            identity += &format!(" {}", hex(&hash.finalize()));
        }
        done += file.bytes;
        bar.iter().for_each(|bar| bar.set(done));
    }
    bar.iter().for_each(|bar| bar.finish());
    Ok(identity)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Carries out `harness case`.
pub(crate) fn run(args: &Args, ui: &Ui) -> Result<()> {
    let model = Located::find(&args.model, !args.no_setup, ui)?;
    let input = match args.input.is_empty() {
        true => None,
        false => Some(Input::collect(&args.input, &[])?),
    };
    let case = write(&model, input.as_ref(), args.reference, &args.output, ui)?;
    let Some(folder) = case.folder.to_str() else { bail!("its name is not UTF-8") };
    let said = format!("{} is a case of {}: `run --cases {folder}`", args.model, case.class);
    ui.result(said, json!({"case": folder, "class": case.class}));
    Ok(())
}

/// What `case` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo harness case ./my-model -o my-case --reference transformers
  cargo harness case OWNER/NAME -o my-case --input photo.jpg
  cargo harness case my-case -o its-own --reference engine
      the same case by another reference: how far the two are apart, a run of both shows")]
pub struct Args {
    /// A folder as Hugging Face publishes it, a .gguf file, a name that `models list` shows, or
    /// `OWNER/NAME[@REVISION]` on the Hub.
    model: String,

    /// The folder to make.
    #[arg(long, short, value_name = "FOLDER")]
    output: std::path::PathBuf,

    /// What the model is given: texts, and files and folders of pictures and sounds [default: what the
    /// folder has, if it is a case, or else what is built in for its class].
    #[arg(long, num_args = 1.., value_name = "TEXT|FILE")]
    input: Vec<String>,

    /// Who computes what is expected.
    #[arg(long, value_enum, default_value = "engine")]
    reference: Author,

    /// Fetch nothing, and stop if something is missing.
    #[arg(long)]
    no_setup: bool,
}
