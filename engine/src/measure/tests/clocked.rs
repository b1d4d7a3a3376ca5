//! What times and texts are made of, by a clock that the tests move.

use super::*;
use crate::{
    generate::tests::{Chain, VOCABULARY, continued, devices},
    published::{GenerationConfig, Suppressed},
};
use record::{Load, Memory};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

/// A page on whose clock each look takes `tick` milliseconds, and nothing else any.
struct Page {
    now: Cell<f64>,
    tick: f64,
    gpu: Option<Rc<Gpu>>,
    /// What is said of a GPU that failed.
    loss: Option<Error>,
    events: RefCell<Vec<Event>>,
}

/// Where its clock begins: far from zero, so that a time is told from a moment.
const START: f64 = 1e12;

impl Page {
    fn new(tick: f64) -> Page {
        let (now, events) = (Cell::new(START), RefCell::default());
        Page { now, tick, gpu: None, loss: None, events }
    }

    fn stages(&self) -> Vec<String> {
        let stage = |event: &Event| match event {
            Event::Stage { stage } => Some(stage.clone()),
            _ => None,
        };
        self.events.borrow().iter().filter_map(stage).collect()
    }

    fn tokens(&self) -> Vec<(u32, u32)> {
        let token = |event: &Event| match event {
            Event::Token { id, count } => Some((*id, *count)),
            _ => None,
        };
        self.events.borrow().iter().filter_map(token).collect()
    }
}

impl Embedder for Page {
    fn source(&self, url: &str, _files: &[CaseFile]) -> Box<dyn Source> {
        Box::new(Folder::new(url))
    }

    fn gpu(&self) -> LocalFuture<'_, Result<Rc<Gpu>>> {
        let broken = || Error::Device { during: "a kernel".to_owned(), message: String::new() };
        Box::pin(async move { self.gpu.clone().ok_or_else(broken) })
    }

    fn leave_gpu(&self) -> LocalFuture<'_, Option<Error>> {
        Box::pin(async { self.loss.clone() })
    }

    fn now(&self) -> f64 {
        self.now.replace(self.now.get() + self.tick)
    }

    fn emit(&self, event: Event) {
        self.events.borrow_mut().push(event);
    }
}

/// A model whose passes take what they are told to: the last time again and again.
struct Takes<'a> {
    page: &'a Page,
    left: RefCell<VecDeque<f64>>,
    passes: Cell<u32>,
}

impl Takes<'_> {
    fn new<'a>(page: &'a Page, ms: &[f64]) -> Takes<'a> {
        Takes { page, left: RefCell::new(ms.iter().copied().collect()), passes: Cell::new(0) }
    }
}

impl Model for Takes<'_> {
    fn forward(&self, _: &Device, _: &Inputs) -> Result<Outputs> {
        let mut left = self.left.borrow_mut();
        let ms = if left.len() > 1 { left.pop_front().unwrap() } else { left[0] };
        self.page.now.set(self.page.now.get() + ms);
        self.passes.set(self.passes.get() + 1);
        Ok(Vec::new())
    }
}

/// Passes of a model on the CPU: how many it warmed up with, and what was measured.
fn measured(ms: &[f64], tick: f64, request: &RunRequest, mut timing: Timing) -> (u32, Timing) {
    let (page, device) = (Page::new(tick), Device::cpu());
    let model = Takes::new(&page, ms);
    let inputs = Inputs::default();
    let passes = passes::measure(&device, &model, &inputs, request, &page, &mut timing);
    pollster::block_on(passes).unwrap();
    (model.passes.get() - timing.samples_ms.len() as u32, timing)
}

#[test]
fn warm_up_goes_on_while_passes_are_few_and_short() {
    let request = request(Class::Llama, LLAMA);
    let warmed = |warmup, ms| {
        let request = RunRequest { warmup, ..request.clone() };
        measured(&[ms], 0.0, &request, Timing::default()).0
    };
    assert_eq!([20.0, 19.5, 10.0, 8.0, 0.25].map(|ms| warmed(1, ms)), [1, 2, 2, 3, 50]);
    assert_eq!([3, 50, 60].map(|warmup| warmed(warmup, 0.25)), [50, 50, 60]);
    assert_eq!(warmed(3, 100.0), 3);
    assert_eq!(warmed(0, 0.25), 0, "where none is wanted there is none");
}

#[test]
fn a_cell_is_measured_more_often_while_its_passes_are_quick() {
    let request = RunRequest { repeat_quick: 9, quick_ms: 35.0, ..request(Class::Llama, LLAMA) };
    let passes = |ms| measured(&[ms], 0.0, &request, Timing::default()).1.samples_ms.len();
    assert_eq!([40.0, 10.0, 0.25].map(passes), [1, 4, 9]);
}

