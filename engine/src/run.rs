//! Answers one request: who am I, or what comes of this cell.

use crate::{
    case::Case,
    compare::{self, Values},
    device::{Device, Gpu},
    error::{Error, Result},
    generate::{Options, generate},
    load::Loader,
    models::{self, Decoder, Ids, Inputs, Model, Rows},
    ops::{self, Sampling},
    quant::Precision,
    selftest, stats,
    weights::{LocalFuture, Source},
};
use record::{
    Answer, Backend, Correctness, EngineInfo, Event, Memory, Outcome, PageReport, Request,
    RunRequest, Status, Timing, Tolerances,
};
use std::{cell::Cell, rc::Rc};

/// New tokens where neither the case nor the request says how many.
const DEFAULT_NEW_TOKENS: usize = 16;

/// Loading is told of at most this often.
const PROGRESS_MS: f64 = 100.0;

/// What the engine needs of the page or program that it runs in.
pub trait Host {
    /// The files of a case.
    fn source(&self, request: &RunRequest) -> Box<dyn Source>;

    /// The GPU, opened once and kept; after an error it is opened anew.
    fn gpu(&self) -> LocalFuture<'_, Result<Rc<Gpu>>>;

    /// Milliseconds since some moment.
    fn now(&self) -> f64;

    /// Passes an event on.
    fn emit(&self, event: Event);

    /// Most bytes that were allocated at once in WASM memory since the request came.
    fn heap_bytes(&self) -> Option<u64> {
        None
    }
}

/// Answers a request; whatever goes wrong is in the answer.
pub async fn answer(request: Request, host: &dyn Host) -> Answer {
    match request {
        Request::Probe { backend, self_test } => {
            Answer::Probe(Box::new(probe(backend, self_test, host).await))
        }
        Request::Run(request) => Answer::Run(Box::new(run(&request, host).await)),
    }
}

async fn probe(backend: Backend, self_test: bool, host: &dyn Host) -> PageReport {
    let mut report = PageReport { engine: engine_info(None), ..PageReport::default() };
    host.emit(Event::Stage { stage: "self-test".to_owned() });
    match open(backend, host).await {
        Ok(device) => {
            if self_test {
                report.checks = selftest::run(&device).await;
            }
            report.engine = engine_info(Some(&device));
            if let Device::Gpu(gpu) = device {
                report.adapter = Some(gpu.description().clone());
            }
        }
        Err(error) => report.unsupported = Some(error.to_string()),
    }
    report
}

fn engine_info(device: Option<&Device>) -> EngineInfo {
    EngineInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("ENGINE_COMMIT").unwrap_or("unknown").to_owned(),
        variant: device.map(Device::variant).unwrap_or_default(),
    }
}

async fn open(backend: Backend, host: &dyn Host) -> Result<Device> {
    match backend {
        Backend::Webgpu | Backend::Native => Ok(Device::Gpu(host.gpu().await?)),
        Backend::Wasm => Ok(Device::cpu()),
        Backend::Webnn => Err(Error::unsupported("the engine has no WebNN backend")),
    }
}

async fn run(request: &RunRequest, host: &dyn Host) -> Outcome {
    let stage = Stage { name: Cell::new("load"), host };
    match measure(request, &stage).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let status = match error {
                Error::Unsupported { .. } => Status::Unsupported,
                _ => Status::Error,
            };
            Outcome::without_figures(status, stage.name.get(), error.to_string())
        }
    }
}

/// Where a cell is: told to the harness, and to the record when it breaks there.
struct Stage<'a> {
    name: Cell<&'static str>,
    host: &'a dyn Host,
}

impl Stage<'_> {
    fn enter(&self, name: &'static str) {
        self.name.set(name);
        self.host.emit(Event::Stage { stage: name.to_owned() });
    }
}

