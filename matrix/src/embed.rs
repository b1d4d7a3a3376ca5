//! Records as JSON lines inside a page.
//!
//! Each record is embedded once and parsed only when a reader opens it, so a page of ten thousand
//! records starts as fast as one of ten. Environments repeat from cell to cell with all their
//! limits, so they have lines of their own and records name them by line number.

use crate::Error;
use record::Record;
use serde::Serialize;
use std::{collections::HashMap, fmt};

/// The records of a page, ready to stand inside `<script type="application/json">`.
#[derive(Clone, Debug)]
pub struct Data<'a> {
    /// One environment a line.
    pub environments: String,
    /// One record a line; its `environment` is a line number, from 0, of `environments`.
    pub records: Lines<'a>,
}

/// Records that become text only when they are written: all of them at once take more memory than
/// the rest of a page.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    records: &'a [Record],
    environments: Vec<usize>,
}

impl Data<'_> {
    /// Embeds `records` in their order.
    pub fn of(records: &[Record]) -> Result<Data<'_>, Error> {
        let mut text = String::new();
        let mut lines = HashMap::new();
        let mut numbers = Vec::with_capacity(records.len());
        for record in records {
            let environment = line(&record.environment)?;
            let known = lines.len();
            numbers.push(*lines.entry(environment).or_insert_with_key(|line| {
                text.push_str(line);
                known
            }));
        }
        Ok(Data { environments: text, records: Lines { records, environments: numbers } })
    }
}

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (record, number) in self.records.iter().zip(&self.environments) {
            let mut value = serde_json::to_value(record).map_err(|_| fmt::Error)?;
            value["environment"] = (*number).into();
            f.write_str(&line(&value).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
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
