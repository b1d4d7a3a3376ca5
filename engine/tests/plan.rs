//! A plan is exact: its sums are the bytes that carrying it out allocates, in main memory and on the
//! GPU, and what it says can be written down, read back and told apart.
#![cfg(not(target_arch = "wasm32"))]

use engine::{
    device::{Device, Gpu},
    load::{Declared, LoadPlan, Place, Step},
    models::{self, Model},
    published::Published,
    quant::MatrixBuilder,
    weights::{Checkpoint, Folder, Memory, Source},
};
use pollster::block_on;
use record::{Bits, Class, Precision};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

const WIDTHS: [u8; 6] = [32, 16, 8, 4, 3, 2];

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests")
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// The committed cases, opened as the models that they hold.
fn zoo() -> Vec<(PathBuf, Folder, Published)> {
    let classes = Class::ALL.iter().map(|class| tests().join("zoo").join(class.name()));
    let open = |path: PathBuf| {
        let folder = Folder::new(&path);
        let published = block_on(Published::open(&folder, &folder.files().unwrap())).unwrap();
        (path, folder, published)
    };
    let cases: Vec<_> = classes.flat_map(|class| folders(&class)).map(open).collect();
    assert!(cases.len() >= 10, "the zoo is in the repository");
    cases
}

fn declare(published: &Published, bits: u8) -> Declared<Box<dyn Model>> {
    let Published { class, config, checkpoint, .. } = published;
    models::declare(*class, config, checkpoint, &Precision::of(Bits::Fixed(bits))).unwrap()
}

#[test]
fn totals_are_what_main_memory_gave_out() {
    for (path, folder, published) in zoo() {
        for bits in WIDTHS {
            let declared = declare(&published, bits);
            let plan = declared.plan().clone();
            let loaded = block_on(declared.load(&folder, &Device::cpu(), &|_, _| {})).unwrap();
            let name = format!("{} at {bits} bits", path.display());
            assert_eq!(loaded.allocated, loaded.plan.bytes(), "{name}");
            // What the file holds twice is either the same, or was announced.
            let more = loaded.plan.bytes() - plan.bytes();
            assert!(more <= plan.undecided_bytes(), "{name}");
            assert_eq!(loaded.plan.undecided_bytes(), 0, "{name}");
        }
    }
}

#[test]
fn totals_are_what_the_gpu_gave_out() {
    let gpu = block_on(Gpu::open(None)).expect("a GPU or lavapipe");
    let device = Device::Gpu(Rc::clone(&gpu));
    for (path, folder, published) in zoo() {
        for bits in WIDTHS {
            gpu.forget();
            assert_eq!(gpu.allocated_bytes(), 0);
            let loaded = declare(&published, bits).load(&folder, &device, &|_, _| {});
            let loaded = block_on(loaded).unwrap();
            let name = format!("{} at {bits} bits", path.display());
            assert_eq!(gpu.allocated_bytes(), loaded.plan.bytes_at(Place::Device), "{name}");
            assert_eq!(loaded.plan.memory().weights_bytes, gpu.allocated_bytes(), "{name}");
        }
    }
}

/// The widths are what the formats say: a scale of 16 bits for 32 weights.
#[test]
fn bits_of_a_weight_count_its_share_of_the_scales() {
    let zoo = zoo();
    let llama = zoo.iter().find(|(path, ..)| path.ends_with("llama-bias")).unwrap();
    for (bits, bpw) in [(32, 32.0), (16, 16.0), (8, 8.5), (4, 4.5), (3, 3.5), (2, 2.5)] {
        assert_eq!(declare(&llama.2, bits).plan().memory().bpw, bpw);
    }
}

/// Published sizes, without their numbers: what is allocated for each entry is given back at once, and
/// memory that nobody writes costs nothing.
#[test]
fn totals_of_published_sizes_are_what_would_be_given_out() {
    let lists = folders(&tests().join("published"));
    assert_eq!(lists.len(), 17);
    for path in lists {
        let folder = Folder::new(&path);
        let config = block_on(folder.read("config.json", 0..folder.size("config.json").unwrap()));
        let lists = Memory::new().with("config.json", config.unwrap());
        let checkpoint = block_on(Checkpoint::listed(&folder, "tensors.txt", "values")).unwrap();
        let published = block_on(Published::of(checkpoint, &lists)).unwrap();
        for bits in [8, 4, 3, 2] {
            let plan = declare(&published, bits).plan().clone();
            let name = format!("{} at {bits} bits", path.display());
            assert_eq!(allocated(&plan), plan.bytes(), "{name}");
            assert_eq!(plan.undecided_bytes(), 0, "{name}");
        }
    }
}

