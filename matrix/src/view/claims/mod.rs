//! The context of the page of claims: each number of the document that this project began with, beside what records
//! say about it.
//!
//! `claim` reads the numbers, which `claims.json` has with their lines and words, `evidence` looks for what was
//! measured, and here a verdict is made of both. Nobody writes one down: without a record there is none.

mod claim;
mod evidence;

use super::{bench::BenchRun, figure};
use askama::Template;
use claim::{Claim, Measure};
use evidence::{Evidence, Finding};
use record::Record;
use serde::Serialize;

/// Most figures that a claim lists.
const LISTED: usize = 40;

/// The page.
#[derive(Clone, Debug, Serialize, Template)]
#[template(path = "claims.html", whitespace = "minimize")]
pub struct ClaimsPage {
    /// What all of it comes to.
    pub sentence: String,
    /// How many claims have each verdict.
    pub counts: Vec<(Judged, usize)>,
    /// Claims that say the same, each once, in the order of the document.
    pub rows: Vec<ClaimRow>,
}

/// What records say about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judged {
    /// Every figure is as good.
    Confirmed,
    /// Some are.
    InPart,
    /// None is.
    Refuted,
    /// There is no figure.
    Open,
    /// There is nothing that could be measured.
    NoClaim,
}

impl Judged {
    const ALL: [Judged; 5] =
        [Judged::Confirmed, Judged::InPart, Judged::Refuted, Judged::Open, Judged::NoClaim];

    /// In words.
    pub const fn name(self) -> &'static str {
        match self {
            Judged::Confirmed => "confirmed",
            Judged::InPart => "in part",
            Judged::Refuted => "refuted",
            Judged::Open => "not measured",
            Judged::NoClaim => "nothing to measure",
        }
    }

    /// Its mark, which needs no colour.
    pub const fn mark(self) -> &'static str {
        match self {
            Judged::Confirmed => "✓",
            Judged::InPart => "◐",
            Judged::Refuted => "✕",
            Judged::Open => "?",
            Judged::NoClaim => "–",
        }
    }

    /// As a name of style sheets.
    pub const fn class(self) -> &'static str {
        match self {
            Judged::Confirmed => "confirmed",
            Judged::InPart => "part",
            Judged::Refuted => "refuted",
            Judged::Open | Judged::NoClaim => "open",
        }
    }
}

/// What the document says in one or several places.
#[derive(Clone, Debug, Serialize)]
pub struct ClaimRow {
    /// The places: line and words.
    pub quotes: Vec<(u32, String)>,
    /// What would show it.
    pub asked: String,
    /// How it is read: a bound with its unit.
    pub bound: String,
    /// What was found: the median, and between what it lies.
    pub found: String,
    /// How many figures are as good, where not all or none are; or why there is none.
    pub note: String,
    /// The verdict.
    pub judged: Judged,
    /// The figures.
    pub evidence: Vec<EvidenceRow>,
    /// How many more there are.
    pub more: usize,
}

/// A figure.
#[derive(Clone, Debug, Serialize)]
pub struct EvidenceRow {
    /// With its unit.
    pub figure: String,
    /// Whether it is as good as the claim.
    pub is_met: bool,
    /// Which cell, or call.
    pub what: String,
    /// Browser and hardware.
    pub place: String,
    /// When.
    pub at: String,
    /// What repeats it.
    pub repro: String,
}

impl ClaimsPage {
    /// Holds all claims against records of any number of runs and reports of single ops.
    pub fn of(records: &[Record], benches: &[BenchRun]) -> ClaimsPage {
        let evidence = Evidence::new(records, benches);
        let mut alike: Vec<Vec<Claim>> = Vec::new();
        for claim in Claim::all() {
            let says = |it: &Claim| (it.measure.clone(), it.at_least, it.at_most);
            match alike.iter_mut().find(|known| says(&known[0]) == says(&claim)) {
                Some(known) => known.push(claim),
                None => alike.push(vec![claim]),
            }
        }
        let rows: Vec<ClaimRow> = alike.iter().map(|claims| row(claims, &evidence)).collect();
        let count = |judged| {
            let of = rows.iter().filter(|row| row.judged == judged);
            (judged, of.map(|row| row.quotes.len()).sum::<usize>())
        };
        let counts = Judged::ALL.map(count);
        let total: usize = counts.iter().map(|(_, count)| count).sum();
        let [(_, confirmed), (_, part), (_, refuted), (_, open), (_, none)] = counts;
        let sentence = format!(
            "Of {total} numbers, {confirmed} are confirmed, {part} in part, and {refuted} refuted by what was measured \
             here; {open} are not measured, and {none} say nothing that could be."
        );
        ClaimsPage { sentence, counts: counts.into(), rows }
    }
}

fn row(claims: &[Claim], evidence: &Evidence<'_>) -> ClaimRow {
    let claim = &claims[0];
    let mut findings = evidence.of(&claim.measure);
    findings.sort_by(|a, b| a.value.total_cmp(&b.value));
    let met = findings.iter().filter(|it| claim.is_met_by(it.value)).count();
    let judged = match &claim.measure {
        Measure::Own => Judged::NoClaim,
        _ if findings.is_empty() => Judged::Open,
        _ if met == findings.len() => Judged::Confirmed,
        _ if met == 0 => Judged::Refuted,
        _ => Judged::InPart,
    };
    let note = match judged {
        Judged::Open | Judged::NoClaim => claim.measure.missing(),
        Judged::InPart => format!("{met} of {} are as good", findings.len()),
        _ => String::new(),
    };
    let listed = |it: &Finding| EvidenceRow {
        figure: with_unit(it.value, &claim.measure),
        is_met: claim.is_met_by(it.value),
        what: it.what.clone(),
        place: it.place.clone(),
        at: it.at.clone(),
        repro: it.repro.clone(),
    };
    ClaimRow {
        quotes: claims
            .iter()
            .map(|it| (it.line, it.quote.trim_matches(['|', ' ']).to_owned()))
            .collect(),
        asked: claim.measure.words(),
        bound: claim.bound(),
        found: found(&findings, &claim.measure),
        note,
        judged,
        evidence: findings.iter().take(LISTED).map(listed).collect(),
        more: findings.len().saturating_sub(LISTED),
    }
}

/// The median of sorted figures, and between what they lie.
fn found(findings: &[Finding], measure: &Measure) -> String {
    let value = |at: usize| findings[at].value;
    let text = |value| with_unit(value, measure);
    match findings.len() {
        0 => String::new(),
        1 => text(value(0)),
        _ if matches!(measure, Measure::Runs { .. }) => format!("{} cells", findings.len()),
        count => {
            format!(
                "{}, from {} to {}, {count} figures",
                text((value((count - 1) / 2) + value(count / 2)) / 2.0),
                text(value(0)),
                text(value(count - 1))
            )
        }
    }
}

fn with_unit(value: f64, measure: &Measure) -> String {
    format!("{}{}", figure::plain(value), measure.unit())
}
