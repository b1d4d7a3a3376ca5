//! What came of a cell.

use crate::{Answered, Bits, Cost, KvFormat, MemoryLimit, PassTrace, Precision, Reference, Tuning};
use serde::{Deserialize, Serialize};

/// The verdict of a cell.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Ran, and every checked figure is within its tolerance.
    Pass,
    /// Passed, but not at the first attempt: `Record::earlier` says what went wrong before.
    Flaky,
    /// Ran, and a checked figure is out of its tolerance.
    Fail,
    /// This browser, backend or device cannot do it; `reason` says what is missing.
    Unsupported,
    /// No answer within the time allowed.
    Timeout,
    /// The browser died or lost its GPU while the cell ran.
    Crash,
    /// The engine refused or broke; `stage` and `message` say where and why.
    Error,
    /// No session could be had: never counted against a model.
    #[default]
    Infra,
    /// Deliberately not run.
    Skip,
}

impl Status {
    /// Every status, in the order in which reports list them.
    pub const ALL: [Status; 9] = [
        Status::Pass,
        Status::Flaky,
        Status::Fail,
        Status::Unsupported,
        Status::Timeout,
        Status::Crash,
        Status::Error,
        Status::Infra,
        Status::Skip,
    ];

    /// The name used in files and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Pass => "pass",
            Status::Flaky => "flaky",
            Status::Fail => "fail",
            Status::Unsupported => "unsupported",
            Status::Timeout => "timeout",
            Status::Crash => "crash",
            Status::Error => "error",
            Status::Infra => "infra",
            Status::Skip => "skip",
        }
    }
}

/// The verdict of a cell with its figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcome {
    /// The verdict.
    pub status: Status,
    /// One line: why the verdict is not `pass`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it broke: `self-test`, `load`, `forward`, `session`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The error as it was raised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How right the numbers are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correctness: Option<Correctness>,
    /// Whose outputs quantisation loss is told against; none where nothing is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// Whether the inputs were seeded numbers in the shapes that the model takes, as nothing says how
    /// real ones are prepared.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub synthetic_inputs: bool,
    /// How often it was right, where its case has samples with labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<Answered>,
    /// How small the model is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// How fast it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
    /// What it drew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy: Option<Energy>,
    /// How the weights are stored: one entry a format.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<PlanEntry>,
    /// Of the bits of all outputs: equal where every number is, on one device run after run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// Whether the page was hidden for some of the time: browsers slow such pages down.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// SHA-256 of the plan by which the weights were loaded, in hexadecimal: cells of one hash ran
    /// with the same weights in the same words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_hash: Option<String>,
    /// Tokens of greedy generation, prompt included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub generated_ids: Vec<u32>,
    /// What became of it when its memory was to shrink, if somebody asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lowered: Option<Lowered>,
    /// Where the time of its passes goes, if somebody asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trace: Vec<PassTrace>,
    /// The kernels that calls were given by measurement; none where only the rules were to choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tuning: Option<Tuning>,
}

impl Outcome {
    /// A verdict without figures.
    pub fn without_figures(
        status: Status,
        stage: impl Into<String>,
        message: impl Into<String>,
    ) -> Outcome {
        let message = message.into();
        Outcome {
            status,
            reason: message.lines().next().map(str::to_owned),
            stage: Some(stage.into()),
            message: Some(message),
            ..Outcome::default()
        }
    }

    /// Whose outputs its loss is told against: those of transformers where the record is so old that it
    /// does not say. None where there is no loss.
    pub fn told_against(&self) -> Option<Reference> {
        let found = self.correctness?;
        let has_loss = found.reference_rel_l2.is_some() || found.cosine.is_some();
        has_loss.then_some(self.reference.unwrap_or(Reference::Transformers))
    }
}

/// How right the numbers are. Kernel error and quantisation loss are never mixed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Correctness {
    /// Kernel error: `‖y − y₀‖ / ‖y₀‖` against the same computation in f32 on the dequantised
    /// weights, the worst of the outputs.
    pub kernel_rel_l2: Option<f64>,
    /// Kernel error: largest absolute difference.
    pub kernel_max_abs: Option<f64>,
    /// Against the expected outputs of the f32 model, the worst of the outputs.
    pub reference_rel_l2: Option<f64>,
    /// Quantisation loss: smallest cosine between a row of an output and its expected row.
    pub cosine: Option<f64>,
    /// Quantisation loss: mean KL divergence in nats of the distribution over the last axis of
    /// `logits` from the expected one.
    pub kl: Option<f64>,
    /// Quantisation loss: share of positions whose most likely class or token is the expected one,
    /// under forced decoding where tokens are generated.
    pub top1_agreement: Option<f64>,
    /// Share of the expected continuation that free greedy generation repeats before it first
    /// differs.
    pub generated_match: Option<f64>,
    /// Positions at the beginning of each prompt whose logits were judged, where not all were: those of a
    /// long prompt fill the memory of a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub judged_positions: Option<u32>,
}

/// What a cell must keep to pass.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tolerances {
    /// Bound on `kernel_rel_l2`.
    pub kernel_rel_l2: f64,
    /// Bound on `reference_rel_l2`; none where the difference is quantisation loss, which is
    /// measured and not judged.
    pub reference_rel_l2: Option<f64>,
    /// Whether greedy generation must repeat the expected tokens.
    pub generation_is_exact: bool,
}

