use super::*;
use crate::calibrate::{
    fidelity, quantise,
    tests::{opened, precision, sequences, zoo},
};
use record::{Bits, Precision};
use std::{fs, io::Cursor};

/// The divergence on a text that no calibration saw, and those before each step.
fn made(case: &str, at: &str, how: Option<Refinement>) -> (f64, Vec<f64>) {
    let (folder, made) = (zoo(case), tempfile::tempdir().unwrap());
    let (precision, weights) = (precision(at), opened(&folder));
    let heard: Heard = Rc::new(|_| ());
    let mut out = Cursor::new(Vec::new());
    let file = ("model.safetensors", &mut out);
    let (chosen, moved) = (sequences(5, 48, 24), sequences(6, 192, 24));
    let how = how.map(|how| (how, &moved));
    let found = quantise(&weights, &precision, &chosen, how, file, Rc::clone(&heard)).unwrap();
    fs::write(made.path().join("model.safetensors"), out.into_inner()).unwrap();
    fs::copy(folder.join("config.json"), made.path().join("config.json")).unwrap();
    let whole = Precision::of(Bits::Fixed(32));
    let (packed, other) = (opened(made.path()), sequences(77, 8, 24));
    let kl = fidelity((&weights, &whole), (&packed, &precision), &other, &heard).unwrap().0.kl;
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
