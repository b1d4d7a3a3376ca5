//! What a cell refuses, what it notices, and what it leaves behind.

mod clocked;
mod prompts;

use super::*;
use crate::{
    answer_blocking,
    device::Gpu,
    generate::{PLANTED, Planted, RECORDED},
    infer,
    models::{Decoder, Outputs},
    published::Inputs,
    weights::{Folder, LocalFuture, Source},
};
use record::{
    Answer, Axes, Axis, Backend, Bits, Browser, CaseFile, Cell, Chat, Class, Generation,
    InferRequest, MemoryLimit, Precision, Question, Request,
};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// A page of so much memory.
struct Page(u64);

impl Embedder for Page {
    fn source(&self, url: &str, _files: &[CaseFile]) -> Box<dyn Source> {
        Box::new(Folder::new(url))
    }

    fn gpu(&self) -> LocalFuture<'_, Result<Rc<Gpu>>> {
        Box::pin(async { Err(Error::unsupported("no GPU")) })
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
        repeat_quick: 0,
        quick_ms: 0.0,
        warmup: 0,
        max_new_tokens: None,
        lower_to: None,
        trace: false,
        tuning: None,
        tuning_ms: 0.0,
    }
}

#[test]
fn what_cannot_fit_is_refused_before_a_weight_is_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/published/llama-2-7b");
    let request = request(Class::Llama, folder);
    let start = Instant::now();
    let outcome = pollster::block_on(run(&request, &Page(1 << 32)));
    // Its 13 GB of seeded weights take far longer.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(outcome.status, Status::Unsupported);
    assert_eq!(
        outcome.message.unwrap(),
        "unsupported here: the weights take 13477363712 bytes and the page up to 300000000 \
         beside them, WASM memory ends at 4294967296; use fewer bits or a smaller model"
    );
}

#[test]
fn threads_that_are_not_there_are_unsupported() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/zoo/llama/llama-gqa");
    let with = |threads: &str| {
        let mut request = request(Class::Llama, folder);
        request.cell.axes.insert(Axis::Threads, threads.to_owned());
        pollster::block_on(run(&request, &Page(1 << 32)))
    };
    let (none, many) = (with("0"), with("1000"));
    assert_eq!((none.status, many.status), (Status::Error, Status::Unsupported));
    assert!(none.message.unwrap().contains("0 is not a number of threads"));
    let why = many.message.unwrap();
    assert!(why.contains("1000 threads where there are"), "{why}");
    assert!(why.ends_with("nobody starts threads here"), "{why}");
    let one = with("1");
    assert_eq!(one.timing.unwrap().threads, Some(1), "{:?}", one.message);
}

