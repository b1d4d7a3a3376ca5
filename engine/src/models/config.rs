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

    /// The first of `architectures`: it picks the head.
    pub fn architecture(&self) -> Result<&str> {
        self.get("architectures")
            .and_then(|list| list.get(0))
            .and_then(Value::as_str)
            .ok_or_else(|| Error::config("architectures", "is missing; it picks the head"))
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
    }
}
