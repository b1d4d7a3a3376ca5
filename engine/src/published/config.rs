//! Typed access to a Hugging Face `config.json`.

use crate::error::{Error, Result};
use serde_json::Value;

/// A configuration, or an object inside one.
#[derive(Clone, Debug)]
pub struct Config(Value);

impl Config {
    /// Wraps a JSON object.
    pub fn new(value: Value) -> Result<Config> {
        match value {
            Value::Object(_) => Ok(Config(value)),
            _ => Err(Error::malformed("config.json", "is not a JSON object")),
        }
    }

    /// The object itself.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// A value that is present and not null.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// A count, at most 2²⁴: no published size is larger, and products of three stay in range.
    pub fn size(&self, field: &str) -> Result<usize> {
        self.size_or(field, None)
    }

    /// A count, or a default where the field is absent or null.
    pub fn size_or(&self, field: &str, default: Option<usize>) -> Result<usize> {
        match (self.get(field), default) {
            (None, Some(default)) => Ok(default),
            (None, None) => Err(Error::config(field, "is missing")),
            (Some(value), _) => value
                .as_u64()
                .filter(|size| (1..=1 << 24).contains(size))
                .map(|size| size as usize)
                .ok_or_else(|| Error::config(field, format!("{value} is not a size"))),
        }
    }

    /// A whole number that may be 0, or a default where the field is absent or null.
    pub fn whole_or(&self, field: &str, default: usize) -> Result<usize> {
        match self.get(field) {
            Some(value) if value.as_u64() == Some(0) => Ok(0),
            _ => self.size_or(field, Some(default)),
        }
    }

    /// A list of counts as [`Config::size`] has them, where the field is there.
    pub fn sizes(&self, field: &str) -> Result<Option<Vec<usize>>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let wrong = || Error::config(field, format!("{value} is not a list of sizes"));
        let size = |value: &Value| value.as_u64().filter(|size| (1..=1 << 24).contains(size));
        let sizes = value.as_array().ok_or_else(wrong)?.iter();
        sizes
            .map(|value| size(value).map(|size| size as usize).ok_or_else(wrong))
            .collect::<Result<_>>()
            .map(Some)
    }

    /// Height and width: a pair, or one size for both.
    pub fn pair_or(&self, field: &str, default: usize) -> Result<[usize; 2]> {
        if self.get(field).is_some_and(Value::is_array) {
            let sizes = self.sizes(field)?.unwrap_or_default();
            return <[usize; 2]>::try_from(sizes)
                .map_err(|sizes| Error::config(field, format!("{sizes:?} is not a pair")));
        }
        self.size_or(field, Some(default)).map(|size| [size; 2])
    }

    /// A list of texts, where the field is there.
    pub fn texts(&self, field: &str) -> Result<Option<Vec<&str>>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let wrong = || Error::config(field, format!("{value} is not a list of strings"));
        let texts = value.as_array().ok_or_else(wrong)?.iter();
        texts.map(|value| value.as_str().ok_or_else(wrong)).collect::<Result<_>>().map(Some)
    }

    /// Whether a field is there and null, which for some fields is not the same as absent.
    pub fn is_null(&self, field: &str) -> bool {
        self.0.get(field).is_some_and(Value::is_null)
    }

    /// A number, or a default where the field is absent or null.
    pub fn number_or(&self, field: &str, default: f64) -> Result<f64> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .ok_or_else(|| Error::config(field, format!("{value} is not a number"))),
        }
    }

    /// A number that has no default.
    pub fn number(&self, field: &str) -> Result<f64> {
        match self.get(field) {
            None => Err(Error::config(field, "is missing")),
            Some(_) => self.number_or(field, 0.0),
        }
    }

    /// A flag, or a default where the field is absent or null.
    pub fn flag_or(&self, field: &str, default: bool) -> Result<bool> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| Error::config(field, format!("{value} is not true or false"))),
        }
    }

    /// A text, or a default where the field is absent or null.
    pub fn text_or<'a>(&'a self, field: &str, default: &'a str) -> Result<&'a str> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value
                .as_str()
                .ok_or_else(|| Error::config(field, format!("{value} is not a string"))),
        }
    }

    /// An object inside this one.
    pub fn object(&self, field: &str) -> Result<Option<Config>> {
        match self.get(field) {
            None => Ok(None),
            Some(value @ Value::Object(_)) => Ok(Some(Config(value.clone()))),
            Some(value) => Err(Error::config(field, format!("{value} is not an object"))),
        }
    }

    /// An object inside this one; where the field is absent or null, an empty one, all of whose fields
    /// have their defaults.
    pub fn part(&self, field: &str) -> Result<Config> {
        Ok(self.object(field)?.unwrap_or_else(|| Config(Value::Object(Default::default()))))
    }

    /// The first of `architectures`: it picks the head.
    pub fn architecture(&self) -> Result<&str> {
        self.get("architectures")
            .and_then(|list| list.get(0))
            .and_then(Value::as_str)
            .ok_or_else(|| Error::config("architectures", "is missing; it picks the head"))
    }

    /// How many labels a classifier has: those of `id2label`, or `num_labels`, or 2.
    pub fn labels(&self) -> Result<usize> {
        match self.get("id2label").and_then(Value::as_object).map(serde_json::Map::len) {
            Some(0) => Err(Error::config("id2label", "is empty: there is nothing to classify")),
            Some(labels) => Ok(labels),
            None => self.size_or("num_labels", Some(2)),
        }
    }

    /// The first of `architectures`, which must be one of `known`.
    pub fn architecture_of(&self, known: &[&'static str]) -> Result<&'static str> {
        let name = self.architecture()?;
        known.iter().find(|known| **known == name).copied().ok_or_else(|| {
            let message = format!("{name} is unknown; use {}", known.join(" or "));
            Error::config("architectures", message)
        })
    }

    /// A list of token ids; empty where the field is absent or null.
    pub fn tokens(&self, field: &str) -> Result<Vec<u32>> {
        let Some(value) = self.get(field) else { return Ok(Vec::new()) };
        serde_json::from_value(value.clone())
            .map_err(|_| Error::config(field, format!("{value} is not a list of tokens")))
    }

    /// Ids of `eos_token_id`, which may be one, several or none.
    pub fn stop_tokens(&self) -> Vec<u32> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        match self.get("eos_token_id") {
            Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
            Some(value) => id(value).into_iter().collect(),
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn wrong_fields_are_named() {
        let config =
            Config::new(json!({"a": 1.5, "b": null, "c": 3, "eos_token_id": [1, 2]})).unwrap();
        assert_eq!(config.size("c"), Ok(3));
        assert_eq!(config.size_or("b", Some(4)), Ok(4));
        assert_eq!(config.size("a").unwrap_err().to_string(), "config.json, a: 1.5 is not a size");
        assert_eq!(config.size("b").unwrap_err().to_string(), "config.json, b: is missing");
        assert_eq!(config.stop_tokens(), [1, 2]);
        assert_eq!(config.sizes("eos_token_id"), Ok(Some(vec![1, 2])));
        assert_eq!(config.pair_or("eos_token_id", 9), Ok([1, 2]));
        assert_eq!(config.pair_or("c", 9), Ok([3, 3]));
        assert_eq!(config.texts("d"), Ok(None));
        assert_eq!(
            config.texts("c").unwrap_err().to_string(),
            "config.json, c: 3 is not a list of strings"
        );
    }
}
