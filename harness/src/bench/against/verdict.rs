//! What the rounds so far say, and whether there have to be more. Pure.
//!
//! A ratio is the other build's time over this one's, so above 1 this build is faster. Of each row there is one
//! a round, of a group the geometric mean over its rows, and `compare`'s test for pairs makes an interval of
//! these. Builds take turns as A B B A, so a machine that steadily grows slower adds as much to the one as to
//! the other.
//!
//! Whoever looks at an interval again and again until it leaves out 1 finds one that does, sooner or later.
//! So looks are few, each is allowed less doubt than the one before, and all together have 5%; and of many
//! groups only those count as changed that Benjamini and Hochberg's procedure believes.

use super::joined::{Key, Round};
use crate::archive::compare::{Ratio, believed, paired};
use record::Backend;
use serde::Serialize;
use std::collections::BTreeMap;

/// The doubt that all looks have together, and the share of groups that may be called changed wrongly.
const DOUBT: f64 = 0.05;
/// Rounds before the first look: two times A B B A.
const LEAST_ROUNDS: usize = 4;

/// What is said of a ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// This build is faster.
    Faster,
    /// This build is slower.
    Slower,
    /// Neither can be said.
    CannotTell,
}

/// A ratio and what is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Finding {
    /// The other build's time over this one's.
    pub ratio: f64,
    /// Where it lies but for the doubt that is left; none of a single round.
    pub interval: Option<[f64; 2]>,
    /// The verdict.
    pub verdict: Verdict,
}

/// The rows of a group in one browser on one backend.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Group {
    /// The op, or the class.
    pub group: String,
    /// Who hosts the page.
    pub browser: String,
    /// Where the arithmetic runs.
    pub backend: Backend,
    /// How many rows it has.
    pub rows: usize,
    /// What came of it.
    #[serde(flatten)]
    pub finding: Finding,
}

/// One row.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    /// What it is.
    #[serde(flatten)]
    pub key: Key,
    /// What came of it: the interval is its own, and no verdict is controlled over all rows.
    #[serde(flatten)]
    pub finding: Finding,
    /// The times of this build and of the other one, a round each.
    pub times: Vec<[f64; 2]>,
}

/// What all rounds say.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Judged {
    /// How many there were.
    pub rounds: usize,
    /// The confidence of all intervals, on this look.
    pub confidence: f64,
    /// A line for each group of a browser on a backend.
    pub groups: Vec<Group>,
    /// All rows together.
    pub total: Finding,
    /// The time of the whole program, start and end with it.
    pub whole: Finding,
    /// Its median seconds, this build and the other one.
    pub whole_s: [f64; 2],
    /// The yardsticks of both, where every round has some: times in units of it are off by as much as these
    /// are apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub yardstick: Option<Finding>,
    /// Each row.
    pub rows: Vec<Row>,
    /// What was left out, and why.
    pub left_out: BTreeMap<String, String>,
}

/// After how many rounds there is another look; always after whole turns of A B B A.
pub(super) fn next_look(rounds: usize) -> usize {
    match rounds {
        0..LEAST_ROUNDS => LEAST_ROUNDS,
        rounds => rounds + (rounds / 4 * 2).max(2),
    }
}

/// Judges the rounds on the `look`th look, counted from 1.
pub(super) fn judge(rounds: &[Round], look: usize) -> Judged {
    // 1/2 + 1/6 + 1/12 + … is 1.
    let share = (look * (look + 1)) as f64;
    let doubt = DOUBT / share;
    let (rows, left_out) = common(rounds);
    let ratios = |times: &[[f64; 2]]| times.iter().map(|[own, other]| other / own).collect();
    let of_rows: Vec<Vec<f64>> = rows.values().map(|times| ratios(times)).collect();

    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (place, key) in rows.keys().enumerate() {
        let name = (key.group.clone(), key.browser.clone(), key.backend);
        groups.entry(name).or_default().push(place);
    }
    let mean = |places: &[usize], round: usize| {
        let logs = places.iter().map(|place| of_rows[*place][round].ln());
        (logs.sum::<f64>() / places.len().max(1) as f64).exp()
    };
    let over = |places: &[usize]| -> Vec<f64> {
        (0..rounds.len()).map(|round| mean(places, round)).collect()
    };
    let of_groups: Vec<Vec<f64>> = groups.values().map(|places| over(places)).collect();
    let tested = paired(&of_groups, doubt);
    let p: Vec<f64> = tested.iter().map(|ratio| ratio.p * share).collect();
    let found = tested.iter().zip(believed(&p, DOUBT)).map(|(ratio, is)| finding(ratio, is));
    let groups = groups.iter().zip(found).map(|((name, places), finding)| {
        let (group, browser, backend) = name.clone();
        Group { group, browser, backend, rows: places.len(), finding }
    });

    let alone = |ratios: Vec<f64>| {
        let ratio = paired(&[ratios], doubt)[0];
        finding(&ratio, ratio.p <= doubt)
    };
    let walls: Vec<[f64; 2]> = rounds.iter().map(|round| round.wall_s).collect();
    let side = |side: usize| walls.iter().map(|both| both[side]).collect::<Vec<f64>>();
    let of_row = |((key, times), ratio): ((&Key, &Vec<[f64; 2]>), &Ratio)| Row {
        key: key.clone(),
        finding: finding(ratio, ratio.p <= doubt),
        times: times.clone(),
    };
    Judged {
        rounds: rounds.len(),
        confidence: 1.0 - doubt,
        groups: groups.collect(),
        total: alone(over(&(0..of_rows.len()).collect::<Vec<_>>())),
        whole: alone(ratios(&walls)),
        whole_s: [0, 1].map(|at| engine::stats::median(&side(at))),
        yardstick: yardsticks(rounds).map(alone),
        rows: rows.iter().zip(&paired(&of_rows, doubt)).map(of_row).collect(),
        left_out,
    }
}

