//! The figures of one cell, each as text or as a dash with its reason.

use super::{
    figure::{self, Figure},
    flag::FlagNote,
};
use record::{Class, Correctness, Energy, EnergySource, Memory, Record, Timing, Tolerances};
use serde::Serialize;

/// The figures of a cell that ran.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of the record, in the units of the heads")]
pub struct Measured {
    pub load_ms: Figure,
    pub compile_ms: Figure,
    pub passes: Figure,
    pub median_ms: Figure,
    /// What is to be known before the times are believed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<FlagNote>,
    pub ci95_ms: Figure,
    pub gpu_ms: Figure,
    /// Median and interval as per cent of the longest time of the case.
    pub bar: Option<[String; 3]>,
    pub prefill_tps: Figure,
    pub decode_tps: Figure,
    pub weights: Figure,
    /// Bytes of the weights as a multiple of their fp16 bytes.
    pub of_fp16: Figure,
    pub bpw: Figure,
    pub kv: Figure,
    pub gpu_peak: Figure,
    pub wasm_heap: Figure,
    pub energy_j: Figure,
    /// Whether the energy was computed and not read from a counter.
    pub energy_is_estimated: bool,
    /// How right the numbers are, where that was looked at.
    pub accuracy: Option<Accuracy>,
}

/// How right the numbers of a cell are: what the bits cost, and apart from it whether the kernels
/// are right.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "the fields are those of the record, in the units of the heads")]
pub struct Accuracy {
    pub cosine: Figure,
    pub kl: Figure,
    pub top1: Figure,
    pub generated: Figure,
    pub kernel_rel_l2: Figure,
    pub kernel_max_abs: Figure,
    pub reference_rel_l2: Figure,
}

impl Measured {
    /// The figures of `record`, whose bar is drawn against `longest_ms`.
    pub fn of(record: &Record, longest_ms: f64) -> Measured {
        let outcome = &record.outcome;
        let timing = outcome.timing.as_ref();
        // A median over no passes is the zero of a default, not a time.
        let passes = timing.filter(|timing| !timing.samples_ms.is_empty());
        let memory = outcome.memory.as_ref();
        let weights = memory.filter(|memory| memory.weights_bytes > 0);
        let time = |value: fn(&Timing) -> f64| {
            Figure::of(timing.map(value), "the record has no times", figure::plain)
        };
        let rate = |value: fn(&Timing) -> Option<f64>| {
            Figure::of(timing.and_then(value), no_tokens(record.cell.class), figure::plain)
        };
        let size = |bytes: Option<u64>, why| {
            Figure::of(bytes.map(|bytes| bytes as f64), why, figure::bytes)
        };
        const NO_SIZE: &str = "the record has no sizes";
        Measured {
            load_ms: time(|timing| timing.load_ms),
            compile_ms: time(|timing| timing.compile_ms),
            passes: Figure::of(passes.map(passes_of), "no pass was measured", figure::count),
            median_ms: Figure::of(
                passes.map(|t| t.median_ms),
                "no pass was measured",
                figure::plain,
            ),
            flags: FlagNote::of(record),
            ci95_ms: match (passes, passes.and_then(interval)) {
                (_, Some(ends)) => {
                    let [low, high] = ends.map(figure::plain);
                    Figure { text: format!("{low}–{high}"), ..Figure::default() }
                }
                (Some(_), None) => Figure::of(None, "takes 6 passes at least", figure::plain),
                (None, None) => Figure::of(None, "no pass was measured", figure::plain),
            },
            gpu_ms: Figure::of(
                passes.and_then(|timing| timing.gpu_median_ms),
                "no GPU on this backend, or its adapter has no timestamps",
                figure::plain,
            ),
            bar: passes.and_then(|timing| bar(timing, longest_ms)),
            prefill_tps: rate(|timing| timing.prefill_tps),
            decode_tps: rate(|timing| timing.decode_tps),
            weights: size(weights.map(|memory| memory.weights_bytes), NO_SIZE),
            of_fp16: Figure::of(weights.and_then(of_fp16), NO_SIZE, |ratio| format!("{ratio:.2}×")),
            bpw: Figure::of(weights.map(|memory| memory.bpw), NO_SIZE, figure::bpw),
            kv: size(memory.map(|m| m.kv_bytes).filter(|b| *b > 0), "no key-value cache"),
            gpu_peak: size(
                memory.and_then(|m| m.gpu_peak_bytes),
                "no GPU on this backend, or its peak was not told",
            ),
            wasm_heap: size(
                memory.and_then(|m| m.wasm_heap_bytes),
                "no WASM memory outside a page, or it was not told",
            ),
            energy_j: Figure::of(outcome.energy.map(|e| e.joules), "not known here", figure::plain),
            energy_is_estimated: matches!(
                outcome.energy,
                Some(Energy { source: EnergySource::Estimated, .. })
            ),
            accuracy: outcome.correctness.map(|found| Accuracy::of(&found, record)),
        }
    }
}

impl Accuracy {
    fn of(found: &Correctness, record: &Record) -> Accuracy {
        let bounds = Tolerances::of(&record.cell.precision);
        let expected = "no expected output to compare with";
        let compared = "not compared in this run";
        Accuracy {
            cosine: Figure::of(found.cosine, expected, figure::cosine),
            kl: Figure::of(found.kl, "the case expects no logits", figure::small),
            top1: Figure::of(found.top1_agreement, "the case expects no logits", figure::percent),
            generated: Figure::of(
                found.generated_match,
                no_tokens(record.cell.class),
                figure::percent,
            ),
            kernel_rel_l2: Figure::judged(
                found.kernel_rel_l2,
                compared,
                Some(bounds.kernel_rel_l2),
            ),
            kernel_max_abs: Figure::of(found.kernel_max_abs, compared, figure::small),
            reference_rel_l2: Figure::judged(
                found.reference_rel_l2,
                expected,
                bounds.reference_rel_l2,
            ),
        }
    }
}

/// Why a class has no figure about tokens.
fn no_tokens(class: Class) -> &'static str {
    match class {
        Class::T5
        | Class::Llama
        | Class::Qwen2
        | Class::Whisper
        | Class::Llava
        | Class::LlavaNext => "no tokens were generated in this run",
        _ => "this class generates no tokens",
    }
}

fn passes_of(timing: &Timing) -> f64 {
    timing.samples_ms.len() as f64
}

/// The interval of the median, where the samples suffice for one: older records state one, from
/// their least sample to their largest, of three samples as well.
fn interval(timing: &Timing) -> Option<[f64; 2]> {
    timing.ci95_ms.filter(|_| timing.samples_ms.len() >= 6)
}

/// What a bar shows: the ends of the interval, or the median where there is none.
pub(super) fn ends(timing: &Timing) -> [f64; 2] {
    interval(timing).unwrap_or([timing.median_ms; 2])
}

fn of_fp16(memory: &Memory) -> Option<f64> {
    let whole = memory.weights_fp16_bytes;
    (whole > 0).then(|| memory.weights_bytes as f64 / whole as f64)
}

fn bar(timing: &Timing, longest_ms: f64) -> Option<[String; 3]> {
    let [low, high] = ends(timing);
    let places = [timing.median_ms, low, high];
    let drawable = longest_ms > 0.0 && places.iter().all(|place| place.is_finite());
    drawable.then(|| places.map(|place| format!("{:.1}", (place / longest_ms * 100.0).max(0.0))))
}
