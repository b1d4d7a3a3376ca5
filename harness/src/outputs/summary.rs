//! A summary in Markdown, as GitHub shows it on the page of a job.

use super::{is_failure, reason, verdict};
use anyhow::{Context, Result};
use record::{Axis, Class, Record, Status, Verdict};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::OpenOptions,
    io::Write as _,
    path::Path,
};

/// GitHub refuses a step's summary of 1 MiB and more.
pub const LIMIT: usize = 1024 * 1024 - 1;

/// Appends to the summary of a step, which may hold something already.
pub fn append(records: &[Record], path: &Path) -> Result<()> {
    let context = || format!("appending to the step summary {}", path.display());
    let mut file = OpenOptions::new().create(true).append(true).open(path).with_context(context)?;
    let held = file.metadata().with_context(context)?.len() as usize;
    let text = render(records, LIMIT.saturating_sub(held));
    file.write_all(text.as_bytes()).with_context(context)
}

/// The summary in at most `limit` bytes: what does not fit is counted instead.
pub fn render(records: &[Record], limit: usize) -> String {
    let mut page = Page { text: String::new(), limit };
    page.push(&format!("\n## Fewbit: {}\n", totals(records)));
    page.push(&environments(records));

    let failures = records.iter().filter(|record| is_failure(record));
    page.table("Failed", failures, reason);
    let newly = records.iter().filter(|record| verdict(record) == Some(Verdict::NewlyPassing));
    page.table("Newly passing", newly, expected);
    let flaky = records.iter().filter(|record| record.outcome.status == Status::Flaky);
    page.table("Flaky", flaky, |record| {
        let reasons: Vec<_> = record
            .earlier
            .iter()
            .map(|attempt| attempt.reason.as_deref().unwrap_or(attempt.status.name()))
            .collect();
        reasons.join("; ")
    });
    let without = records.iter().filter(|record| record.outcome.status == Status::Infra);
    page.table("No session", without, reason);
    let known = records.iter().filter(|record| {
        verdict(record) == Some(Verdict::Expected) && record.outcome.status != Status::Pass
    });
    page.table("Known failures", known, expected);
    page.matrix(records);
    page.text
}

fn expected(record: &Record) -> String {
    let Some(known) = &record.expectation else { return String::new() };
    let link = known.link.as_ref().map(|link| format!(" ({link})")).unwrap_or_default();
    format!("{}{link}", known.reason)
}

/// `12 pass, 3 fail (2 expected), 1 newly passing`
pub fn totals(records: &[Record]) -> String {
    let mut parts = Vec::new();
    for status in Status::ALL {
        let of_status = || records.iter().filter(|record| record.outcome.status == status);
        let known = of_status().filter(|record| verdict(record) == Some(Verdict::Expected)).count();
        match (of_status().count(), known) {
            (0, _) => {}
            (count, 0) => parts.push(format!("{count} {}", status.name())),
            (count, known) => parts.push(format!("{count} {} ({known} expected)", status.name())),
        }
    }
    let newly = records.iter().filter(|record| verdict(record) == Some(Verdict::NewlyPassing));
    match newly.count() {
        0 => {}
        count => parts.push(format!("{count} newly passing")),
    }
    if parts.is_empty() { "no record".to_owned() } else { parts.join(", ") }
}

fn environments(records: &[Record]) -> String {
    let known: BTreeSet<_> = records
        .iter()
        .filter(|record| !record.environment.browser.version.is_empty())
        .map(|record| {
            let environment = &record.environment;
            let browser = format!("{} {}", record.cell.browser_name(), environment.browser.version);
            format!("{browser} on {}", environment.host.os)
        })
        .collect();
    let mut text = String::new();
    for environment in known {
        let _ = write!(text, "\n- {}", escape(&environment));
    }
    text + "\n"
}

/// The precisions of each status.
type Precisions = BTreeMap<Status, Vec<String>>;

