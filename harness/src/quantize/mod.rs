//! `quantize`: weights whose codes or widths were chosen by what they do, in a file that pages load as it lies.
//! It runs on the host alone and takes minutes; nothing of it is done again when the model is loaded.

mod mix;

use crate::{
    given::{Given, read_text},
    groups::Groups,
    ui::{Ui, Unit},
    weights::{Model, free, planned, say_packed, stored},
};
use anyhow::{Context, Result, bail, ensure};
use engine::{
    calibrate::{self, Refinement, Windows, answered, own, windows, writes},
    packing::Weights,
};
use mix::MixArgs;
use record::{Bits, Class, Precision, Quantizer};
use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

/// Tokens that a model writes about a sample on which codes are chosen, at most.
const ANSWER: usize = 64;

/// What `quantize` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo harness quantize smollm2-135m --bits 3 --quantizer gptq -o ./smollm2-q3
  cargo harness run --models ./smollm2-q3 --bits 3 --quantizer gptq
      a folder that runs as the model does, with the codes that were chosen
  cargo harness evaluate ./smollm2-q3 --reference smollm2-135m --text other.txt
      what that has cost, on a text that the calibration did not see
  cargo harness quantize smollm2-135m --bits adaptive --bpw 3 --calibration text.txt -o ./smollm2-mixed
      each matrix in as many bits as its measured harm is worth, 3 a weight on the average
  cargo harness quantize whisper-tiny.en --bits 3 --quantizer gptq --input recordings -o ./whisper-q3
      by what the model hears and writes in recordings")]
pub struct Args {
    /// A model that `run --models` knows, a case folder, a folder as Hugging Face has it, or a .gguf
    /// file. A text as a whole is read by the classes llama, qwen2 and bert; others are given samples (--input), and
    /// a case has inputs of its own.
    pub model: String,

    /// Bits of the stored weights: 8, 4, 3, 2 or adaptive.
    #[arg(long)]
    pub bits: Bits,

    /// How grouped weights are stored.
    #[command(flatten)]
    pub groups: Groups,

    /// The text on which codes are chosen, in UTF-8. A few thousand words of what the model is for are
    /// enough [default: the model writes one itself]. For a class that reads other things, each line is a sample,
    /// or goes with each file of --input.
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,

    /// Recordings or pictures on which codes are chosen, or folders of such. A model that writes about them does so.
    #[arg(long, num_args = 1.., value_name = "FILE|FOLDER")]
    pub input: Vec<PathBuf>,

    /// Samples that are read, at most: all at once.
    #[arg(long, value_name = "N", default_value = "32")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub calibration_samples: u32,

    /// Tokens of the text that are read, at most.
    #[arg(long, value_name = "N", default_value = "8192")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub calibration_tokens: u32,

    /// Tokens that are read at a time, each in the light of those before it.
    #[arg(long, value_name = "N", default_value = "256")]
    #[arg(value_parser = clap::value_parser!(u32).range(8..))]
    pub context: u32,

    /// Where the packed weights go: a file that ends in .safetensors, or a new folder, into which the
    /// model's other files are copied.
    #[arg(long, short, value_name = "FILE|FOLDER")]
    pub output: PathBuf,

    /// When all codes are chosen, move the scales of all matrices together so many times, by the gradients of what
    /// comes out of the model for the tokens of the text that follow. A step takes as long as four passes.
    #[arg(long, value_name = "N", default_value = "0")]
    pub refine_steps: usize,

    /// The share of itself by which a scale may move in the first of those steps.
    #[arg(long, value_name = "SHARE", default_value = "0.001")]
    pub refine_rate: f32,

    /// Sequences that are read in each step.
    #[arg(long, value_name = "N", default_value = "16")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub refine_sequences: u32,

    /// Fetch nothing, and stop if the model is not on this machine.
    #[arg(long)]
    pub no_setup: bool,

    /// Which matrix has how many bits.
    #[command(flatten)]
    pub mix: MixArgs,
}

/// Quantises a model.
pub fn run(args: &Args, ui: &Ui) -> Result<()> {
    let (is_mixed, quantizer) = (args.bits == Bits::Adaptive, args.groups.quantizer);
    ensure!(
        is_mixed || quantizer == Quantizer::Gptq,
        "{quantizer} needs no text: pack-weights does it; or choose --quantizer gptq, or --bits adaptive"
    );
    free(&args.output)?;
    let model = Model::find(&args.model, !args.no_setup, ui)?;
    let weights = model.open()?;
    let precision = args.groups.precision(args.bits);
    if !is_mixed && (args.mix.bpw.is_some() || args.mix.memory_limit.is_some()) {
        let taken = weights.plan(&precision)?.bytes() as f64 / 1e6;
        bail!(
            "at {precision} the weights take {taken:.1} MB, no more and no less: --bits adaptive meets a budget"
        );
    }
    let budget = match is_mixed && args.mix.plan.is_none() {
        true => Some(mix::budget(&args.mix, &weights.plan(&precision)?)?),
        false => None,
    };
    ensure!(
        args.refine_steps == 0 || quantizer == Quantizer::Gptq,
        "--refine-steps moves the scales of codes that were chosen on a text: --quantizer gptq"
    );
    let needs_text = quantizer == Quantizer::Gptq || args.mix.measures();
    let text = match &args.calibration {
        _ if !args.input.is_empty() || (args.calibration.is_some() && !reads(&weights)) => {
            Some(given(args, &weights, ui)?)
        }
        Some(file) => Some(read(args, &weights, file)?),
        None if needs_text && writes(&weights) => Some(written(args, &weights, ui)?),
        None if quantizer == Quantizer::Gptq && weights.inputs().is_some() => {
            Some(given(args, &weights, ui)?)
        }
        None if quantizer == Quantizer::Gptq => {
            bail!(
                "{quantizer} chooses codes on what the model is given: --calibration FILE, or --input FILE or FOLDER"
            )
        }
        None => None,
    };
    let (weights, precision) = match budget {
        Some(bytes) => {
            let formats = mix::choose(args, (&weights, &precision), text.as_ref(), bytes, ui)?;
            weights.mixed(formats, &precision)
        }
        None => planned(weights, precision, args.mix.plan.as_deref())?,
    };
    match text {
        Some(text) if quantizer == Quantizer::Gptq => {
            calibrated(args, (&model, &weights, &precision), &text, ui)
        }
        _ => rounded(args, (&model, &weights, &precision), ui),
    }
}