async fn measure(request: &RunRequest, stage: &Stage<'_>) -> Result<Outcome> {
    let host = stage.host;
    stage.enter("load");
    let start = host.now();
    let device = open(request.cell.backend, host).await?;
    if let Device::Gpu(gpu) = &device {
        gpu.forget();
    }
    let source = host.source(request);
    let files: Vec<String> = request.files.iter().map(|file| file.name.clone()).collect();
    let case = Case::open(source.as_ref(), &files).await?;
    let load = |device: &Device| {
        let (case, source, device) = (&case, source.as_ref(), device.clone());
        async move {
            let last = Cell::new(host.now());
            let progress = |done_bytes, total_bytes| {
                if host.now() - last.get() > PROGRESS_MS {
                    last.set(host.now());
                    host.emit(Event::Loading { done_bytes, total_bytes });
                }
            };
            let precision = Precision {
                bits: request.cell.bits,
                scheme: request.cell.scheme,
                group_size: request.cell.group_size,
            };
            let loader = Loader::new(source, &case.checkpoint, &device, precision, &progress);
            let model = models::load(case.class, &case.config, &loader).await?;
            Ok::<_, Error>((model, loader.account()))
        }
    };
    let (model, account) = load(&device).await?;
    let mut timing = Timing { load_ms: host.now() - start, ..Timing::default() };
    let mut memory = account.memory();

    stage.enter("compile");
    let first_ms = timed_pass(&device, model.as_ref(), &case.inputs, host).await?;
    stage.enter("measure");
    for _ in 0..request.warmup {
        timed_pass(&device, model.as_ref(), &case.inputs, host).await?;
    }
    for _ in 0..request.repeat.max(1) {
        let sample = timed_pass(&device, model.as_ref(), &case.inputs, host).await?;
        timing.samples_ms.push(sample);
    }
    timing.median_ms = stats::median(&timing.samples_ms);
    timing.ci95_ms = stats::median_ci95(&timing.samples_ms);
    timing.compile_ms = (first_ms - timing.median_ms).max(0.0);

    let outputs = checked_outputs(&device, model.as_ref(), &case).await?;
    let mut correctness = Correctness::default();
    compare::expected(&outputs, &case.expected, &case.inputs, &mut correctness)?;

    let mut generated = Vec::new();
    if let Some(decoder) = model.decoder() {
        stage.enter("generate");
        let texts = Generator { device: &device, decoder, case: &case, request, host };
        generated = texts.run(&mut timing, &mut memory, &mut correctness).await?;
    }
    if let Device::Gpu(gpu) = &device {
        memory.gpu_peak_bytes = Some(gpu.peak_bytes());
    }

    stage.enter("compare");
    let reference = match &device {
        // The same packed weights, multiplied in f32.
        Device::Cpu(_) => checked_outputs(&Device::reference(), model.as_ref(), &case).await?,
        Device::Gpu(gpu) => {
            // The GPU's copy goes first, so that the page never holds the weights twice.
            drop(model);
            gpu.forget();
            let device = Device::reference();
            let (model, _) = load(&device).await?;
            checked_outputs(&device, model.as_ref(), &case).await?
        }
    };
    compare::kernel(&outputs, &reference, &mut correctness);
    memory.wasm_heap_bytes = host.heap_bytes();
    let (status, reason) = verdict(&correctness, Tolerances::of(request.cell.bits));
    Ok(Outcome {
        status,
        reason,
        correctness: Some(correctness),
        memory: Some(memory),
        timing: Some(timing),
        plan: account.plan(),
        generated_ids: generated,
        ..Outcome::default()
    })
}

/// One measured pass, until its result is on the host: all outputs, or for decoders the first new
/// token.
async fn timed_pass(
    device: &Device,
    model: &dyn Model,
    inputs: &Inputs,
    host: &dyn Host,
) -> Result<f64> {
    let start = host.now();
    match model.decoder() {
        Some(decoder) => {
            let ids = inputs.ids(decoder.prompt_input(), decoder.vocabulary())?;
            let mask = prompt_mask(decoder, inputs, &ids)?;
            let mask = mask.map(|mask| device.upload(&[ids.batch, ids.tokens], mask));
            let state = decoder.begin(device, inputs, ids.tokens)?;
            let rows = Rows { last: true, mask: mask.as_ref() };
            let logits = decoder.prefill(device, &state, inputs, &ids.upload(device), rows)?;
            device.read_u32(&ops::argmax(device, &logits)).await?;
        }
        None => {
            let outputs = model.forward(device, inputs)?;
            device.read(&outputs.iter().map(|(_, tensor)| tensor).collect::<Vec<_>>()).await?;
        }
    }
    Ok(host.now() - start)
}

/// The padding of the prompt: `attention_mask`, which belongs to the encoder where there is one.
fn prompt_mask(decoder: &dyn Decoder, inputs: &Inputs, ids: &Ids) -> Result<Option<Vec<f32>>> {
    match decoder.prompt_input() {
        "input_ids" => inputs.mask("attention_mask", ids.batch, ids.tokens),
        _ => Ok(None),
    }
}