impl Tolerances {
    /// The tolerances of a precision.
    pub fn of(precision: &Precision) -> Tolerances {
        // To round weights, or a cache, to 16 bits is a loss like any other, and so is to forget tokens.
        let is_whole = precision.bits == Bits::Fixed(32) && precision.has_whole_cache();
        // Of a token that made room the reference has no codes but its own, and where a number lies between two the
        // device may have the other: in a window of few tokens that counts.
        let has_codes = !matches!(precision.kv, KvFormat::F32 | KvFormat::F16);
        Tolerances {
            kernel_rel_l2: if has_codes && precision.window.is_some() { 2e-2 } else { 1e-3 },
            reference_rel_l2: is_whole.then_some(1e-4),
            generation_is_exact: is_whole,
        }
    }
}

/// How small the model is, in bytes that were really allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// What the same weights take at 16 bits each.
    pub weights_fp16_bytes: u64,
    /// Bytes of the buffers that hold the weights, scales and minimums included.
    pub weights_bytes: u64,
    /// Measured bits per weight over the tensors that the precision applies to (matrices).
    pub bpw: f64,
    /// Bytes of the key-value cache.
    pub kv_bytes: u64,
    /// Most GPU memory held at once; absent on CPU backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_peak_bytes: Option<u64>,
    /// Most bytes allocated at once in WASM memory while the cell ran; absent outside a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wasm_heap_bytes: Option<u64>,
}

/// How fast it ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timing {
    /// From the request to weights in place, quantisation included.
    pub load_ms: f64,
    /// The first pass, in which pipelines are compiled, less the median of later ones.
    pub compile_ms: f64,
    /// Where the time before the first result went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
    /// Threads that computed the passes, where these run on the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// Wall time of each measured pass: a forward pass, or a prefill for decoders.
    pub samples_ms: Vec<f64>,
    /// How many of them each round took, where there was more than one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub round_passes: Vec<u32>,
    /// Their median.
    pub median_ms: f64,
    /// What each of them takes: over a median, the arithmetic and the bandwidth that were achieved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_cost: Option<Cost>,
    /// Its confidence interval of at least 95%, whose ends are samples; absent where there are too few
    /// of these to claim one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ci95_ms: Option<[f64; 2]>,
    /// How long a fixed piece of work took the thread right after each measured pass, where these run on
    /// the CPU: the same pass takes as much longer as this does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub yardstick_ms: Vec<f64>,
    /// GPU time of each measured pass by timestamps, the host's work and waits left out; empty where
    /// the adapter has no timestamps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpu_samples_ms: Vec<f64>,
    /// Their median.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_median_ms: Option<f64>,
    /// Prompt tokens a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefill_tps: Option<f64>,
    /// New tokens a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_tps: Option<f64>,
    /// The same for each round, where there was more than one; `decode_tps` is their median.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decode_samples_tps: Vec<f64>,
    /// How long the fixed piece of work took around the decode of each round, on the CPU.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decode_yardstick_ms: Vec<f64>,
}

/// Where the time before the first result went. How much of it a cell had to do depends on those
/// before it in its page: `fetched_bytes` and `pipelines` tell a cold cell from a warm one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Load {
    /// Waiting for files, or computing seeded weights.
    pub fetch_ms: f64,
    /// Bytes that came over the network; 0 where an earlier cell had left all files in the page.
    pub fetched_bytes: u64,
    /// Reading headers, configuration and inputs.
    pub parse_ms: f64,
    /// Quantising and packing.
    pub pack_ms: f64,
    /// Handing bytes over to the GPU; what it does with them then goes on behind the host's back.
    pub upload_ms: f64,
    /// Making pipelines, as far as the browser makes the host wait for them.
    pub compile_ms: f64,
    /// Pipelines that no earlier cell had left.
    pub pipelines: u32,
    /// The first pass, pipelines included.
    pub first_pass_ms: f64,
}

/// What a cell drew from the wall or the battery.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Joules over the measured passes.
    pub joules: f64,
    /// Where the number comes from.
    pub source: EnergySource,
}

/// Where an energy figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnergySource {
    /// Read from a counter.
    Measured,
    /// Computed by a formula that the report states.
    Estimated,
}

/// How many weights are stored in one format.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanEntry {
    /// Name of the format, such as `q4 symmetric g32` or `f32`.
    pub format: String,
    /// Tensors in this format.
    pub tensors: u64,
    /// Weights in this format.
    pub weights: u64,
    /// Bytes they take.
    pub bytes: u64,
}

/// A model that was lowered to fewer bits where it lay, after all else was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lowered {
    /// What weights and cache were to take at most.
    pub limit: MemoryLimit,
    /// Bytes of its weights then.
    pub weights_bytes: u64,
    /// Bits per weight of its matrices.
    pub bpw: f64,
    /// How many matrices were changed.
    pub matrices: u64,
    /// How long that took.
    pub ms: f64,
    /// Bytes that were fetched meanwhile, where the page can tell: none are needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetched_bytes: Option<u64>,
    /// How the weights are stored: one entry a format.
    pub plan: Vec<PlanEntry>,
    /// How right its numbers are; the kernel error is judged as before.
    pub correctness: Correctness,
}
