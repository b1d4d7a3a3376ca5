//! Packed weights: an artefact gives a device the same words as packing on the fly, and one that is
//! damaged, of another version or of another model is refused by name.
#![cfg(not(target_arch = "wasm32"))]

#[path = "support/gguf.rs"]
mod gguf;

use engine::{
    device::{Device, Gpu},
    error::Error,
    load::Step,
    models,
    packing::Weights,
    published::Published,
    weights::{Folder, Memory, Source},
};
use gguf::Gguf;
use pollster::block_on;
use record::{Bits, Precision, Scheme};
use std::{
    collections::BTreeMap,
    io::Cursor,
    path::{Path, PathBuf},
    rc::Rc,
};

const FILE: &str = "model.safetensors";

/// Classes whose weights go every way there is, but for blocks of GGUF: plain, folded, in groups, turned,
/// spread, tied and in codes.
const CASES: [&str; 9] = [
    "bert/bert-mlm-tied",
    "clap/clap-fused",
    "detr/detr-bottleneck-masked",
    "llama/llama-quantised-gptq",
    "llama/llama-gqa",
    "t5/t5-relu-tied",
    "wav2vec2/wav2vec2-group",
    "whisper/whisper-80-tied",
    "xclip/xclip-deeper",
];

fn zoo(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo").join(case)
}

fn pack(folder: &Path, precision: &Precision) -> Vec<u8> {
    let files = Folder::new(folder).files().unwrap();
    let weights = Weights::open(folder, &files).unwrap();
    let mut out = Cursor::new(Vec::new());
    let plan = weights.pack(precision, FILE, &mut out, &|_, _| {}).unwrap();
    assert_eq!(plan.undecided_bytes(), 0);
    out.into_inner()
}

/// The plan's hash and the checksums of all words on the device.
fn load(
    source: &dyn Source,
    files: &[String],
    precision: &Precision,
    device: &Device,
) -> Result<(String, BTreeMap<String, String>), Error> {
    let Published { class, config, checkpoint, .. } = block_on(Published::open(source, files))?;
    let declared = models::declare(class, &config, &checkpoint, precision)?;
    let loaded = block_on(declared.load(source, device, &|_, _| {}))?;
    assert_eq!(loaded.allocated, loaded.plan.bytes());
    Ok((loaded.plan.hash(), block_on(loaded.checksums(device))?))
}

fn load_packed(bytes: Vec<u8>, precision: &Precision) -> Result<(), Error> {
    let source = Memory::new().with(FILE, bytes);
    load(&source, &[FILE.to_owned()], precision, &Device::cpu()).map(|_| ())
}

#[test]
fn a_device_gets_the_same_words_as_without_an_artefact() {
    let gpu = Device::Gpu(Rc::clone(&block_on(Gpu::open(None)).expect("a GPU or lavapipe")));
    let asymmetric = |bits| Precision {
        scheme: Scheme::Asymmetric,
        group_size: 64,
        ..Precision::of(Bits::Fixed(bits))
    };
    let of = |bits| Precision::of(Bits::Fixed(bits));
    for case in CASES {
        let folder = Folder::new(zoo(case));
        let files = folder.files().unwrap();
        for precision in [of(32), of(16), of(8), of(3), asymmetric(4)] {
            let packed = Memory::new().with(FILE, pack(&zoo(case), &precision));
            for device in [Device::cpu(), gpu.clone()] {
                let direct = load(&folder, &files, &precision, &device).unwrap();
                let packed = load(&packed, &[FILE.to_owned()], &precision, &device).unwrap();
                assert!(!direct.1.is_empty());
                assert_eq!(packed, direct, "{case} at {precision}");
            }
        }
    }
}

