//! The safetensors container.
//!
//! ```text
//! u64    length of the header, little endian
//! JSON   {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {}}
//! bytes  the tensors, row-major, little endian; offsets count from here
//! ```
//! <https://github.com/huggingface/safetensors#format>: names are unique, and the tensors cover the
//! bytes without overlap and without holes.

use super::{Dtype, MAX_TENSORS, Source, TensorInfo, artefact::Metadata};
use crate::error::{Error, Result};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    marker::PhantomData,
    sync::Arc,
};

/// The longest header the format allows.
const MAX_HEADER: u64 = 100_000_000;
/// The longest string inside the header: training notes in `__metadata__` reach a few MB.
const MAX_STRING: usize = 8 << 20;
/// The deepest nesting: a header needs three levels, an index's notes a few more.
const MAX_DEPTH: usize = 32;
/// The longest tensor name.
pub(super) const MAX_NAME: usize = 512;
/// The most dimensions a tensor has.
const MAX_DIMS: usize = 8;

/// The header of a file.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) tensors: Vec<TensorInfo>,
    /// What is said of an artefact, and nothing of other files.
    pub(super) metadata: Metadata,
}

/// Reads and checks the header of one file.
///
/// # Errors
/// When the file cannot be read, or is not safetensors to the letter of the format.
pub(super) async fn read(source: &dyn Source, file: &str) -> Result<Header> {
    let size = size(source, file)?;
    if size < 8 {
        return Err(Error::malformed(
            file,
            format!("{size} bytes are too short for the header length; download the file again"),
        ));
    }
    let length = source.read(file, 0..8).await?;
    let length = u64::from_le_bytes(length.try_into().map_err(|_| Error::Read {
        file: file.into(),
        message: "fewer bytes came than were asked for".into(),
    })?);
    if length > MAX_HEADER {
        return Err(Error::malformed(
            file,
            format!("the header claims {length} bytes, the format allows {MAX_HEADER}"),
        ));
    }
    if length > size - 8 {
        return Err(Error::malformed(
            file,
            format!(
                "the header claims {length} bytes, only {} follow; download the file again",
                size - 8
            ),
        ));
    }
    parse(file, &source.read(file, 8..8 + length).await?, size - 8 - length)
}

/// Parses a header; `data` is how many bytes follow it.
fn parse(file: &str, json: &[u8], data: u64) -> Result<Header> {
    check_bombs(file, json)?;
    let header: Table<Entry> =
        serde_json::from_slice(json).map_err(|e| Error::malformed(file, format!("header: {e}")))?;
    let start = json.len() as u64 + 8;
    let shared: Arc<str> = file.into();
    let mut tensors = Vec::with_capacity(header.entries.len());
    for (name, entry) in header.entries {
        let wrong = |what: String| Error::malformed(file, format!("tensor {name}: {what}"));
        let dtype = Dtype::from_safetensors(&entry.dtype.0).ok_or_else(|| {
            wrong(format!(
                "dtype {:?} is not one of F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL; convert it",
                entry.dtype.0
            ))
        })?;
        let (begin, end) = entry.data_offsets;
        if begin > end || end > data {
            return Err(wrong(format!(
                "data_offsets [{begin}, {end}] do not lie inside the {data} bytes of data"
            )));
        }
        let info =
            TensorInfo::new(name.clone(), dtype, &entry.shape.0, shared.clone(), start + begin)
                .map_err(&wrong)?;
        if info.bytes() != end - begin {
            return Err(wrong(format!(
                "shape {:?} of {dtype} takes {} bytes, data_offsets give {}",
                entry.shape.0,
                info.bytes(),
                end - begin
            )));
        }
        tensors.push(info);
    }
    cover(file, &mut tensors, start, data)?;
    Ok(Header { tensors, metadata: header.metadata })
}

/// Checks that the tensors cover the data without overlap and without holes.
fn cover(file: &str, tensors: &mut [TensorInfo], start: u64, data: u64) -> Result<()> {
    tensors.sort_by_key(|t| (t.offset, t.bytes()));
    let mut reached = start;
    for tensor in tensors.iter() {
        let name = &tensor.name;
        if tensor.offset < reached {
            let message = format!("tensor {name}: overlaps the tensor before it");
            return Err(Error::malformed(file, message));
        }
        if tensor.offset > reached {
            let hole = tensor.offset - reached;
            let message = format!("tensor {name}: {hole} bytes before it belong to no tensor");
            return Err(Error::malformed(file, message));
        }
        reached += tensor.bytes();
    }
    let rest = start + data - reached;
    if rest > 0 {
        let message = format!("the last {rest} bytes belong to no tensor");
        return Err(Error::malformed(file, message));
    }
    Ok(())
}