#[test]
fn figures_of_passes_are_those_of_their_samples() {
    let request = RunRequest { repeat: 6, ..request(Class::Llama, LLAMA) };
    let after = |first_pass_ms| {
        let load = Load { first_pass_ms, ..Load::default() };
        let timing = Timing { load: Some(load), ..Timing::default() };
        measured(&[9.5, 29.5, 19.5, 69.5, 59.5, 49.5], 0.5, &request, timing).1
    };
    let timing = after(100.0);
    assert_eq!(timing.samples_ms, [10.0, 30.0, 20.0, 70.0, 60.0, 50.0]);
    assert_eq!(timing.yardstick_ms, [0.5; 6]);
    assert_eq!((timing.median_ms, timing.ci95_ms), (40.0, Some([10.0, 70.0])));
    assert_eq!(timing.compile_ms, 60.0);
    assert_eq!(after(30.0).compile_ms, 0.0, "a first pass that is no slower compiled nothing");
}

#[test]
fn a_pass_of_a_decoder_is_the_one_over_its_prompt() {
    for device in devices() {
        let (page, model) = (Page::new(0.5), Decodes(Chain::new(&device)));
        let inputs = batch(&[&[1, 2, 3]]);
        let ms = pollster::block_on(passes::timed(&device, &model, &inputs, &page)).unwrap();
        assert_eq!(ms, 0.5);
        assert_eq!(model.0.begun.take(), [3]);
    }
}

/// A chain as a model.
struct Decodes(Chain);

impl Model for Decodes {
    fn forward(&self, _: &Device, _: &Inputs) -> Result<Outputs> {
        Ok(Vec::new())
    }

    fn decoder(&self) -> Option<&dyn Decoder> {
        Some(&self.0)
    }
}

fn batch(ids: &[&[i64]]) -> Inputs {
    let mut inputs = Inputs::default();
    let shape = vec![ids.len(), ids[0].len()];
    inputs.ints.insert("input_ids".to_owned(), (shape, ids.concat()));
    inputs
}

/// What comes of texts behind the prompts of a case.
struct Told {
    first: Vec<u32>,
    timing: Timing,
    memory: Memory,
    correctness: Correctness,
    tokens: Vec<(u32, u32)>,
}

/// Texts of a chain on the CPU behind `prompts`, of which `expected` is known.
fn texts(
    chain: impl Fn(&mut Chain),
    prompts: &[&[i64]],
    expected: &[Vec<u32>],
    change: impl Fn(&mut Case, &mut RunRequest),
) -> Told {
    let (page, device) = (Page::new(0.5), Device::cpu());
    let mut decoder = Chain::new(&device);
    chain(&mut decoder);
    let mut request = request(Class::Llama, LLAMA);
    let files: Vec<String> = request.files.iter().map(|file| file.name.clone()).collect();
    pollster::block_on(async {
        let mut case = Case::open(&Folder::new(LLAMA), &files).await.unwrap();
        case.inputs = batch(prompts);
        case.expected.generated = expected.to_vec();
        case.published.generation = GenerationConfig::default();
        change(&mut case, &mut request);
        let (mut timing, mut memory, mut correctness) = (
            Timing { median_ms: 8.0, ..Timing::default() },
            Memory::default(),
            Correctness::default(),
        );
        let texts = Texts {
            device: &device,
            decoder: &decoder,
            case: &case,
            request: &request,
            embedder: &page,
        };
        let first = texts.run(&mut timing, &mut memory, &mut correctness).await.unwrap();
        Told { first, timing, memory, correctness, tokens: page.tokens() }
    })
}

fn as_it_is<T>(_: &mut T) {}

fn unchanged(_: &mut Case, _: &mut RunRequest) {}

#[test]
fn a_known_text_is_continued_as_far_as_it_is_known() {
    let known = [continued(&[1, 3], 6), continued(&[4, 9], 4)];
    let told = texts(as_it_is, &[&[1, 3], &[4, 9]], &known, unchanged);
    assert_eq!(told.first, known[0]);
    let count = |text: &[u32]| (1..).zip(&text[2..]).map(|(at, id)| (*id, at)).collect::<Vec<_>>();
    assert_eq!(told.tokens, [count(&known[0]), count(&known[1])].concat());
    let found = told.correctness;
    assert_eq!((found.generated_match, found.top1_agreement), (Some(1.0), Some(1.0)));
    // Four tokens of prompts in a pass of eight milliseconds; five and three steps in half of one each.
    assert_eq!((told.timing.prefill_tps, told.timing.decode_tps), (Some(500.0), Some(8000.0)));
    assert_eq!(told.timing.decode_yardstick_ms, [0.5]);
    assert_eq!(told.memory.kv_bytes, 2 * 2 * 3 * 4 * 4 * 8, "the most of all texts");
}

