//! What comes of one cell: load, warm up, measure, generate, compare, judge.
//!
//! `passes.rs` times passes, `outputs.rs` computes what is judged, `steps.rs` the decode that is timed
//! under forced tokens, `texts.rs` generates, `traced.rs` says where the time of a pass goes, `compare.rs` how
//! far numbers are from what they should be, and `verdict.rs` what follows from that. `answered.rs` says how often
//! a model is right, where labels say what is. `lowered.rs` makes a model smaller in the end, if that was asked for.

mod answered;
pub(crate) mod compare;
mod lowered;
mod outputs;
mod passes;
mod steps;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
mod texts;
mod traced;
mod verdict;
mod yardstick;

use crate::{
    axes,
    case::Case,
    device::{Caches, Device},
    embedder::Embedder,
    error::{Error, Result},
    load::Held,
    models::{Decoder, Model},
    open,
    published::{Inputs, Published},
    threads, tune,
    weights::Metered,
};
use lowered::Lowering;
use outputs::MAX_LOGITS;
use record::{
    Correctness, Event, KvFormat, Load, Outcome, Precision, RunRequest, Status, Timing, Tolerances,
    Tuning, TuningMode,
};
use std::cell::Cell;
use texts::Texts;

/// Measures a cell; whatever goes wrong is in the outcome.
pub(crate) async fn run(request: &RunRequest, embedder: &dyn Embedder) -> Outcome {
    let stage = Stage { name: Cell::new("load"), embedder };
    match measure(request, &stage).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let error = match error {
                Error::Device { .. } => embedder.leave_gpu().await.unwrap_or(error),
                _ => error,
            };
            let status = match error {
                Error::Unsupported { .. } => Status::Unsupported,
                Error::Lost { .. } => Status::Crash,
                _ => Status::Error,
            };
            Outcome::without_figures(status, stage.name.get(), error.to_string())
        }
    }
}

/// Where a cell is: told to the harness, and to the record when it breaks there.
struct Stage<'a> {
    name: Cell<&'static str>,
    embedder: &'a dyn Embedder,
}

impl Stage<'_> {
    fn enter(&self, name: &'static str) {
        self.name.set(name);
        self.embedder.emit(Event::Stage { stage: name.to_owned() });
    }
}

async fn measure(request: &RunRequest, stage: &Stage<'_>) -> Result<Outcome> {
    let embedder = stage.embedder;
    stage.enter("load");
    let start = embedder.now();
    let asked = axes::threads(&request.cell)?;
    let device = open::device(request.cell.backend, asked, embedder).await?;
    let files = embedder.source(&request.case_url, &request.files);
    let files = Metered::new(files.as_ref());
    let names: Vec<String> = request.files.iter().map(|file| file.name.clone()).collect();
    let mut case = Case::open(&files, &names).await?;
    axes::apply(&request.cell, &mut case)?;
    let precision = &request.cell.precision;
    open::check_plan(&case.published, precision, embedder)?;
    let parsed_ms = embedder.now() - start;
    let (fetched_ms, spent) = (files.ms(), spent(&device));
    let weights = Metered::new(case.weights(&files));
    let cache = |decoder: &dyn Decoder| texts::cache_bytes(decoder, &case, request);
    let declared = open::declare(&case.published, &weights, precision, cache, embedder).await?;
    let loaded = open::load(declared, &weights, &device, embedder).await?;
    let (model, plan, held) = loaded.split();
    let lowering = Lowering::of(&plan, model.as_ref(), &case, request)?;
    let load_ms = embedder.now() - start;
    let upload_ms = self::spent(&device).upload_ms - spent.upload_ms;
    let mut phases = Load {
        fetch_ms: fetched_ms + weights.ms(),
        fetched_bytes: embedder.fetched_bytes().unwrap_or_else(|| files.bytes()),
        parse_ms: (parsed_ms - fetched_ms).max(0.0),
        pack_ms: (load_ms - parsed_ms - weights.ms() - upload_ms).max(0.0),
        upload_ms,
        ..Load::default()
    };
    let mut memory = plan.memory();

    stage.enter("compile");
    let spent = self::spent(&device);
    let trace = device.trace();
    phases.first_pass_ms = passes::timed(&device, model.as_ref(), &case.inputs, embedder).await?;
    let pass_cost = Some(trace.end().into_iter().map(|call| call.cost).sum());
    let compiled = self::spent(&device);
    phases.pipelines = compiled.pipelines - spent.pipelines;
    phases.compile_ms = compiled.compile_ms - spent.compile_ms;
    let threads = matches!(device, Device::Cpu(_)).then(|| threads::count() as u32);
    let mut timing =
        Timing { load_ms, load: Some(phases), pass_cost, threads, ..Timing::default() };
    let tuning = tuned(request, &device, model.as_ref(), &case, stage).await?;
    stage.enter("measure");
    passes::measure(&device, model.as_ref(), &case.inputs, request, embedder, &mut timing).await?;

    // Of numbers that another device may round the other way, the reference has the same ones.
    let caches = match precision.kv {
        KvFormat::F32 => Caches::default(),
        _ => Caches::kept(),
    };
    let keeping = device.with_caches(caches);
    let (judged, judged_positions) = outputs::judged(model.as_ref(), &case, MAX_LOGITS)?;
    let outputs = outputs::checked(&keeping, model.as_ref(), &judged).await?;
    let given = keeping.caches().fetch(&device).await?.given();
    drop(keeping);
    let mut correctness = Correctness { judged_positions, ..Correctness::default() };
    compare::expected(&outputs.values, &case.expected, &case.inputs, &mut correctness)?;

    let mut generated = Vec::new();
    if let Some(decoder) = model.decoder() {
        stage.enter("generate");
        let texts = Texts { device: &device, decoder, case: &case, request, embedder };
        generated = texts.run(&mut timing, &mut memory, &mut correctness).await?;
    }
    if case.samples.is_some() {
        stage.enter("answer");
    }
    let answered = answered::answered(&device, model.as_ref(), (&case, &files), embedder).await?;
    let trace = match request.trace {
        true => traced::passes(&device, model.as_ref(), &case.inputs).await?,
        false => Vec::new(),
    };
    // Once more, in buffers that hold what came before: what depends on that is no result.
    let again = outputs::warm(&device, model.as_ref(), &judged).await?;
    let unequal = compare::unequal(&outputs.values, &again.values);
    let misled = outputs.steps.as_ref().and_then(|steps| compare::choices(&outputs.values, steps));
    if let Device::Gpu(gpu) = &device {
        memory.gpu_peak_bytes = Some(gpu.peak_bytes());
    }

    stage.enter("compare");
    let stays = lowering.is_some();
    let (reference, held) =
        reference(model, held, &case.published, &judged, (&device, precision), given, stays)
            .await?;
    let worst = compare::kernel(&outputs.values, &reference, &mut correctness);
    memory.wasm_heap_bytes = embedder.heap_bytes();
    let tolerances = Tolerances::of(precision);
    let mut doubts: Vec<String> = misled.into_iter().chain(unequal).collect();
    let lowered = match (lowering, held) {
        (Some(lowering), Some(held)) => {
            stage.enter("lower");
            let subject = lowered::Subject { request, case: &case, judged: &judged, embedder };
            let (lowered, doubt) = subject.lower(&device, held, lowering).await?;
            doubts.extend(doubt);
            Some(lowered)
        }
        _ => None,
    };
    let (status, reason) = verdict::verdict(&correctness, tolerances, &worst, &doubts);
    Ok(Outcome {
        status,
        reason,
        correctness: Some(correctness),
        answered,
        memory: Some(memory),
        timing: Some(timing),
        plan: plan.formats(),
        plan_hash: Some(plan.hash()),
        generated_ids: generated,
        checksum: Some(compare::checksum(&outputs.values)),
        reference: case.expected.reference,
        synthetic_inputs: case.synthetic_inputs,
        trace,
        tuning,
        lowered,
        ..Outcome::default()
    })
}

