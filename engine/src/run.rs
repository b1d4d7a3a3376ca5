//! Answers one request: who am I, or what comes of this cell.

use crate::{
    case::Case,
    compare::{self, Values},
    device::{Device, Gpu},
    error::{Error, Result},
    generate::{Options, generate},
    infer,
    load::{Account, Loader},
    models::{self, Decoder, Ids, Inputs, Model, Rows},
    ops::{self, Sampling},
    probe,
    published::Published,
    stats,
    tensor::Tensor,
    weights::{LocalFuture, Source},
};
use record::{
    Answer, Backend, Capabilities, CaseFile, Correctness, Event, Memory, Outcome, Precision,
    Request, RunRequest, Status, Timing, Tolerances, Webnn,
};
use std::{cell::Cell, rc::Rc};

/// New tokens where neither the case nor the request says how many.
const DEFAULT_NEW_TOKENS: usize = 16;

/// Room that a page needs beside the weights: activations, key-value caches, outputs to compare.
const BESIDE_WEIGHTS: u64 = 300_000_000;

/// Loading is told of at most this often.
const PROGRESS_MS: f64 = 100.0;

/// What the engine needs of the page or program that it runs in.
pub trait Host {
    /// Files below an URL in a page, in a folder on the host.
    fn source(&self, url: &str, files: &[CaseFile]) -> Box<dyn Source>;

    /// The GPU, opened once and kept; after an error it is opened anew.
    fn gpu(&self) -> LocalFuture<'_, Result<Rc<Gpu>>>;

    /// Gives up the GPU after it failed, and says if that was because it is lost: browsers tell of a
    /// loss later than of what a lost GPU refuses.
    fn leave_gpu(&self) -> LocalFuture<'_, Option<Error>> {
        Box::pin(async { None })
    }

    /// Milliseconds since some moment.
    fn now(&self) -> f64;

    /// Passes an event on.
    fn emit(&self, event: Event);

    /// What the page can do; none outside a page.
    fn capabilities(&self) -> LocalFuture<'_, Option<Capabilities>> {
        Box::pin(async { None })
    }

    /// What the page's WebNN offers.
    fn webnn(&self) -> LocalFuture<'_, Result<Webnn>> {
        Box::pin(async { Err(Error::unsupported("WebNN is for pages, and this is none")) })
    }

    /// Most bytes that were allocated at once in WASM memory since the request came.
    fn heap_bytes(&self) -> Option<u64> {
        None
    }

    /// Bytes that this program can address, where that is less than machines have.
    fn memory_limit(&self) -> Option<u64> {
        None
    }
}

/// Answers a request; whatever goes wrong is in the answer.
pub async fn answer(request: Request, host: &dyn Host) -> Answer {
    match request {
        Request::Probe { backend, self_test } => {
            Answer::Probe(Box::new(probe::probe(backend, self_test, host).await))
        }
        Request::Run(request) => Answer::Run(Box::new(run(&request, host).await)),
        Request::Infer(request) => Answer::Infer(Box::new(infer::answer(&request, host).await)),
    }
}

/// The device of a backend.
pub(crate) async fn open(backend: Backend, host: &dyn Host) -> Result<Device> {
    match backend {
        Backend::Webgpu | Backend::Native => Ok(Device::Gpu(host.gpu().await?)),
        Backend::Wasm => Ok(Device::cpu()),
        Backend::Webnn => Err(Error::unsupported(probe::NO_WEBNN_KERNELS)),
    }
}

