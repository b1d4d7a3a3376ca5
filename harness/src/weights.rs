//! What becomes of a model's weights: `plan --weights` prints it, and `pack-weights` does it and keeps
//! the result in a file. Both take any model there is and start no browser.

use crate::{
    cases::Size,
    groups::Groups,
    models::{self, located::Located},
    ui::{Ui, Unit},
};
use anyhow::{Context, Result, ensure};
use engine::{
    load::{Entry, LoadPlan, Place, PrecisionPlan, Step},
    packing::Weights,
};
use record::{Bits, CaseManifest, Precision};
use serde_json::json;
use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

/// The name of an artefact in a folder.
const ARTEFACT: &str = "model.safetensors";
/// The name of the precision plan beside it.
const PLAN: &str = "precision-plan.json";

/// What `pack-weights` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo harness pack-weights ./my-model --bits 4 -o ./my-model-q4
      a folder that runs as the model does, at 4 bits and without quantising anything
  cargo harness pack-weights smollm2-135m --bits 3 --scheme asymmetric -o q3.safetensors
      the weights alone, in one file
  cargo harness pack-weights ./my-model --bits adaptive --plan precision-plan.json -o ./my-model-mixed
      each matrix in the format that a file names")]
pub struct PackArgs {
    /// A model that `run --models` knows, a case folder, a folder as Hugging Face has it, or a .gguf
    /// file.
    pub model: String,

    /// Bits of the stored weights: 32, 16, 8, 4, 3, 2 or adaptive.
    #[arg(long)]
    pub bits: Bits,

    /// How grouped weights are stored.
    #[command(flatten)]
    pub groups: Groups,

    /// The format of each matrix, where bits are adaptive: a file as `quantize` writes it [default: by rule].
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,

    /// Where the packed weights go: a file that ends in .safetensors, or a new folder, into which the
    /// model's other files are copied.
    #[arg(long, short, value_name = "FILE|FOLDER")]
    pub output: PathBuf,

    /// Fetch nothing, and stop if the model is not on this machine.
    #[arg(long)]
    pub no_setup: bool,
}

/// A model's files.
pub(crate) struct Model {
    pub(crate) name: String,
    folder: PathBuf,
    files: Vec<String>,
}

impl Model {
    /// A model by name, or where it lies.
    pub(crate) fn find(name: &str, may_fetch: bool, ui: &Ui) -> Result<Model> {
        // A real model and one with seeded weights of its shapes may have one name.
        let is_real = models::NAMES.contains(&name);
        let sizes = [Size::Tiny, Size::Trained, Size::Published];
        for size in sizes.into_iter().filter(|size| !is_real || *size != Size::Published) {
            if let Some(case) = size.cases()?.into_iter().find(|case| case.name == name) {
                let files = case.files.into_iter().map(|file| file.name).collect();
                return Ok(Model { name: case.name, folder: case.folder, files });
            }
        }
        let located = Located::find(name, may_fetch, ui)?;
        let files = located.files.into_iter().map(|file| file.name).collect();
        Ok(Model { name: name.to_owned(), folder: located.folder, files })
    }

    /// Its weights.
    pub(crate) fn open(&self) -> Result<Weights> {
        Weights::open(&self.folder, &self.files)
            .with_context(|| format!("the model in {}", self.folder.display()))
    }

    /// The files beside the weights that a packed model needs as well. A case whose weights are made
    /// up is none any more.
    fn companions(&self) -> Result<Vec<&str>> {
        let manifest = match self.files.iter().any(|file| file == "case.json") {
            true => {
                let text = fs::read_to_string(self.folder.join("case.json"))?;
                Some(serde_json::from_str::<CaseManifest>(&text).context("case.json")?)
            }
            false => None,
        };
        let named = |file: &str| {
            let files = manifest.iter().filter(|case| case.weights.is_none());
            files.flat_map(CaseManifest::files).any(|(_, name)| name == file)
        };
        let is_kept = |file: &&str| match *file {
            "case.json" => manifest.as_ref().is_some_and(|case| case.weights.is_none()),
            "model.safetensors.index.json" | PLAN => false,
            file => {
                let is_weights =
                    [".safetensors", ".gguf", ".txt"].iter().any(|end| file.ends_with(end));
                named(file) || (!is_weights && !file.contains('/')) || file == "merges.txt"
            }
        };
        Ok(self.files.iter().map(String::as_str).filter(is_kept).collect())
    }
}

