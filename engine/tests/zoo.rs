//! Every committed case at every width, on the CPU and on the native GPU, through the same requests
//! that pages get.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/cells.rs"]
mod cells;

use cells::{measured, once};
use engine::{
    device::{Kernel, Terms},
    opened_gpu,
    ops::choices,
};
use record::{Backend, Bits, Class, KvFormat, Outcome, Precision, Scheme, Status, Window};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

fn cases() -> Vec<(Class, PathBuf)> {
    within("zoo")
}

/// The cases in a folder of the tests.
fn within(folder: &str) -> Vec<(Class, PathBuf)> {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(folder);
    let mut cases = Vec::new();
    for class in Class::ALL {
        for case in std::fs::read_dir(zoo.join(class.name())).into_iter().flatten() {
            cases.push((*class, case.unwrap().path()));
        }
    }
    cases.sort();
    cases
}

fn of(bits: u8) -> Precision {
    Precision::of(Bits::Fixed(bits))
}

/// The same with a cache of few tokens, of which the later ones of a prompt make room for each other.
fn windowed(precision: Precision) -> Precision {
    Precision { window: Some(Window { latest: 3, sinks: 1 }), ..precision }
}

fn run(class: Class, folder: &Path, precision: Precision, backend: Backend) -> Outcome {
    let mut request = once(class, folder, precision);
    request.cell.backend = backend;
    measured(request)
}

fn passed(class: Class, folder: &Path, precision: Precision, backend: Backend) -> Outcome {
    let outcome = run(class, folder, precision.clone(), backend);
    let (name, why) = (folder.display(), outcome.message.as_ref().or(outcome.reason.as_ref()));
    let found = &outcome.correctness;
    assert_eq!(outcome.status, Status::Pass, "{name} at {precision}: {why:?} {found:?}");
    outcome
}

fn check(backend: Backend) {
    let cases = cases();
    assert!(cases.len() >= 10, "the zoo is in the repository");
    for (class, folder) in &cases {
        let widths = [32, 16, 8, 4, 3, 2].map(of);
        let caches = KvFormat::ALL.iter().filter(|kv| class.decodes() && **kv != KvFormat::F32);
        let caches = caches.map(|kv| Precision { kv: *kv, ..of(4) });
        // On a GPU the smallest heads have no kernel for caches that drop tokens.
        let drops = matches!(class, Class::Llama | Class::Qwen2) && backend == Backend::Wasm;
        let windows = drops.then(|| windowed(of(4)));
        for precision in widths.into_iter().chain(caches).chain(windows) {
            let outcome = passed(*class, folder, precision, backend);
            let name = folder.display();
            let memory = outcome.memory.unwrap();
            let entries: u64 = outcome.plan.iter().map(|entry| entry.bytes).sum();
            assert_eq!(memory.weights_bytes, entries, "{name}");
        }
    }
    let (class, folder) = &cases[0];
    let outcome = run(*class, folder, Precision { scheme: Scheme::Asymmetric, ..of(4) }, backend);
    assert_eq!(outcome.status, Status::Pass, "{:?}", outcome.reason);
    assert!(outcome.plan.iter().any(|entry| entry.format == "q4 asymmetric g32"));
}

#[test]
fn every_case_passes_on_the_cpu() {
    check(Backend::Wasm);
}

/// What the cases dispatch is what the kernels' own tests know, and nothing else.
#[test]
fn every_case_passes_on_the_native_gpu() {
    check(Backend::Native);
    let known: BTreeSet<Kernel> = choices().into_iter().flat_map(|choice| choice.kernels).collect();
    let watched = opened_gpu().expect("the cases opened it").watched();
    assert!(watched.kernels.len() > 50, "{}", watched.kernels.len());
    let unknown: Vec<&Kernel> = watched.kernels.difference(&known).collect();
    assert!(unknown.is_empty(), "no op says that it can choose {unknown:?}");
    assert!(watched.hosted.is_empty(), "{:?}", watched.hosted);
}

