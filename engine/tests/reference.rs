//! Models as they were published: every committed case without what makes it one.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/cells.rs"]
mod cells;

use cells::{measured, once};
use engine::{
    published::Inputs,
    reference::{Computed, LocalModel, described},
    weights::{Checkpoint, Folder},
};
use pollster::block_on;
use record::{Bits, Class, Correctness, Precision, Reference};
use safetensors::{Dtype, tensor::TensorView};
use std::{
    fs,
    path::{Path, PathBuf},
};

const PLENTY: u64 = 1 << 40;

fn cases() -> Vec<(Class, PathBuf)> {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo");
    let of_class = |class: &Class| {
        let folders = fs::read_dir(zoo.join(class.name())).unwrap();
        let folders = folders.map(|case| case.unwrap().path());
        folders.map(|folder| (*class, folder)).collect::<Vec<_>>()
    };
    Class::ALL.iter().flat_map(of_class).collect()
}

fn open(folder: &Path) -> LocalModel {
    LocalModel::open(folder, &Folder::new(folder).files().unwrap()).unwrap()
}

fn reference(model: &LocalModel, inputs: &Inputs, memory: u64) -> Computed {
    model.reference(inputs, memory, &|_, _| {}).unwrap()
}

/// What a case at 4 bits lost, by what is expected in its folder.
fn lost(class: Class, folder: &Path) -> (Correctness, Option<Reference>) {
    let outcome = measured(once(class, folder, Precision::of(Bits::Fixed(4))));
    (outcome.correctness.unwrap(), outcome.reference)
}

/// A copy of a case that expects what was computed in place of what transformers gives.
fn with_own_reference(folder: &Path, computed: &Computed) -> tempfile::TempDir {
    let own = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, own.path().join(path.file_name().unwrap())).unwrap();
    }
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let outputs: Vec<_> = computed.outputs.iter().collect();
    let data: Vec<Vec<u8>> = outputs.iter().map(|(_, (_, values))| bytes(values)).collect();
    let views = outputs.iter().zip(&data).map(|((name, (shape, _)), data)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    fs::write(own.path().join("expected.safetensors"), file).unwrap();
    let case = fs::read_to_string(folder.join("case.json")).unwrap();
    let case = case.replacen('{', r#"{"reference": "engine f32","#, 1);
    fs::write(own.path().join("case.json"), case).unwrap();
    own
}

/// `‖a − b‖ / ‖b‖`.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let difference: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    (difference / b.iter().copied().map(square).sum::<f64>()).sqrt()
}

/// What the exact path gives for the inputs of a case is what transformers expects of it.
#[test]
fn the_reference_is_that_of_transformers() {
    for (class, folder) in cases() {
        let model = open(&folder);
        assert_eq!(model.class(), class);
        let source = Folder::new(&folder);
        let read =
            |file: &str| block_on(Checkpoint::safetensors(&source, &[file.to_owned()])).unwrap();
        let table = read("inputs.safetensors");
        let mut inputs = Inputs::default();
        for (name, info) in &table.tensors {
            let shape = info.shape.clone();
            if info.dtype.is_integer() {
                let values = block_on(table.tensor_i64(&source, name)).unwrap();
                inputs.ints.insert(name.clone(), (shape, values));
            } else {
                let values = block_on(table.tensor_f32(&source, name)).unwrap();
                inputs.floats.insert(name.clone(), (shape, values));
            }
        }
        let computed = reference(&model, &inputs, PLENTY);
        assert_eq!(computed.by, Reference::EngineF32);
        let expected = read("expected.safetensors");
        let expected_outputs =
            expected.tensors.keys().filter(|name| *name != "generated_ids").count();
        let is_padded = inputs.ints.get("attention_mask").is_some_and(|(_, m)| m.contains(&0));
        for (name, info) in &expected.tensors {
            // What a model computes of padding is nobody's output.
            if name == "generated_ids" || (is_padded && info.shape.len() == 3) {
                continue;
            }
            let wanted = block_on(expected.tensor_f32(&source, name)).unwrap();
            let (shape, values) = &computed.outputs[name];
            assert_eq!(*shape, info.shape, "{}: {name}", folder.display());
            let distance = distance(values, &wanted);
            assert!(distance < 1e-4, "{}: {name} is {distance} away", folder.display());
        }

        // So what a width costs is the same by either.
        let own = with_own_reference(&folder, &computed);
        let ((by_others, others), (by_us, us)) = (lost(class, &folder), lost(class, own.path()));
        assert_eq!((others, us), (Some(Reference::Transformers), Some(Reference::EngineF32)));
        for (name, a, b) in [
            ("reference_rel_l2", by_others.reference_rel_l2, by_us.reference_rel_l2),
            ("cosine", by_others.cosine, by_us.cosine),
            ("kl", by_others.kl, by_us.kl),
        ] {
            // Outputs that transformers was not asked for may be worse than those it was.
            let is_near = match (a, b) {
                (Some(a), Some(b)) if computed.outputs.len() == expected_outputs => {
                    (a - b).abs() < 1e-3
                }
                (Some(_), Some(_)) => true,
                (a, b) => a == b,
            };
            assert!(is_near, "{}: {name} is {a:?} and {b:?}", folder.display());
        }
    }
}

/// Models that say nothing of how inputs are prepared are given numbers in the shapes that they take.
#[test]
fn seeded_inputs_fit_every_committed_model() {
    for (class, folder) in cases() {
        let name = folder.display();
        let model = open(&folder);
        let inputs = described(&model.seeded().unwrap()).unwrap();
        let computed = reference(&model, &inputs, PLENTY);
        assert!(!computed.outputs.is_empty(), "{name}");
        for (output, (shape, values)) in &computed.outputs {
            assert_eq!(shape.iter().product::<usize>(), values.len(), "{name}: {output}");
            assert!(values.iter().all(|x| x.is_finite()), "{name}: {output}");
        }
        let generates = matches!(
            class,
            Class::Llama
                | Class::Qwen2
                | Class::T5
                | Class::Whisper
                | Class::Llava
                | Class::LlavaNext
        );
        assert_eq!(!computed.generated.is_empty(), generates, "{name}");
    }
}

#[test]
fn where_f32_has_no_room_weights_are_rounded_and_the_reference_says_so() {
    let folder = &cases()[0].1;
    let model = open(folder);
    let inputs = described(&model.seeded().unwrap()).unwrap();
    let bytes = fs::metadata(folder.join("model.safetensors")).unwrap().len();
    let computed = reference(&model, &inputs, (1 << 30) + bytes * 3 / 4);
    assert_eq!(computed.by, Reference::EngineF16);
    let error = model.reference(&inputs, 1 << 30, &|_, _| {}).unwrap_err().to_string();
    assert!(error.contains("its reference cannot be computed here"), "{error}");
}
