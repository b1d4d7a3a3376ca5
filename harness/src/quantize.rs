//! `quantize`: weights whose codes were chosen on a text, in a file that pages load as it lies. It runs on
//! the host alone and takes minutes; nothing of it is done again when the model is loaded.

use crate::{
    groups::Groups,
    ui::{Ui, Unit},
    weights::{Model, say_packed, stored},
};
use anyhow::{Context, Result, ensure};
use engine::calibrate::{self, windows};
use record::{Bits, Quantizer};
use std::{fs, path::PathBuf, rc::Rc};

/// What `quantize` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo harness quantize smollm2-135m --bits 3 --quantizer gptq --calibration text.txt -o ./smollm2-q3
  cargo harness run --models ./smollm2-q3 --bits 3 --quantizer gptq
      a folder that runs as the model does, with the codes that were chosen
  cargo harness evaluate ./smollm2-q3 --reference smollm2-135m --text other.txt
      what that has cost, on a text that the calibration did not see")]
pub struct Args {
    /// A model that `run --models` knows, a case folder, a folder as Hugging Face has it, or a .gguf
    /// file; of the classes llama, qwen2 and bert.
    pub model: String,

    /// Bits of the stored weights: 8, 4, 3 or 2.
    #[arg(long)]
    pub bits: Bits,

    /// How grouped weights are stored.
    #[command(flatten)]
    pub groups: Groups,

    /// The text on which codes are chosen, in UTF-8. A few thousand words of what the model is for are
    /// enough.
    #[arg(long, value_name = "FILE")]
    pub calibration: PathBuf,

    /// Tokens of the text that are read, at most.
    #[arg(long, value_name = "N", default_value = "8192")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub calibration_tokens: u32,

    /// Tokens that are read at a time, each in the light of those before it.
    #[arg(long, value_name = "N", default_value = "256")]
    #[arg(value_parser = clap::value_parser!(u32).range(8..))]
    pub window: u32,

    /// Where the packed weights go: a file that ends in .safetensors, or a new folder, into which the
    /// model's other files are copied.
    #[arg(long, short, value_name = "FILE|FOLDER")]
    pub output: PathBuf,

    /// Fetch nothing, and stop if the model is not on this machine.
    #[arg(long)]
    pub no_setup: bool,
}

/// Quantises a model.
pub fn run(args: &Args, ui: &Ui) -> Result<()> {
    ensure!(
        args.groups.quantizer == Quantizer::Gptq,
        "{} needs no text: pack-weights does it; or choose --quantizer gptq",
        args.groups.quantizer
    );
    let text = read_text(&args.calibration)?;
    let model = Model::find(&args.model, !args.no_setup, ui)?;
    let weights = model.open()?;
    let precision = args.groups.precision(args.bits);
    let windows = windows(&weights, &text, args.calibration_tokens as usize, args.window as usize)
        .with_context(|| format!("the text in {}", args.calibration.display()))?;
    let plan = weights.plan(&precision)?;
    let matrices = plan.entries.iter().filter(|entry| entry.is_matrix() && entry.bytes > 0);
    let bar = ui.bar("quantising matrices", Some(matrices.count() as u64), Unit::Steps);
    let (file, made) = stored((&model, &weights), &args.output, |name, out| {
        let heard = bar.clone();
        let heard = Rc::new(move |done| heard.set(done));
        Ok(calibrate::quantise(&weights, &precision, &windows, (name, out), heard)?)
    })?;
    bar.finish();
    if !made.rounded.is_empty() {
        let names = made.rounded.join(", ");
        ui.warn(format!("rounded to nearest, as the text has no say in them: {names}"));
    }
    say_packed(&model, &precision, &file, &made.plan, ui)
}

/// A text that a model reads.
pub(crate) fn read_text(file: &std::path::Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        anyhow::anyhow!("{} is no UTF-8: see byte {at}; save it as UTF-8", file.display())
    })
}
