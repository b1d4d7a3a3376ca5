//! Records sorted into rows, columns and boxes; pure, and without any text of a report.
//!
//! A row is a case of a class, at one size of prompt, text and batch. A column is a platform: browser, backend, operating system and the
//! hardware that did the arithmetic, because the same browser on two adapters gives two answers. A
//! box holds one entry a precision, and an entry all records of that cell in order of time.
//!
//! # Which record of a cell counts
//!
//! A cell may have several records: it ran again after a browser was missing, it was visited in rounds,
//! or several runs are shown at once. The last to begin counts, and of those that began together (the
//! visits of rounds carry the time of the first one) the last that was given, which holds the samples
//! of all. Nothing else is looked at: a rule that preferred a good verdict would hide what broke, and
//! one that preferred a bad one would never forget it. Records are of one cell if they are of one
//! platform as well, since two adapters give two answers. [`entries`] is the only place that knows
//! this; pages, files for machines, known failures and comparisons all ask it or [`latest`].

use crate::Error;
use record::{Axis, Backend, Browser, Cell, Class, Precision, Record, Reference, SCHEMA_VERSION};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Records in the shape of a report.
#[derive(Clone, Debug)]
pub struct Grid<'a> {
    /// Everything that was given, in the order given; entries name records by index.
    pub records: &'a [Record],
    /// Left to right.
    pub columns: Vec<Column<'a>>,
    /// Top to bottom.
    pub rows: Vec<Row<'a>>,
}

/// One platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column<'a> {
    /// What sets it apart from the others.
    pub platform: Platform<'a>,
    /// Its records in order of time.
    pub records: Vec<usize>,
}

/// What a column stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Platform<'a> {
    /// Who hosts the page.
    pub browser: Browser,
    /// Its label, where several browsers are of one family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<&'a str>,
    /// Where the arithmetic runs.
    pub backend: Backend,
    /// Operating system of the host.
    pub os: &'a str,
    /// What computed.
    pub hardware: Hardware<'a>,
}

/// What computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Hardware<'a> {
    /// The host's processor, by name.
    Cpu(&'a str),
    /// An adapter of WebGPU.
    Adapter {
        /// As the browser tells it, any of the four often empty.
        vendor: &'a str,
        /// See `vendor`.
        architecture: &'a str,
        /// See `vendor`.
        device: &'a str,
        /// See `vendor`.
        description: &'a str,
        /// Whether it is a software rasteriser, where that is known.
        software: Option<bool>,
    },
    /// The records never came as far as an adapter.
    Unknown,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// Class of the model.
    pub class: Class,
    /// Name of the case.
    pub case: &'a str,
    /// What reports call it: the case, with what else its cells vary in and have in common.
    pub title: String,
    /// Whether any of its weights were seeded numbers.
    pub synthetic_weights: bool,
    /// Whether any of its inputs were, though its weights were not.
    pub synthetic_inputs: bool,
    /// Who computed what is expected of its cells.
    pub references: Vec<Reference>,
    /// One box a column, each with its entries from wide to narrow.
    pub boxes: Vec<Vec<Entry>>,
}

/// One cell with all its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How its numbers are stored.
    pub precision: Precision,
    /// Indices of its records in order of time; never empty.
    pub records: Vec<usize>,
}

impl Row<'_> {
    /// What its figures need to be read with, beside [`Row::synthetic_weights`].
    pub fn notes(&self) -> Vec<String> {
        let inputs = self.synthetic_inputs.then(|| "synthetic inputs".to_owned());
        let titles: Vec<_> = self.references.iter().map(|by| by.title()).collect();
        let reference = match self.references[..] {
            [] | [Reference::Transformers] => None,
            [_] => Some(format!("reference: {}", titles[0])),
            _ => Some(format!("references: {}", titles.join("; "))),
        };
        inputs.into_iter().chain(reference).collect()
    }
}

impl Entry {
    /// The record that counts: see the rule at the head of this module.
    pub fn latest(&self) -> usize {
        self.records[self.records.len() - 1]
    }
}

/// Fails where a record is of a newer schema.
pub fn check_schemas(records: &[Record]) -> Result<(), Error> {
    match records.iter().position(|record| record.schema_version > SCHEMA_VERSION) {
        None => Ok(()),
        Some(at) => Err(Error::Schema { line: at + 1, found: records[at].schema_version }),
    }
}

