//! Well-formed checkpoints, and damaged weights in them; `tests/hostile.rs` has damaged headers.

use super::{Checkpoint, Memory, blocks, gguf, tensor::PIECE};
use crate::error::Result;
use pollster::block_on;

const TINY_GGUF: &[u8] = include_bytes!("vectors/llama.gguf");
const LLAMA: &[u8] = include_bytes!("vectors/llama.safetensors");
const QWEN2: [&[u8]; 2] =
    [include_bytes!("vectors/qwen2.gguf"), include_bytes!("vectors/qwen2.safetensors")];

fn open(memory: &Memory, files: &[&str]) -> Result<Checkpoint> {
    let files: Vec<String> = files.iter().map(|file| file.to_string()).collect();
    block_on(Checkpoint::open(memory, &files))
}

fn safetensors(entries: &[(&str, &str, &str, &[u8])]) -> Vec<u8> {
    let (mut header, mut data) = (String::from("{"), Vec::new());
    for (name, dtype, shape, bytes) in entries {
        let (begin, end) = (data.len(), data.len() + bytes.len());
        let comma = if header.len() > 1 { "," } else { "" };
        header += &format!(
            r#"{comma}"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#
        );
        data.extend_from_slice(bytes);
    }
    header.push('}');
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

#[test]
fn a_gguf_equals_the_safetensors_it_was_made_of() {
    equal([TINY_GGUF, LLAMA]);
    equal(QWEN2);
}

fn equal([gguf, safetensors]: [&[u8]; 2]) {
    let memory = Memory::new().with("a.gguf", gguf).with("model.safetensors", safetensors);
    let ours = open(&memory, &["a.gguf", "inputs.safetensors"]).unwrap();
    let reference = open(&memory, &["model.safetensors", "a.gguf"]).unwrap();
    assert!(ours.names().eq(reference.names()));
    for name in reference.names() {
        let (a, b) = (ours.info(name).unwrap(), reference.info(name).unwrap());
        assert_eq!(a.shape, b.shape, "{name}");
        let ours_f32 = block_on(ours.tensor_f32(&memory, name)).unwrap();
        let reference_f32 = block_on(reference.tensor_f32(&memory, name)).unwrap();
        assert_eq!(ours_f32, reference_f32, "{name}");
        if a.shape.len() < 2 {
            continue;
        }
        for rows in [0..1, 3..7, 1..a.rows(), 15..16, 4..4] {
            let part = block_on(ours.rows_f32(&memory, name, rows.clone())).unwrap();
            let whole = rows.start * a.row_len()..rows.end * a.row_len();
            assert_eq!(part, reference_f32[whole], "{name} {rows:?}");
            let bytes = block_on(ours.rows(&memory, name, rows.clone())).unwrap();
            let mut values = Vec::new();
            blocks::to_f32(a.dtype, &bytes, &mut values).unwrap();
            assert_eq!(part, values, "{name} {rows:?}");
        }
    }
}

#[test]
fn the_config_of_a_gguf_is_the_one_of_the_class() {
    let memory = Memory::new().with("a.gguf", TINY_GGUF);
    let config = open(&memory, &["a.gguf"]).unwrap().config.unwrap();
    let expected = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 16, "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0, "rope_scaling": {
            "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }, "max_position_embeddings": 128,
        "vocab_size": 16, "bos_token_id": null, "eos_token_id": null, "pad_token_id": null,
        "tie_word_embeddings": true, "attention_bias": false, "mlp_bias": false,
    });
    assert_eq!(config, expected);
}

#[test]
fn biases_and_a_head_of_its_own_show_in_the_config() {
    let memory = Memory::new().with("a.gguf", QWEN2[0]);
    let config = open(&memory, &["a.gguf"]).unwrap().config.unwrap();
    assert_eq!(config["architectures"][0], "Qwen2ForCausalLM");
    assert_eq!(config["tie_word_embeddings"], false);
    assert_eq!(config["attention_bias"], true);
    assert!(config["rope_scaling"].is_null());
}

#[test]
fn rope_factors_that_no_published_scaling_makes_are_unsupported() {
    let header = block_on(gguf::read(&Memory::new().with("a.gguf", TINY_GGUF), "a.gguf")).unwrap();
    let factors = header.tensors.iter().find(|t| t.name == "rope_freqs.weight").unwrap();
    let mut bytes = TINY_GGUF.to_vec();
    let at = factors.offset as usize + 8;
    bytes[at..at + 4].copy_from_slice(&1.5f32.to_le_bytes());
    let error = open(&Memory::new().with("a.gguf", bytes), &["a.gguf"]).unwrap_err().to_string();
    assert!(error.contains("rope_freqs.weight"), "{error}");
}