/// A text that leaves the known one is wrong from there on; behind the right tokens it may be right again.
#[test]
fn a_text_repeats_up_to_its_first_other_token_and_agrees_behind_right_ones() {
    let right = continued(&[1, 3], 6);
    let mut other = continued(&[4, 9], 6);
    other[5] = (other[5] + 1) % VOCABULARY as u32;
    let told = texts(as_it_is, &[&[1, 3], &[4, 9]], &[right, other.clone()], unchanged);
    assert_eq!(told.correctness.generated_match, Some((6 + 3) as f64 / 12.0));
    let agree = (2..8).filter(|at| continued(&other[..*at], 1)[*at] == other[*at]).count();
    assert!((3..6).contains(&agree), "{agree} of six");
    assert_eq!(told.correctness.top1_agreement, Some((6 + agree) as f64 / 12.0));
}

#[test]
fn a_text_is_as_long_as_it_is_asked_to_be() {
    let known = [continued(&[1, 3], 6)];
    let new = |told: &Told| told.first.len() - 2;
    let told = texts(as_it_is, &[&[1, 3]], &known, |_, request| request.max_new_tokens = Some(4));
    assert_eq!((new(&told), told.correctness.generated_match), (4, Some(1.0)));
    let told = texts(as_it_is, &[&[1, 3]], &known, |_, request| request.max_new_tokens = Some(9));
    assert_eq!(new(&told), 6);
    let told = texts(|chain| chain.positions = 5, &[&[1, 3]], &known, unchanged);
    assert_eq!(new(&told), 3, "positions end");
    let told = texts(as_it_is, &[&[1, 3]], &[], |case, _| case.new_tokens = Some(20));
    assert_eq!(new(&told), 20);
    assert_eq!(told.correctness, Correctness::default(), "nothing is known of it");
    // Without anything that says how long it is, it ends as its publisher has it.
    let told = texts(|chain| chain.stop = vec![], &[&[1, 3]], &[], unchanged);
    assert_eq!(new(&told), 16);
    let told = texts(as_it_is, &[&[1, 3], &[4, 9]], &[], unchanged);
    assert_eq!(
        told.first,
        [1, 3, 4, 5],
        "up to the token that ends it, and of the first prompt alone"
    );
    assert_eq!(told.tokens, [(4, 1), (5, 2)]);
}

#[test]
fn what_has_no_new_token_has_no_figure() {
    let told = texts(as_it_is, &[&[1, 3]], &[vec![1, 3]], unchanged);
    assert_eq!(told.first, [1, 3]);
    assert_eq!(told.correctness, Correctness::default());
    assert_eq!((told.timing.decode_tps, told.timing.decode_yardstick_ms), (None, vec![]));
    // One new token is no step, and two are one.
    let told = texts(as_it_is, &[&[1, 3]], &[continued(&[1, 3], 1)], unchanged);
    assert_eq!((told.timing.decode_tps, told.correctness.generated_match), (None, Some(1.0)));
    let told = texts(as_it_is, &[&[1, 3]], &[continued(&[1, 3], 2)], unchanged);
    assert_eq!(told.timing.decode_tps, Some(2000.0));
}

/// Where more tokens are given than a text begins with, they are there to be scored.
#[test]
fn a_text_that_does_not_go_on_behind_what_is_given_begins_with_its_first_token() {
    let known = [continued(&[1], 6)];
    let told = texts(as_it_is, &[&[1, 9, 9]], &known, unchanged);
    assert_eq!((told.first, told.correctness.generated_match), (known[0].clone(), Some(1.0)));
    assert_eq!(told.correctness.top1_agreement, Some(1.0));
}

#[test]
fn suppressed_tokens_are_suppressed_under_forced_decoding_as_well() {
    // In place of 4 at first, and of 5 anywhere, there is 0: nothing else is likelier.
    let suppressed = Suppressed { always: vec![5], first: vec![4] };
    let known = vec![1, 3, 0, 1, 2, 3, 2, 3, 4, 0];
    let told = texts(as_it_is, &[&[1, 3]], std::slice::from_ref(&known), |case, _| {
        case.published.generation.suppressed = suppressed.clone();
    });
    let found = (told.correctness.generated_match, told.correctness.top1_agreement);
    assert_eq!((told.first, found), (known, (Some(1.0), Some(1.0))));
}

