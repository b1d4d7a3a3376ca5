//! Which matrix gets how many bits: what each costs at each width is measured, and the least harm that fits into
//! a budget is chosen.

use super::Args;
use crate::{
    groups::width,
    ui::{Ui, Unit},
};
use anyhow::{Context, Result, bail, ensure};
use engine::{
    calibrate::{Harm, Windows, harms, unmoved, within},
    load::{LoadPlan, PrecisionPlan},
    packing::Weights,
    published::Inputs,
    quant::Format,
};
use record::{Bits, Mix, Precision};
use std::{collections::BTreeMap, fs, path::PathBuf, rc::Rc};

/// How many bits adaptive weights have.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Adaptive bits")]
pub struct MixArgs {
    /// Bits a weight that matrices have on the average, scales included.
    #[arg(long, value_name = "BPW", conflicts_with_all = ["memory_limit", "plan"])]
    pub bpw: Option<f64>,

    /// Megabytes (10⁶ bytes) that all weights take together, at most.
    #[arg(long, value_name = "MB", conflicts_with = "plan")]
    pub memory_limit: Option<f64>,

    /// Widths that are mixed.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "BITS", default_value = "8,4,3,2")]
    #[arg(value_parser = width)]
    pub widths: Vec<u8>,

    /// Tokens of the text on which harm is measured: the whole model reads them once for each matrix and width.
    #[arg(long, value_name = "N", default_value = "512")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub harm_tokens: u32,

    /// Keep what each matrix costs at each width in this file; if it is there, nothing is measured again.
    #[arg(long, value_name = "FILE", conflicts_with = "plan")]
    pub harms: Option<PathBuf>,

    /// Measure nothing, and give each matrix the format that a file names, as this command writes it.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
}

impl MixArgs {
    /// Whether harm is yet to be measured.
    pub(super) fn measures(&self) -> bool {
        let is_known = self.harms.as_ref().is_some_and(|file| file.exists());
        self.plan.is_none() && !is_known
    }
}

/// The formats of least harm within so many bytes.
pub(super) fn choose(
    args: &Args,
    (weights, precision): (&Weights, &Precision),
    text: Option<&Windows>,
    bytes: u64,
    ui: &Ui,
) -> Result<PrecisionPlan> {
    let plan = weights.plan(precision)?;
    let harms = known(args, weights, precision, text, ui)?;
    let formats = within(&harms, bytes).map_err(|smallest| {
        let least = smallest + beside(&plan);
        anyhow::anyhow!(
            "the budget leaves {bytes} bytes to the matrices, and at the least of these widths they take \
             {smallest}: ask for {:.1} MB, or {:.3} bits a weight",
            least as f64 / 1e6,
            smallest as f64 * 8.0 / sum(&plan, |entry| entry.weights()) as f64
        )
    })?;
    say(&harms, &formats, ui);
    Ok(formats)
}

/// Bytes that all matrices may take together.
pub(super) fn budget(args: &MixArgs, plan: &LoadPlan) -> Result<u64> {
    match (args.bpw, args.memory_limit) {
        (Some(bpw), _) => {
            ensure!(
                bpw.is_finite() && bpw > 0.0,
                "--bpw {bpw}: say how many bits a weight may take"
            );
            Ok((bpw * sum(plan, |entry| entry.weights()) as f64 / 8.0) as u64)
        }
        (None, Some(limit)) => {
            ensure!(
                limit.is_finite() && limit > 0.0,
                "--memory-limit {limit}: say how many megabytes"
            );
            let (limit, beside) = ((limit * 1e6) as u64, beside(plan));
            let room = limit.checked_sub(beside);
            room.with_context(|| {
                format!("norms and biases alone take {:.1} MB", beside as f64 / 1e6)
            })
        }
        (None, None) => bail!("adaptive bits need a budget: --bpw, --memory-limit, or --plan"),
    }
}

/// A sum over all matrices of a model.
fn sum(plan: &LoadPlan, of: impl Fn(&engine::load::Entry) -> u64) -> u64 {
    plan.entries.iter().filter(|entry| entry.is_matrix()).map(of).sum()
}

/// Bytes that are no matrix's.
fn beside(plan: &LoadPlan) -> u64 {
    plan.bytes() - sum(plan, |entry| entry.bytes)
}