/// Matrices of a layer of a llama as a GGUF file has them: the number of their type, and bytes of a row.
type Rows = [(&'static str, u32, u64); 8];

/// Blocks of 8 and of 4 bits, those with a minimum among them; words are numbers of 16 bits.
const BLOCKS: Rows = [
    ("token_embd.weight", 1, 64),
    ("blk.0.attn_q.weight", 8, 34),
    ("blk.0.attn_k.weight", 2, 18),
    ("blk.0.attn_v.weight", 3, 20),
    ("blk.0.attn_output.weight", 2, 18),
    ("blk.0.ffn_gate.weight", 3, 20),
    ("blk.0.ffn_up.weight", 2, 18),
    ("blk.0.ffn_down.weight", 8, 34),
];

/// As most files are published: Q4_K with Q6_K where it counts; and Q5_K and IQ4_XS.
const K_BLOCKS: Rows = [
    ("token_embd.weight", 1, 512),
    ("blk.0.attn_q.weight", 12, 144),
    ("blk.0.attn_k.weight", 12, 144),
    ("blk.0.attn_v.weight", 14, 210),
    ("blk.0.attn_output.weight", 12, 144),
    ("blk.0.ffn_gate.weight", 12, 144),
    ("blk.0.ffn_up.weight", 23, 136),
    ("blk.0.ffn_down.weight", 13, 176),
];

/// A layer of a llama of such matrices, which are as wide as they are high.
fn llama_in_blocks(matrices: Rows, width: u32) -> Vec<u8> {
    const NORMS: [&str; 3] =
        ["blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"];
    let tensors = (matrices.len() + NORMS.len()) as u64;
    let mut gguf = Gguf::new(tensors, 6).key("general.architecture", 8).text(b"llama");
    let sizes = [
        ("embedding_length", width),
        ("feed_forward_length", width),
        ("block_count", 1),
        ("attention.head_count", 2),
        ("context_length", 64),
    ];
    for (key, size) in sizes {
        gguf = gguf.key(&format!("llama.{key}"), 4).u32(size);
    }
    let (mut bytes, size) = (0, u64::from(width));
    for (name, kind, row) in matrices {
        gguf = gguf.tensor(name, &[size, size], kind, bytes);
        bytes += size * row;
    }
    for name in NORMS {
        gguf = gguf.tensor(name, &[size], 0, bytes);
        bytes += size * 4;
    }
    let mut file = gguf.data(bytes as usize);
    let data = file.len() - bytes as usize;
    // Small enough to be numbers whatever they are read as.
    file[data..].iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 7 % 61) as u8);
    file
}

/// Blocks of all three formats that are stored as they are.
#[test]
fn blocks_of_a_gguf_come_back_as_they_are() {
    let formats = kept(llama_in_blocks(BLOCKS, 32), &Step::TakeBlocks);
    let of = |format: &'static str, count| std::iter::repeat_n(format, count);
    let wanted = of("q4 asymmetric g32", 2).chain(of("q4 symmetric g32", 3));
    assert!(wanted.chain(of("q8 symmetric g32", 2)).eq(&formats), "{formats:?}");
}

/// Codes whose scales are products. Those of values have no format, so queries, keys and values are three matrices.
#[test]
fn codes_of_a_gguf_come_back_as_they_are() {
    let formats = kept(llama_in_blocks(K_BLOCKS, 256), &Step::TakeCodes);
    let wanted = [
        "q4 asymmetric g32",
        "q4 asymmetric g32",
        "q4 asymmetric g32",
        "q4 asymmetric g32",
        "q8 asymmetric g32",
        "q8 symmetric g32",
    ];
    assert_eq!(formats, wanted);
}

/// The formats of what is taken by this step at 4 bits, once a device has the same words with an artefact
/// and without.
fn kept(gguf: Vec<u8>, step: &Step) -> Vec<String> {
    let gpu = Device::Gpu(Rc::clone(&block_on(Gpu::open(None)).expect("a GPU or lavapipe")));
    let (folder, files) = (tempfile::tempdir().unwrap(), ["model.gguf".to_owned()]);
    std::fs::write(folder.path().join(&files[0]), gguf).unwrap();
    let precision = Precision::of(Bits::Fixed(4));
    let weights = Weights::open(folder.path(), &files).unwrap();
    let mut out = Cursor::new(Vec::new());
    let plan = weights.pack(&precision, FILE, &mut out, &|_, _| {}).unwrap();
    let taken = plan.entries.iter().filter(|entry| entry.steps.contains(step));
    let mut formats: Vec<String> = taken.map(|entry| entry.format.to_string()).collect();
    formats.sort();
    let others = plan.entries.iter().filter(|entry| !entry.steps.contains(step));
    let others = others.filter(|entry| entry.is_matrix()).map(|entry| entry.format.to_string());
    let others: Vec<String> = others.collect();
    // Words are in 16 bits, and so they stay; blocks that no format holds have eight.
    assert!(others.iter().all(|format| ["f16", "q8 symmetric g32"].contains(&&**format)));
    assert!(others.contains(&"f16".to_owned()), "{others:?}");

    let packed = Memory::new().with(FILE, out.into_inner());
    let source = Folder::new(folder.path());
    for device in [Device::cpu(), gpu] {
        let direct = load(&source, &files, &precision, &device).unwrap();
        let packed = load(&packed, &[FILE.to_owned()], &precision, &device).unwrap();
        assert_eq!(packed, direct);
    }
    formats
}