async fn run(request: &RunRequest, host: &dyn Host) -> Outcome {
    let stage = Stage { name: Cell::new("load"), host };
    match measure(request, &stage).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let error = match error {
                Error::Device { .. } => host.leave_gpu().await.unwrap_or(error),
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
    let source = host.source(&request.case_url, &request.files);
    let files: Vec<String> = request.files.iter().map(|file| file.name.clone()).collect();
    let case = Case::open(source.as_ref(), &files).await?;
    let precision = &request.cell.precision;
    check_plan(&case.published, precision, host).await?;
    let load = async |device: &Device| {
        let weights = case.weights(source.as_ref());
        load_model(&case.published, weights, device, precision, host).await
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
        if let Device::Gpu(gpu) = &device {
            gpu.start_lap();
        }
        let sample = timed_pass(&device, model.as_ref(), &case.inputs, host).await?;
        timing.samples_ms.push(sample);
    }
    if let Device::Gpu(gpu) = &device
        && let Some(samples) = gpu.end_laps().await?
    {
        timing.gpu_median_ms = Some(stats::median(&samples));
        timing.gpu_samples_ms = samples;
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
    let (status, reason) = verdict(&correctness, Tolerances::of(request.cell.precision.bits));
    Ok(Outcome {
        status,
        reason,
        correctness: Some(correctness),
        memory: Some(memory),
        timing: Some(timing),
        plan: account.plan(),
        generated_ids: generated,
        reference: case.expected.reference,
        ..Outcome::default()
    })
}

/// Says whatever can be told of a model from names and shapes before a weight is read: what its class
/// misses, and that there is no room.
pub(crate) async fn check_plan(
    published: &Published,
    precision: &Precision,
    host: &dyn Host,
) -> Result<()> {
    let plan = Loader::planning(&published.checkpoint, precision);
    models::load(published.class, &published.config, &plan).await?;
    must_fit(plan.account().memory().weights_bytes, host.memory_limit())
}

/// Refuses weights that the memory has no room for. Those of a GPU count as well: its results are
/// checked against the same weights in main memory.
fn must_fit(weights: u64, limit: Option<u64>) -> Result<()> {
    match limit {
        Some(limit) if weights.saturating_add(BESIDE_WEIGHTS) > limit => {
            Err(Error::unsupported(format!(
                "the weights take {weights} bytes and the page up to {BESIDE_WEIGHTS} beside them, \
                 WASM memory ends at {limit}; use fewer bits or a smaller model"
            )))
        }
        _ => Ok(()),
    }
}

/// Loads a model and tells of it now and then.
pub(crate) async fn load_model(
    published: &Published,
    source: &dyn Source,
    device: &Device,
    precision: &Precision,
    host: &dyn Host,
) -> Result<(Box<dyn Model>, Account)> {
    let last = Cell::new(host.now());
    let progress = |done_bytes, total_bytes| {
        if host.now() - last.get() > PROGRESS_MS {
            last.set(host.now());
            host.emit(Event::Loading { done_bytes, total_bytes });
        }
    };
    let loader = Loader::new(source, &published.checkpoint, device, precision, &progress);
    let model = models::load(published.class, &published.config, &loader).await?;
    Ok((model, loader.account()))
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
            device.take(outputs.into_iter().map(|(_, tensor)| tensor).collect()).await?;
        }
    }
    Ok(host.now() - start)
}

