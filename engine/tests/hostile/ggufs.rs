//! Damaged GGUF files.

use super::{SPARE, gguf_writer::Gguf, measured, open, refuse, safetensors::entry};
use engine::{
    error::Error,
    weights::{LocalFuture, Memory, Source, gguf},
};
use pollster::block_on;
use std::ops::Range;

pub const TINY: &[u8] = include_bytes!("../../src/weights/vectors/llama.gguf");

/// A file with one key `k` of an array type: element type and count, then these bytes.
fn array(kind: u32, count: u64, bytes: &[u8]) -> Vec<u8> {
    let mut file = Gguf::new(0, 1).key("k", 9).u32(kind).u64(count).0;
    file.extend_from_slice(bytes);
    file
}

/// A file with one tensor `w`.
fn one(sizes: &[u64], kind: u32, offset: u64, data: usize) -> Vec<u8> {
    Gguf::new(1, 0).tensor("w", sizes, kind, offset).data(data)
}

/// The tiny llama with the value of one `u32` key replaced.
fn with_key(key: &str, value: u32) -> Vec<u8> {
    let mut bytes = TINY.to_vec();
    let at = bytes.windows(key.len()).position(|w| w == key.as_bytes()).unwrap() + key.len() + 4;
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    bytes
}

refused! { "model.gguf"
    gguf_empty: vec![] => "magic number";
    gguf_of_another_kind: b"GGML\x03\0\0\0".repeat(9) => "does not begin with GGUF";
    gguf_version_1: Gguf(b"GGUF".to_vec()).u32(1).u64(0).u64(0).0 => "version 1";
    gguf_version_4: Gguf(b"GGUF".to_vec()).u32(4).u64(0).u64(0).0 => "version 4";
    gguf_big_endian: Gguf(b"GGUF".to_vec()).u32(3u32.swap_bytes()).u64(0).u64(0).0 => "big endian";
    gguf_2_to_the_60_tensors: Gguf::new(1 << 60, 0).0 => "1152921504606846976 tensors";
    gguf_2_to_the_60_keys: Gguf::new(0, 1 << 60).0 => "1152921504606846976", "keys";
    gguf_more_keys_than_bytes: Gguf::new(0, 9).0 => "a key", "0 left";
    gguf_key_of_2_to_the_60_bytes: Gguf::new(0, 1).u64(1 << 60).data(64) => "a key", "left";
    gguf_key_that_is_no_text: Gguf::new(0, 1).text(b"\xff\xfe").u32(4).u32(1).data(0)
        => "a key", "UTF-8";
    gguf_key_without_letters: Gguf::new(0, 1).text(b"").u32(4).u32(1).data(0) => "a key", "0 bytes";
    gguf_key_twice: Gguf::new(0, 2).key("k", 4).u32(1).key("k", 4).u32(2).data(0)
        => "key k", "two of it";
    gguf_value_type_13: Gguf::new(0, 1).key("k", 13).data(64) => "key k", "type 13";
    gguf_text_of_2_to_the_60_bytes: Gguf::new(0, 1).key("k", 8).u64(1 << 60).data(64) => "key k";
    gguf_text_that_is_no_text: Gguf::new(0, 1).key("k", 8).text(b"\xff").data(64)
        => "key k", "UTF-8";
    gguf_array_of_2_to_the_60: array(0, 1 << 60, &[0; 64]) => "key k", "do not fit the file";
    gguf_array_that_overflows: array(10, u64::MAX, &[0; 64]) => "key k", "do not fit the file";
    gguf_texts_of_2_to_the_60: array(8, 1 << 60, &[0; 64]) => "key k", "do not fit the file";
    gguf_texts_beyond_the_file: array(8, 8, &[1; 64]) => "key k", "left";
    gguf_array_of_arrays: array(9, 1, &[9; 64]) => "key k", "arrays of arrays";
    gguf_array_of_type_99: array(99, 1, &[0; 64]) => "key k", "type 99";
    gguf_no_alignment: Gguf::new(0, 1).key("general.alignment", 4).u32(0).data(64)
        => "general.alignment", "0 is not a power of two";
    gguf_alignment_of_33: Gguf::new(0, 1).key("general.alignment", 4).u32(33).data(64)
        => "general.alignment", "33 is not a power of two";
    gguf_alignment_of_2_to_the_31: Gguf::new(0, 1).key("general.alignment", 4).u32(1 << 31).data(64)
        => "general.alignment", "2147483648";
    gguf_alignment_that_is_text: Gguf::new(0, 1).key("general.alignment", 8).text(b"32").data(64)
        => "general.alignment", "text";
    gguf_more_tensors_than_bytes: Gguf::new(9, 0).0 => "a tensor's name";
    gguf_tensor_of_5_dimensions: one(&[1, 1, 1, 1, 1], 0, 0, 64) => "tensor w", "5 dimensions";
    gguf_tensor_of_2_to_the_32_dimensions: Gguf::new(1, 0).text(b"w").u32(u32::MAX).data(64)
        => "tensor w", "4294967295 dimensions";
    gguf_tensor_that_overflows: one(&[1 << 32, 1 << 32, 2], 0, 0, 64) => "tensor w", "addressed";
    gguf_tensor_beyond_the_file: one(&[1 << 40], 0, 0, 64) => "tensor w", "do not fit the file";
    gguf_offset_beyond_the_file: one(&[4], 0, 1 << 40, 64) => "tensor w", "bytes before it";
    gguf_offset_that_overflows: one(&[4], 0, u64::MAX - 31, 64) => "tensor w";
    gguf_offset_off_the_alignment: one(&[4], 0, 4, 64) => "tensor w", "offset 4", "alignment of 32";
    gguf_type_q8_1: one(&[32], 9, 0, 64) => "tensor w", "ggml type 9";
    gguf_type_2_to_the_31: one(&[32], 1 << 31, 0, 64) => "tensor w", "ggml type 2147483648";
    gguf_half_a_block: one(&[16, 2], 8, 0, 64) => "tensor w", "whole blocks of Q8_0";
    gguf_tensors_that_overlap: Gguf::new(2, 0).tensor("a", &[16], 0, 0).tensor("b", &[16], 0, 32)
        .data(128) => "tensor b", "overlaps";
    gguf_tensors_with_a_hole: Gguf::new(2, 0).tensor("a", &[8], 0, 0).tensor("b", &[8], 0, 64)
        .data(128) => "tensor b", "32 bytes before it";
    gguf_without_architecture: Gguf::new(0, 0).data(0) => "general.architecture", "missing";
    gguf_without_heads: with_key("llama.attention.head_count", 0) => "head_count", "between 1";
    gguf_with_too_many_heads: with_key("llama.attention.head_count", 7) => "blk.0.attn_q", "7 heads";
    gguf_a_bomb_of_texts: array(8, 11_000_000, &vec![0; 90_000_000]) => "key k", "longer than";
    gguf_a_bomb_of_bytes: array(0, 90_000_000, &vec![0; 90_000_000]) => "key k", "longer than";
    gguf_a_bomb_of_one_text: Gguf::new(0, 1).key("k", 8).text(&vec![b'n'; 90_000_000]).data(0)
        => "key k", "longer than";
}

