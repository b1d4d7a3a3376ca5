use super::*;
use crate::{
    calibrate::{fidelity, quantise},
    packing::Weights,
    weights::Folder,
};
use record::{Bits, Precision};
use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

fn zoo(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo").join(case)
}

fn opened(folder: &Path) -> Weights {
    Weights::open(folder, &Folder::new(folder).files().unwrap()).unwrap()
}

fn text(seed: u64, count: usize, length: usize) -> Windows {
    let values = crate::testing::normal(seed, count * length);
    let ids: Vec<u32> = values.iter().map(|value| (value.abs() * 20.0) as u32 % 96).collect();
    let rows: Vec<_> = ids.chunks_exact(length).map(<[u32]>::to_vec).collect();
    Windows::of(&rows, length).unwrap()
}

/// The divergence on a text that no calibration saw, and those before each step.
fn made(case: &str, at: &str, how: Option<Refinement>) -> (f64, Vec<f64>) {
    let (folder, made) = (zoo(case), tempfile::tempdir().unwrap());
    let (precision, weights) = (at.parse::<Precision>().unwrap(), opened(&folder));
    let heard: Heard = Rc::new(|_| ());
    let mut out = Cursor::new(Vec::new());
    let file = ("model.safetensors", &mut out);
    let (chosen, moved) = (text(5, 48, 24), text(6, 192, 24));
    let how = how.map(|how| (how, &moved));
    let found = quantise(&weights, &precision, &chosen, how, file, Rc::clone(&heard)).unwrap();
    fs::write(made.path().join("model.safetensors"), out.into_inner()).unwrap();
    fs::copy(folder.join("config.json"), made.path().join("config.json")).unwrap();
    let whole = Precision::of(Bits::Fixed(32));
    let (packed, other) = (opened(made.path()), text(77, 8, 24));
    let kl = fidelity((&weights, &whole), (&packed, &precision), &other, &heard).unwrap().kl;
    (kl, found.divergences)
}

/// Tied and untied heads, biases, both schemes, groups that end within a row.
#[test]
fn refined_lines_bring_a_model_nearer_to_its_own() {
    let how = Refinement { steps: 24, rate: 1e-2, sequences: 64 };
    for (case, at) in [
        ("llama/llama-gqa", "2-bit asymmetric g64 gptq"),
        ("qwen2/qwen2-tied", "3-bit gptq"),
        ("llama/llama-tied-mha", "2-bit gptq"),
    ] {
        let (before, none) = made(case, at, None);
        let (after, steps) = made(case, at, Some(how));
        assert!(none.is_empty() && steps.len() == how.steps, "{case}");
        assert!(steps[how.steps - 1] < 0.9 * steps[0], "{case} {at}: {steps:?}");
        assert!(after < 0.97 * before, "{case} {at}: {before} and then {after}");
    }
}

/// Lines go into the file as they were moved: none are moved by a rate of nothing.
#[test]
fn a_rate_of_nothing_changes_nothing() {
    let how = Refinement { steps: 2, rate: 0.0, sequences: 192 };
    for at in ["3-bit asymmetric g64 gptq", "2-bit gptq", "8-bit asymmetric gptq"] {
        let (before, _) = made("llama/llama-gqa", at, None);
        let (after, steps) = made("llama/llama-gqa", at, Some(how));
        assert_eq!((before, steps[0]), (after, steps[1]), "{at}");
    }
}