struct Page {
    text: String,
    limit: usize,
}

/// Kept free for the line that says how much was left out, and the end of a table.
const SPARE: usize = 200;

impl Page {
    /// Appends a piece whole, or not at all.
    fn push(&mut self, piece: &str) -> bool {
        let fits = self.text.len() + piece.len() + SPARE <= self.limit;
        if fits {
            self.text.push_str(piece);
        }
        fits
    }

    fn rows(&mut self, head: &str, rows: &[String]) {
        if rows.is_empty() || !self.push(head) {
            return;
        }
        let shown = rows.iter().take_while(|row| self.push(row)).count();
        if shown < rows.len() {
            // This is what the spare bytes are for.
            let _ = write!(self.text, "\n… and {} more rows.\n", rows.len() - shown);
            self.limit = 0;
        }
    }

    fn table<'a>(
        &mut self,
        title: &str,
        records: impl Iterator<Item = &'a Record>,
        why: impl Fn(&Record) -> String,
    ) {
        let rows: Vec<_> = records
            .map(|record| {
                let cell = &record.cell;
                let words = [
                    cell.title(),
                    record.cell.precision.to_string(),
                    format!("{} {}", cell.backend, cell.browser_name()),
                    record.outcome.status.name().to_owned(),
                    why(record),
                ];
                format!("| {} |\n", words.map(|word| escape(&word)).join(" | "))
            })
            .collect();
        let head = "| case | bits | where | status | why |\n|---|---|---|---|---|\n";
        self.rows(&format!("\n### {title}: {}\n\n{head}", rows.len()), &rows);
    }

    /// A row a case and its sizes, a column for each browser and backend, the precisions of each status
    /// in the boxes.
    fn matrix(&mut self, records: &[Record]) {
        let place = |record: &Record| {
            let cell = &record.cell;
            (cell.browser, cell.axis(Axis::Channel).map(str::to_owned), cell.backend)
        };
        let columns: BTreeMap<_, String> = records
            .iter()
            .map(|record| {
                let cell = &record.cell;
                (place(record), format!("{} {}", cell.browser_name(), cell.backend))
            })
            .collect();
        let mut rows: BTreeMap<(Class, String), BTreeMap<_, Precisions>> = BTreeMap::new();
        for record in records {
            let row = rows.entry((record.cell.class, record.cell.title())).or_default();
            let found = row.entry(place(record)).or_default();
            let precision = &record.cell.precision;
            let name = format!("{}{}", precision.bits, precision.details());
            found.entry(record.outcome.status).or_default().push(name);
        }
        let rows: Vec<_> = rows
            .into_iter()
            .map(|((class, case), boxes)| {
                let texts = columns.keys().map(|column| {
                    let statuses = boxes.get(column).into_iter().flatten();
                    let texts = statuses.map(|(status, names)| {
                        format!("{} {}", status.name(), escape(&names.join(", ")))
                    });
                    texts.collect::<Vec<_>>().join("<br>")
                });
                let texts: Vec<_> = texts.collect();
                format!("| {class} {} | {} |\n", escape(&case), texts.join(" | "))
            })
            .collect();
        let names: Vec<_> = columns.values().map(|name| escape(name)).collect();
        let lines = "---|".repeat(columns.len() + 1);
        let head = format!("\n### Cells\n\n| case | {} |\n|{lines}\n", names.join(" | "));
        self.rows(&head, &rows);
    }
}

/// Text that is neither markup nor HTML, in one line. Markdown lets a backslash stand before any
/// ASCII punctuation; plain characters of prose need none.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            ' ' | '.' | ',' | '-' | '/' | '(' | ')' | '%' | ';' => escaped.push(character),
            _ if character.is_ascii_punctuation() => escaped.extend(['\\', character]),
            _ if character.is_whitespace() => escaped.push(' '),
            _ if character.is_control() => escaped.push('\u{fffd}'),
            _ => escaped.push(character),
        }
    }
    escaped
}
