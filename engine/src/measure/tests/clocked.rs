//! What times are made of, by a clock that the tests move.

use super::*;
use crate::generate::tests::{Chain, devices};
use record::{Load, Reference};
use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

/// A page on whose clock each look takes `tick` milliseconds, and nothing else any.
pub(super) struct Page {
    now: Cell<f64>,
    tick: f64,
    gpu: Option<Rc<Gpu>>,
    /// What is said of a GPU that failed.
    loss: Option<Error>,
    events: RefCell<Vec<Event>>,
}

/// Where its clock begins: far from zero, so that a time is told from a moment.
const START: f64 = 1e9;

impl Page {
    pub(super) fn new(tick: f64) -> Page {
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

    pub(super) fn tokens(&self) -> Vec<(u32, u32)> {
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

pub(super) fn batch(ids: &[&[i64]]) -> Inputs {
    let mut inputs = Inputs::default();
    let shape = vec![ids.len(), ids[0].len()];
    inputs.ints.insert("input_ids".to_owned(), (shape, ids.concat()));
    inputs
}

/// A cell by a clock of which each look takes hours, so that what is measured beside it takes no part.
fn cell(page: &Page, change: impl Fn(&mut RunRequest)) -> Outcome {
    let mut request = request(Class::Llama, LLAMA);
    request.cell.backend = if page.gpu.is_some() { Backend::Webgpu } else { Backend::Wasm };
    change(&mut request);
    pollster::block_on(run(&request, page))
}

const HOURS: f64 = 1e7;

/// Where the time of a load went, and that it is all of it.
fn phases(outcome: &Outcome) -> Load {
    let timing = outcome.timing.as_ref().unwrap();
    let load = timing.load.unwrap();
    let parts = load.fetch_ms + load.parse_ms + load.pack_ms + load.upload_ms;
    // A microsecond of f64's rounding, and no more.
    assert!((parts - timing.load_ms).abs() < 1e-3, "{parts} of {}", timing.load_ms);
    assert_eq!(load.first_pass_ms, HOURS);
    load
}

#[test]
fn all_of_a_load_is_told_in_its_parts() {
    let page = Page::new(HOURS);
    let outcome = cell(&page, |_| ());
    assert_eq!(outcome.status, Status::Pass, "{:?}", outcome.reason);
    let load = phases(&outcome);
    let timing = outcome.timing.unwrap();
    // One look when files are read, and one or more while weights are packed.
    assert!(timing.load_ms >= 2.0 * HOURS && timing.load_ms < page.now.get() - START);
    assert_eq!((load.parse_ms / HOURS).round(), 1.0);
    assert!(load.pack_ms > HOURS / 2.0 && load.fetch_ms > 0.0);
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
    let page = Page { gpu: Some(Rc::clone(&gpu)), ..Page::new(HOURS) };
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

#[test]
fn an_outcome_has_all_that_came_of_a_cell() {
    let outcome =
        cell(&Page::new(1.0), |request| request.cell.precision = Precision::of(Bits::Fixed(32)));
    let found = outcome.correctness.unwrap();
    assert!(found.kernel_rel_l2.is_some() && found.reference_rel_l2.is_some());
    assert_eq!((found.generated_match, outcome.reason), (Some(1.0), None));
    assert!(outcome.plan.iter().map(|entry| entry.tensors).sum::<u64>() > 20, "{:?}", outcome.plan);
    assert!(outcome.plan_hash.is_some() && outcome.checksum.is_some());
    assert!(outcome.generated_ids.len() > 1);
    assert_eq!(
        (outcome.reference, outcome.synthetic_inputs),
        (Some(Reference::Transformers), false)
    );
}

#[test]
fn inputs_that_are_seeded_are_told_to_be() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(format!("{LLAMA}/{file}"), folder.path().join(file)).unwrap();
    }
    // A file of tensors without any: nothing is expected.
    let nothing = [&2u64.to_le_bytes()[..], b"{}"].concat();
    std::fs::write(folder.path().join("expected.safetensors"), nothing).unwrap();
    let case = serde_json::json!({
        "class": "llama",
        "inputs": {"input_ids": {"ids": {"below": 96, "shape": [2, 5]}}},
        "expected": "expected.safetensors",
        "reference": "engine f32",
    });
    std::fs::write(folder.path().join("case.json"), case.to_string()).unwrap();
    let folder = folder.path().to_str().unwrap();
    let outcome = cell(&Page::new(1.0), |change| *change = request(Class::Llama, folder));
    assert_eq!((outcome.status, outcome.reason), (Status::Pass, None));
    assert_eq!((outcome.reference, outcome.synthetic_inputs), (Some(Reference::EngineF32), true));
}
