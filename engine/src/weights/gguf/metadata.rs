//! The key-value pairs of a GGUF file.

use super::cursor::{Stop, wrong};
use crate::error::{Error, Result};
use std::{collections::BTreeMap, sync::Arc};

/// The key-value pairs of a file.
#[derive(Clone, Debug)]
pub struct Metadata {
    file: Arc<str>,
    values: BTreeMap<String, Value>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer of any width that is not below zero.
    Unsigned(u64),
    /// An integer below zero.
    Negative(i64),
    /// An f32 or f64.
    Float(f64),
    /// A boolean.
    Bool(bool),
    /// Text.
    Text(String),
    /// Values of one type.
    Array(Array),
}

/// Values of one type, as the file has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub(super) kind: u32,
    pub(super) len: usize,
    pub(super) bytes: Vec<u8>,
}

impl Value {
    pub(super) fn describe(&self) -> String {
        match self {
            Value::Unsigned(n) => n.to_string(),
            Value::Negative(n) => n.to_string(),
            Value::Float(x) => x.to_string(),
            Value::Bool(b) => b.to_string(),
            Value::Text(_) => "text".into(),
            Value::Array(array) => format!("an array of {}", array.len),
        }
    }
}

impl Array {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements where they are strings; bytes, because nothing promises UTF-8.
    pub fn strings(&self) -> Option<impl Iterator<Item = &[u8]>> {
        let mut rest = self.bytes.as_slice();
        (self.kind == 8).then(move || {
            std::iter::from_fn(move || {
                let (length, after) = rest.split_first_chunk::<8>()?;
                let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
                let (text, after) = after.split_at_checked(length)?;
                rest = after;
                Some(text)
            })
        })
    }

    /// The elements where they are numbers or booleans.
    pub fn numbers(&self) -> Option<impl Iterator<Item = Value> + '_> {
        let bytes = usize::try_from(scalar_bytes(self.kind)?).ok()?;
        Some(self.bytes.chunks_exact(bytes).map(|element| scalar(self.kind, element)))
    }
}

impl Metadata {
    pub(super) fn new(file: Arc<str>) -> Metadata {
        Metadata { file, values: BTreeMap::new() }
    }

    pub(super) fn insert(&mut self, key: String, value: Value) -> Result<(), Stop> {
        if self.values.contains_key(&key) {
            return wrong(format!("key {key}: there are two of it"));
        }
        self.values.insert(key, value);
        Ok(())
    }

    /// Name of the file that this was read from.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// The keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// An integer that is not below zero.
    ///
    /// # Errors
    /// When the key holds anything else.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "an integer", |value| match value {
            Value::Unsigned(n) => Some(*n),
            _ => None,
        })
    }

    /// A number.
    ///
    /// # Errors
    /// When the key holds anything else, or a number that is not finite.
    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a finite number", |value| match value {
            Value::Float(x) if x.is_finite() => Some(*x),
            Value::Unsigned(n) => Some(*n as f64),
            _ => None,
        })
    }

    /// A boolean.
    ///
    /// # Errors
    /// When the key holds anything else.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "true or false", |value| match value {
            Value::Bool(b) => Some(*b),
            _ => None,
        })
    }

    /// A text.
    ///
    /// # Errors
    /// When the key holds anything else.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// An array.
    ///
    /// # Errors
    /// When the key holds anything else.
    pub fn array(&self, key: &str) -> Result<Option<&Array>> {
        self.typed(key, "an array", |value| match value {
            Value::Array(array) => Some(array),
            _ => None,
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        wanted: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.values.get(key) {
            None => Ok(None),
            Some(value) => convert(value).map(Some).ok_or_else(|| {
                let message = format!("key {key}: {} is not {wanted}", value.describe());
                Error::malformed(self.file(), message)
            }),
        }
    }
}

/// Bytes of a value type of fixed size (`gguf_metadata_value_type`).
pub(super) fn scalar_bytes(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

/// One number or boolean; `bytes` are as many as [`scalar_bytes`] says.
pub(super) fn scalar(kind: u32, bytes: &[u8]) -> Value {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let unsigned = u64::from_le_bytes(wide);
    let unused = 64 - 8 * bytes.len() as u32;
    let signed = ((unsigned << unused) as i64) >> unused;
    match kind {
        1 | 3 | 5 | 11 if signed < 0 => Value::Negative(signed),
        // An f32 becomes the f64 with the same shortest decimal, so that 1e-5 stays 1e-5.
        6 => {
            let narrow = f32::from_bits(unsigned as u32);
            Value::Float(narrow.to_string().parse().unwrap_or(f64::from(narrow)))
        }
        7 => Value::Bool(unsigned != 0),
        12 => Value::Float(f64::from_bits(unsigned)),
        _ => Value::Unsigned(unsigned),
    }
}
