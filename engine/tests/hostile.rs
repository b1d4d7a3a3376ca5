//! Files that nobody would publish: each is refused in words that name the file and what is wrong in
//! it, without a panic, without a hang, and without taking more memory than the file and 64 MB.

use engine::{
    error::Error,
    preprocess::Tokenizer,
    weights::{Checkpoint, LocalFuture, Memory, Source, gguf},
};
use pollster::block_on;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    ops::Range,
};

/// The memory a refusal may take beside the file's own size.
const SPARE: isize = 64 << 20;

/// Counts the bytes that each thread holds; tests run on threads of their own.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    LIVE.set(LIVE.get() + bytes);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the pointer came from `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What a call gives back, and how many bytes it held at its worst.
fn measured<T>(call: impl FnOnce() -> T) -> (T, isize) {
    let before = LIVE.get();
    PEAK.set(before);
    let result = call();
    (result, PEAK.get() - before)
}

fn open(source: &dyn Source, file: &str) -> Result<Checkpoint, Error> {
    block_on(Checkpoint::open(source, &[file.to_string()]))
}

/// Opens a file that must be refused, with an error that has these words.
#[track_caller]
fn refuse(file: &str, bytes: Vec<u8>, words: &[&str]) {
    let size = bytes.len() as isize;
    let memory = Memory::new().with(file, bytes);
    let (result, peak) = measured(|| open(&memory, file));
    let error = result.expect_err("a hostile file was accepted").to_string();
    assert!(error.starts_with(&format!("{file} is malformed: ")), "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
    assert!(error.len() < 1000, "{} bytes of error", error.len());
    assert!(peak <= size + SPARE, "{peak} bytes were held for a file of {size}");
}

/// One test per file: its name, its bytes, and the words of its refusal.
macro_rules! refused {
    ($file:literal $($name:ident: $bytes:expr => $($word:literal),+;)+) => {
        $(#[test]
        fn $name() {
            refuse($file, $bytes, &[$($word),+]);
        })+
    };
}

// ---------------------------------------------------------------------------------- safetensors

/// A file with this header and this many bytes after it.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// A file with one tensor `w`, whose entry is this.
fn entry(dtype: &str, shape: &str, offsets: &str, data: usize) -> Vec<u8> {
    let entry = format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#);
    safetensors(&format!(r#"{{"w":{entry}}}"#), data)
}

/// A file with tensors `a` and `b` of two f32 each, at these offsets.
fn two(a: &str, b: &str, data: usize) -> Vec<u8> {
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

// ----------------------------------------------------------------------------------------- GGUF

const TINY: &[u8] = include_bytes!("../src/weights/vectors/llama.gguf");

/// Writes the parts of a GGUF header one after the other.
#[derive(Clone, Default)]
struct Gguf(Vec<u8>);

impl Gguf {
    fn new(tensors: u64, keys: u64) -> Gguf {
        Gguf(b"GGUF".to_vec()).u32(3).u64(tensors).u64(keys)
    }

    fn u32(mut self, value: u32) -> Gguf {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn u64(mut self, value: u64) -> Gguf {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn text(mut self, value: &[u8]) -> Gguf {
        self = self.u64(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    fn key(self, key: &str, kind: u32) -> Gguf {
        self.text(key.as_bytes()).u32(kind)
    }

    fn tensor(self, name: &str, sizes: &[u64], kind: u32, offset: u64) -> Gguf {
        let this = self.text(name.as_bytes()).u32(sizes.len() as u32);
        sizes.iter().fold(this, |this, &size| this.u64(size)).u32(kind).u64(offset)
    }

    /// Padding to 32, and this many bytes of data.
    fn data(mut self, data: usize) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(32) + data, 0);
        self.0
    }
}

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

// ------------------------------------------------------------------------------------ mutations

/// Xorshift: the same mutations on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// Changes, removes, repeats or cuts a few bytes in the first `header` ones.
fn mutate(original: &[u8], header: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = original.to_vec();
    for _ in 0..1 + random.below(3) {
        let at = random.below(header.min(bytes.len()));
        let Some(byte) = bytes.get_mut(at) else { break };
        match random.below(8) {
            0..3 => *byte = random.below(256) as u8,
            3 => *byte ^= 1 << random.below(8),
            4 => *byte = [0, 0x7f, 0x80, 0xff, b'"', b'{', b'9', b'-'][random.below(8)],
            5 => {
                let end = (at + 1 + random.below(8)).min(bytes.len());
                bytes.drain(at..end);
            }
            6 => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// Opens mutations of a file and reads every tensor of those that open; returns how many opened.
fn fuzz(file: &str, original: &[u8], header: usize, rounds: u64) -> usize {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut opened = 0;
    for _ in 0..rounds {
        let bytes = mutate(original, header, &mut random);
        let size = bytes.len() as isize;
        let memory = Memory::new().with(file, bytes);
        let (ok, peak) = measured(|| {
            let Ok(checkpoint) = open(&memory, file) else { return false };
            for name in checkpoint.names() {
                // Damaged values may be refused here; what counts is that nothing panics.
                let _ = block_on(checkpoint.tensor_f32(&memory, name));
                let _ = block_on(checkpoint.tensor_i64(&memory, name));
            }
            true
        });
        opened += usize::from(ok);
        assert!(peak <= size + SPARE, "{peak} bytes were held for a file of {size}");
    }
    opened
}

#[test]
fn mutated_safetensors_are_refused_or_read() {
    let original = two("[0,8]", "[8,16]", 16);
    let opened = fuzz("model.safetensors", &original, original.len(), 8000);
    assert!((1..4000).contains(&opened), "{opened} of 8000 were opened");
}

#[test]
fn mutated_ggufs_are_refused_or_read() {
    let opened = fuzz("model.gguf", TINY, 1200, 4000);
    assert!((1..3000).contains(&opened), "{opened} of 4000 were opened");
}

#[test]
fn mutated_vocabularies_are_refused_or_used() {
    let original = include_bytes!("../src/preprocess/fixtures/spm.gguf");
    let mut random = Random(7);
    let (mut used, mut refused) = (0, 0);
    for _ in 0..600 {
        let bytes = mutate(original, original.len(), &mut random);
        let memory = Memory::new().with("model.gguf", bytes);
        let tokenizer = block_on(gguf::read(&memory, "model.gguf"))
            .and_then(|header| Tokenizer::from_gguf(&header.metadata));
        match tokenizer.and_then(|tokenizer| tokenizer.encode("a few words, 12 🍕\n", true)) {
            Ok(_) => used += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(used > 50 && refused > 50, "{used} used, {refused} refused");
}