#[test]
fn shards_are_joined_by_their_index() {
    let index = r#"{"metadata": {"total_size": 12},
                    "weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
    let memory = Memory::new()
        .with("1.safetensors", safetensors(&[("a", "F32", "[1]", &1f32.to_le_bytes())]))
        .with("2.safetensors", safetensors(&[("b", "I64", "[1]", &7i64.to_le_bytes())]))
        .with("model.safetensors.index.json", index);
    let checkpoint = open(&memory, &["model.safetensors.index.json"]).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(checkpoint.info("b").unwrap().file(), "2.safetensors");
    assert_eq!(block_on(checkpoint.tensor_f32(&memory, "a")).unwrap(), [1.0]);
    assert_eq!(block_on(checkpoint.tensor_i64(&memory, "b")).unwrap(), [7]);
    // Types are not mixed silently.
    assert!(block_on(checkpoint.tensor_i64(&memory, "a")).is_err());
    assert!(block_on(checkpoint.tensor_f32(&memory, "b")).is_err());
}

#[test]
fn a_folder_must_have_one_checkpoint() {
    let memory = Memory::new();
    let none = open(&memory, &["config.json", "inputs.safetensors", "expected.safetensors"]);
    assert!(none.unwrap_err().to_string().contains("no *.safetensors and no *.gguf"));
    let two = open(&memory, &["a.gguf", "b.safetensors"]).unwrap_err().to_string();
    assert!(two.contains("a.gguf") && two.contains("b.safetensors"), "{two}");
}

#[test]
fn a_scalar_and_an_empty_tensor_are_read() {
    let memory = Memory::new().with(
        "inputs.safetensors",
        safetensors(&[("none", "F32", "[0, 4]", &[]), ("one", "BF16", "[]", &[0x80, 0x3f])]),
    );
    let checkpoint = open(&memory, &["inputs.safetensors"]).unwrap();
    assert_eq!(block_on(checkpoint.tensor_f32(&memory, "one")).unwrap(), [1.0]);
    assert!(block_on(checkpoint.tensor_f32(&memory, "none")).unwrap().is_empty());
}

#[test]
fn large_tensors_are_read_in_pieces() {
    let values: Vec<f32> = (0..PIECE / 4 * 2 + 5).map(|i| i as f32).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let shape = format!("[1, {}]", values.len());
    let memory = Memory::new().with("a.safetensors", safetensors(&[("a", "F32", &shape, &bytes)]));
    let checkpoint = open(&memory, &["a.safetensors"]).unwrap();
    assert!(block_on(checkpoint.tensor_f32(&memory, "a")).unwrap() == values);
}

#[test]
fn numbers_that_are_not_finite_are_refused_with_their_tensor() {
    for (dtype, bytes) in [
        ("F32", f32::NAN.to_le_bytes().to_vec()),
        ("F32", f32::INFINITY.to_le_bytes().to_vec()),
        ("F64", f64::NEG_INFINITY.to_le_bytes().to_vec()),
        ("F64", 1e300f64.to_le_bytes().to_vec()),
        ("F16", vec![0, 0x7c]),
        ("BF16", vec![0xc0, 0x7f]),
    ] {
        let memory =
            Memory::new().with("a.safetensors", safetensors(&[("w", dtype, "[1]", &bytes)]));
        let checkpoint = open(&memory, &["a.safetensors"]).unwrap();
        let error = block_on(checkpoint.tensor_f32(&memory, "w")).unwrap_err().to_string();
        assert!(error.starts_with("tensor w: "), "{dtype}: {error}");
    }
}

#[test]
fn a_damaged_scale_in_a_gguf_is_refused_with_its_tensor() {
    let memory = Memory::new().with("a.gguf", TINY_GGUF);
    let checkpoint = open(&memory, &["a.gguf"]).unwrap();
    let name = "model.layers.0.self_attn.q_proj.weight";
    let info = checkpoint.info(name).unwrap();
    let mut bytes = TINY_GGUF.to_vec();
    // The scale of stored row 5, which is row 10 of Hugging Face: half 1, i 2.
    let at = info.offset as usize + 5 * info.dtype.block_bytes();
    bytes[at..at + 2].copy_from_slice(&half::f16::INFINITY.to_le_bytes());
    let memory = Memory::new().with("a.gguf", bytes);
    let error = block_on(checkpoint.rows(&memory, name, 0..32)).unwrap_err().to_string();
    assert!(error.contains(name) && error.contains("row 10 "), "{error}");
    assert!(block_on(checkpoint.rows(&memory, name, 0..10)).is_ok());
}

#[test]
fn rows_that_do_not_exist_are_refused() {
    let memory = Memory::new().with("a.gguf", TINY_GGUF);
    let checkpoint = open(&memory, &["a.gguf"]).unwrap();
    let name = "model.embed_tokens.weight";
    #[expect(clippy::reversed_empty_ranges)]
    for rows in [0..17, 17..17, 5..4, 0..usize::MAX] {
        assert!(block_on(checkpoint.rows(&memory, name, rows.clone())).is_err(), "{rows:?}");
    }
    let missing = block_on(checkpoint.rows(&memory, "nothing", 0..1)).unwrap_err();
    assert!(missing.to_string().starts_with("tensor nothing: is missing"), "{missing}");
}