/// What a model has learnt, it does here as in transformers: its weights are spread as no seed spreads them.
#[test]
fn every_trained_case_passes() {
    let cases = within("trained");
    let classes: BTreeSet<Class> = cases.iter().map(|(class, _)| *class).collect();
    assert!(!cases.is_empty() && classes.len() == cases.len(), "{classes:?}");
    let whole = Precision { group_size: 64, scheme: Scheme::Asymmetric, ..of(4) };
    for (class, folder) in cases {
        for (precision, backend) in
            [(of(32), Backend::Wasm), (of(32), Backend::Native), (whole.clone(), Backend::Native)]
        {
            let outcome = passed(class, &folder, precision.clone(), backend);
            let found = outcome.correctness.expect("a case that was compared");
            let far = found.reference_rel_l2.expect("transformers' outputs");
            let is_whole = precision.bits == Bits::Fixed(32);
            assert!(!is_whole || far <= 1e-4, "{}: {far}", folder.display());
        }
    }
}

/// Ops of every kind are left without a kernel: they run on the CPU in the middle of the pass, and in
/// the middle of each replay of the decode step, whose tokens are exact at 32 bits.
#[test]
fn ops_without_a_kernel_run_amid_the_pass() {
    let (class, folder) =
        cases().into_iter().find(|(class, _)| *class == Class::Llama).expect("a decoder");
    assert_eq!(run(class, &folder, of(32), Backend::Native).status, Status::Pass);
    let gpu = opened_gpu().expect("the case opened it");
    let without = [
        "rms_norm",
        "rope",
        "rotate",
        "kv_append",
        "attention",
        "self-attention",
        "argmax",
        "emit_token",
        "embed",
    ];
    let before = gpu.terms().clone();
    let kernels = choices().into_iter().filter(|choice| without.contains(&choice.op));
    let refused = kernels.flat_map(|choice| choice.kernels).collect();
    gpu.set_terms(Terms { refused, ..before });
    let [four, eight] = [KvFormat::Q4, KvFormat::Q8].map(|kv| Precision { kv, ..of(4) });
    for precision in [of(32), of(4), four, windowed(of(4)), windowed(eight)] {
        let outcome = run(class, &folder, precision.clone(), Backend::Native);
        assert_eq!(outcome.status, Status::Pass, "{precision}: {outcome:?}");
    }
    let hosted = gpu.watched().hosted;
    assert!(without.iter().all(|op| hosted.contains(op)), "{hosted:?}");
}

/// Layers that somebody has quantised are not quantised again: at their own width nothing is lost but what a
/// minimum loses in 16 bits, and all else of the file is in 16 bits.
#[test]
fn codes_of_a_checkpoint_run_as_they_are() {
    for (class, case, group) in [
        (Class::Llama, "llama/llama-quantised-gptq", 32),
        (Class::Qwen2, "qwen2/qwen2-quantised-awq", 64),
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo").join(case);
        let outcome = run(class, &folder, of(4), Backend::Wasm);
        assert_eq!(outcome.status, Status::Pass, "{case}: {:?}", outcome.reason);
        let formats: Vec<&str> = outcome.plan.iter().map(|entry| &*entry.format).collect();
        assert_eq!(formats, ["f16", "f32", &format!("q4 asymmetric g{group}")], "{case}");
        let loss = outcome.correctness.unwrap().reference_rel_l2.unwrap();
        assert!(loss < 2e-3, "{case}: {loss}");
        // Chosen anew they lose far more.
        let scheme = Scheme::Symmetric;
        let anew = run(class, &folder, Precision { scheme, ..of(4) }, Backend::Wasm);
        let anew = anew.correctness.unwrap().reference_rel_l2.unwrap();
        assert!(anew > 20.0 * loss, "{case}: {anew} beside {loss}");
    }
}