/// Packs weights whose widths are chosen, rounded to nearest.
fn rounded(
    args: &Args,
    (model, weights, precision): (&Model, &Weights, &Precision),
    ui: &Ui,
) -> Result<()> {
    let bar = ui.bar("packing", Some(weights.plan(precision)?.source_bytes()), Unit::Bytes);
    let (file, plan) = stored((model, weights), &args.output, |name, out| {
        Ok(weights.pack(precision, name, out, &|done, _| bar.set(done))?)
    })?;
    say_packed(model, precision, &file, &plan, ui)
}

/// Chooses codes on a text, and moves scales by what follows in it.
fn calibrated(
    args: &Args,
    (model, weights, precision): (&Model, &Weights, &Precision),
    text: &Windows,
    ui: &Ui,
) -> Result<()> {
    let plan = weights.plan(precision)?;
    let matrices = plan.entries.iter().filter(|entry| entry.is_matrix() && entry.bytes > 0);
    let [text, rest] = text.split((args.calibration_tokens / args.context).max(1) as usize);
    let refinement = Refinement {
        steps: args.refine_steps,
        rate: args.refine_rate,
        sequences: args.refine_sequences as usize,
    };
    let refinement = (args.refine_steps > 0).then_some((refinement, &rest));
    let total = matrices.count() + args.refine_steps;
    let bar = ui.bar("quantising matrices", Some(total as u64), Unit::Steps);
    let (file, made) = stored((model, weights), &args.output, |name, out| {
        let heard = bar.clone();
        let heard = Rc::new(move |done| heard.set(done));
        Ok(calibrate::quantise(weights, precision, &text, refinement, (name, out), heard)?)
    })?;
    bar.finish();
    if let [first, .., last] = made.divergences[..] {
        ui.say(format!(
            "refined: divergence on the calibration text {first:.4}, in the last step {last:.4}"
        ));
    }
    if !made.rounded.is_empty() {
        let names = made.rounded.join(", ");
        ui.warn(format!("rounded to nearest, as the text has no say in them: {names}"));
    }
    say_packed(model, precision, &file, &made.plan, ui)
}

/// Tokens that are wanted of a text: those by which codes are chosen, and those by which scales are refined.
fn tokens(args: &Args) -> usize {
    let wanted = match args.groups.quantizer {
        Quantizer::Gptq => args.calibration_tokens,
        Quantizer::Rtn => args.mix.harm_tokens,
    };
    wanted as usize + args.refine_steps * (args.refine_sequences * args.context) as usize
}

/// The calibration text as the model reads it.
fn read(args: &Args, weights: &Weights, file: &Path) -> Result<Windows> {
    let text = read_text(file)?;
    // Of a text that is only sampled, all of it is of interest.
    let tokens = tokens(args).max(args.calibration_tokens as usize);
    windows(weights, &text, tokens, args.context as usize)
        .with_context(|| format!("the text in {}", file.display()))
}

/// Whether a model reads a text as a whole.
fn reads(weights: &Weights) -> bool {
    matches!(weights.class(), Class::Llama | Class::Qwen2 | Class::Bert)
}

/// Samples, with what the model writes about them.
fn given(args: &Args, weights: &Weights, ui: &Ui) -> Result<Windows> {
    let most = args.calibration_samples as usize;
    let given = Given { text: args.calibration.as_deref(), files: &args.input, most };
    let sample = given.together(weights)?;
    let bar = ui.bar("reading samples", Some(most as u64), Unit::Steps);
    let heard = bar.clone();
    let heard: Rc<dyn Fn(u64)> = Rc::new(move |done| heard.set(done));
    let text = answered(weights, sample.inputs().clone(), ANSWER, &heard)?;
    bar.finish();
    Ok(text)
}

/// A text that the model writes itself.
fn written(args: &Args, weights: &Weights, ui: &Ui) -> Result<Windows> {
    let window = args.context as usize;
    let sequences = (tokens(args) / window).max(1);
    let bar = ui.bar("writing a text", Some((sequences * window) as u64), Unit::Steps);
    let heard = bar.clone();
    let heard: Rc<dyn Fn(u64)> = Rc::new(move |done| heard.set(done));
    let text = own(weights, sequences, window, &heard)?;
    bar.finish();
    Ok(text)
}