/// The account of a load that discards its bytes.
fn allocated(plan: &LoadPlan) -> u64 {
    let device = Device::cpu();
    let kept = plan.entries.iter().filter(|entry| entry.tied_to().is_none());
    let bytes = kept.map(|entry| {
        if !entry.is_matrix() {
            return Vec::<f32>::with_capacity(entry.shape.iter().product()).capacity() as u64 * 4;
        }
        let [rows, columns] = entry.rows_columns();
        let one = MatrixBuilder::new(&device, &entry.name, rows, columns, entry.format);
        one.bytes() * entry.matrices() as u64
    });
    bytes.sum()
}

#[test]
fn a_plan_is_written_down_and_read_back() {
    let mut hashes = BTreeSet::new();
    for (path, _, published) in zoo() {
        for bits in [32, 4] {
            let plan = declare(&published, bits).plan().clone();
            let json = serde_json::to_string(&plan).unwrap();
            let back: LoadPlan = serde_json::from_str(&json).unwrap();
            assert_eq!(back, plan, "{}", path.display());
            assert_eq!(back.hash(), plan.hash());
            assert_eq!(declare(&published, bits).plan().hash(), plan.hash(), "it is stable");
            let entries: BTreeSet<String> = plan.entries.iter().map(|e| e.hash()).collect();
            assert_eq!(entries.len(), plan.entries.len(), "entries have hashes of their own");
            hashes.insert(plan.hash());
        }
    }
    assert!(hashes.len() >= 2 * 10, "other models and other widths are other plans");
}

/// A file may hold a tied matrix twice: what that means is known once its bytes were compared.
#[test]
fn matrices_that_a_file_holds_twice_are_settled_by_their_bytes() {
    let config = r#"{"architectures": ["LlamaForCausalLM"], "vocab_size": 4, "hidden_size": 8,
        "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1,
        "tie_word_embeddings": true}"#;
    let vector = |name: &str| (name.to_owned(), vec![8], vec![1.0; 8]);
    let square = |name: &str| (name.to_owned(), vec![8, 8], vec![0.5; 64]);
    let open = |head: f32| {
        let layer = |part: &str| format!("model.layers.0.{part}.weight");
        let parts =
            ["q_proj", "k_proj", "v_proj", "o_proj"].map(|p| layer(&format!("self_attn.{p}")));
        let mlp = ["gate_proj", "up_proj", "down_proj"].map(|part| layer(&format!("mlp.{part}")));
        let mut tensors: Vec<_> = parts.iter().chain(&mlp).map(|name| square(name)).collect();
        tensors.push(vector(&layer("input_layernorm")));
        tensors.push(vector(&layer("post_attention_layernorm")));
        tensors.push(vector("model.norm.weight"));
        tensors.push(("model.embed_tokens.weight".to_owned(), vec![4, 8], vec![1.0; 32]));
        tensors.push(("lm_head.weight".to_owned(), vec![4, 8], vec![head; 32]));
        let file = safetensors(&tensors);
        Memory::new().with("model.safetensors", file).with("config.json", config)
    };
    let embedding = 4 * 32 * 4;
    for (head, equal) in [(1.0, true), (2.0, false)] {
        let source = open(head);
        let files = ["model.safetensors".to_owned()];
        let published = block_on(Published::open(&source, &files)).unwrap();
        let mut declared = declare(&published, 32);
        let before = declared.plan().clone();
        assert_eq!(before.undecided_bytes(), embedding);
        block_on(declared.settle(&source)).unwrap();
        let after = declared.plan().clone();
        let more = if equal { 0 } else { embedding };
        assert_eq!((after.bytes(), after.undecided_bytes()), (before.bytes() + more, 0));
        let head = after.entries.iter().find(|entry| entry.name == "lm_head.weight").unwrap();
        let tied = Step::Tied { to: "model.embed_tokens.weight".to_owned() };
        assert_eq!(head.steps == [tied], equal, "{head:?}");
        let loaded = block_on(declared.load(&source, &Device::cpu(), &|_, _| {})).unwrap();
        assert_eq!(loaded.allocated, after.bytes());
    }
}

fn safetensors(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let offsets = [begin, data.len()];
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": offsets});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}
