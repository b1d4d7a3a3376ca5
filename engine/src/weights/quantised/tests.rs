//! Layers that AutoGPTQ, AutoAWQ and HQQ have packed (`vectors/make.py`), and what is said when one is damaged.

use super::Config;
use crate::{
    error::Result,
    weights::{Checkpoint, Memory, TensorInfo},
};
use pollster::block_on;
use serde_json::{Value, json};

/// A layer's file and what its model's configuration says.
fn vectors() -> Vec<(&'static str, &'static [u8], Value)> {
    let gptq = |bits: u8, group: i64| json!({"quant_method": "gptq", "bits": bits, "group_size": group, "sym": false});
    let with = |mut said: Value, field: &str, value: Value| {
        said[field] = value;
        said
    };
    macro_rules! vector {
        ($name:literal, $said:expr) => {
            ($name, include_bytes!(concat!("vectors/", $name, ".safetensors")).as_slice(), $said)
        };
    }
    vec![
        vector!("gptq-2", gptq(2, 32)),
        vector!("gptq-3", gptq(3, 32)),
        vector!("gptq-4", gptq(4, 32)),
        vector!("gptq-4-symmetric", with(gptq(4, 64), "sym", json!(true))),
        vector!("gptq-4-row", gptq(4, -1)),
        vector!("gptq-4-v2", with(gptq(4, 32), "checkpoint_format", json!("gptq_v2"))),
        vector!("gptq-4-scattered", with(gptq(4, 32), "desc_act", json!(true))),
        vector!("gptq-8", gptq(8, 32)),
        vector!("gptq-8-symmetric", with(gptq(8, 32), "sym", json!(true))),
        vector!("awq-4", json!({"quant_method": "awq", "bits": 4, "group_size": 32})),
        vector!("hqq-2", json!({"quant_method": "hqq"})),
        vector!("hqq-3", json!({"quant_method": "hqq"})),
        vector!("hqq-4", json!({"quant_method": "hqq"})),
        vector!("hqq-4-columns", json!({"quant_method": "hqq"})),
        vector!("hqq-8", json!({"quant_method": "hqq"})),
    ]
}

fn vector(name: &str) -> (&'static [u8], Value) {
    let found = vectors().into_iter().find(|vector| vector.0 == name);
    found.map(|(_, file, said)| (file, said)).unwrap()
}

fn open(file: &[u8], said: &Value) -> Result<(Memory, TensorInfo)> {
    let config = json!({"quantization_config": said}).to_string();
    let source =
        Memory::new().with("model.safetensors", file).with("config.json", config.into_bytes());
    let info = among(&source, &["model.safetensors", "config.json"])?.info("x.weight")?.clone();
    Ok((source, info))
}

fn among(source: &Memory, files: &[&str]) -> Result<Checkpoint> {
    let files: Vec<String> = files.iter().map(|file| file.to_string()).collect();
    block_on(Checkpoint::open(source, &files))
}

/// The weight that the package which packed it makes of it, and ours, bit for bit.
#[test]
fn weights_are_those_of_the_packages_that_packed_them() {
    for (name, file, said) in vectors() {
        let (source, info) = open(file, &said).unwrap();
        let whole = among(&source, &["model.safetensors", "config.json"]).unwrap();
        let wanted = block_on(whole.tensor_f32(&source, "wanted")).unwrap();
        assert_eq!(info.shape, [32, 64], "{name}");
        assert_eq!(block_on(info.f32s(&source)).unwrap(), wanted, "{name}");
        let some = block_on(info.read_f32(&source, 3..5)).unwrap();
        assert_eq!(some, wanted[3 * 64..5 * 64], "{name}");
    }
}

/// The same weights by codes, in groups that may be all of a row.
#[test]
fn codes_are_the_same_weights() {
    for (name, file, said) in vectors() {
        let (source, info) = open(file, &said).unwrap();
        let Some(kind) = info.code_type() else {
            assert!(["gptq-4-scattered", "hqq-4-columns"].contains(&name), "{name}");
            continue;
        };
        let is_symmetric = name.ends_with("symmetric");
        assert_eq!(kind.asymmetric, !is_symmetric, "{name}");
        let group = match name {
            "gptq-4-row" | "gptq-4-symmetric" | "hqq-3" | "hqq-4" => 64,
            _ => 32,
        };
        assert_eq!(usize::from(kind.group), group, "{name}");
        let codes = block_on(info.read_codes(&source, 0..32)).unwrap();
        let wanted = block_on(info.f32s(&source)).unwrap();
        for (at, (code, wanted)) in codes.codes.iter().zip(&wanted).enumerate() {
            let [d, m] = codes.lines[at / 64 * 64usize.div_ceil(group) + at % 64 / group];
            let code = if kind.bits == 8 { f32::from(*code as i8) } else { f32::from(*code) };
            // A product of a zero that is no integer has more digits than a float.
            let bound =
                if name.starts_with("hqq") { 1e-6 * (d * code).abs().max(m.abs()) } else { 0.0 };
            assert!((d * code + m - wanted).abs() <= bound, "{name} {at}");
            let zero = if kind.bits == 8 { 0.0 } else { 8.0 };
            assert!(!is_symmetric || m == -zero * d, "{name} {at}");
        }
        assert_eq!(codes.codes.len(), wanted.len());
    }
}

