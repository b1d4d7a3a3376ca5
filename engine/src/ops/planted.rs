//! Faults planted in the kernels one at a time: each must be noticed by a check of the self-test.
//!
//! A fault that nothing here would notice is one that nothing would notice on a user's device either.
//! New kernels, and new branches of old ones, bring theirs.

mod caches;
mod faults;
mod products;

use super::{Check, checks, choices};
use crate::{
    device::{Capabilities, Device, Gpu, Kernel, Terms},
    selftest::{Ran, run_checks},
};
use faults::Fault;
use shaders::{Dialect, Files};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    rc::Rc,
};

/// What is included and has no entry point of its own, and what no op uses: `bench` judges those itself.
const ELSEWHERE: &[&str] = &["ceiling_arithmetic", "ceiling_memory", "ceiling_step", "product"];

fn all_faults() -> impl Iterator<Item = &'static Fault> {
    faults::FAULTS.iter().chain(caches::FAULTS).chain(products::FAULTS)
}

#[test]
fn every_file_has_a_fault() {
    let planted: BTreeSet<&str> = all_faults().map(|(file, ..)| *file).collect();
    for name in shaders::names().filter(|name| !ELSEWHERE.contains(name)) {
        assert!(planted.contains(name), "no fault is planted in {name}.wgsl");
    }
}

/// What a GPU with certain features is checked with.
struct Checked {
    gpu: Rc<Gpu>,
    checks: Vec<Check>,
    kernels: Vec<BTreeSet<Kernel>>,
    /// The files of every kernel, and its text.
    texts: BTreeMap<Kernel, (Vec<String>, String)>,
}

impl Checked {
    /// Sees which kernels each check would dispatch.
    fn new(of: impl Fn(Capabilities) -> Capabilities) -> Checked {
        Checked::of(of, HashSet::new())
    }

    /// The same where some kernels are taken before all others.
    fn of(of: impl Fn(Capabilities) -> Capabilities, favoured: HashSet<Kernel>) -> Checked {
        let gpu = pollster::block_on(Gpu::open(None)).expect("a GPU or lavapipe");
        let capabilities = of(gpu.terms().capabilities);
        gpu.set_terms(Terms { capabilities, favoured, ..Terms::default() });
        let checks = checks();
        let device = Device::Gpu(Rc::clone(&gpu));
        let rehearse = |check: &Check| gpu.watch(|| gpu.discard(|| drop((check.run)(&device)))).1;
        let kernels: Vec<BTreeSet<Kernel>> =
            checks.iter().map(|check| rehearse(check).kernels).collect();
        gpu.make_pipelines_late();
        let files = Files::default();
        let text = |kernel: &Kernel| (kernel.files(&files).expect("files"), text(kernel, &files));
        let all: BTreeSet<Kernel> = kernels.iter().flatten().copied().collect();
        let texts = all.iter().map(|kernel| (*kernel, text(kernel))).collect();
        Checked { gpu, checks, kernels, texts }
    }

    /// Whether a check fails of those that dispatch a kernel with the fault of a file in its text.
    fn notices(&self, file: &str, files: &Files) -> bool {
        let differing: BTreeSet<&Kernel> = self
            .texts
            .iter()
            .filter(|(_, (its, _))| its.iter().any(|it| it == file))
            .filter(|(kernel, (_, right))| text(kernel, files) != *right)
            .map(|(kernel, _)| kernel)
            .collect();
        let met = |kernels: &BTreeSet<Kernel>| {
            kernels.iter().filter(|kernel| differing.contains(kernel)).count()
        };
        let checks = self.checks.iter().zip(&self.kernels);
        let mut hit: Vec<(usize, &Check)> = checks
            .map(|(check, kernels)| (met(kernels), check))
            .filter(|(met, _)| *met > 0)
            .collect();
        // What has to be compiled anew is what takes time.
        hit.sort_by_key(|(met, _)| *met);
        let hit: Vec<&Check> = hit.into_iter().map(|(_, check)| check).collect();
        self.gpu.use_files(files.clone());
        let failed = |ran: &Ran| ran.check.error.is_some();
        // Most faults are noticed by the first check that meets them.
        let (first, others) = hit.split_at(hit.len().min(1));
        let noticed = std::iter::once(first).chain(others.chunks(6)).any(|checks| {
            pollster::block_on(run_checks(&self.gpu, checks.iter().copied())).iter().any(failed)
        });
        self.gpu.use_files(Files::default());
        noticed
    }
}

fn text(kernel: &Kernel, files: &Files) -> String {
    kernel.text(files, Dialect::HERE).expect("a text")
}

/// The kernels with a definition.
fn tuned_with(name: &str) -> HashSet<Kernel> {
    let kernels = choices().into_iter().flat_map(|choice| choice.kernels);
    kernels.filter(|kernel| kernel.value(name) != 0).collect()
}

/// The faults of this list that nobody notices.
fn unnoticed(faults: impl Iterator<Item = &'static Fault>) -> Vec<String> {
    // Its own kernels, those of hardware with as many features, and of hardware with none.
    let gpus = [
        Checked::new(|all| all),
        Checked::new(|all| Capabilities { software: false, ..all }),
        Checked::new(|_| Capabilities::default()),
        // What no rule takes.
        Checked::of(|all| Capabilities { software: false, ..all }, tuned_with("BROAD")),
        Checked::of(|all| Capabilities { software: false, ..all }, tuned_with("DEEP")),
        Checked::of(|all| Capabilities { software: false, ..all }, tuned_with("LATE")),
        Checked::of(|all| Capabilities { software: false, ..all }, tuned_with("PAIRS")),
    ];
    let mut unnoticed = Vec::new();
    for (file, before, after, why) in faults {
        let mut files = Files::default();
        let text = files.text(file).expect("a file").to_owned();
        assert!(text.contains(before), "{file}.wgsl has no {before:?}");
        files.replace(file, text.replacen(before, after, 1));
        if !gpus.iter().any(|checked| checked.notices(file, &files)) {
            unnoticed.push(format!("{file}.wgsl: {before:?} as {after:?}: {why}"));
        }
    }
    unnoticed
}

#[test]
fn every_fault_is_noticed() {
    let halves = [0, 1]
        .map(|half| std::thread::spawn(move || unnoticed(all_faults().skip(half).step_by(2))));
    let left: Vec<String> =
        halves.into_iter().flat_map(|half| half.join().expect("no panic")).collect();
    assert!(left.is_empty(), "nobody notices\n{}", left.join("\n"));
}
