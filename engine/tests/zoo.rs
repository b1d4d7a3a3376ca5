//! Every committed case at every width, on the CPU and on the native GPU, through the same requests
//! that pages get.
#![cfg(not(target_arch = "wasm32"))]

use engine::device::Kernel;
use record::{
    Answer, Axes, Backend, Bits, Browser, CaseFile, Cell, Class, Outcome, Precision, Request,
    RunRequest, Scheme, Status,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

fn cases() -> Vec<(Class, PathBuf)> {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo");
    let mut cases = Vec::new();
    for class in Class::ALL {
        for case in std::fs::read_dir(zoo.join(class.name())).into_iter().flatten() {
            cases.push((*class, case.unwrap().path()));
        }
    }
    cases.sort();
    cases
}

fn run(class: Class, folder: &Path, bits: u8, scheme: Scheme, backend: Backend) -> Outcome {
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        CaseFile { name, bytes: std::fs::metadata(entry.path()).unwrap().len() }
    };
    let cell = Cell {
        class,
        case: folder.file_name().unwrap().to_str().unwrap().to_owned(),
        precision: Precision { scheme, ..Precision::of(Bits::Fixed(bits)) },
        backend,
        browser: Browser::Host,
        axes: Axes::default(),
    };
    let request = Request::Run(RunRequest {
        cell,
        case_url: folder.to_str().unwrap().to_owned(),
        files: std::fs::read_dir(folder).unwrap().map(file).collect(),
        repeat: 1,
        warmup: 0,
        max_new_tokens: None,
    });
    match engine::answer_blocking(request, &mut |_| {}) {
        Answer::Run(outcome) => *outcome,
        _ => panic!("a run is answered with an outcome"),
    }
}

fn check(backend: Backend) {
    let cases = cases();
    assert!(cases.len() >= 10, "the zoo is in the repository");
    for (class, folder) in &cases {
        for bits in [32, 16, 8, 4, 3, 2] {
            let outcome = run(*class, folder, bits, Scheme::Auto, backend);
            let name = folder.display();
            assert_eq!(
                outcome.status,
                Status::Pass,
                "{name} at {bits} bits: {:?} {:?}",
                outcome.message.or(outcome.reason),
                outcome.correctness
            );
            let memory = outcome.memory.unwrap();
            let entries: u64 = outcome.plan.iter().map(|entry| entry.bytes).sum();
            assert_eq!(memory.weights_bytes, entries, "{name}");
        }
    }
    let (class, folder) = &cases[0];
    let outcome = run(*class, folder, 4, Scheme::Asymmetric, backend);
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
    let known: BTreeSet<Kernel> =
        engine::ops::choices().into_iter().flat_map(|choice| choice.kernels).collect();
    let watched = engine::run::watched();
    assert!(watched.kernels.len() > 50, "{}", watched.kernels.len());
    let unknown: Vec<&Kernel> = watched.kernels.difference(&known).collect();
    assert!(unknown.is_empty(), "no op says that it can choose {unknown:?}");
    assert!(watched.hosted.is_empty(), "{:?}", watched.hosted);
}