/// What each matrix costs, out of a file or measured.
fn known(
    args: &Args,
    weights: &Weights,
    precision: &Precision,
    text: Option<&Windows>,
    ui: &Ui,
) -> Result<Vec<Harm>> {
    if let Some(file) = args.mix.harms.as_ref().filter(|file| file.exists()) {
        let context = || format!("what matrices cost, in {}", file.display());
        let text = fs::read_to_string(file).with_context(context)?;
        let harms: Vec<Harm> = serde_json::from_str(&text).with_context(context)?;
        fits(&harms, &args.mix.widths, precision).with_context(context)?;
        return Ok(harms);
    }
    let part = text.map(|text| text.spread((args.mix.harm_tokens / args.context).max(1) as usize));
    let sample: &Inputs = match (&part, weights.inputs()) {
        (Some(part), _) => part.inputs(),
        (None, Some(inputs)) => inputs,
        (None, None) => bail!("say by which text harm is measured: --calibration FILE"),
    };
    let matrices = weights.plan(&Precision::of(Bits::Fixed(32)))?.precision_plan().formats.len();
    let trials = matrices * args.mix.widths.len();
    let bar = ui.bar("trying matrices", Some(trials as u64), Unit::Steps);
    let heard = bar.clone();
    let heard: Rc<dyn Fn(u64)> = Rc::new(move |done| heard.set(done));
    let harms = harms(weights, precision, &args.mix.widths, sample, &heard)?;
    bar.finish();
    if let Some(file) = &args.mix.harms {
        fs::write(file, serde_json::to_string_pretty(&harms)?)
            .with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(harms)
}

/// Fails where harm was measured of other formats than those that are asked for. What is of another model is told
/// by name when the plan is carried out.
fn fits(harms: &[Harm], widths: &[u8], precision: &Precision) -> Result<()> {
    let format = |bits: &u8| {
        Format::of(&Precision { bits: Bits::Fixed(*bits), plan: None, ..precision.clone() })
    };
    let formats: Vec<Format> = widths.iter().map(format).collect::<Result<_, _>>()?;
    let own = |harm: &Harm| harm.choices.iter().map(|choice| choice.format).collect::<Vec<_>>();
    match harms.iter().find(|harm| own(harm) != formats) {
        Some(harm) => bail!(
            "{} was tried as {}, and {} are asked for; name another file",
            harm.name,
            words(&own(harm)),
            words(&formats)
        ),
        None => Ok(()),
    }
}

fn words(formats: &[Format]) -> String {
    formats.iter().map(Format::to_string).collect::<Vec<_>>().join(", ")
}

/// Says what was chosen, and what it is expected to cost.
fn say(harms: &[Harm], formats: &PrecisionPlan, ui: &Ui) {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let mut total = 0.0;
    for harm in harms {
        let format = formats.formats[&harm.name];
        *counts.entry(format.to_string()).or_default() += 1;
        let chosen = harm.choices.iter().find(|choice| choice.format == format);
        total += chosen.map_or(0.0, |choice| choice.harm);
    }
    let counts: Vec<_> =
        counts.iter().map(|(format, count)| format!("{count} × {format}")).collect();
    let mix = match formats.mix() {
        Mix::Plan(hash) => hash,
        Mix::Rule { .. } => unreachable!("formats are no rule"),
    };
    ui.say(format!("plan {mix}: {}; harm {total:.4}, estimated as a sum", counts.join(", ")));
    let unmoved = unmoved(harms).into_iter().collect::<Vec<_>>().join(", ");
    if !unmoved.is_empty() {
        ui.warn(format!(
            "the sample does not reach {unmoved}, so nothing speaks for more bits there"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::calibrate::Choice;

    fn args(bpw: Option<f64>, memory_limit: Option<f64>) -> MixArgs {
        let widths = vec![4, 2];
        MixArgs { bpw, memory_limit, widths, harm_tokens: 64, harms: None, plan: None }
    }

    #[test]
    fn harms_of_other_formats_are_refused() {
        let precision = Precision::of(Bits::Adaptive);
        let format: Format = "q4 symmetric g32".parse().unwrap();
        let choices = vec![Choice { format, bytes: 1, harm: 0.5 }];
        let harms = [Harm { name: "w".to_owned(), weights: 2, choices }];
        fits(&harms, &[4], &precision).unwrap();
        for (widths, group_size) in [(&[4, 2][..], 32), (&[3], 32), (&[4], 64)] {
            let asked = Precision { group_size, ..precision.clone() };
            let error = fits(&harms, widths, &asked).unwrap_err().to_string();
            assert!(error.starts_with("w was tried as q4 symmetric g32, and"), "{error}");
        }
    }

    #[test]
    fn a_budget_is_what_is_left_for_matrices() {
        let ui = Ui::new(true, false);
        let model = crate::weights::Model::find("llama-gqa", false, &ui).unwrap();
        let plan = model.open().unwrap().plan(&Precision::of(Bits::Fixed(4))).unwrap();
        let weights = sum(&plan, |entry| entry.weights());
        assert_eq!(budget(&args(Some(4.0), None), &plan).unwrap(), weights / 2);
        let limit = budget(&args(None, Some(1.0)), &plan).unwrap();
        assert_eq!(limit, 1_000_000 - beside(&plan));
        assert!(beside(&plan) > 0);
        for (wrong, said) in [
            (args(None, None), "need a budget"),
            (args(Some(f64::NAN), None), "say how many bits"),
            (args(None, Some(0.0001)), "norms and biases alone"),
        ] {
            let error = budget(&wrong, &plan).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