#[test]
fn shapes_with_a_zero_are_bounded_and_read() {
    let sizes = [0, 1 << 62, 8];
    refuse("model.gguf", one(&sizes, 0, 0, 64), &["tensor w", "more elements"]);
    let memory = Memory::new().with("m.safetensors", entry("F32", "[0,9,0]", "[0,0]", 0));
    let checkpoint = open(&memory, "m.safetensors").unwrap();
    assert!(block_on(checkpoint.tensor_f32(&memory, "w")).unwrap().is_empty());
}

#[test]
fn truncated_anywhere_a_gguf_is_refused() {
    let memory = Memory::new().with("model.gguf", TINY);
    let last = block_on(gguf::read(&memory, "model.gguf")).unwrap().tensors.pop().unwrap();
    // What follows the last tensor is padding, which some tools leave out.
    let end = TINY.len() - (TINY.len() - last.bytes() as usize) % 32;
    for length in (0..end - 32).step_by(7) {
        refuse("model.gguf", TINY[..length].to_vec(), &[]);
    }
}

#[test]
fn a_gguf_of_an_unknown_architecture_is_unsupported() {
    let mut bytes = TINY.to_vec();
    let at = bytes.windows(13).position(|w| w == b"\x05\0\0\0\0\0\0\0llama").unwrap() + 8;
    bytes[at..at + 5].copy_from_slice(b"mamba");
    let error = open(&Memory::new().with("m.gguf", bytes), "m.gguf").unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("mamba"), "{error}");
}

/// A file that claims a terabyte and is zero after its first bytes.
struct Terabyte(Vec<u8>);

impl Source for Terabyte {
    fn size(&self, _: &str) -> Option<u64> {
        Some(1 << 40)
    }

    fn read<'a>(
        &'a self,
        _: &'a str,
        range: Range<u64>,
    ) -> LocalFuture<'a, Result<Vec<u8>, Error>> {
        let length = range.end - range.start;
        assert!(length <= 100_000_000, "{length} bytes were asked for at once");
        let byte = |at: u64| self.0.get(at as usize).copied().unwrap_or(0);
        Box::pin(async move { Ok(range.map(byte).collect()) })
    }
}

#[test]
fn a_terabyte_of_empty_texts_is_not_read_to_its_end() {
    let source = Terabyte(array(8, 1 << 36, &[]));
    let (result, peak) = measured(|| open(&source, "model.gguf"));
    let error = result.unwrap_err().to_string();
    assert!(error.contains("key k: the header is longer than"), "{error}");
    assert!(peak < SPARE, "{peak} bytes were held");
}
