//! Records as JSON lines inside a page.
//!
//! Each record is embedded once and parsed only when a reader opens it, so a page of ten thousand
//! records starts as fast as one of ten. Environments repeat from cell to cell with all their
//! limits, so they have lines of their own and records name them by line number.

use crate::Error;
use record::Record;
use serde::Serialize;
use std::collections::HashMap;

/// The records of a page, ready to stand inside `<script type="application/json">`.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// One environment a line.
    pub environments: String,
    /// One record a line; its `environment` is a line number, from 0, of `environments`.
    pub records: String,
}

impl Data {
    /// Embeds `records` in their order.
    pub fn of(records: &[Record]) -> Result<Data, Error> {
        let mut data = Data::default();
        let mut lines = HashMap::new();
        for record in records {
            let environment = line(&record.environment)?;
            let known = lines.len();
            let number = *lines.entry(environment).or_insert_with_key(|text| {
                data.environments.push_str(text);
                known
            });
            let mut value = serde_json::to_value(record).map_err(Error::Json)?;
            value["environment"] = number.into();
            data.records.push_str(&line(&value)?);
        }
        Ok(data)
    }
}

/// One line of JSON that no HTML parser can mistake for markup.
///
/// The five characters occur only inside JSON strings, where an escape means the same.
fn line(value: &impl Serialize) -> Result<String, Error> {
    let json = serde_json::to_string(value).map_err(Error::Json)?;
    let mut line = String::with_capacity(json.len() + 1);
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                line.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => line.push(other),
        }
    }
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_cannot_end_its_script_and_means_the_same() {
        let text = "</script><!-- & \u{2028}\u{2029} \n \" \\u003c";
        let line = line(&text).unwrap();
        assert!(!line.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "{line}");
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
