//! `evaluate`: what few bits have cost a model, by what it expects in a text beside what another expects.

use crate::{
    groups::{Caches, Groups},
    quantize::read_text,
    store::Evaluations,
    ui::{Ui, Unit},
    weights::Model,
};
use anyhow::{Context, Result};
use engine::{
    calibrate::{Windows, fidelity, windows},
    load::{Entry, LoadPlan, Step},
    packing::Weights,
};
use matrix::view::precision::{Cache, Evaluation, StoredMatrix, Text};
use record::{Bits, Fidelity, KvFormat, Precision};
use serde_json::json;
use std::{path::PathBuf, rc::Rc};

/// What `evaluate` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo harness evaluate ./smollm2-q3 --reference smollm2-135m --text text.txt
      a packed model in its own precision, beside the model that it was made of in f32
  cargo harness evaluate smollm2-135m --bits 4 3 2 --text text.txt
      what rounding to nearest costs at these widths
  cargo harness evaluate smollm2-135m --bits 32 --kv-bits 8 k8v4 4 --text text.txt
      what a key-value cache of few bits costs
  cargo harness evaluate smollm2-135m --bits 32 --window 512 --context 4096 --text text.txt
      what it costs to keep the latest tokens of a longer text alone")]
pub struct Args {
    /// A model that `run --models` knows, a case folder, a folder as Hugging Face has it, or a .gguf
    /// file; of the classes llama and qwen2.
    pub model: String,

    /// The model that it is compared with, in f32 [default: the same].
    #[arg(long, value_name = "MODEL")]
    pub reference: Option<String>,

    /// Bits of the stored weights [default: as they are packed, and of others 4].
    #[arg(long, num_args = 1.., value_delimiter = ',')]
    pub bits: Vec<Bits>,

    /// How grouped weights are stored.
    #[command(flatten)]
    pub groups: Groups,

    /// How key-value caches are stored.
    #[command(flatten)]
    pub caches: Caches,

    /// A text that neither model was calibrated on, in UTF-8.
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,

    /// Tokens of the text that are compared, at most.
    #[arg(long, value_name = "N", default_value = "4096")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub tokens: u32,

    /// Tokens that are read at a time, each in the light of those before it.
    #[arg(long, value_name = "N", default_value = "512")]
    #[arg(value_parser = clap::value_parser!(u32).range(8..))]
    pub context: u32,

    /// The database of all runs, beside which evaluations are kept for `report --output-precision`
    /// [default: records.sqlite in the user's data folder].
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,

    /// Fetch nothing, and stop if a model is not on this machine.
    #[arg(long)]
    pub no_setup: bool,
}

/// Compares a model with another.
pub fn run(args: &Args, ui: &Ui) -> Result<()> {
    let text = read_text(&args.text)?;
    let open = |name: &str| Model::find(name, !args.no_setup, ui)?.open();
    let weights = open(&args.model)?;
    let name = args.reference.as_ref().unwrap_or(&args.model);
    let reference = open(name)?;
    let windows = windows(&reference, &text, args.tokens as usize, args.context as usize)
        .with_context(|| format!("the text in {}", args.text.display()))?;
    let whole = Precision::of(Bits::Fixed(32));
    for precision in precisions(args, &weights) {
        let total = windows.count * windows.length;
        let bar = ui.bar("comparing tokens", Some(total as u64), Unit::Steps);
        let heard = bar.clone();
        let heard: Rc<dyn Fn(u64)> = Rc::new(move |done| heard.set(done));
        let found = fidelity((&reference, &whole), (&weights, &precision), &windows, &heard)?;
        bar.finish();
        let kept = evaluation(args, &weights, &precision, &windows, found)?;
        let value = json!({
            "model": args.model, "reference": name, "precision": precision, "bpw": kept.bpw,
            "text": args.text, "context": windows.length, "fidelity": kept.fidelity,
        });
        ui.result(line(&args.model, &precision, kept.bpw, &kept.fidelity), value);
        match Evaluations::of(args.db.as_deref()).and_then(|it| it.put(kept)) {
            Ok(file) => ui.say(format!("kept in {}", file.display())),
            Err(error) => ui.warn(format!("{error:#}")),
        }
    }
    Ok(())
}

/// What is kept of it.
fn evaluation(
    args: &Args,
    weights: &Weights,
    precision: &Precision,
    windows: &Windows,
    (fidelity, token_bytes): (Fidelity, u64),
) -> Result<Evaluation> {
    let plan = weights.plan(precision)?;
    let memory = plan.memory();
    let engine = engine::engine_info(None);
    let commit = Some(engine.commit).filter(|commit| commit != "unknown");
    let commit = commit.map(|commit| format!(" ({commit})")).unwrap_or_default();
    let cache = Cache {
        format: precision.kv.to_string(),
        is_whole: matches!(precision.kv, KvFormat::F32 | KvFormat::F16)
            && precision.window.is_none(),
        token_bytes,
        tokens: precision.window.map(|window| window.tokens() as u64),
    };
    let name = args.text.file_name().unwrap_or(args.text.as_os_str());
    Ok(Evaluation {
        at: String::new(),
        engine: format!("fewbit {}{commit}", engine.version),
        model: args.model.clone(),
        reference: args.reference.as_ref().unwrap_or(&args.model).clone(),
        precision: Some(precision.clone()),
        format: None,
        bpw: memory.bpw,
        weights_bytes: memory.weights_bytes,
        cache,
        text: Text { name: name.to_string_lossy().into_owned(), context: windows.length },
        fidelity,
        matrices: matrices(&plan),
    })
}

/// Every matrix under the name that it was published with: those that are multiplied with as one are still several.
fn matrices(plan: &LoadPlan) -> Vec<StoredMatrix> {
    let stored = |entry: &Entry, name: &str, shape: &[usize]| {
        let other = match entry.steps.first() {
            Some(Step::Tied { to } | Step::TiedIfEqual { to, .. }) => {
                plan.entries.iter().find(|it| it.name == *to)
            }
            _ => None,
        };
        StoredMatrix {
            name: name.to_owned(),
            shape: shape.to_vec(),
            format: entry.format.to_string(),
            bits: entry.format.bits(),
            bpw: other.unwrap_or(entry).bpw().unwrap_or_default(),
        }
    };
    let own = plan.entries.iter().filter(|entry| entry.is_matrix());
    let parts = |entry: &Entry| match entry.steps.contains(&Step::Stack) {
        true => entry.sources.iter().map(|it| stored(entry, &it.name, &it.shape)).collect(),
        false => vec![stored(entry, &entry.name, &entry.shape)],
    };
    own.flat_map(parts).collect()
}

/// Those that are asked for, or the one that the weights are packed in.
fn precisions(args: &Args, weights: &Weights) -> Vec<Precision> {
    let precisions = match (weights.packed_in(), &args.bits[..]) {
        (Some(packed), []) => vec![packed.clone()],
        (None, []) => vec![args.groups.precision(Bits::Fixed(4))],
        (_, bits) => bits.iter().map(|bits| args.groups.precision(*bits)).collect(),
    };
    args.caches.with(&precisions)
}

fn line(model: &str, precision: &Precision, bpw: f64, found: &Fidelity) -> String {
    let Fidelity { tokens, kl, kl_p99, top1, perplexity, reference_perplexity, .. } = found;
    format!(
        "{model} at {precision}, {bpw:.3} bits a weight, {tokens} tokens: divergence {kl:.4} nats (99 of \
         100 below {kl_p99:.3}), top-1 agreement {:.1}%, perplexity {perplexity:.2} (reference \
         {reference_perplexity:.2})",
        100.0 * top1
    )
}
