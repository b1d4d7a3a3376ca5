//! The title block: what was run, when, where and by which engine.

use record::{Record, SCHEMA_VERSION};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The title block of a report.
#[derive(Clone, Debug, Serialize)]
pub struct Sheet {
    /// Records in the file, earlier ones of the same cell included.
    pub records: usize,
    /// Record schemas in the file, or the one this build writes where there are no records.
    pub schemas: Vec<u32>,
    /// The runs, latest first.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Its name.
    pub id: String,
    /// When its first cell began, RFC 3339 in UTC.
    pub from: String,
    /// When its last cell began.
    pub to: String,
    /// Records it has here.
    pub records: usize,
    /// The machines.
    pub hosts: Vec<String>,
    /// Version and commit of the engine.
    pub engines: Vec<String>,
}

impl Sheet {
    /// The title block of `records`.
    pub fn of(records: &[Record]) -> Sheet {
        let mut runs = BTreeMap::<_, Vec<_>>::new();
        for record in records {
            runs.entry(record.run_id.as_str()).or_default().push(record);
        }
        let mut runs: Vec<_> = runs.into_iter().map(|(id, records)| run(id, &records)).collect();
        runs.sort_by(|a, b| (&b.from, &b.id).cmp(&(&a.from, &a.id)));
        let schemas: BTreeSet<_> = records.iter().map(|record| record.schema_version).collect();
        let schemas = match schemas.len() {
            0 => vec![SCHEMA_VERSION],
            _ => schemas.into_iter().collect(),
        };
        Sheet { records: records.len(), schemas, runs }
    }
}

fn run(id: &str, records: &[&Record]) -> Run {
    let times = records.iter().map(|record| record.started_at.as_str());
    let set = |text: fn(&Record) -> String| -> Vec<String> {
        let texts: BTreeSet<_> = records.iter().map(|record| text(record)).collect();
        texts.into_iter().filter(|text| !text.is_empty()).collect()
    };
    Run {
        id: id.to_owned(),
        from: times.clone().min().unwrap_or_default().to_owned(),
        to: times.max().unwrap_or_default().to_owned(),
        records: records.len(),
        hosts: set(host),
        engines: set(engine),
    }
}

fn host(record: &Record) -> String {
    let host = &record.environment.host;
    let mut parts = vec![host.os.clone(), host.kernel.clone(), host.cpu.clone()];
    if host.cores > 0 {
        parts.push(format!("{} cores", host.cores));
    }
    if host.memory_bytes > 0 {
        parts.push(format!("{:.1} GiB memory", host.memory_bytes as f64 / f64::from(1 << 30)));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

fn engine(record: &Record) -> String {
    let engine = &record.environment.engine;
    match (engine.version.as_str(), engine.commit.as_str()) {
        ("", _) => String::new(),
        (version, "") => version.to_owned(),
        (version, commit) => format!("{version} ({commit})"),
    }
}
