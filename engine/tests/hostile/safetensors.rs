//! Damaged safetensors and their indices.

use super::{open, refuse};
use engine::weights::Memory;

/// A file with this header and this many bytes after it.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// A file with one tensor `w`, whose entry is this.
pub fn entry(dtype: &str, shape: &str, offsets: &str, data: usize) -> Vec<u8> {
    let entry = format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#);
    safetensors(&format!(r#"{{"w":{entry}}}"#), data)
}

/// A file with tensors `a` and `b` of two f32 each, at these offsets.
pub fn two(a: &str, b: &str, data: usize) -> Vec<u8> {
    let entry = |at: &str| format!(r#"{{"dtype":"F32","shape":[2],"data_offsets":{at}}}"#);
    safetensors(&format!(r#"{{"a":{},"b":{}}}"#, entry(a), entry(b)), data)
}

/// A header of about 90 MB.
fn huge(start: &str, repeated: &str) -> Vec<u8> {
    safetensors(&(start.to_string() + &repeated.repeat(90_000_000 / repeated.len())), 0)
}

refused! { "model.safetensors"
    empty_file: vec![] => "too short";
    no_room_for_the_length: vec![1; 7] => "7 bytes", "too short";
    header_beyond_the_file: 9u64.to_le_bytes().to_vec() => "claims 9 bytes, only 0 follow";
    header_of_2_to_the_60: [&(1u64 << 60).to_le_bytes()[..], b"{}"].concat() => "the format allows";
    header_length_that_overflows: [255; 64].to_vec() => "the format allows";
    header_that_is_no_json: safetensors("{\"w\":", 0) => "header", "EOF";
    header_that_is_a_list: safetensors("[1, 2]", 0) => "header", "one entry per tensor";
    header_that_is_no_text: safetensors("{\"\u{0}\": 1}", 0) => "header", "control character";
    text_after_the_header: safetensors("{} {}", 0) => "header", "trailing";
    tensor_without_dtype: safetensors(r#"{"w":{"shape":[1],"data_offsets":[0,4]}}"#, 4)
        => "tensor w", "dtype";
    tensor_without_shape: safetensors(r#"{"w":{"dtype":"F32","data_offsets":[0,4]}}"#, 4)
        => "tensor w", "shape";
    tensor_with_two_shapes: safetensors(
        r#"{"w":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}"#, 4)
        => "tensor w", "duplicate field `shape`";
    dtype_that_is_a_number: safetensors(r#"{"w":{"dtype":1,"shape":[1],"data_offsets":[0,4]}}"#, 4)
        => "tensor w";
    unknown_dtype: entry("F8_E4M3", "[4]", "[0,4]", 4) => "tensor w", "F8_E4M3", "convert";
    quantised_dtype_in_safetensors: entry("Q4_0", "[32]", "[0,18]", 18) => "tensor w", "Q4_0";
    dtype_that_is_too_small: entry("F64", "[4]", "[0,16]", 16) => "tensor w", "32 bytes", "16";
    shape_below_zero: entry("F32", "[-1]", "[0,4]", 4) => "tensor w", "-1";
    shape_with_fractions: entry("F32", "[1.5]", "[0,4]", 4) => "tensor w", "1.5";
    shape_that_overflows: entry("F32", "[4294967296,4294967296,2]", "[0,4]", 4)
        => "tensor w", "more elements than can be addressed";
    shape_that_wraps_to_one: entry("F32", "[9223372036854775809,2]", "[0,4]", 4)
        => "tensor w", "more elements";
    shape_of_bytes_that_overflow: entry("F64", "[2305843009213693952]", "[0,8]", 8)
        => "tensor w", "more elements";
    shape_of_nothing_that_overflows: entry("F32", "[0,4611686018427387904,8]", "[0,0]", 0)
        => "tensor w", "more elements";
    shape_of_too_many_dimensions: entry("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]", 4)
        => "tensor w", "at most 8 dimensions";
    offsets_in_reverse: entry("F32", "[1]", "[4,0]", 4) => "tensor w", "data_offsets [4, 0]";
    offsets_beyond_the_file: entry("F32", "[2]", "[0,8]", 4) => "tensor w", "inside the 4 bytes";
    offsets_that_overflow: entry("F32", "[1]", "[18446744073709551612,18446744073709551615]", 4)
        => "tensor w", "data_offsets";
    three_offsets: entry("F32", "[1]", "[0,4,4]", 4) => "tensor w";
    tensors_that_overlap: two("[0,8]", "[4,12]", 12) => "tensor b", "overlaps";
    tensors_on_each_other: two("[0,8]", "[0,8]", 8) => "overlaps";
    hole_before_a_tensor: two("[0,8]", "[12,20]", 20) => "tensor b", "4 bytes before it";
    hole_at_the_start: entry("F32", "[1]", "[4,8]", 8) => "tensor w", "4 bytes before it";
    bytes_after_the_last_tensor: entry("F32", "[1]", "[0,4]", 7) => "last 3 bytes";
    a_name_twice: safetensors(
        r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},
            "w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1) => "tensor w", "two of it";
    a_name_without_letters: safetensors(
        r#"{"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1) => "a name of 1 to 512 bytes";
    a_bomb_of_brackets: huge(r#"{"__metadata__":"#, "[") => "header", "nested deeper";
    a_bomb_of_objects: huge(r#"{"w":"#, r#"{"a":"#) => "header", "nested deeper";
    a_bomb_of_zeros: huge(r#"{"w":{"shape":["#, "0,") => "tensor w", "at most 8 dimensions";
    a_bomb_of_one_name: huge("{\"", "n") => "a string is longer";
    a_bomb_of_escapes: huge("{\"", r"\n") => "a string is longer";
    a_bomb_of_one_dtype: huge(r#"{"w":{"dtype":""#, "F") => "a string is longer";
}

#[test]
fn a_bomb_of_small_tensors() {
    let entry = r#":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let entries: Vec<String> = (0..1_000_000).map(|i| format!("\"{i}\"{entry}")).collect();
    let header = format!("{{{}}}", entries.join(","));
    refuse("model.safetensors", safetensors(&header, 0), &["more than 131072 tensors"]);
}

#[test]
fn truncated_anywhere_a_safetensors_is_refused() {
    let whole = two("[0,8]", "[8,16]", 16);
    for length in 0..whole.len() {
        refuse("model.safetensors", whole[..length].to_vec(), &[]);
    }
    assert!(open(&Memory::new().with("m.safetensors", whole), "m.safetensors").is_ok());
}

#[test]
fn an_index_is_refused_with_its_reason() {
    let name = "model.safetensors.index.json";
    let shard = entry("U8", "[1]", "[0,1]", 1);
    for (index, word) in [
        ("", "EOF"),
        ("{}", "weight_map"),
        (r#"{"weight_map": []}"#, "one entry per tensor"),
        (r#"{"weight_map": {"w": "../1.safetensors"}}"#, "not a safetensors file beside it"),
        (r#"{"weight_map": {"w": "/etc/passwd"}}"#, "not a safetensors file beside it"),
        (r#"{"weight_map": {"w": "1.safetensors", "w": "1.safetensors"}}"#, "two of it"),
        (r#"{"weight_map": {"w": "1.safetensors", "x": "1.safetensors"}}"#, "is not in"),
    ] {
        let memory = Memory::new().with(name, index).with("1.safetensors", shard.clone());
        let error = open(&memory, name).unwrap_err().to_string();
        assert!(error.starts_with(name) && error.contains(word), "{index}: {error}");
    }
    let index = r#"{"weight_map": {"w": "1.safetensors", "x": "2.safetensors"}}"#;
    let missing = Memory::new().with(name, index).with("1.safetensors", shard.clone());
    let error = open(&missing, name).unwrap_err().to_string();
    assert_eq!(error, "cannot read 2.safetensors: there is no such file");
    let twice = missing.with("2.safetensors", shard);
    let error = open(&twice, name).unwrap_err().to_string();
    assert!(error.contains("tensor w: is also in 1.safetensors"), "{error}");
}
