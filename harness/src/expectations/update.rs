//! `harness update-expectations`: the file as a run would have it.

use super::{Expectations, MANUAL, entry::Entry};
use crate::{store, ui::Ui};
use anyhow::{Context, Result};
use record::{Backend, Bits, Record, Status};
use serde_json::json;
use std::{collections::BTreeMap, fs, io::ErrorKind, path::PathBuf};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, value};

/// What `update-expectations` takes.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Entries whose cells all passed in the run are removed, failures that no entry expects are added, and
another status of an expected failure is added to its entry. Comments are kept.")]
pub struct UpdateArgs {
    /// The file to rewrite, or to begin.
    #[arg(long, value_name = "FILE", default_value = "expectations.toml")]
    pub expectations: PathBuf,

    /// The run to learn from: an id, latest, latest~1, …
    #[arg(long, value_name = "ID", default_value = "latest")]
    pub run: String,

    /// The database of all runs [default: records.sqlite in the user's data folder].
    #[arg(long, value_name = "FILE")]
    pub db: Option<PathBuf>,

    /// Say what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Rewrites the file.
pub fn run(args: &UpdateArgs, ui: &Ui) -> Result<()> {
    let path = &args.expectations;
    let store = store::open(args.db.as_deref(), None, ui)?;
    let run_id = store::select(&store.runs()?, &args.run, ui)?;
    let records = store.records(&run_id)?;
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => MANUAL.to_owned(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    let (updated, changes) =
        update(&text, &records).with_context(|| format!("the expectations {}", path.display()))?;
    for (kind, entry) in &changes {
        ui.result(format!("{kind} {entry}"), json!({"change": kind, "entry": entry}));
    }
    match (changes.is_empty(), args.dry_run) {
        (true, _) => ui.say(format!("{}: run {run_id} changes nothing", path.display())),
        (false, true) => ui.say(format!("{} is as it was", path.display())),
        (false, false) => {
            fs::write(path, updated).with_context(|| format!("writing {}", path.display()))?;
            ui.say(format!("{}: as of run {run_id}", path.display()));
        }
    }
    Ok(())
}

/// The file's text after a run, and what changed in it.
pub fn update(text: &str, records: &[Record]) -> Result<(String, Vec<(&'static str, String)>)> {
    let expectations: Expectations = text.parse()?;
    let mut document: DocumentMut = text.parse()?;
    let mut changes = Vec::new();

    let mut by_entry: Vec<Vec<&Record>> = vec![Vec::new(); expectations.entries.len()];
    let mut unexpected = Vec::new();
    for record in matrix::grid::latest(records) {
        if matches!(record.outcome.status, Status::Infra | Status::Skip) {
            continue;
        }
        match expectations.entries.iter().position(|entry| entry.applies_to(record)) {
            Some(index) => by_entry[index].push(record),
            None if is_failure(record.outcome.status) => unexpected.push(record),
            None => {}
        }
    }

    // Comments of a file without entries are the end of the file; entries go below them.
    let head = match expectations.entries.is_empty() {
        true => document.trailing().as_str().unwrap_or_default().to_owned(),
        false => String::new(),
    };
    let item = document.entry("expect").or_insert_with(|| Item::ArrayOfTables(Default::default()));
    let tables = item.as_array_of_tables_mut().context("write each entry as [[expect]]")?;
    // From the last on, so that what is removed moves no index that is still needed.
    let mut trailing = String::new();
    for (index, entry) in expectations.entries.iter().enumerate().rev() {
        let found = &by_entry[index];
        let all_pass = found.iter().all(|record| record.outcome.status == Status::Pass);
        if !found.is_empty() && all_pass && !entry.status.has(&Status::Pass) {
            remove(tables, index, &mut trailing);
            changes.push(("removed", entry.to_string()));
        } else if let Some(status) = extend(entry, found, tables.get_mut(index)) {
            changes.push(("changed", format!("{entry}; now also {status}")));
        }
    }
    changes.reverse();
    for (mut group, number) in groups(&unexpected).into_iter().zip(0..) {
        if number == 0 && !head.is_empty() {
            group.decor_mut().set_prefix(format!("{head}\n"));
        }
        let entry: Entry = toml_edit::de::from_str(&group.to_string())?;
        changes.push(("added", entry.to_string()));
        tables.push(group);
    }
    match tables.is_empty() {
        true => drop(document.remove("expect")),
        false if head.is_empty() => {}
        false => document.set_trailing(""),
    }
    if !trailing.is_empty() {
        let rest = document.trailing().as_str().unwrap_or_default().to_owned();
        document.set_trailing(trailing + &rest);
    }
    Ok((document.to_string(), changes))
}

fn is_failure(status: Status) -> bool {
    matches!(status, Status::Fail | Status::Error | Status::Crash | Status::Timeout)
}

/// Removes an entry with the comment that stands directly above it. Whatever is above that, such as
/// the head of the file, goes to the next entry, or to the end of the file.
fn remove(tables: &mut ArrayOfTables, index: usize, trailing: &mut String) {
    let prefix = |table: &Table| {
        table.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default().to_owned()
    };
    let Some(own) = tables.get(index).map(prefix) else { return };
    tables.remove(index);
    let kept = own.rfind("\n\n").map_or("", |end| &own[..end + 1]);
    if kept.trim().is_empty() {
        return;
    }
    match tables.get_mut(index) {
        Some(next) => {
            let text = format!("{kept}{}", prefix(next));
            next.decor_mut().set_prefix(text);
        }
        None => *trailing = format!("{kept}{trailing}"),
    }
}

/// Adds the failures of an entry's cells that it does not expect yet.
fn extend(entry: &Entry, found: &[&Record], table: Option<&mut Table>) -> Option<String> {
    let mut added: Vec<Status> = Vec::new();
    for status in found.iter().map(|record| record.outcome.status) {
        if is_failure(status) && !entry.status.has(&status) && !added.contains(&status) {
            added.push(status);
        }
    }
    if added.is_empty() {
        return None;
    }
    let mut all: Array = entry.status.0.iter().map(|status| status.name()).collect();
    all.extend(added.iter().map(|status| status.name()));
    table?.insert("status", value(all));
    Some(added.iter().map(|status| status.name()).collect::<Vec<_>>().join(", "))
}

/// New entries: one for the cases of a class that fail in the same way, at the same bits, in the same
/// place.
fn groups(records: &[&Record]) -> Vec<Table> {
    let place = |record: &Record| {
        let (cell, status) = (&record.cell, record.outcome.status);
        (cell.class, cell.backend, cell.browser, adapter(record), status)
    };
    let mut by_case: BTreeMap<_, Vec<&Record>> = BTreeMap::new();
    for &record in records {
        by_case.entry((place(record), &record.cell.case)).or_default().push(record);
    }
    let mut by_place: BTreeMap<_, (Vec<&str>, &Record)> = BTreeMap::new();
    for ((place, case), records) in by_case {
        let mut bits: Vec<Bits> = records.iter().map(|record| record.cell.precision.bits).collect();
        bits.sort_unstable();
        bits.dedup();
        bits.reverse();
        by_place.entry((place, bits)).or_insert((Vec::new(), records[0])).0.push(case);
    }
    by_place
        .into_iter()
        .map(|(((class, backend, browser, adapter, status), bits), (cases, record))| {
            let mut table = Table::new();
            table.decor_mut().set_prefix("\n");
            table.insert("class", value(class.name()));
            table.insert("case", one_or_many(cases.into_iter().map(Into::into)));
            table.insert(
                "bits",
                one_or_many(bits.iter().map(|bits| match bits {
                    Bits::Fixed(width) => i64::from(*width).into(),
                    Bits::Adaptive => "adaptive".into(),
                })),
            );
            table.insert("backend", value(backend.name()));
            table.insert("browser", value(browser.name()));
            if let Some(adapter) = adapter {
                table.insert("adapter", value(adapter));
            }
            table.insert("status", value(status.name()));
            table.insert("reason", value(reason(record)));
            table
        })
        .collect()
}

/// What a failure on a GPU is tied to, so that it hides no failure on another.
fn adapter(record: &Record) -> Option<String> {
    let adapter = record.environment.adapter.as_ref()?;
    let told = [&adapter.description, &adapter.device, &adapter.architecture, &adapter.vendor];
    let told = told.into_iter().find(|text| !text.is_empty())?;
    (record.cell.backend != Backend::Wasm).then(|| told.clone())
}

fn one_or_many(values: impl Iterator<Item = toml_edit::Value>) -> Item {
    let values: Array = values.collect();
    match values.len() {
        1 => value(values.get(0).cloned().unwrap_or_else(|| "".into())),
        _ => value(values),
    }
}

/// What the record says, in a line; a reader will say it better.
fn reason(record: &Record) -> String {
    let outcome = &record.outcome;
    let said = outcome.reason.as_deref().unwrap_or(outcome.status.name());
    let said: String = said.lines().next().unwrap_or_default().chars().take(200).collect();
    format!("in run {}: {said}", record.run_id)
}
