//! Reads forward through the prefix of a file; every length is checked before it is believed.

use super::metadata::{Array, Value, scalar, scalar_bytes};
use crate::{error::Result, weights::safetensors::MAX_NAME};

/// Why parsing stopped.
pub(super) enum Stop {
    /// The prefix ends inside what is named here.
    Short(String),
    /// No longer prefix would help.
    Wrong(String),
}

pub(super) fn wrong<T>(message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Wrong(message.into()))
}

/// Reads forward through a prefix of the file.
pub(super) struct Cursor<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) at: usize,
    pub(super) size: u64,
}

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, length: u64, what: &str) -> Result<&'a [u8], Stop> {
        let left = self.size - self.at as u64;
        if length > left {
            // Where the whole file is at hand this is the same as a short prefix, and the sooner
            // said the fewer bytes are read.
            return wrong(format!(
                "{what}: takes {length} bytes, the file has {left} left; download it again"
            ));
        }
        let rest = &self.prefix[self.at..];
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(bytes) => {
                self.at += bytes.len();
                Ok(bytes)
            }
            None => Err(Stop::Short(what.into())),
        }
    }

    fn number<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Stop> {
        match self.take(N as u64, what)?.try_into() {
            Ok(bytes) => Ok(bytes),
            Err(_) => Err(Stop::Short(what.into())),
        }
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32, Stop> {
        self.number(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64, Stop> {
        self.number(what).map(u64::from_le_bytes)
    }

    fn text(&mut self, what: &str) -> Result<&'a str, Stop> {
        let length = self.u64(what)?;
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|_| Stop::Wrong(format!("{what}: is not UTF-8 text")))
    }

    pub(super) fn name(&mut self, what: &str) -> Result<String, Stop> {
        let name = self.text(what)?;
        if name.is_empty() || name.len() > MAX_NAME {
            let length = name.len();
            return wrong(format!("{what}: {length} bytes are not 1 to {MAX_NAME}"));
        }
        Ok(name.to_string())
    }

    pub(super) fn value(&mut self, what: &str) -> Result<Value, Stop> {
        let kind = self.u32(what)?;
        Ok(match kind {
            8 => Value::Text(self.text(what)?.to_string()),
            9 => Value::Array(self.array(what)?),
            _ => match scalar_bytes(kind) {
                Some(bytes) => scalar(kind, self.take(bytes, what)?),
                None => return wrong(format!("{what}: value type {kind} does not exist")),
            },
        })
    }

    fn array(&mut self, what: &str) -> Result<Array, Stop> {
        let kind = self.u32(what)?;
        let len = self.u64(what)?;
        let too_many = || Stop::Wrong(format!("{what}: {len} elements do not fit the file"));
        // An element takes at least its length, so this bounds every count before memory is taken.
        let least = match kind {
            8 => 8,
            9 => return wrong(format!("{what}: arrays of arrays are not supported")),
            _ => scalar_bytes(kind)
                .ok_or_else(|| Stop::Wrong(format!("{what}: value type {kind} does not exist")))?,
        };
        let total = len.checked_mul(least).ok_or_else(too_many)?;
        if total > self.size - self.at as u64 {
            return Err(too_many());
        }
        let start = self.at;
        if kind == 8 {
            for _ in 0..len {
                let length = self.u64(what)?;
                self.take(length, what)?;
            }
        } else {
            self.take(total, what)?;
        }
        let len = usize::try_from(len).map_err(|_| too_many())?;
        Ok(Array { kind, len, bytes: self.prefix[start..self.at].to_vec() })
    }
}