/// A cell by a clock of which each look takes days, so that what is measured beside it takes no part.
fn cell(page: &Page, change: impl Fn(&mut RunRequest)) -> Outcome {
    let mut request = request(Class::Llama, LLAMA);
    request.cell.backend = if page.gpu.is_some() { Backend::Webgpu } else { Backend::Wasm };
    change(&mut request);
    pollster::block_on(run(&request, page))
}

const DAYS: f64 = 1e9;

/// Where the time of a load went, and that it is all of it.
fn phases(outcome: &Outcome) -> Load {
    let timing = outcome.timing.as_ref().unwrap();
    let load = timing.load.unwrap();
    let parts = load.fetch_ms + load.parse_ms + load.pack_ms + load.upload_ms;
    assert!((parts / timing.load_ms - 1.0).abs() < 1e-9, "{parts} of {}", timing.load_ms);
    assert_eq!(load.first_pass_ms, DAYS);
    load
}

#[test]
fn all_of_a_load_is_told_in_its_parts() {
    let page = Page::new(DAYS);
    let outcome = cell(&page, |_| ());
    assert_eq!(outcome.status, Status::Pass, "{:?}", outcome.reason);
    let load = phases(&outcome);
    let timing = outcome.timing.unwrap();
    // One look when files are read, and one or more while weights are packed.
    assert!(timing.load_ms >= 2.0 * DAYS && timing.load_ms < page.now.get() - START);
    assert_eq!((load.parse_ms / DAYS).round(), 1.0);
    assert!(load.pack_ms > DAYS / 2.0 && load.fetch_ms >= 0.0);
    let weights = Folder::new(LLAMA).size("model.safetensors").unwrap();
    assert!(load.fetched_bytes > weights, "{load:?}");
    assert_eq!((load.upload_ms, load.compile_ms, load.pipelines), (0.0, 0.0, 0));
    assert_eq!(page.stages(), ["load", "compile", "measure", "generate", "compare"]);
    let memory = outcome.memory.unwrap();
    assert!(memory.kv_bytes > 0 && memory.gpu_peak_bytes.is_none());
    assert!(timing.pass_cost.unwrap().operations > 0);
}

/// A GPU has spent time before a cell, which is none of the cell's.
#[test]
fn a_cell_is_charged_for_what_it_made_a_gpu_do() {
    let gpu = pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe");
    let page = Page { gpu: Some(Rc::clone(&gpu)), ..Page::new(DAYS) };
    let outcomes = [0, 1].map(|_| cell(&page, |_| ()));
    let [cold, warm] = outcomes.each_ref().map(phases);
    assert!(cold.pipelines > 0 && cold.compile_ms > 0.0 && cold.upload_ms > 0.0, "{cold:?}");
    assert_eq!((warm.pipelines, warm.compile_ms), (0, 0.0), "all pipelines were left by the first");
    assert!(cold.upload_ms + warm.upload_ms <= gpu.spent().upload_ms, "{cold:?} {warm:?}");
    for outcome in outcomes {
        assert_eq!(outcome.status, Status::Pass, "{:?}", outcome.reason);
        let memory = outcome.memory.unwrap();
        assert!(memory.gpu_peak_bytes.unwrap() > memory.weights_bytes, "{memory:?}");
    }
}

#[test]
fn what_breaks_is_told_with_its_stage_and_whose_fault_it_is() {
    let on_gpu = |page: &Page| cell(page, |request| request.cell.backend = Backend::Webgpu);
    let broken = on_gpu(&Page::new(1.0));
    assert_eq!((broken.status, broken.stage.as_deref()), (Status::Error, Some("load")));
    let loss = Error::Lost { during: "a kernel".to_owned(), message: "gone".to_owned() };
    let lost = on_gpu(&Page { loss: Some(loss), ..Page::new(1.0) });
    assert_eq!(lost.status, Status::Crash);
    assert!(lost.message.unwrap().contains("gone"));
    let refused = cell(&Page::new(1.0), |request| request.cell.backend = Backend::Webnn);
    assert_eq!(refused.status, Status::Unsupported);
    // A file that is not the one that is named: nothing is wrong with a GPU, and it is not left.
    let loss = Error::Lost { during: "a kernel".to_owned(), message: "gone".to_owned() };
    let page = Page { loss: Some(loss), ..Page::new(1.0) };
    let missing = cell(&page, |request| request.files.clear());
    assert_eq!((missing.status, missing.stage.as_deref()), (Status::Error, Some("load")));
}
