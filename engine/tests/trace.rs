//! What ops state of their calls, against sizes that are worked out here from a model's configuration.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/cells.rs"]
mod cells;

use cells::{measured, once};
use engine::{
    device::{Call, Device, Gpu},
    load::LoadPlan,
    models,
    published::{Inputs, Published},
    weights::Folder,
};
use pollster::block_on;
use record::{Bits, Class, Cost, Precision};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::{fs, path::Path, rc::Rc};

/// A product of `[m, k]` and `[n, k]`, with a bias or without.
struct Product {
    m: u64,
    n: u64,
    k: u64,
    bias: bool,
}

fn products(m: u64, bias: bool, n_k: &[[u64; 2]]) -> Vec<Product> {
    n_k.iter().map(|&[n, k]| Product { m, n, k, bias }).collect()
}

/// What a configuration says of a size.
type Size<'a> = &'a dyn Fn(&str) -> u64;

/// A committed case: the products of its forward pass, and the matrices that no product reads.
struct Sample {
    folder: &'static str,
    products: fn(Size<'_>) -> Vec<Product>,
    looked_up: &'static [&'static str],
}

const SAMPLES: [Sample; 4] = [
    Sample {
        folder: "llama/llama-gqa",
        products: |size| {
            let (hidden, inner) = (size("hidden_size"), size("intermediate_size"));
            let q = size("num_attention_heads") * size("head_dim");
            let kv = size("num_key_value_heads") * size("head_dim");
            // Queries, keys and values are one matrix, and so are the gate and what it lets through.
            let layer = [[q + 2 * kv, hidden], [hidden, q], [2 * inner, hidden], [hidden, inner]];
            let mut all = layer.repeat(size("num_hidden_layers") as usize);
            all.push([size("vocab_size"), hidden]);
            products(12, false, &all)
        },
        looked_up: &["model.embed_tokens.weight"],
    },
    Sample {
        folder: "bert/bert-mlm-tied",
        products: |size| {
            let (hidden, inner) = (size("hidden_size"), size("intermediate_size"));
            let square = [hidden, hidden];
            let layer = [square, square, square, square, [inner, hidden], [hidden, inner]];
            let mut all = layer.repeat(size("num_hidden_layers") as usize);
            // The head: a square, then the words.
            all.extend([square, [size("vocab_size"), hidden]]);
            products(13, true, &all)
        },
        looked_up: &[
            "bert.embeddings.position_embeddings.weight",
            "bert.embeddings.token_type_embeddings.weight",
        ],
    },
    Sample {
        folder: "vit/vit-labels",
        products: |size| {
            let (hidden, inner) = (size("hidden_size"), size("intermediate_size"));
            let patch = size("patch_size");
            let patches = (size("image_size") / patch).pow(2);
            let pixels = size("num_channels") * patch * patch;
            let square = [hidden, hidden];
            let layer = [square, square, square, square, [inner, hidden], [hidden, inner]];
            let layers = layer.repeat(size("num_hidden_layers") as usize);
            // Two pictures.
            let mut all = products(2 * patches, true, &[[hidden, pixels]]);
            all.extend(products(2 * (patches + 1), true, &layers));
            all.extend(products(2, true, &[[7, hidden]]));
            all
        },
        looked_up: &[],
    },
    Sample {
        folder: "whisper/whisper-80-tied",
        products: |size| {
            let (width, inner) = (size("d_model"), size("encoder_ffn_dim"));
            let sources = size("max_source_positions");
            let square = [width, width];
            let mlp = [[inner, width], [width, inner]];
            let mut all = products(2 * sources, true, &[[width, 3 * size("num_mel_bins")]]);
            all.extend(products(sources, true, &[[width, 3 * width]]));
            // Keys have no bias.
            for _ in 0..size("encoder_layers") {
                all.extend(products(sources, true, &[square, square, square]));
                all.extend(products(sources, false, &[square]));
                all.extend(products(sources, true, &mlp));
            }
            for _ in 0..size("decoder_layers") {
                all.extend(products(sources, true, &[square]));
                all.extend(products(sources, false, &[square]));
                all.extend(products(7, true, &[square; 5]));
                all.extend(products(7, false, &[square]));
                all.extend(products(7, true, &mlp));
            }
            all.extend(products(7, false, &[[size("vocab_size"), width]]));
            all
        },
        looked_up: &[],
    },
];

fn zoo(case: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo").join(case)
}

fn inputs(folder: &Path) -> Inputs {
    let bytes = fs::read(folder.join("inputs.safetensors")).unwrap();
    let mut inputs = Inputs::default();
    for (name, tensor) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
        let (shape, data) = (tensor.shape().to_vec(), tensor.data());
        match tensor.dtype() {
            Dtype::I64 => {
                let ids = data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes));
                inputs.ints.insert(name, (shape, ids.collect()));
            }
            Dtype::F32 => {
                let numbers = data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                inputs.floats.insert(name, (shape, numbers.collect()));
            }
            other => panic!("{name} is {other:?}"),
        }
    }
    inputs
}

/// The calls of a forward pass of a case, and the plan of its weights.
fn trace(folder: &Path, precision: &Precision, device: &Device) -> (Vec<Call>, LoadPlan) {
    trace_of(folder, &inputs(folder), precision, device)
}