/// A question about a model meets the refusal that a cell of it meets.
#[test]
fn what_cannot_fit_is_refused_to_a_question_as_well() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/zoo/llama/llama-gqa");
    let page = Page(open::BESIDE_WEIGHTS + 1000);
    let run_request = request(Class::Llama, folder);
    let outcome = pollster::block_on(run(&run_request, &page));
    let question = InferRequest {
        precision: run_request.cell.precision,
        backend: Backend::Wasm,
        threads: None,
        model_url: folder.to_owned(),
        model_files: vec![CaseFile { name: "model.safetensors".to_owned(), bytes: 0 }],
        input_url: folder.to_owned(),
        input_files: Vec::new(),
        question: Question { texts: vec!["a text".to_owned()], ..Question::default() },
        chat: Chat::default(),
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

const LLAMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/zoo/llama/llama-gqa");

/// The outcome of a committed case on the host's GPU.
fn outcome(bits: u8) -> Outcome {
    let mut request = request(Class::Llama, LLAMA);
    request.cell.precision = Precision::of(Bits::Fixed(bits));
    request.cell.backend = Backend::Native;
    match answer_blocking(Request::Run(request), &mut |_| {}) {
        Answer::Run(outcome) => *outcome,
        other => panic!("{other:?}"),
    }
}

/// What a machine does to a pass it does to the work beside it, where both are the same thread's.
#[test]
fn passes_on_the_cpu_stand_beside_a_yardstick() {
    let on_cpu = RunRequest { repeat: 3, ..request(Class::Llama, LLAMA) };
    let timing = pollster::block_on(run(&on_cpu, &Page(1 << 32))).timing.unwrap();
    assert_eq!((timing.samples_ms.len(), timing.yardstick_ms.len()), (3, 3));
    assert_eq!(timing.decode_yardstick_ms.len(), 1);
    let all = [timing.yardstick_ms, timing.decode_yardstick_ms].concat();
    assert!(all.iter().all(|ms| *ms > 0.0), "{all:?}");
    let timing = outcome(4).timing.unwrap();
    assert_eq!((timing.yardstick_ms, timing.decode_yardstick_ms), (vec![], vec![]));
}

/// Whatever breaks in the decode that is timed, at few bits as well, fails the cell.
#[test]
fn faults_of_a_recorded_decode_are_noticed() {
    let right = outcome(4);
    assert_eq!(right.status, Status::Pass, "{:?}", right.reason);
    let dispatches = RECORDED.get();
    assert!(dispatches > 20, "{dispatches}");
    let lost = (0..dispatches).map(Planted::LostDispatch);
    for fault in [Planted::StalePosition, Planted::StaleToken].into_iter().chain(lost) {
        PLANTED.set(Some(fault));
        let wrong = outcome(4);
        PLANTED.set(None);
        assert_eq!(wrong.status, Status::Fail, "{fault:?} of {dispatches} goes unnoticed");
        assert!(wrong.reason.is_some(), "{fault:?}");
    }
    assert_eq!(outcome(4).checksum, right.checksum, "and the next cell is as if nothing had been");
}

/// A model that breaks in the middle of its n-th pass.
struct Breaks {
    model: Box<dyn Model>,
    left: std::cell::Cell<usize>,
}

impl Model for Breaks {
    fn forward(&self, device: &Device, inputs: &Inputs) -> Result<Outputs> {
        let outputs = self.model.forward(device, inputs)?;
        self.left.set(self.left.get() - 1);
        match self.left.get() {
            0 => Err(Error::input("input_ids", "broken on purpose")),
            _ => Ok(outputs),
        }
    }

    fn decoder(&self) -> Option<&dyn Decoder> {
        None
    }
}

#[test]
fn what_cannot_be_lowered_is_said_before_anything_is_measured() {
    let small = MemoryLimit { bytes: 1000 };
    let asked = RunRequest { lower_to: Some(small), ..request(Class::Llama, LLAMA) };
    let outcome = pollster::block_on(run(&asked, &Page(1 << 32)));
    assert_eq!((outcome.status, outcome.stage.as_deref()), (Status::Unsupported, Some("load")));
    let message = outcome.message.unwrap();
    let (_, said) = message.split_once("--lower-to 0.001MB: ").expect("what was asked for");
    let least: MemoryLimit = said.split(' ').next().unwrap().parse().unwrap();
    let asked = RunRequest { lower_to: Some(least), ..asked };
    let outcome = pollster::block_on(run(&asked, &Page(1 << 32)));
    assert_eq!(outcome.status, Status::Pass, "{:?}", outcome.reason);
    let (lowered, memory) = (outcome.lowered.unwrap(), outcome.memory.unwrap());
    assert!(lowered.weights_bytes + memory.kv_bytes <= least.bytes, "{lowered:?}");
}

#[test]
fn a_broken_pass_leaves_nothing_to_the_next_cell() {
    let gpu = pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe");
    let device = Device::Gpu(Rc::clone(&gpu));
    let source = Folder::new(LLAMA);
    let request = request(Class::Llama, LLAMA);
    pollster::block_on(async {
        let files: Vec<String> = request.files.iter().map(|file| file.name.clone()).collect();
        let case = Case::open(&source, &files).await.unwrap();
        let page = Page(1 << 32);
        let precision = &request.cell.precision;
        let breaks_after = async |left| {
            let published = &case.published;
            let declared = open::declare(published, &source, precision, |_| Ok(0), &page).await;
            let loaded = open::load(declared.unwrap(), &source, &device, &page).await.unwrap();
            Breaks { model: loaded.model, left: std::cell::Cell::new(left) }
        };
        let model = breaks_after(1).await;
        assert!(outputs::checked(&device, &model, &case.inputs).await.is_err());
        assert!(!gpu.is_poisoned());

        let model = breaks_after(2).await;
        let mut timing = Timing::default();
        let request = RunRequest { repeat: 5, ..request.clone() };
        let measured =
            passes::measure(&device, &model, &case.inputs, &request, &page, &mut timing).await;
        assert!(measured.is_err() && timing.samples_ms.len() == 1);
        assert!(!gpu.times_laps());
    });
}

/// What leaves no scope in the ordinary way ends when the device is asked for again.
#[test]
fn a_device_that_is_asked_for_again_has_no_mode() {
    let gpu = pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe");
    let laps = gpu.laps();
    laps.start();
    std::mem::forget((gpu.poison(), laps));
    assert!(gpu.is_poisoned());
    gpu.forget();
    assert!(!gpu.is_poisoned() && !gpu.times_laps());
}
