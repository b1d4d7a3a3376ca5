//! Comma-separated values (RFC 4180): one line a record, columns as in [`super::table`].

use super::table::{COLUMNS, Value};
use anyhow::{Context, Result};
use record::Record;

/// The whole file.
pub fn render(records: &[Record]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS.iter().map(|(name, _)| name))?;
    for record in records {
        writer.write_record(COLUMNS.iter().map(|(_, value)| match value(record) {
            Value::Text(text) => text.map(|text| safe(&text)).unwrap_or_default(),
            Value::Count(number) => number.map(|n| n.to_string()).unwrap_or_default(),
            Value::Number(number) => number.map(|n| n.to_string()).unwrap_or_default(),
        }))?;
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    String::from_utf8(bytes).context("writing comma-separated values")
}

/// A spreadsheet runs text that begins like a formula, so such text gets an apostrophe before it;
/// what no spreadsheet can show is left out.
fn safe(text: &str) -> String {
    let is_shown = |c: &char| !c.is_control() || matches!(c, '\t' | '\n');
    let shown: String = text.chars().filter(is_shown).collect();
    let quote = if shown.starts_with(['=', '+', '-', '@', '\t', '\n']) { "'" } else { "" };
    format!("{quote}{shown}")
}
