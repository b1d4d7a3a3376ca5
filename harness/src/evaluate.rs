//! `evaluate`: what few bits have cost a model, by what it expects in a text beside what another expects.

use crate::{
    groups::{Caches, Groups},
    quantize::read_text,
    ui::{Ui, Unit},
    weights::Model,
};
use anyhow::{Context, Result};
use engine::{
    calibrate::{Fidelity, fidelity, windows},
    packing::Weights,
};
use record::{Bits, Precision};
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
        let bpw = weights.plan(&precision)?.memory().bpw;
        let value = json!({
            "model": args.model, "reference": name, "precision": precision, "bpw": bpw,
            "text": args.text, "context": windows.length, "fidelity": found,
        });
        ui.result(line(&args.model, &precision, bpw, &found), value);
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

fn line(model: &str, precision: &Precision, bpw: f64, found: &Fidelity) -> String {
    let Fidelity { tokens, kl, kl_p99, top1, perplexity, reference_perplexity } = found;
    format!(
        "{model} at {precision}, {bpw:.3} bits a weight, {tokens} tokens: divergence {kl:.4} nats (99 of \
         100 below {kl_p99:.3}), top-1 agreement {:.1}%, perplexity {perplexity:.2} (reference \
         {reference_perplexity:.2})",
        100.0 * top1
    )
}
