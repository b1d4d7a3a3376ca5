//! What must be equal for two times to be comparable, and what else may be why they differ.

use record::{Record, Reference};

/// What computed a cell: times and memory of two machines are never held against each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    os: String,
    cpu: String,
    cores: u32,
    headless: bool,
    adapter: Option<[String; 4]>,
}

impl Machine {
    /// The machine of a record.
    pub fn of(record: &Record) -> Machine {
        let environment = &record.environment;
        let adapter = environment.adapter.as_ref().map(|adapter| {
            [&adapter.vendor, &adapter.architecture, &adapter.device, &adapter.description]
                .map(String::clone)
        });
        Machine {
            os: environment.host.os.clone(),
            cpu: environment.host.cpu.clone(),
            cores: environment.host.cores,
            headless: environment.browser.headless,
            adapter,
        }
    }
}

/// A condition with its name: what it is in a record.
type Condition = (&'static str, fn(&Record) -> String);

/// The parts of a machine.
const MACHINE: [Condition; 5] = [
    ("system", |record| record.environment.host.os.clone()),
    ("processor", |record| record.environment.host.cpu.clone()),
    ("cores", |record| record.environment.host.cores.to_string()),
    ("adapter", |record| match Machine::of(record).adapter {
        Some(told) => {
            told.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
        }
        None => "none".to_owned(),
    }),
    ("headless", |record| record.environment.browser.headless.to_string()),
];

/// What may change between two runs on one machine, and be the cause of a difference.
const BUILD: [Condition; 9] = [
    ("engine", |record| record.environment.engine.commit.clone()),
    ("kernel variant", |record| record.environment.engine.variant.clone()),
    ("threads", |record| {
        let threads = record.outcome.timing.as_ref().and_then(|timing| timing.threads);
        threads.map_or("not told".to_owned(), |threads| threads.to_string())
    }),
    ("browser", |record| record.environment.browser.version.clone()),
    ("storage of the weights", |record| {
        let formats = record.outcome.plan.iter();
        let formats = formats.map(|entry| format!("{} × {}", entry.tensors, entry.format));
        formats.collect::<Vec<_>>().join(", ")
    }),
    ("load plan", |record| {
        let hash = record.outcome.plan_hash.as_deref().unwrap_or("unknown");
        hash.chars().take(12).collect()
    }),
    ("reference", |record| {
        record.outcome.told_against().map_or("none", Reference::title).to_owned()
    }),
    ("hidden page", |record| record.outcome.hidden.to_string()),
    ("browser's flags", |record| record.environment.browser.flags.join(" ")),
];

/// What differs between the machines of two records: `adapter: SwiftShader -> NVIDIA H200`.
pub fn machines_differ(before: &Record, after: &Record) -> Vec<String> {
    differ(&MACHINE, before, after)
}

/// What else differs.
pub fn builds_differ(before: &Record, after: &Record) -> Vec<String> {
    differ(&BUILD, before, after)
}

fn differ(conditions: &[Condition], before: &Record, after: &Record) -> Vec<String> {
    let all = conditions.iter().map(|(name, of)| (name, of(before), of(after)));
    all.filter(|(_, old, new)| old != new)
        .map(|(name, old, new)| format!("{name}: {old} -> {new}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::record;
    use record::{Adapter, Status};
    use std::sync::Arc;

    #[test]
    fn what_differs_is_named() {
        let old = record("r", Status::Pass);
        let mut new = old.clone();
        let environment = Arc::make_mut(&mut new.environment);
        environment.browser.version = "157.0".into();
        assert_eq!(Machine::of(&old), Machine::of(&new));
        assert_eq!(builds_differ(&old, &new), ["browser: 156.0.7000.1 -> 157.0"]);
        let environment = Arc::make_mut(&mut new.environment);
        environment.adapter = Some(Adapter { description: "H200".into(), ..Default::default() });
        assert_ne!(Machine::of(&old), Machine::of(&new));
        assert_eq!(machines_differ(&old, &new), ["adapter: none -> H200"]);
        assert_eq!(machines_differ(&old, &old), [""; 0]);
    }
}