impl<'a> Grid<'a> {
    /// Sorts `records`, in any order and from any number of runs.
    ///
    /// Refuses records of a newer schema: a field may have another unit there, and a report must
    /// not show it under the old one.
    pub fn of(records: &'a [Record]) -> Result<Grid<'a>, Error> {
        check_schemas(records)?;
        let platforms = platforms(records);
        let distinct: BTreeSet<_> = platforms.iter().copied().collect();
        let place: BTreeMap<_, _> = distinct.iter().zip(0..).collect();
        let mut columns: Vec<_> =
            distinct.iter().map(|&platform| Column { platform, records: Vec::new() }).collect();

        for index in by_time(records) {
            columns[place[&platforms[index]]].records.push(index);
        }

        let mut rows = BTreeMap::new();
        for (platform, entry) in entries(records) {
            let cell = &records[entry.latest()].cell;
            let (_, boxes) = rows
                .entry((cell.class, cell.case.as_str(), variations(cell)))
                .or_insert_with(|| (cell.title(), vec![Vec::<Entry>::new(); distinct.len()]));
            boxes[place[&platform]].push(entry);
        }
        let rows = rows.into_iter().map(|((class, case, _), (title, mut boxes))| {
            boxes.iter_mut().for_each(|entries| entries.sort_by_key(|e| e.precision.order()));
            let all = boxes.iter().flatten().flat_map(|entry| &entry.records);
            let all = || all.clone().map(|&index| &records[index]);
            let synthetic_weights = all().any(|record| record.synthetic_weights);
            let synthetic_inputs =
                !synthetic_weights && all().any(|record| record.outcome.synthetic_inputs);
            let counting = boxes.iter().flatten().map(|entry| &records[entry.latest()]);
            let references: BTreeSet<_> =
                counting.filter_map(|record| record.outcome.told_against()).collect();
            let references = references.into_iter().collect();
            Row { class, case, title, synthetic_weights, synthetic_inputs, references, boxes }
        });
        Ok(Grid { records, rows: rows.collect(), columns })
    }

    /// The record that counts of every cell.
    pub fn latest(&self) -> impl Iterator<Item = &'a Record> + '_ {
        let entries = self.rows.iter().flat_map(|row| row.boxes.iter().flatten());
        entries.map(|entry| &self.records[entry.latest()])
    }
}

/// What a cell varies in, in the order of rows: numbers by their size.
fn variations(cell: &Cell) -> Vec<(Axis, Option<u64>, &str)> {
    cell.variations().map(|(axis, value)| (axis, value.parse().ok(), value)).collect()
}

/// Every cell on every platform with all its records, in the order in which `records` first name it.
pub fn entries(records: &[Record]) -> Vec<(Platform<'_>, Entry)> {
    let platforms = platforms(records);
    let mut entries: Vec<(Platform, Entry)> = Vec::new();
    let mut places = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        let Cell { class, case, precision, axes, .. } = &record.cell;
        let precision = precision.clone().canonical();
        let key = (*class, case.as_str(), precision.clone(), axes, platforms[index]);
        let place = *places.entry(key).or_insert(entries.len());
        match entries.get_mut(place) {
            Some((_, entry)) => entry.records.push(index),
            None => entries.push((platforms[index], Entry { precision, records: vec![index] })),
        }
    }
    for (_, entry) in &mut entries {
        entry.records.sort_by_key(|&index| &records[index].started_at);
    }
    entries
}

/// The record that counts of every cell on every platform, in the order in which `records` first name
/// the cell.
pub fn latest(records: &[Record]) -> Vec<&Record> {
    entries(records).iter().map(|(_, entry)| &records[entry.latest()]).collect()
}

/// Indices in order of time. All times are RFC 3339 in UTC, so their text sorts as they do.
fn by_time(records: &[Record]) -> Vec<usize> {
    let mut order: Vec<_> = (0..records.len()).collect();
    order.sort_by_key(|&index| &records[index].started_at);
    order
}

/// The platform of each record.
///
/// A cell whose session never opened knows no adapter. Where only one adapter was seen in its
/// browser, backend and system it belongs in that column; where several were, nobody can tell, and
/// it keeps a column of its own rather than speak against the wrong one.
fn platforms(records: &[Record]) -> Vec<Platform<'_>> {
    let mut platforms: Vec<_> = records.iter().map(platform).collect();
    let mut seen = BTreeMap::<_, BTreeSet<_>>::new();
    for platform in &platforms {
        if platform.hardware != Hardware::Unknown {
            let place = (platform.browser, platform.channel, platform.backend, platform.os);
            seen.entry(place).or_default().insert(platform.hardware);
        }
    }
    for platform in &mut platforms {
        let place = (platform.browser, platform.channel, platform.backend, platform.os);
        if let (Hardware::Unknown, Some(hardware)) = (platform.hardware, seen.get(&place))
            && let (1, Some(only)) = (hardware.len(), hardware.first())
        {
            platform.hardware = *only;
        }
    }
    platforms
}

fn platform(record: &Record) -> Platform<'_> {
    let environment = &record.environment;
    let hardware = match (&environment.adapter, record.cell.backend) {
        (_, Backend::Wasm) => Hardware::Cpu(&environment.host.cpu),
        (None, _) => Hardware::Unknown,
        (Some(adapter), _) => Hardware::Adapter {
            vendor: &adapter.vendor,
            architecture: &adapter.architecture,
            device: &adapter.device,
            description: &adapter.description,
            software: adapter.software,
        },
    };
    Platform {
        browser: record.cell.browser,
        channel: record.cell.axis(Axis::Channel),
        backend: record.cell.backend,
        os: &environment.host.os,
        hardware,
    }
}