/// Refuses a bomb of one string before it is copied, and one of brackets before a parser stacks it.
fn check_bombs(file: &str, json: &[u8]) -> Result<()> {
    let (mut length, mut inside, mut escaped, mut depth) = (0, false, false, 0usize);
    for &byte in json {
        length += 1;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => (length, inside) = (0, !inside),
            b'{' | b'[' if !inside => depth += 1,
            b'}' | b']' if !inside => depth = depth.saturating_sub(1),
            _ => {}
        }
        if inside && length > MAX_STRING {
            let message = format!("header: a string is longer than {MAX_STRING} bytes");
            return Err(Error::malformed(file, message));
        }
        if depth > MAX_DEPTH {
            let message = format!("header: it is nested deeper than {MAX_DEPTH}");
            return Err(Error::malformed(file, message));
        }
    }
    Ok(())
}

/// Reads an index of shards: which file holds which tensor.
///
/// # Errors
/// When the file cannot be read, is not such an index, or names files outside the folder.
pub async fn read_index(source: &dyn Source, file: &str) -> Result<BTreeMap<String, Arc<str>>> {
    let size = size(source, file)?;
    if size > MAX_HEADER {
        return Err(Error::malformed(file, format!("{size} bytes are more than {MAX_HEADER}")));
    }
    let json = source.read(file, 0..size).await?;
    check_bombs(file, &json)?;
    let index: Index =
        serde_json::from_slice(&json).map_err(|e| Error::malformed(file, format!("index: {e}")))?;
    // Shards are few: their names are shared between the tensors.
    let mut shards = BTreeSet::<Arc<str>>::new();
    let mut map = BTreeMap::new();
    for (name, Name(shard)) in index.weight_map.entries {
        if shard.contains(['/', '\\']) || !shard.ends_with(".safetensors") {
            let message = format!("tensor {name}: {shard:?} is not a safetensors file beside it");
            return Err(Error::malformed(file, message));
        }
        let shard = match shards.get(shard.as_str()) {
            Some(known) => known.clone(),
            None => {
                let new: Arc<str> = shard.into();
                shards.insert(new.clone());
                new
            }
        };
        map.insert(name, shard);
    }
    Ok(map)
}

fn size(source: &dyn Source, file: &str) -> Result<u64> {
    source
        .size(file)
        .ok_or_else(|| Error::Read { file: file.into(), message: "there is no such file".into() })
}

/// A JSON object with unique names. It is typed, so that JSON of any other form ends at its first
/// wrong byte instead of growing a tree.
struct Table<T> {
    entries: BTreeMap<String, T>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Entry {
    dtype: Name,
    shape: Shape,
    data_offsets: (u64, u64),
}

#[derive(Deserialize)]
struct Index {
    weight_map: Table<Name>,
}

struct Shape(Vec<u64>);

/// A name, checked before it is copied.
struct Name(String);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tensors<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Tensors<T> {
            type Value = Table<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with one entry per tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Table<T>, A::Error> {
                let mut tensors = BTreeMap::new();
                let mut metadata = Metadata::default();
                while let Some(Name(name)) = map.next_key()? {
                    if name == "__metadata__" {
                        metadata = map.next_value()?;
                        continue;
                    }
                    let entry = map
                        .next_value()
                        .map_err(|e| A::Error::custom(format!("tensor {name}: {e}")))?;
                    if tensors.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                    }
                    if tensors.contains_key(&name) {
                        return Err(A::Error::custom(format!(
                            "tensor {name}: there are two of it"
                        )));
                    }
                    tensors.insert(name, entry);
                }
                Ok(Table { entries: tensors, metadata })
            }
        }
        deserializer.deserialize_map(Tensors(PhantomData))
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a name of 1 to {MAX_NAME} bytes")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Name, E> {
                if name.is_empty() || name.len() > MAX_NAME {
                    return Err(E::invalid_length(name.len(), &self));
                }
                Ok(Name(name.to_owned()))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dims;
        impl<'de> Visitor<'de> for Dims {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a shape of at most {MAX_DIMS} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Shape, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = sequence.next_element()? {
                    if dims.len() == MAX_DIMS {
                        return Err(A::Error::invalid_length(dims.len() + 1, &self));
                    }
                    dims.push(dim);
                }
                Ok(Shape(dims))
            }
        }
        deserializer.deserialize_seq(Dims)
    }
}