/// All outputs of the case's inputs and, for decoders, the logits of one step with the cache: so
/// that the kernels for one row are checked as well as those for many. Buffers are poisoned: a
/// kernel that does not run cannot leave old results behind.
async fn checked_outputs(device: &Device, model: &dyn Model, case: &Case) -> Result<Values> {
    if let Device::Gpu(gpu) = device {
        gpu.set_poison(true);
    }
    let mut outputs: Vec<(String, crate::tensor::Tensor)> = model
        .forward(device, &case.inputs)?
        .into_iter()
        .map(|(name, tensor)| (name.to_owned(), tensor))
        .collect();
    if let Some(decoder) = model.decoder() {
        let ids = case.inputs.ids(decoder.prompt_input(), decoder.vocabulary())?;
        let inputs = decoder.row(&case.inputs, 0, ids.batch);
        // A prompt that fills all positions is cut, so that there is one for the step.
        let length = ids.tokens.min(decoder.positions().saturating_sub(1)).max(1);
        let prompt = &ids.values[..length];
        let state = decoder.begin(device, &inputs, prompt.len() + 1)?;
        let rows = Rows { last: true, mask: None };
        let input = device.upload_u32(&[1, prompt.len()], prompt.to_vec());
        decoder.prefill(device, &state, &inputs, &input, rows)?;
        state.cache.advance(device, prompt.len());
        let next = device.upload_u32(&[1, 1], vec![prompt[0]]);
        let logits = decoder.step(device, &state, &next, rows);
        outputs.push(("decode_logits".to_owned(), logits));
    }
    let tensors: Vec<_> = outputs.iter().map(|(_, tensor)| tensor).collect();
    let values = device.read(&tensors).await;
    if let Device::Gpu(gpu) = device {
        gpu.set_poison(false);
    }
    let shapes = outputs.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec()));
    Ok(shapes.zip(values?).map(|((name, shape), values)| (name, (shape, values))).collect())
}

struct Generator<'a> {
    device: &'a Device,
    decoder: &'a dyn Decoder,
    case: &'a Case,
    request: &'a RunRequest,
    host: &'a dyn Host,
}

impl Generator<'_> {
    /// Continues each prompt of the case freely and, where the continuation is known, under forced
    /// decoding. Gives the first text.
    async fn run(
        &self,
        timing: &mut Timing,
        memory: &mut Memory,
        correctness: &mut Correctness,
    ) -> Result<Vec<u32>> {
        let expected = &self.case.expected.generated;
        let ids = self.case.inputs.ids(self.decoder.prompt_input(), self.decoder.vocabulary())?;
        let mask = prompt_mask(self.decoder, &self.case.inputs, &ids)?;
        timing.prefill_tps = Some(ids.values.len() as f64 / (timing.median_ms / 1e3).max(1e-9));
        let (mut matched, mut forced, mut wanted) = (0, 0, 0);
        let (mut steps, mut decode_ms) = (0, 0.0);
        let mut first_text = Vec::new();
        // Texts are what the case asks for; without any, the first prompt shows the speed.
        for row in 0..expected.len().clamp(1, ids.batch) {
            let inputs = self.decoder.row(&self.case.inputs, row, ids.batch);
            let given = &ids.values[row * ids.tokens..(row + 1) * ids.tokens];
            let expected = expected.get(row);
            // A decoder behind an encoder may be given more tokens to score than its text begins
            // with: then the text begins with the first of them.
            let length = match expected {
                Some(text) if !text.starts_with(given) => 1,
                _ => given.len(),
            };
            // Padding is cut off rather than masked: a text begins where its prompt does.
            let keep = |at: &usize| mask.as_ref().is_none_or(|m| m[row * ids.tokens + at] > 0.5);
            let prompt: Vec<u32> = (0..length).filter(keep).map(|at| given[at]).collect();
            let known = expected.map(|text| &text[length.min(text.len())..]);
            let limit = known.map_or(DEFAULT_NEW_TOKENS, <[u32]>::len);
            let limit = self.request.max_new_tokens.map_or(limit, |most| limit.min(most as usize));
            let limit = limit.min(self.decoder.positions().saturating_sub(prompt.len()));
            let count = Cell::new(0);
            let options = Options {
                max_new_tokens: limit,
                sampling: Sampling::Greedy,
                // A known continuation ends where it ends.
                stop_tokens: match known {
                    Some(_) => Vec::new(),
                    None => self.stop_tokens(),
                },
            };
            let emit = |id| {
                count.set(count.get() + 1);
                self.host.emit(Event::Token { id, count: count.get() });
            };
            let now = || self.host.now();
            let text = generate(self.device, self.decoder, &inputs, &prompt, &options, &now, &emit);
            let text = text.await?;
            steps += text.decode_steps;
            decode_ms += text.decode_ms;
            memory.kv_bytes = memory.kv_bytes.max(text.kv_bytes);
            if let Some(known) = known.map(|known| &known[..limit]) {
                let new = &text.ids[prompt.len()..];
                wanted += known.len();
                matched += new.iter().zip(known).take_while(|(a, b)| a == b).count();
                forced += self.forced(&inputs, &prompt, known).await?;
            }
            if row == 0 {
                first_text = text.ids;
            }
        }
        if steps > 0 {
            timing.decode_tps = Some(steps as f64 / (decode_ms / 1e3).max(1e-9));
        }
        if wanted > 0 {
            correctness.generated_match = Some(matched as f64 / wanted as f64);
            correctness.top1_agreement = Some(forced as f64 / wanted as f64);
        }
        Ok(first_text)
    }

    fn stop_tokens(&self) -> Vec<u32> {
        self.case.stop_tokens.clone().unwrap_or_else(|| self.decoder.stop_tokens().to_vec())
    }

    /// How many tokens of a known continuation are the most likely ones, each behind the right ones.
    async fn forced(&self, inputs: &Inputs, prompt: &[u32], known: &[u32]) -> Result<usize> {
        if known.is_empty() {
            return Ok(0);
        }
        let ids = [prompt, &known[..known.len() - 1]].concat();
        let state = self.decoder.begin(self.device, inputs, ids.len())?;
        let input = self.device.upload_u32(&[1, ids.len()], ids);
        let rows = Rows { last: false, mask: None };
        let logits = self.decoder.prefill(self.device, &state, inputs, &input, rows)?;
        let chosen = self.device.read_u32(&ops::argmax(self.device, &logits)).await?;
        let chosen = &chosen[prompt.len() - 1..];
        Ok(chosen.iter().zip(known).filter(|(a, b)| a == b).count())
    }
}