/// Settles by which kernels all passes from here on run, where the cell asks for more than the rules.
async fn tuned(
    request: &RunRequest,
    device: &Device,
    model: &dyn Model,
    case: &Case,
    stage: &Stage<'_>,
) -> Result<Option<Tuning>> {
    let mode = axes::tuning(&request.cell)?;
    let (TuningMode::Fixed | TuningMode::Auto, Device::Gpu(gpu)) = (mode, device) else {
        return Ok(None);
    };
    let subject = tune::Subject { device, gpu, model, inputs: &case.inputs };
    let known = request.tuning.as_deref();
    stage.enter("tune");
    let tuning = match (mode, known) {
        (TuningMode::Auto, _) if request.tuning_ms > 0.0 => {
            subject.auto(known, request.tuning_ms).await?
        }
        (_, Some(known)) => subject.fixed(known)?,
        (_, None) => {
            let note = "nothing was measured on this adapter in this browser; see `harness tune`";
            Tuning { note: Some(note.to_owned()), ..Tuning::default() }
        }
    };
    // What that took is no part of what the cell does.
    gpu.forget();
    Ok(Some(tuning))
}

/// What the same packed weights give, multiplied in f32. Those of a GPU are fetched, and freed there unless they are to
/// stay; what stays is given back.
async fn reference(
    model: Box<dyn Model>,
    held: Held,
    published: &Published,
    inputs: &Inputs,
    (device, precision): (&Device, &Precision),
    given: Caches,
    stays: bool,
) -> Result<(compare::Values, Option<Held>)> {
    let by = Device::reference().with_caches(given);
    let Device::Gpu(gpu) = device else {
        return Ok((outputs::reference(&by, model.as_ref(), inputs).await?, Some(held)));
    };
    // Nobody computes with the GPU's copy any more.
    drop(model);
    gpu.forget();
    let kept = stays.then(|| held.clone());
    let model = open::take(published, held, device, precision).await?;
    Ok((outputs::reference(&by, model.as_ref(), inputs).await?, kept))
}

/// What the device has spent so far on uploads and pipelines; nothing on a CPU.
fn spent(device: &Device) -> crate::device::Spent {
    match device {
        Device::Cpu(_) => Default::default(),
        Device::Gpu(gpu) => gpu.spent(),
    }
}