/// The padding of the prompt: `attention_mask`, which belongs to the encoder where there is one.
pub(crate) fn prompt_mask(
    decoder: &dyn Decoder,
    inputs: &Inputs,
    ids: &Ids,
) -> Result<Option<Vec<f32>>> {
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
    let mut outputs = model.forward(device, &case.inputs)?;
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
        outputs.push(("decode_logits", logits));
    }
    let shape = |(name, tensor): &(&str, Tensor)| ((*name).to_owned(), tensor.shape().to_vec());
    let shapes: Vec<_> = outputs.iter().map(shape).collect();
    let values = device.take(outputs.into_iter().map(|(_, tensor)| tensor).collect()).await;
    if let Device::Gpu(gpu) = device {
        gpu.set_poison(false);
    }
    Ok(shapes
        .into_iter()
        .zip(values?)
        .map(|((name, shape), values)| (name, (shape, values)))
        .collect())
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
                suppressed: self.case.published.generation.suppressed.clone(),
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
        self.case
            .published
            .generation
            .stop_tokens
            .clone()
            .unwrap_or_else(|| self.decoder.stop_tokens().to_vec())
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
        let (first, vocabulary) = (Some(prompt.len() - 1), self.decoder.vocabulary());
        let suppressed = &self.case.published.generation.suppressed;
        let logits = match suppressed.addend(self.device, logits.rows(), vocabulary, first) {
            Some(addend) => {
                let logits = logits.reshape(addend.shape());
                ops::add(self.device, &logits, &addend)
            }
            None => logits,
        };
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

    /// The GPU of this thread's requests, once one of them has opened it.
    pub fn opened_gpu() -> Option<Rc<Gpu>> {
        GPU.with_borrow(|gpu| gpu.as_deref().cloned())
    }

    struct Native<'a> {
        start: Instant,
        emit: RefCell<&'a mut dyn FnMut(Event)>,
    }

    impl Host for Native<'_> {
        fn source(&self, url: &str, _files: &[CaseFile]) -> Box<dyn Source> {
            Box::new(Folder::new(url))
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
pub use native::{answer_blocking, opened_gpu};

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::weights::Folder;
    use record::{Axes, Bits, Browser, Cell, Class, Generation, InferRequest, Question};
    use std::time::{Duration, Instant};

    /// A page of so much memory.
    struct Page(u64);

    impl Host for Page {
        fn source(&self, url: &str, _files: &[CaseFile]) -> Box<dyn Source> {
            Box::new(Folder::new(url))
        }

        fn gpu(&self) -> LocalFuture<'_, Result<Rc<Gpu>>> {
            Box::pin(async { Err(Error::unsupported("no GPU")) })
        }

        fn now(&self) -> f64 {
            0.0
        }

        fn emit(&self, _event: Event) {}

        fn memory_limit(&self) -> Option<u64> {
            Some(self.0)
        }
    }

    fn request(class: Class, folder: &str) -> RunRequest {
        let files = Folder::new(folder).files().unwrap();
        RunRequest {
            cell: Cell {
                class,
                case: "a case".to_owned(),
                precision: Precision::of(Bits::Fixed(16)),
                backend: Backend::Wasm,
                browser: Browser::Chrome,
                axes: Axes::default(),
            },
            case_url: folder.to_owned(),
            files: files.into_iter().map(|name| CaseFile { name, bytes: 0 }).collect(),
            repeat: 1,
            warmup: 0,
            max_new_tokens: None,
        }
    }

    #[test]
    fn what_cannot_fit_is_refused_before_a_weight_is_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/published/llama-2-7b");
        let request = request(Class::Llama, folder);
        let start = Instant::now();
        let outcome = pollster::block_on(run(&request, &Page(1 << 32)));
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert_eq!(outcome.status, Status::Unsupported);
        assert_eq!(
            outcome.message.unwrap(),
            "unsupported here: the weights take 13477363712 bytes and the page up to 300000000 \
             beside them, WASM memory ends at 4294967296; use fewer bits or a smaller model"
        );
    }

    /// A question about a model meets the refusal that a cell of it meets.
    #[test]
    fn what_cannot_fit_is_refused_to_a_question_as_well() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/zoo/llama/llama-gqa");
        let page = Page(BESIDE_WEIGHTS + 1000);
        let run_request = request(Class::Llama, folder);
        let outcome = pollster::block_on(run(&run_request, &page));
        let question = InferRequest {
            precision: run_request.cell.precision,
            backend: Backend::Wasm,
            model_url: folder.to_owned(),
            model_files: vec![CaseFile { name: "model.safetensors".to_owned(), bytes: 0 }],
            input_url: folder.to_owned(),
            input_files: Vec::new(),
            question: Question { texts: vec!["a text".to_owned()], ..Question::default() },
            generation: Generation {
                max_new_tokens: 1,
                temperature: 0.0,
                top_k: 1,
                top_p: 1.0,
                seed: 0,
            },
        };
        let said = pollster::block_on(infer::answer(&question, &page));
        assert!(said.unsupported && outcome.status == Status::Unsupported);
        assert!(said.error.as_ref().unwrap().contains("WASM memory ends at 300001000"));
        assert_eq!(said.error, outcome.message);
    }
}