fn verdict(correctness: &Correctness, tolerances: Tolerances) -> (Status, Option<String>) {
    let mut problems = Vec::new();
    let mut check = |name: &str, value: Option<f64>, bound: Option<f64>| {
        if let (Some(value), Some(bound)) = (value, bound)
            && value > bound
        {
            problems.push(format!("{name} {value:.1e} is over {bound:.0e}"));
        }
    };
    check("kernel_rel_l2", correctness.kernel_rel_l2, Some(tolerances.kernel_rel_l2));
    check("reference_rel_l2", correctness.reference_rel_l2, tolerances.reference_rel_l2);
    if tolerances.generation_is_exact
        && correctness.generated_match.is_some_and(|share| share < 1.0)
    {
        problems.push("greedy generation leaves the expected tokens".to_owned());
    }
    match problems.is_empty() {
        true => (Status::Pass, None),
        false => (Status::Fail, Some(problems.join("; "))),
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use super::*;
    use crate::weights::Folder;
    use std::{cell::RefCell, mem::ManuallyDrop, time::Instant};

    thread_local! {
        /// Opened once a thread and never closed: drivers may refuse after some tens of openings,
        /// and must not be closed while a thread's other values are going.
        static GPU: RefCell<Option<ManuallyDrop<Rc<Gpu>>>> = const { RefCell::new(None) };
    }

    /// Answers a request in this process: `case_url` is a folder, and the GPU is wgpu's.
    pub fn answer_blocking(request: Request, emit: &mut dyn FnMut(Event)) -> Answer {
        let host = Native { start: Instant::now(), emit: RefCell::new(emit) };
        pollster::block_on(answer(request, &host))
    }

    struct Native<'a> {
        start: Instant,
        emit: RefCell<&'a mut dyn FnMut(Event)>,
    }

    impl Host for Native<'_> {
        fn source(&self, request: &RunRequest) -> Box<dyn Source> {
            Box::new(Folder::new(&request.case_url))
        }

        fn gpu(&self) -> LocalFuture<'_, Result<Rc<Gpu>>> {
            Box::pin(async {
                if let Some(gpu) = GPU.with_borrow(|gpu| gpu.as_deref().cloned())
                    && gpu.check("an earlier cell").is_ok()
                {
                    return Ok(gpu);
                }
                let gpu = Gpu::open(None).await?;
                GPU.set(Some(ManuallyDrop::new(Rc::clone(&gpu))));
                Ok(gpu)
            })
        }

        fn now(&self) -> f64 {
            self.start.elapsed().as_secs_f64() * 1e3
        }

        fn emit(&self, event: Event) {
            (self.emit.borrow_mut())(event);
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
pub use native::answer_blocking;
