//! The GGUF container, versions 2 and 3, little endian.
//!
//! ```text
//! "GGUF", u32 version, u64 tensors, u64 keys
//! per key     string name, u32 type, value      (string: u64 length, bytes)
//! per tensor  string name, u32 dimensions, u64 sizes (fastest first), u32 ggml type, u64 offset
//! padding     to `general.alignment` (32); offsets count from here, each on the alignment
//! ```
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>
//!
//! Nothing says how long the header is, so it is parsed from a prefix of the file, and again from a
//! longer one when that was too short. Arrays stay as the file has them and are decoded when they
//! are asked for: a vocabulary is not held twice, and a hostile count costs nothing. `hf` gives tensors
//! and metadata their Hugging Face names.

mod cursor;
mod hf;
mod metadata;
mod rope;

pub use hf::{take_rope_factors, translate};
pub use metadata::{Array, Metadata, Value};

use super::{Dtype, MAX_TENSORS, Source, TensorInfo};
use crate::error::{Error, Result};
use cursor::{Cursor, Stop, wrong};
use std::sync::Arc;

/// The first prefix that is tried: the headers of vocabularies of 50,000 tokens fit.
const FIRST_PREFIX: u64 = 4 << 20;
/// The longest header; vocabularies of 260,000 tokens with their merges take 20 MB.
const MAX_HEADER: u64 = 48 << 20;
/// More keys than any model has.
const MAX_KEYS: u64 = 1 << 16;
/// The widest alignment that makes sense: a huge page.
const MAX_ALIGNMENT: u64 = 1 << 21;

/// The header of one file.
#[derive(Clone, Debug)]
pub struct Header {
    /// The key-value pairs.
    pub metadata: Metadata,
    /// The tensors under GGUF's names, in the order of their bytes; shapes are row-major.
    pub tensors: Vec<TensorInfo>,
}

/// Reads and checks the header of one file.
///
/// # Errors
/// When the file cannot be read, is not GGUF, or is damaged.
pub async fn read(source: &dyn Source, file: &str) -> Result<Header> {
    let size = source.size(file).ok_or_else(|| Error::Read {
        file: file.into(),
        message: "there is no such file".into(),
    })?;
    let longest = size.min(MAX_HEADER);
    let mut length = size.min(FIRST_PREFIX);
    loop {
        let prefix = source.read(file, 0..length).await?;
        match parse(file, &prefix, size) {
            Err(Stop::Short(_)) if length < longest => length = (length * 4).min(longest),
            Err(Stop::Short(what)) => {
                return Err(Error::malformed(
                    file,
                    format!("{what}: the header is longer than {MAX_HEADER} bytes"),
                ));
            }
            Err(Stop::Wrong(message)) => return Err(Error::malformed(file, message)),
            Ok(header) => return Ok(header),
        }
    }
}

fn parse(file: &str, prefix: &[u8], size: u64) -> Result<Header, Stop> {
    let mut cursor = Cursor { prefix, at: 0, size };
    let version = magic(&mut cursor)?;
    if !(2..=3).contains(&version) {
        return wrong(match version.swap_bytes() {
            2 | 3 => "a big endian file; convert it to little endian".to_string(),
            _ => format!("GGUF version {version} is not 2 or 3; convert it with a newer tool"),
        });
    }
    let tensors = cursor.u64("the number of tensors")?;
    let keys = cursor.u64("the number of keys")?;
    if tensors > MAX_TENSORS as u64 || keys > MAX_KEYS {
        return wrong(format!(
            "{tensors} tensors and {keys} keys are more than {MAX_TENSORS} and {MAX_KEYS}"
        ));
    }
    let file: Arc<str> = file.into();
    let mut metadata = Metadata::new(file.clone());
    for _ in 0..keys {
        let key = cursor.name("a key")?;
        let value = cursor.value(&format!("key {key}"))?;
        metadata.insert(key, value)?;
    }
    let alignment = match metadata.get("general.alignment") {
        None => 32,
        Some(Value::Unsigned(n)) if n.is_power_of_two() && *n <= MAX_ALIGNMENT => *n,
        Some(other) => {
            return wrong(format!(
                "key general.alignment: {} is not a power of two up to {MAX_ALIGNMENT}",
                other.describe()
            ));
        }
    };
    let tensors = (0..tensors)
        .map(|_| tensor(&mut cursor, &file, alignment))
        .collect::<Result<Vec<_>, Stop>>()?;
    let start = (cursor.at as u64).next_multiple_of(alignment);
    let tensors = place(tensors, start, alignment, size)?;
    Ok(Header { metadata, tensors })
}

fn magic(cursor: &mut Cursor) -> Result<u32, Stop> {
    if cursor.take(4, "the magic number")? != b"GGUF" {
        return wrong("it does not begin with GGUF");
    }
    cursor.u32("the version")
}

/// Reads one tensor's entry; its offset still counts from the end of the header.
fn tensor(cursor: &mut Cursor, file: &Arc<str>, alignment: u64) -> Result<TensorInfo, Stop> {
    let name = cursor.name("a tensor's name")?;
    let what = format!("tensor {name}");
    let dims = cursor.u32(&what)?;
    if dims > 4 {
        return wrong(format!("{what}: {dims} dimensions are more than 4"));
    }
    let mut shape = (0..dims).map(|_| cursor.u64(&what)).collect::<Result<Vec<_>, _>>()?;
    shape.reverse();
    let number = cursor.u32(&what)?;
    let Some(dtype) = Dtype::from_ggml(number) else {
        return wrong(format!(
            "{what}: ggml type {number} is not supported; use F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 \
             Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL or IQ4_XS"
        ));
    };
    let offset = cursor.u64(&what)?;
    if offset % alignment != 0 {
        return wrong(format!("{what}: offset {offset} is not on the alignment of {alignment}"));
    }
    let rows = shape.last().copied().unwrap_or(1);
    if rows % dtype.block_len() as u64 != 0 {
        return wrong(format!("{what}: rows of {rows} are not whole blocks of {dtype}"));
    }
    TensorInfo::new(name, dtype, &shape, file.clone(), offset)
        .map_err(|message| Stop::Wrong(format!("{what}: {message}")))
}

/// Turns offsets into places in the file, and checks that the tensors follow each other with no more
/// between them than padding.
fn place(
    mut tensors: Vec<TensorInfo>,
    start: u64,
    alignment: u64,
    size: u64,
) -> Result<Vec<TensorInfo>, Stop> {
    tensors.sort_by_key(|t| (t.offset, t.bytes()));
    let mut expected = 0u64;
    for tensor in &mut tensors {
        let what = format!("tensor {}", tensor.name);
        if tensor.offset < expected {
            return wrong(format!("{what}: overlaps the tensor before it"));
        }
        if tensor.offset > expected {
            let hole = tensor.offset - expected;
            return wrong(format!("{what}: {hole} bytes before it belong to no tensor"));
        }
        let end = tensor.offset.checked_add(tensor.bytes()).and_then(|end| end.checked_add(start));
        if end.is_none_or(|end| end > size) {
            return wrong(format!(
                "{what}: its {} bytes at {} do not fit the file's {size}; download it again",
                tensor.bytes(),
                tensor.offset
            ));
        }
        expected = (tensor.offset + tensor.bytes()).next_multiple_of(alignment);
        tensor.offset += start;
    }
    Ok(tensors)
}