/// Prints what the weights of a model are stored as, at each of these precisions.
pub fn print_plans(name: &str, precisions: &[Precision], may_fetch: bool, ui: &Ui) -> Result<()> {
    let model = Model::find(name, may_fetch, ui)?;
    let weights = model.open()?;
    for precision in precisions {
        let plan = weights.plan(precision)?;
        let memory = plan.memory();
        let value = json!({
            "model": model.name,
            "precision": precision,
            "hash": plan.hash(),
            "bytes": {
                "device": plan.bytes_at(Place::Device),
                "host": plan.bytes_at(Place::Host),
                "undecided": plan.undecided_bytes(),
            },
            "bpw": memory.bpw,
            "plan": plan,
        });
        ui.result(format!("{} {precision}\n{}", model.name, table(&plan)), value);
    }
    Ok(())
}

/// The entries of a plan in columns, and its totals.
fn table(plan: &LoadPlan) -> String {
    let head = ["name", "shape", "from", "format", "layout", "bytes", "bpw", "place"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(plan.entries.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells =
            row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
                5 | 6 => format!("{cell:>width$}"),
                _ => format!("{cell:width$}"),
            });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    let (device, host) = (plan.bytes_at(Place::Device), plan.bytes_at(Place::Host));
    let bpw = plan.memory().bpw;
    text += &format!("{device} bytes on the device, matrices at {bpw:.3} bits a weight");
    if host > 0 {
        text += &format!("; {host} in main memory beside it");
    }
    match plan.undecided_bytes() {
        0 => {}
        more => text += &format!("; up to {more} more if what may be tied differs in the file"),
    }
    text + &format!("\nplan {}", plan.hash())
}

fn row(entry: &Entry) -> [String; 8] {
    let sizes: Vec<_> = entry.shape.iter().map(usize::to_string).collect();
    let place = match entry.place {
        Place::Device => "device",
        Place::Host => "host",
    };
    [
        entry.name.clone(),
        sizes.join("×"),
        origin(entry),
        entry.format.to_string(),
        entry.layout.to_string(),
        entry.bytes.to_string(),
        entry.bpw().map_or(String::new(), |bpw| format!("{bpw:.3}")),
        place.to_owned(),
    ]
}

/// Where an entry comes from and what is done on the way.
fn origin(entry: &Entry) -> String {
    let range = entry.sources.first().map(|source| {
        let (start, end) = (source.offset(), source.offset() + source.bytes());
        format!("{} {} {start}..{end}", source.kind(), source.file())
    });
    let more = entry.sources.len().saturating_sub(1);
    let more = (more > 0).then(|| format!("and {more} more"));
    let steps = entry.steps.iter().map(|step| match step {
        Step::FoldNorm { .. } | Step::FoldNormBias { .. } => "fold norm".to_owned(),
        Step::NormWeight => "norm weight".to_owned(),
        Step::Stack => "stacked".to_owned(),
        Step::ChannelsLast { .. } => "channels last".to_owned(),
        Step::Transpose => "transpose".to_owned(),
        Step::Scale { by } => format!("scale by {by}"),
        Step::SpreadOverWindows { .. } => "spread over windows".to_owned(),
        Step::Quantise { by } => by.to_string(),
        Step::TakeBlocks => "as stored".to_owned(),
        Step::TakeCodes => "codes as stored".to_owned(),
        Step::Tied { to } => format!("tied to {to}"),
        Step::TiedIfEqual { to, .. } => format!("tied to {to} if equal"),
    });
    range.into_iter().chain(more).chain(steps).collect::<Vec<_>>().join(", ")
}

/// Packs the weights of a model.
pub fn pack(args: &PackArgs, ui: &Ui) -> Result<()> {
    let model = Model::find(&args.model, !args.no_setup, ui)?;
    let (weights, precision) =
        planned(model.open()?, args.groups.precision(args.bits), args.plan.as_deref())?;
    let (file, plan) = stored((&model, &weights), &args.output, |name, out| {
        let total = weights.plan(&precision)?.source_bytes();
        let bar = ui.bar("packing", Some(total), Unit::Bytes);
        Ok(weights.pack(&precision, name, out, &|done, _| bar.set(done))?)
    })?;
    say_packed(&model, &precision, &file, &plan, ui)
}

/// Weights and their precision with the formats that a file names, if there is one.
pub(crate) fn planned(
    weights: Weights,
    precision: Precision,
    file: Option<&Path>,
) -> Result<(Weights, Precision)> {
    let Some(file) = file else { return Ok((weights, precision)) };
    ensure!(precision.bits == Bits::Adaptive, "a precision plan mixes widths: say --bits adaptive");
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let formats: PrecisionPlan =
        serde_json::from_str(&text).with_context(|| format!("the plan in {}", file.display()))?;
    Ok(weights.mixed(formats, &precision))
}