/// The ratio of each round's yardsticks, their geometric mean over cells.
fn yardsticks(rounds: &[Round]) -> Option<Vec<f64>> {
    let of_round = |round: &Round| {
        let logs = round.yardsticks.iter().map(|[own, other]| (other / own).ln());
        let count = round.yardsticks.len();
        (count > 0).then(|| (logs.sum::<f64>() / count as f64).exp())
    };
    rounds.iter().map(of_round).collect()
}

/// The times of each row, a round each.
type Times = BTreeMap<Key, Vec<[f64; 2]>>;

/// The rows that every round has, so that a group is made of the same ones in each, and why others are not.
fn common(rounds: &[Round]) -> (Times, BTreeMap<String, String>) {
    let mut left_out: BTreeMap<String, String> = BTreeMap::new();
    let mut rows = Times::new();
    for round in rounds {
        for (key, sides) in &round.times {
            rows.entry(key.clone()).or_default().push(*sides);
        }
        left_out.extend(round.left_out.clone());
    }
    rows.retain(|_, times| times.len() == rounds.len());
    (rows, left_out)
}

fn finding(ratio: &Ratio, is_believed: bool) -> Finding {
    let verdict = match is_believed {
        true if ratio.mean > 1.0 => Verdict::Faster,
        true => Verdict::Slower,
        false => Verdict::CannotTell,
    };
    Finding { ratio: ratio.mean, interval: ratio.interval, verdict }
}

impl Judged {
    /// Whether more rounds would change no verdict of a group from not knowing to knowing.
    pub fn is_decided(&self) -> bool {
        !self.groups.is_empty()
            && self.groups.iter().all(|group| group.finding.verdict != Verdict::CannotTell)
    }