#[test]
fn what_is_said_wrongly_is_told_apart_from_what_is_there() {
    let codes = |name: &str, field: &str, value: Value| {
        let (file, mut said) = vector(name);
        said[field] = value;
        let (source, info) = open(file, &said).unwrap();
        block_on(info.read_codes(&source, 0..32)).unwrap_err().to_string()
    };
    let scattered = codes("gptq-4-scattered", "desc_act", json!(false));
    assert!(scattered.contains("\"desc_act\": true"), "{scattered}");
    let lopsided = codes("gptq-4", "sym", json!(true));
    assert!(lopsided.contains("\"sym\": false"), "{lopsided}");

    let opened = |name: &str, field: &str, value: Value| {
        let (file, mut said) = vector(name);
        said[field] = value;
        open(file, &said).unwrap_err().to_string()
    };
    let bits = opened("gptq-4", "bits", json!(8));
    assert!(bits.contains("layer x: ") && bits.contains("8 bits in groups of 32"), "{bits}");
    let groups = opened("gptq-4", "group_size", json!(128));
    assert!(groups.contains("x.qzeros is I32 [2, 4], and I32 [1, 4]"), "{groups}");
    let method = opened("gptq-4", "quant_method", json!("awq"));
    assert!(method.contains("x.qweight is I32 [8, 32], and I32 [8, 4]"), "{method}");
}

#[test]
fn parts_that_are_missing_are_named() {
    let (file, said) = vector("gptq-4");
    let renamed = |from: &str, to: &str| {
        let at = file.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
        [&file[..at], to.as_bytes(), &file[at + from.len()..]].concat()
    };
    let (layer, hqq) = vector("hqq-4");
    let at = layer.windows(7).position(|part| part == b"x.shape").unwrap();
    let renamed_shape = [&layer[..at], b"x.shapf", &layer[at + 7..]].concat();
    let error = open(&renamed_shape, &hqq).unwrap_err().to_string();
    assert!(error.contains("tensor x.shape: is missing"), "{error}");
    for part in ["qzeros", "scales"] {
        let other = format!("x.{}", "y".repeat(part.len()));
        let error = open(&renamed(&format!("x.{part}"), &other), &said).unwrap_err().to_string();
        assert!(error.contains(&format!("tensor x.{part}: is missing")), "{error}");
    }
    // Groups that nobody names are of neighbours.
    let (source, info) = open(&renamed("x.g_idx", "y.g_idx"), &said).unwrap();
    let (whole, named) = open(file, &said).unwrap();
    assert_eq!(block_on(info.f32s(&source)).unwrap(), block_on(named.f32s(&whole)).unwrap());

    let nobody = Memory::new().with("a.safetensors", file);
    let error = among(&nobody, &["a.safetensors"]).unwrap_err();
    assert!(error.to_string().contains("no quantization_config"), "{error}");
    // An older file beside it says the same.
    let said = said.to_string().into_bytes();
    let older = nobody.with("quantize_config.json", said);
    among(&older, &["a.safetensors", "quantize_config.json"]).unwrap();
}

#[test]
fn a_group_that_does_not_exist_is_refused() {
    let (file, said) = vector("gptq-4");
    // Tensors lie in the order of their sizes and names: the groups are the last of the integers.
    let length = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..length]).unwrap();
    let at = length + header["x.g_idx"]["data_offsets"][0].as_u64().unwrap() as usize;
    let mut damaged = file.to_vec();
    damaged[at..at + 4].copy_from_slice(&7i32.to_le_bytes());
    let (source, info) = open(&damaged, &said).unwrap();
    let error = block_on(info.f32s(&source)).unwrap_err().to_string();
    assert!(error.contains("tensor x.g_idx: names group 7 of 2"), "{error}");
}

#[test]
fn ways_that_nobody_here_knows_are_named() {
    for (said, part) in [
        (json!({"quant_method": "bitsandbytes", "load_in_4bit": true}), "by bitsandbytes"),
        (json!({"quant_method": "fp8"}), "by fp8"),
        (json!({"quant_method": "awq", "bits": 4, "version": "gemv"}), "in the version gemv"),
        (json!({"quant_method": "gptq", "checkpoint_format": "marlin"}), "in the format marlin"),
        (json!({"quant_method": "gptq", "dynamic": {"a": {}}}), "dynamic"),
        (json!({"quant_method": "gptq", "bits": 5, "group_size": 32}), "5 is none of the widths"),
        (json!({"quant_method": "awq", "bits": 8, "group_size": 32}), "8 is none of the widths"),
        (json!({"quant_method": "gptq", "bits": 4, "group_size": 0}), "neither a size nor -1"),
        (json!({"quant_method": "gptq", "bits": 4}), "quantization_config.group_size"),
    ] {
        let error = Config::of(&said).unwrap_err().to_string();
        assert!(error.contains(part), "{said}: {error}");
    }
}
