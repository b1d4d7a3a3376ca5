//! One plan for several machines: parts that are balanced, and a proof that together they are the
//! whole.
//!
//! Every machine makes the same plan and the same parts of it and runs its own, so the parts depend
//! on nothing but the plan and the file of durations: never on what a machine happens to have stored.

use anyhow::{Context, Result, bail, ensure};
use record::{Cell, Record, Shard};
use sha2::{Digest, Sha256};
use std::{collections::HashMap, str::FromStr};

/// Part `index` of `count`, from 1: `2/4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which part.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

impl FromStr for Part {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Part> {
        let numbers = text.split_once('/').and_then(|(index, count)| {
            Some(Part { index: index.parse().ok()?, count: count.parse().ok()? })
        });
        match numbers {
            Some(part) if (1..=part.count).contains(&part.index) => Ok(part),
            _ => bail!("a part of a plan is written 1/4, 2/4, 3/4 or 4/4"),
        }
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl Part {
    /// The cells of this part, in the order of the plan, and what its records say of it. `cost` is
    /// how long a cell is expected to take, in any unit.
    pub fn of(self, plan: Vec<Cell>, cost: impl Fn(&Cell) -> f64) -> (Vec<Cell>, Shard) {
        let shard = Shard {
            index: self.index,
            count: self.count,
            cells: plan.len() as u32,
            plan: fingerprint(&plan),
        };
        // The longest first, each to the part with the least to do so far.
        let costs: Vec<f64> = plan.iter().map(cost).collect();
        let mut order: Vec<usize> = (0..plan.len()).collect();
        order.sort_by(|a, b| costs[*b].total_cmp(&costs[*a]));
        let mut loads = vec![0.0f64; self.count as usize];
        let mut owner = vec![0; plan.len()];
        for cell in order {
            let least = (0..loads.len()).min_by(|a, b| loads[*a].total_cmp(&loads[*b]));
            owner[cell] = least.unwrap_or(0);
            loads[owner[cell]] += costs[cell];
        }
        let own = owner.iter().map(|owner| *owner + 1 == self.index as usize);
        (plan.into_iter().zip(own).filter_map(|(cell, own)| own.then_some(cell)).collect(), shard)
    }
}

/// How long each cell took in these records; the last of several counts.
pub fn durations(records: &[Record]) -> HashMap<Cell, f64> {
    records.iter().map(|record| (record.cell.clone(), record.duration_ms)).collect()
}

/// What two plans have in common exactly if they have the same cells.
fn fingerprint<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> String {
    let mut cells: Vec<&Cell> = cells.into_iter().collect();
    cells.sort();
    let mut hash = Sha256::new();
    for cell in cells {
        // The fields of a cell are numbers and strings, which always have a JSON.
        hash.update(serde_json::to_string(cell).unwrap_or_default());
        hash.update("\n");
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Joins the records of all parts of a plan: the last record of each cell, in the order in which they
/// were run. Several plans are joined side by side, and so is one plan on several systems. It fails
/// unless every part is there and the cells of the parts are the cells of their plan.
pub fn join(records: Vec<Record>) -> Result<Vec<Record>> {
    ensure!(!records.is_empty(), "there is no record to merge");
    let mut wholes: Vec<((String, u32, String), Vec<Record>)> = Vec::new();
    for record in records {
        let Some(shard) = &record.shard else {
            bail!(
                "the record of {} in run {} is of no part of a plan; only runs with --shard are \
                 merged",
                record.cell,
                record.run_id
            );
        };
        let key = (shard.plan.clone(), shard.count, record.environment.host.os.clone());
        match wholes.iter_mut().find(|(known, _)| *known == key) {
            Some((_, parts)) => parts.push(record),
            None => wholes.push((key, vec![record])),
        }
    }
    let mut joined = Vec::new();
    for ((plan, count, os), parts) in wholes {
        joined.extend(join_parts(&plan, count, parts).with_context(|| format!("on {os}"))?);
    }
    joined.sort_by(|a, b| (&a.started_at, &a.cell).cmp(&(&b.started_at, &b.cell)));
    Ok(joined)
}

fn join_parts(plan: &str, count: u32, records: Vec<Record>) -> Result<Vec<Record>> {
    let shards: Vec<Shard> = records.iter().filter_map(|record| record.shard.clone()).collect();
    let cells = shards.first().map_or(0, |shard| shard.cells);
    let has_part = |index: &u32| shards.iter().any(|shard| shard.index == *index);
    let missing = (1..=count).filter(|index| !has_part(index));
    let missing: Vec<_> = missing.map(|index| format!("{index}/{count}")).collect();
    let mut latest: HashMap<Cell, Record> = HashMap::new();
    for record in records {
        latest.insert(record.cell.clone(), Record { shard: None, ..record });
    }
    // More parts than cells leave some parts empty, so it is the cells that count.
    if fingerprint(latest.keys()) != plan {
        let found = latest.len();
        match missing.is_empty() {
            true => bail!(
                "the parts have records of {found} cells and the plan has {cells}: some part did \
                 not come to its end; go on with `run --resume`"
            ),
            false => bail!(
                "records of {found} of {cells} cells are there; part {} is not",
                missing.join(" ")
            ),
        }
    }
    Ok(latest.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use record::Status;

    fn plan(cells: usize) -> Vec<Cell> {
        (0..cells).map(|number| sample::cell(&format!("case {number}"))).collect()
    }

    /// The `n`-th cell takes n + 1 seconds.
    fn cost(cell: &Cell) -> f64 {
        cell.case[5..].parse::<f64>().unwrap() + 1.0
    }

    fn record((cell, shard): (Cell, Shard)) -> Record {
        let run_id = format!("run {}", shard.index);
        Record { cell, shard: Some(shard), ..sample::record(&run_id, Status::Pass) }
    }

    fn records(cells: usize, index: u32, count: u32) -> Vec<Record> {
        let (cells, shard) = Part { index, count }.of(plan(cells), cost);
        cells.into_iter().map(|cell| record((cell, shard.clone()))).collect()
    }

    #[test]
    fn parts_are_balanced_disjoint_and_whole() {
        let parts: Vec<_> = (1..=4).map(|index| records(40, index, 4)).collect();
        let loads = parts.iter().map(|part| part.iter().map(|record| cost(&record.cell)).sum());
        let loads: Vec<f64> = loads.collect();
        assert_eq!(loads.iter().sum::<f64>(), 820.0);
        assert!(loads.iter().all(|load| (load - 205.0).abs() <= 1.0), "{loads:?}");
        let joined = join(parts.concat()).unwrap();
        let cells: Vec<_> = joined.iter().map(|record| record.cell.clone()).collect();
        let mut sorted = plan(40);
        sorted.sort();
        assert_eq!(cells, sorted);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        let error = |records| format!("{:#}", join(records).unwrap_err());
        let first = records(9, 1, 2);
        assert!(error(first.clone()).contains("of 9 cells are there; part 2/2 is not"));
        let mut cut = [first.clone(), records(9, 2, 2)].concat();
        cut.pop();
        assert!(error(cut).contains("records of 8 cells and the plan has 9"));
        let other = error([first.clone(), records(8, 2, 2)].concat());
        assert!(other.contains("part 2/2 is not"), "{other}");
        let mut whole = first;
        whole[0].shard = None;
        assert!(error(whole).contains("of no part of a plan"));
        assert!(error(vec![]).contains("no record"));
    }

    #[test]
    fn several_plans_and_systems_are_joined_side_by_side() {
        let plan = |cells| (1..=2).flat_map(move |index| records(cells, index, 2));
        let on_another = |mut record: Record| {
            std::sync::Arc::make_mut(&mut record.environment).host.os = "macOS 26".into();
            record
        };
        let all: Vec<Record> = plan(9).chain(plan(4)).chain(plan(9).map(on_another)).collect();
        assert_eq!(join(all.clone()).unwrap().len(), 22);
        assert!(join(all[..21].to_vec()).is_err(), "a cell of macOS is missing");
    }

    #[test]
    fn a_cell_that_was_run_twice_counts_once_and_empty_parts_are_no_loss() {
        let mut all: Vec<Record> = (1..=5).flat_map(|index| records(3, index, 5)).collect();
        all.push(Record { duration_ms: 7.0, ..all[0].clone() });
        let joined = join(all).unwrap();
        assert_eq!(joined.len(), 3);
        assert_eq!(joined.iter().filter(|record| record.duration_ms == 7.0).count(), 1);
    }

    #[test]
    fn parts_are_written_as_fractions() {
        assert_eq!("2/4".parse::<Part>().unwrap(), Part { index: 2, count: 4 });
        for bad in ["0/4", "5/4", "1", "a/b", "1/0", "-1/2"] {
            assert!(bad.parse::<Part>().unwrap_err().to_string().contains("1/4, 2/4"), "{bad}");
        }
    }
}
