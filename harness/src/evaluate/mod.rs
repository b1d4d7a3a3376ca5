//! `evaluate`: what few bits have cost a model, beside another one on the same text or the same samples.
//!
//! The engine compares, and `kept.rs` is what is said of it and kept for the page.

mod kept;

use crate::{
    given::{Given, name_of, read_text},
    groups::{Caches, Groups},
    store::Evaluations,
    ui::{Bar, Ui, Unit},
    weights::Model,
};
use anyhow::{Context, Result, ensure};
use engine::{
    calibrate::{fidelity, windows, writes},
    evaluate::{Asked, Found},
    packing::Weights,
};
use kept::{evaluation, line};
use matrix::view::precision::Text;
use record::{Bits, Precision};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

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
      what it costs to keep the latest tokens of a longer text alone
  cargo harness evaluate minilm --bits 4 3 2 --text sentences.txt
      how far embeddings move, a sentence a line, and whether the same ones stay near each other
  cargo harness evaluate whisper-tiny.en --bits 16 4 3 --input recordings
      what is expected in the reference's own transcripts, and which words are wrong; beside a.wav lies
      a.txt with what is said in it, if that is known
  cargo harness evaluate vit-shapes --bits 32 4 3 2
      a small model that has learnt a task: how often it is right about samples of which that is known")]
pub struct Args {
    /// A model that `run --models` knows, a case folder, a folder as Hugging Face has it, or a .gguf
    /// file. Where nothing is given to a case, it is compared on the inputs of its own, or on its held-out samples,
    /// which say what is right.
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

    /// A text that neither model was calibrated on, in UTF-8. Of models that read other things than a text as a whole,
    /// each line is a sample, or goes with each file of --input.
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,

    /// Recordings or pictures, a sample each, or folders of such; for xclip a folder of frames is a sample.
    #[arg(long, num_args = 1.., value_name = "FILE|FOLDER")]
    pub input: Vec<PathBuf>,

    /// Samples that are compared, at most.
    #[arg(long, value_name = "N", default_value = "200")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub samples: u32,

    /// Tokens that are written about a sample, at most.
    #[arg(long, value_name = "N", default_value = "128")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub max_new_tokens: u32,

    /// Tokens of a text that are compared, at most.
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
    let open = |name: &str| Model::find(name, !args.no_setup, ui)?.open();
    let weights = open(&args.model)?;
    let reference = open(args.reference.as_ref().unwrap_or(&args.model))?;
    match &args.text {
        Some(file) if writes(&reference) => on_text(args, file, (&reference, &weights), ui),
        _ => on_samples(args, (&reference, &weights), ui),
    }
}

/// By what both expect to follow in a text.
fn on_text(
    args: &Args,
    file: &Path,
    (reference, weights): (&Weights, &Weights),
    ui: &Ui,
) -> Result<()> {
    ensure!(args.input.is_empty(), "{} reads a text, and no pictures or sounds", reference.class());
    let text = read_text(file)?;
    let windows = windows(reference, &text, args.tokens as usize, args.context as usize)
        .with_context(|| format!("the text in {}", file.display()))?;
    let read = Text { name: name_of(file), context: windows.length };
    let whole = Precision::of(Bits::Fixed(32));
    for precision in precisions(args, weights) {
        let total = windows.count * windows.length;
        let (bar, heard) = counted("comparing tokens", total, ui);
        let (fidelity, token_bytes) =
            fidelity((reference, &whole), (weights, &precision), &windows, &heard)?;
        bar.finish();
        let found = Found { fidelity: Some(fidelity), token_bytes, ..Found::default() };
        keep(args, weights, &precision, &read, found, ui)?;
    }
    Ok(())
}

/// By what both make of samples one by one.
fn on_samples(args: &Args, (reference, weights): (&Weights, &Weights), ui: &Ui) -> Result<()> {
    let most = args.samples as usize;
    let given = Given { text: args.text.as_deref(), files: &args.input, most };
    let samples = given.samples(reference, ui)?;
    let read = Text { name: given.name(reference), context: 0 };
    let (bar, heard) = counted("asking the reference", samples.len(), ui);
    let asked = Asked::of(reference, &samples, args.max_new_tokens as usize, &heard)?;
    bar.finish();
    for precision in precisions(args, weights) {
        let (bar, heard) = counted("comparing samples", samples.len(), ui);
        let found = asked.compare(weights, &precision, &heard)?;
        bar.finish();
        keep(args, weights, &precision, &read, found, ui)?;
    }
    Ok(())
}

/// A bar, and who tells it how far it is.
fn counted(what: &'static str, total: usize, ui: &Ui) -> (Bar, Rc<dyn Fn(u64)>) {
    let bar = ui.bar(what, Some(total as u64), Unit::Steps);
    let heard = bar.clone();
    (bar, Rc::new(move |done| heard.set(done)))
}

/// Says what was found, and keeps it.
fn keep(
    args: &Args,
    weights: &Weights,
    precision: &Precision,
    text: &Text,
    found: Found,
    ui: &Ui,
) -> Result<()> {
    let kept = evaluation(args, weights, precision, text.clone(), found)?;
    let value = json!({
        "model": kept.model, "reference": kept.reference, "precision": precision, "bpw": kept.bpw,
        "text": kept.text.name, "context": text.context, "fidelity": kept.fidelity,
        "likeness": kept.likeness, "words": kept.words, "answers": kept.answers,
    });
    ui.result(line(&kept), value);
    match Evaluations::of(args.db.as_deref()).and_then(|it| it.put(kept)) {
        Ok(file) => ui.say(format!("kept in {}", file.display())),
        Err(error) => ui.warn(format!("{error:#}")),
    }
    Ok(())
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
