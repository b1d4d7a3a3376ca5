//! Published checkpoints without their weights: each class asks for every tensor of the list, in its
//! shape, under the names of the published file and under those of transformers 5.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/cells.rs"]
mod cells;

use cells::{measured, once};
use engine::{
    error::Result,
    load::LoadPlan,
    models::{self, Config},
    weights::{Checkpoint, Folder, Memory, Source},
};
use pollster::block_on;
use record::{Bits, Class, Precision, RunRequest, Status};
use std::{fs, path::PathBuf};

fn folder(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/published")).join(name)
}

/// What a list is loaded as.
fn plan(name: &str, lists: &dyn Source, list: &str, bits: u8) -> Result<LoadPlan> {
    let read = |file: &str| fs::read_to_string(folder(name).join(file)).unwrap();
    let case: serde_json::Value = serde_json::from_str(&read("case.json")).unwrap();
    let class: Class = case["class"].as_str().unwrap().parse().unwrap();
    let config = Config::new(serde_json::from_str(&read("config.json")).unwrap()).unwrap();
    let checkpoint = block_on(Checkpoint::listed(lists, list, "values"))?;
    let precision = Precision::of(Bits::Fixed(bits));
    Ok(models::declare(class, &config, &checkpoint, &precision)?.plan().clone())
}

#[test]
fn every_list_is_consumed_completely() {
    let mut classes = Vec::new();
    for entry in fs::read_dir(folder("")).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let case = fs::read_to_string(path.join("case.json")).unwrap();
        let case: serde_json::Value = serde_json::from_str(&case).unwrap();
        classes.push(case["class"].as_str().unwrap().to_owned());
        let lists = Folder::new(&path);
        let mut plans = Vec::new();
        for list in lists.files().unwrap().iter().filter(|file| file.ends_with(".txt")) {
            match plan(name, &lists, list, 4) {
                Ok(plan) => plans.push(plan.memory()),
                Err(error) => panic!("{name}/{list}: {error}"),
            }
        }
        // Whatever its tensors are called, the model is the same.
        assert!(plans.windows(2).all(|pair| pair[0] == pair[1]), "{name}: {plans:?}");
        assert!(!plans.is_empty(), "{name} has no list");
    }
    for class in Class::ALL {
        assert!(classes.iter().any(|known| known == class.name()), "{class} has no checkpoint");
    }
}

/// What the models take is what their cards say: weights counted by hand from the configurations.
#[test]
fn sizes_are_those_of_the_model_cards() {
    for (name, weights) in [
        ("llama-2-7b", 6_738_415_616),
        ("qwen2-0.5b", 494_032_768),
        ("tinyllama-1.1b", 1_100_048_384),
        ("vit-base-patch16-224", 86_567_656),
    ] {
        let plan = plan(name, &Folder::new(folder(name)), "tensors.txt", 16).unwrap();
        assert_eq!(plan.memory().weights_fp16_bytes, 2 * weights, "{name}");
    }
}

#[test]
fn tensors_too_many_too_few_or_misshapen_are_refused_by_name() {
    let name = "vit-base-patch16-224";
    let whole = fs::read_to_string(folder(name).join("tensors.txt")).unwrap();
    let refused = |list: String| {
        let lists = Memory::new().with("list", list);
        plan(name, &lists, "list", 4).map(|_| ()).unwrap_err().to_string()
    };
    assert_eq!(
        refused(format!("{whole}vit.extra.weight 3 3\n")),
        "tensor vit.extra.weight: is unknown to this class"
    );
    let several = refused(format!("{whole}extra.{{0..2}} 3\n"));
    assert!(several.contains("extra.0: and 2 more") && several.contains("extra.2"), "{several}");

    assert!(whole.contains("classifier.bias 1000\n"));
    assert_eq!(
        refused(whole.replace("classifier.bias 1000\n", "")),
        "tensor classifier.bias: is missing; does the config fit this checkpoint?"
    );
    let misshapen = whole.replace("classifier.weight 1000 768", "classifier.weight 768 1000");
    assert_eq!(
        refused(misshapen),
        "tensor classifier.weight: has shape [768, 1000], the config asks for [1000, 768]"
    );
}

/// The whole way of a published size, with the shapes of a tiny one: listed, computed, measured.
#[test]
fn seeded_weights_run_and_are_judged_by_kernel_error_alone() {
    let zoo = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/zoo/llama/llama-gqa");
    let source = Folder::new(zoo);
    let files = ["model.safetensors".to_owned()];
    let checkpoint = block_on(Checkpoint::open(&source, &files)).unwrap();
    let line = |info: &engine::weights::TensorInfo| {
        let sizes: Vec<_> = info.shape.iter().map(usize::to_string).collect();
        format!("{} {}\n", info.name, sizes.join(" "))
    };
    let list: String = checkpoint.tensors.values().map(line).collect();
    let case = r#"{"class": "llama", "weights": {"tensors": "tensors.txt", "seed": 1},
        "inputs": {"input_ids": {"ids": {"shape": [1, 12], "below": 50}}}}"#;
    let folder = std::env::temp_dir().join(format!("seeded-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::copy(format!("{zoo}/config.json"), folder.join("config.json")).unwrap();
    fs::write(folder.join("tensors.txt"), list).unwrap();
    fs::write(folder.join("case.json"), case).unwrap();
    let request = once(Class::Llama, &folder, Precision::of(Bits::Fixed(4)));
    let request = RunRequest { max_new_tokens: Some(4), ..request };
    let ask = || measured(request.clone());
    let (outcome, again) = (ask(), ask());
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(outcome.status, Status::Pass, "{:?}", outcome.message.or(outcome.reason));
    let correctness = outcome.correctness.unwrap();
    assert!(correctness.kernel_rel_l2.is_some_and(|error| error > 0.0), "{correctness:?}");
    assert_eq!(
        (correctness.cosine, correctness.kl, correctness.generated_match),
        (None, None, None)
    );
    assert_eq!(outcome.generated_ids.len(), 16);
    assert_eq!(outcome.generated_ids, again.generated_ids, "a seed is a seed");
}