/// Every byte of the data is covered by a checksum, and the name of its entry is said.
#[test]
fn a_damaged_artefact_is_refused_by_name() {
    let precision = Precision::of(Bits::Fixed(4));
    let whole = pack(&zoo("llama/llama-gqa"), &precision);
    load_packed(whole.clone(), &precision).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let last = whole.len() - 1;
    for at in [header, header + (last - header) / 2, last] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        let error = load_packed(damaged, &precision).unwrap_err().to_string();
        assert!(
            error.starts_with("tensor ") && error.contains("damaged in model.safetensors"),
            "{error}"
        );
    }
    // A checksum that is missing.
    let sums = |from: &str, to: &str| load_packed(with(&whole, from, to), &precision).unwrap_err();
    let missing = sums(r#"\"model.norm.weight\":\""#, r#"\"model.norm.weighs\":\""#).to_string();
    assert!(missing.contains("with a checksum; pack it again"), "{missing}");
    let truncated = load_packed(whole[..last].to_vec(), &precision).unwrap_err().to_string();
    assert!(truncated.starts_with("model.safetensors is malformed"), "{truncated}");
}

/// Changes the text of a header, which keeps its length.
fn with(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let length = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..length]).unwrap();
    assert!(header.contains(from), "{from} is not in {header}");
    [&bytes[..8], header.replacen(from, to, 1).as_bytes(), &bytes[length..]].concat()
}

#[test]
fn another_version_width_or_model_is_refused_by_name() {
    let precision = Precision::of(Bits::Fixed(4));
    let whole = pack(&zoo("llama/llama-gqa"), &precision);
    let refused = |bytes: Vec<u8>| load_packed(bytes, &precision).unwrap_err().to_string();

    let version = refused(with(&whole, r#""fewbit.version":"1""#, r#""fewbit.version":"2""#));
    assert!(version.contains("an artefact of version 2, this program reads 1"), "{version}");

    let bits = load_packed(whole.clone(), &Precision::of(Bits::Fixed(8))).unwrap_err().to_string();
    assert!(bits.starts_with("tensor model.embed_tokens.weight: is packed as q4"), "{bits}");
    assert!(bits.contains("q8 symmetric g32 is asked for; it was packed for 4-bit"), "{bits}");

    // The header of an artefact is held to what the class makes of its configuration.
    let layers = refused(with(&whole, r#"\"num_hidden_layers\":3"#, r#"\"num_hidden_layers\":2"#));
    assert!(layers.contains("are unknown to this class"), "{layers}");
    let step = refused(with(&whole, r#"\"by\":\"rtn\""#, r#"\"by\":\"xyz\""#));
    assert!(step.contains("fewbit.plan"), "{step}");
    let dtype = refused(with(&whole, r#"{"dtype":"I32""#, r#"{"dtype":"F32""#));
    assert!(dtype.contains("is not in model.safetensors as I32 ["), "{dtype}");
    let renamed = refused(with(&whole, r#"{\"name\":\"model.embed"#, r#"{\"name\":\"model.embad"#));
    assert!(renamed.starts_with("tensor model.embed_tokens.weight: is not where"), "{renamed}");

    let other = zoo("llama/llama-bias").join("config.json");
    let folder = Memory::new().with(FILE, whole).with("config.json", std::fs::read(other).unwrap());
    let other = load(&folder, &[FILE.to_owned()], &precision, &Device::cpu()).unwrap_err();
    assert!(other.to_string().contains("packed of a model with another config.json"), "{other}");
}