    /// Whether a group is slower.
    pub fn has_slower(&self) -> bool {
        self.groups.iter().any(|group| group.finding.verdict == Verdict::Slower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::testing::normal;

    fn key(group: &str, what: usize) -> Key {
        Key {
            group: group.to_owned(),
            browser: "chrome".to_owned(),
            backend: Backend::Wasm,
            what: what.to_string(),
            figure: "pass",
        }
    }

    /// Rounds of two rows in each group, of which the second takes four times as long, with 2% of noise, and
    /// a machine that is `slower` after each visit.
    fn rounds(seed: u64, count: usize, slower: f64, groups: &[(&str, f64)]) -> Vec<Round> {
        let noise = normal(seed << 32, count * groups.len() * 4);
        let mut noise = noise.iter().map(|x| (f64::from(*x) * 0.02).exp());
        let mut round = |at: usize| {
            let own_is_first = at.is_multiple_of(2);
            let visit = |is_own: bool| 2 * at + usize::from(is_own != own_is_first);
            let drift = |is_own: bool| slower.powi(visit(is_own) as i32);
            let mut times = BTreeMap::new();
            for (group, factor) in groups {
                for row in 0..2 {
                    let ms = 4f64.powi(row);
                    let own = ms * drift(true) * noise.next().unwrap();
                    let other = ms * factor * drift(false) * noise.next().unwrap();
                    times.insert(key(group, row as usize), [own, other]);
                }
            }
            let wall_s = [drift(true), drift(false)];
            Round { times, wall_s, ..Round::default() }
        };
        (0..count).map(&mut round).collect()
    }

    #[test]
    fn a_group_is_the_geometric_mean_of_its_rows() {
        let times =
            [(key("a", 0), [1.0, 2.0]), (key("a", 1), [1.0, 8.0]), (key("b", 0), [3.0, 3.0])];
        let round = Round { times: times.into(), wall_s: [2.0, 4.0], ..Round::default() };
        let judged = judge(std::slice::from_ref(&round), 1);
        let ratios: Vec<_> = judged.groups.iter().map(|it| (it.rows, it.finding.ratio)).collect();
        assert_eq!(ratios.iter().map(|(rows, _)| *rows).collect::<Vec<_>>(), [2, 1]);
        assert!((ratios[0].1 - 4.0).abs() < 1e-9 && (ratios[1].1 - 1.0).abs() < 1e-9);
        assert!((judged.total.ratio - 16f64.cbrt()).abs() < 1e-9);
        assert!((judged.whole.ratio - 2.0).abs() < 1e-9 && judged.whole_s == [2.0, 4.0]);
        assert_eq!(judged.yardstick, None);
        assert_eq!(judged.groups[0].finding.interval, None, "one round has no spread");
        assert_eq!(judged.groups[0].finding.verdict, Verdict::CannotTell);

        // What one round lacks is in no group.
        let mut short = Round { yardsticks: vec![[1.0, 4.0], [1.0, 1.0]], ..round.clone() };
        short.times.remove(&key("a", 1));
        let judged = judge(&[round, short.clone()], 1);
        assert_eq!(judged.groups[0].rows, 1);
        assert!((judged.groups[0].finding.ratio - 2.0).abs() < 1e-9);
        assert_eq!(judged.yardstick, None, "the first round has none");
        let judged = judge(&[short], 1);
        assert!((judged.yardstick.unwrap().ratio - 2.0).abs() < 1e-9);
    }

    #[test]
    fn what_parts_is_told_and_a_drift_is_in_neither() {
        let groups = [("faster", 1.3), ("same", 1.0), ("slower", 1.0 / 1.3)];
        let rounds = rounds(1, 40, 1.1, &groups);
        let judged = judge(&rounds, 1);
        let verdicts: Vec<_> = judged.groups.iter().map(|it| it.finding.verdict).collect();
        assert_eq!(verdicts, [Verdict::Faster, Verdict::CannotTell, Verdict::Slower]);
        assert!(judged.has_slower() && !judged.is_decided());
        for (group, (_, factor)) in judged.groups.iter().zip(groups) {
            let [low, high] = group.finding.interval.unwrap();
            assert!(low < factor && factor < high, "{group:?}");
            assert!((group.finding.ratio / factor - 1.0).abs() < 0.02, "{group:?}");
        }
        assert_eq!(judged.rows.len(), 6);
        assert!(judged.rows.iter().all(|row| row.times.len() == 40));
    }

    #[test]
    fn later_looks_are_allowed_less_doubt() {
        let rounds = rounds(2, 8, 1.01, &[("a", 1.5)]);
        let width = |look| {
            let [low, high] = judge(&rounds, look).groups[0].finding.interval.unwrap();
            high / low
        };
        assert!(width(1) < width(2) && width(2) < width(5));
        assert!((judge(&rounds, 1).confidence - 0.975).abs() < 1e-12);
        let looks: f64 = (1..10_000).map(|look| 1.0 - judge(&rounds[..1], look).confidence).sum();
        assert!(looks < DOUBT && looks > 0.99 * DOUBT, "{looks}");
    }

    #[test]
    fn of_equal_builds_that_are_looked_at_again_and_again_few_are_called_changed() {
        let is_changed = |seed: &u64| {
            let rounds = rounds(100 + seed, 26, 1.001, &[("a", 1.0)]);
            let (mut at, mut look) = (next_look(0), 1);
            while at <= rounds.len() {
                if judge(&rounds[..at], look).is_decided() {
                    return true;
                }
                (at, look) = (next_look(at), look + 1);
            }
            false
        };
        let changed = (0..200).filter(is_changed).count();
        assert!(changed <= 10, "{changed} of 200");
    }

    #[test]
    fn looks_are_whole_turns_and_grow_rare() {
        let mut looks = vec![next_look(0)];
        while looks.len() < 7 {
            looks.push(next_look(*looks.last().unwrap()));
        }
        assert_eq!(looks, [4, 6, 8, 12, 18, 26, 38]);
        assert_eq!(next_look(5), 7);
    }

    #[test]
    fn nothing_is_decided_of_nothing() {
        let judged = judge(&[Round::default()], 1);
        assert!(!judged.is_decided() && !judged.has_slower() && judged.groups.is_empty());
    }
}