fn trace_of(
    folder: &Path,
    inputs: &Inputs,
    precision: &Precision,
    device: &Device,
) -> (Vec<Call>, LoadPlan) {
    let source = Folder::new(folder);
    let weights = ["model.safetensors".to_owned()];
    let Published { class, config, checkpoint, .. } =
        block_on(Published::open(&source, &weights)).unwrap();
    let declared = models::declare(class, &config, &checkpoint, precision).unwrap();
    let loaded = block_on(declared.load(&source, device, &|_, _| {})).unwrap();
    let trace = device.trace();
    loaded.model.forward(device, inputs).unwrap();
    let calls = trace.end();
    // Whoever does not ask gets no list.
    loaded.model.forward(device, inputs).unwrap();
    assert!(device.trace().end().is_empty());
    (calls, loaded.plan)
}

#[test]
fn products_cost_what_the_configuration_and_the_load_plan_say() {
    for Sample { folder, products, looked_up } in SAMPLES {
        let path = zoo(folder);
        let config: Value =
            serde_json::from_slice(&fs::read(path.join("config.json")).unwrap()).unwrap();
        let wanted = products(&|field| config[field].as_u64().unwrap());
        for bits in [32, 16, 4, 3] {
            let precision = Precision::of(Bits::Fixed(bits));
            let (calls, plan) = trace(&path, &precision, &Device::cpu());
            let got: Vec<&Call> = calls.iter().filter(|call| call.op == "matmul").collect();
            assert_eq!(got.len(), wanted.len(), "{folder}");
            let got: Cost = got.iter().map(|call| call.cost).sum();

            let matrices = plan.entries.iter().filter(|entry| entry.is_matrix());
            let read = matrices.filter(|entry| !looked_up.contains(&&*entry.name));
            let weights: u64 = read.map(|entry| entry.bytes).sum();
            let mut sum = Cost { read_bytes: weights, ..Cost::default() };
            for Product { m, n, k, bias } in &wanted {
                sum += Cost {
                    operations: 2 * m * n * k + if *bias { m * n } else { 0 },
                    read_bytes: 4 * (m * k + if *bias { *n } else { 0 }),
                    written_bytes: 4 * m * n,
                };
            }
            assert_eq!(got, sum, "{folder} at {bits} bits");
        }
    }
}

/// Three layers of four heads over 12 tokens, each of which sees itself and those before it: 78 pairs.
#[test]
fn attention_costs_what_its_queries_see() {
    let precision = Precision::of(Bits::Fixed(32));
    let (calls, _) = trace(&zoo("llama/llama-gqa"), &precision, &Device::reference());
    let cost: Cost = calls.iter().filter(|call| call.op == "attention").map(|call| call.cost).sum();
    let (q, kv) = (12 * 4 * 24 * 4, 12 * 2 * 24 * 4);
    assert_eq!(
        cost,
        Cost {
            operations: 3 * 4 * 78 * (4 * 24 + 6),
            read_bytes: 3 * (q + 2 * kv),
            written_bytes: 3 * q,
        }
    );
}

/// Shapes alone decide, so a pass of many rows is the same list wherever it runs.
#[test]
fn a_pass_on_a_gpu_is_the_pass_on_the_cpu() {
    let gpu = Device::Gpu(Rc::clone(&block_on(Gpu::open(None)).expect("a GPU or lavapipe")));
    let precision = Precision::of(Bits::Fixed(4));
    for Sample { folder, .. } in SAMPLES {
        let path = zoo(folder);
        let (cpu, _) = trace(&path, &precision, &Device::cpu());
        assert_eq!(trace(&path, &precision, &gpu).0, cpu, "{folder}");
    }
}

/// Of few rows a GPU takes in one call what stands around a product: the arithmetic is that of the parts,
/// whose intermediate numbers are neither written nor read.
#[test]
fn a_fused_product_takes_the_operations_of_its_parts() {
    let gpu = Device::Gpu(Rc::clone(&block_on(Gpu::open(None)).expect("a GPU or lavapipe")));
    let (folder, precision) = (zoo("llama/llama-gqa"), Precision::of(Bits::Fixed(4)));
    let mut inputs = inputs(&folder);
    inputs.ints.insert("input_ids".to_owned(), (vec![1, 3], vec![5, 7, 11]));
    let [parts, fused] =
        [Device::cpu(), gpu].map(|device| trace_of(&folder, &inputs, &precision, &device).0);
    assert!(fused.iter().any(|call| call.op == "project") && fused.len() < parts.len());
    let sum = |calls: &[Call]| calls.iter().map(|call| call.cost).sum::<Cost>();
    let (parts, fused) = (sum(&parts), sum(&fused));
    assert_eq!(fused.operations, parts.operations);
    assert!(fused.read_bytes < parts.read_bytes && fused.written_bytes < parts.written_bytes);
}

/// A record has the sum of what it timed.
#[test]
fn a_cell_tells_what_its_passes_cost() {
    let (folder, precision) = (zoo("bert/bert-mlm-tied"), Precision::of(Bits::Fixed(4)));
    let outcome = measured(once(Class::Bert, &folder, precision.clone()));
    let (calls, _) = trace(&folder, &precision, &Device::cpu());
    let cost = calls.iter().map(|call| call.cost).sum();
    assert_eq!(outcome.timing.unwrap().pass_cost, Some(cost));
}