/// Says what was made, and writes the formats of mixed widths beside it.
pub(crate) fn say_packed(
    model: &Model,
    precision: &Precision,
    file: &Path,
    plan: &LoadPlan,
    ui: &Ui,
) -> Result<()> {
    if precision.bits == Bits::Adaptive {
        let beside = match file.file_name().is_some_and(|name| name == ARTEFACT) {
            true => file.with_file_name(PLAN),
            false => file.with_extension("plan.json"),
        };
        let text = serde_json::to_string_pretty(&plan.precision_plan())?;
        fs::write(&beside, text).with_context(|| format!("writing {}", beside.display()))?;
    }
    let bytes = fs::metadata(file)?.len();
    let bpw = plan.memory().bpw;
    let text = format!(
        "{} at {precision}: {bytes} bytes in {}, matrices at {bpw:.3} bits a weight",
        model.name,
        file.display()
    );
    let value = json!({
        "file": file, "bytes": bytes, "bpw": bpw, "hash": plan.hash(), "precision": precision,
    });
    ui.result(text, value);
    Ok(())
}

/// Whether packed weights go into a folder of this name, and not into a file.
fn is_folder(output: &Path) -> bool {
    output.extension().is_none_or(|extension| extension != "safetensors")
}

/// Fails where [`stored`] would not write: whoever computes for minutes asks before.
pub(crate) fn free(output: &Path) -> Result<()> {
    let is_taken = is_folder(output) && output.exists();
    ensure!(!is_taken, "{} is there already; name a new folder", output.display());
    Ok(())
}

/// Makes the file that packed weights go into, by `write`: `output` itself, or where that is no such name a
/// new folder of this name with the model's other files. The file appears only when it is complete.
pub(crate) fn stored<T>(
    (model, weights): (&Model, &Weights),
    output: &Path,
    write: impl FnOnce(&str, &mut BufWriter<File>) -> Result<T>,
) -> Result<(PathBuf, T)> {
    let is_folder = is_folder(output);
    let file = match is_folder {
        false => output.to_owned(),
        true => {
            let context = || format!("making the folder {}", output.display());
            free(output)?;
            fs::create_dir_all(output).with_context(context)?;
            for name in model.companions()? {
                fs::copy(model.folder.join(name), output.join(name))
                    .with_context(|| format!("copying {name}"))?;
            }
            for (name, bytes) in weights.unfiled()? {
                fs::write(output.join(name), bytes).with_context(|| format!("writing {name}"))?;
            }
            output.join(ARTEFACT)
        }
    };
    let part = file.with_extension("safetensors.part");
    let context = || format!("writing {}", part.display());
    let mut out = BufWriter::new(File::create(&part).with_context(context)?);
    let written = write(&file.display().to_string(), &mut out);
    drop(out);
    match written {
        Ok(made) => {
            fs::rename(&part, &file).with_context(|| format!("naming {}", file.display()))?;
            Ok((file, made))
        }
        Err(error) => {
            // What is left of it is of no use to anyone.
            let _ = match is_folder {
                true => fs::remove_dir_all(output),
                false => fs::remove_file(&part),
            };
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Ui {
        Ui::new(true, false)
    }

    #[test]
    fn a_plan_says_where_each_weight_comes_from() {
        let model = Model::find("llama-gqa", false, &quiet()).unwrap();
        let plan = model.open().unwrap().plan(&Precision::of(Bits::Fixed(4))).unwrap();
        let table = table(&plan);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].starts_with("name") && lines[0].ends_with("bpw  place"), "{table}");
        let words =
            lines.iter().find(|line| line.starts_with("model.embed_tokens.weight")).unwrap();
        assert!(words.contains("F32 model.safetensors") && words.contains(", rtn"), "{words}");
        assert!(words.contains("q4 symmetric g32  chunks"), "{words}");
        assert!(table.contains(&format!("{} bytes on the device", plan.bytes())), "{table}");
        assert!(table.ends_with(&plan.hash()), "{table}");
        assert_eq!(lines.len(), plan.entries.len() + 3);
    }

    #[test]
    fn a_folder_of_packed_weights_is_a_case_again() {
        let scratch = tempfile::tempdir().unwrap();
        let output = scratch.path().join("packed");
        let args = PackArgs {
            model: "llama-gqa".to_owned(),
            bits: Bits::Fixed(4),
            groups: Groups {
                scheme: record::Scheme::Auto,
                group_size: 32,
                quantizer: record::Quantizer::Rtn,
                base_bits: 4,
                critical_bits: 8,
            },
            plan: None,
            output: output.clone(),
            no_setup: true,
        };
        pack(&args, &quiet()).unwrap();
        crate::cases::Case::open(&output, Vec::new()).unwrap();
        let before = Model::find("llama-gqa", false, &quiet()).unwrap();
        let size = |folder: &Path| fs::metadata(folder.join(ARTEFACT)).unwrap().len();
        assert!(size(&output) < size(&before.folder), "4 bits are fewer than 32");
        let again = pack(&args, &quiet()).unwrap_err().to_string();
        assert!(again.contains("is there already"), "{again}");
    }
}
