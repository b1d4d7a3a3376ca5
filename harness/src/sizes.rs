//! Sizes at which cells run: of the prompt, the text and the batch of a decoder, how many threads compute, and
//! how kernels are chosen. Each is an axis of a cell.

use crate::suggest;
use record::{Axes, Axis, Backend, Class, TuningMode};

/// What is asked for; where nothing is, a case has its own.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Sizes {
    /// Run decoders of text with prompts of so many tokens each, made of the case's own [default: as
    /// the case has them].
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_tokens: Vec<u32>,

    /// Let decoders generate exactly so many tokens [default: as the case expects].
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub new_tokens: Vec<u32>,

    /// Run decoders with so many prompts at once [default: as the case has them].
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: Vec<u32>,

    /// Let so many threads of the page compute, on the WASM backend; results are the same [default: as
    /// many as the page has processors, and eight at most].
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: Vec<u32>,

    /// How kernels of a GPU are chosen: `off` by rules, `fixed` as `tune` measured it before in this browser on
    /// this adapter, `auto` as it is measured before the passes of each cell [default: off].
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "MODE")]
    #[arg(value_parser = suggest::name::<TuningMode>)]
    pub tuning: Vec<TuningMode>,
}

impl Sizes {
    /// Every combination that a class has on a backend; one without any axis where none is asked for.
    pub(crate) fn of(&self, class: Class, backend: Backend) -> Vec<Axes> {
        let numbers = |numbers: &[u32]| numbers.iter().map(|it| Some(it.to_string())).collect();
        // What is off is as it is by default.
        let mode = |mode: &TuningMode| (*mode != TuningMode::Off).then(|| mode.to_string());
        let asked: [(Axis, Vec<Option<String>>); 5] = [
            (Axis::PromptTokens, numbers(&self.prompt_tokens)),
            (Axis::NewTokens, numbers(&self.new_tokens)),
            (Axis::Batch, numbers(&self.batch)),
            (Axis::Threads, numbers(&self.threads)),
            (Axis::Tuning, self.tuning.iter().map(mode).collect()),
        ];
        let varies = |axis: Axis| match axis {
            Axis::Threads => backend == Backend::Wasm,
            Axis::Tuning => matches!(backend, Backend::Webgpu | Backend::Native),
            size => class.varies_in(size),
        };
        let mut all = vec![Axes::new()];
        for (axis, values) in asked {
            if values.is_empty() || !varies(axis) {
                continue;
            }
            let with = |axes: &Axes, value: &Option<String>| {
                let mut axes = axes.clone();
                axes.extend(value.iter().map(|value| (axis, value.clone())));
                axes
            };
            all = all.iter().flat_map(|axes| values.iter().map(move |v| with(axes, v))).collect();
        }
        all
    }

    /// Names and values of the options that ask for these axes.
    pub(crate) fn options(axes: &Axes) -> impl Iterator<Item = (String, String)> + '_ {
        let is_size = |axis: &Axis| {
            matches!(
                axis,
                Axis::PromptTokens | Axis::NewTokens | Axis::Batch | Axis::Threads | Axis::Tuning
            )
        };
        let sizes = axes.iter().filter(move |(axis, _)| is_size(axis));
        sizes.map(|(axis, value)| (axis.name().replace('_', "-"), value.clone()))
    }
}
