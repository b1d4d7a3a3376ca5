//! Size against loss: the curve by which a bit-width is chosen.
//!
//! Size lies on a linear axis from zero, loss on a logarithmic one. A loss of exactly zero has no
//! place there; its point stands on the lowest line, which is labelled for it.

use super::figure;
use record::{Correctness, Record};
use serde::Serialize;

/// Width of the drawing in its own units.
const WIDTH: f64 = 360.0;
/// Height of the drawing.
const HEIGHT: f64 = 230.0;
/// Where the plot begins from the left, the rest being labels.
const LEFT: f64 = 46.0;
/// Where the plot ends from the left.
const RIGHT: f64 = WIDTH - 26.0;
/// Where the plot begins from the top.
const TOP: f64 = 14.0;
/// Where the plot ends from the top.
const BOTTOM: f64 = HEIGHT - 38.0;
/// What a letter of a label takes, the gap before the first shared among them.
const LETTER: f64 = 8.0;
/// Marks that differ in shape, so that columns can be told apart without colour.
const SHAPES: [&str; 6] = [
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-4-4h8v8h-8z",
    "M0-5.5L5.5 4h-11z",
    "M0-5.5L5.5 0L0 5.5L-5.5 0z",
    "M-4.5-4.5L4.5 4.5M-4.5 4.5L4.5-4.5",
    "M0-5.5V5.5M-5.5 0H5.5",
];

/// The chart of one case.
#[derive(Clone, Debug, Serialize)]
pub struct Chart {
    /// What the vertical axis shows, with its unit.
    pub loss: &'static str,
    /// Horizontal lines.
    pub loss_ticks: Vec<Tick>,
    /// Vertical lines.
    pub size_ticks: Vec<Tick>,
    /// One mark a cell.
    pub marks: Vec<Mark>,
    /// Which shape stands for which column.
    pub legend: Vec<Key>,
}

/// A labelled line of the grid.
#[derive(Clone, Debug, Serialize)]
pub struct Tick {
    /// Its place along its axis.
    pub at: String,
    /// Its label.
    pub text: String,
}

/// One cell.
#[derive(Clone, Debug, Serialize)]
pub struct Mark {
    /// Place from the left.
    pub x: String,
    /// Place from the top.
    pub y: String,
    /// SVG path around the origin.
    pub shape: &'static str,
    /// Number of the column among those of the chart, modulo the shapes.
    pub series: usize,
    /// The precision, on the first mark of it.
    pub label: Option<String>,
    /// Whether there is no room for it but on the left.
    pub leftward: bool,
}

/// One line of the legend.
#[derive(Clone, Debug, Serialize)]
pub struct Key {
    /// SVG path around the origin.
    pub shape: &'static str,
    /// Number of the column, as in [`Mark::series`].
    pub series: usize,
    /// What the column is called.
    pub name: String,
}

/// A cell that could be drawn.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What its column is called.
    pub column: String,
    /// Its precision.
    pub label: String,
    /// Bytes of the weights.
    pub bytes: u64,
    /// What the bits cost.
    pub correctness: Correctness,
}

impl Sample {
    /// The sample of a record that has both figures.
    pub fn of(column: String, label: &str, record: &Record) -> Option<Sample> {
        let (memory, correctness) = (record.outcome.memory?, record.outcome.correctness?);
        Some(Sample { column, label: label.to_owned(), bytes: memory.weights_bytes, correctness })
    }
}

/// A way to state what the bits cost, smaller being better.
type Loss = (&'static str, fn(&Correctness) -> Option<f64>);

const LOSSES: [Loss; 2] = [
    ("KL divergence, nats (log scale)", |found| found.kl),
    ("1 − cosine (log scale)", |found| found.cosine.map(|cosine| 1.0 - cosine)),
];

impl Chart {
    /// The chart of the first loss that two precisions have, if there is one.
    pub fn of(samples: &[Sample]) -> Option<Chart> {
        LOSSES.into_iter().find_map(|(name, loss)| {
            let points: Vec<_> = samples
                .iter()
                .filter_map(|sample| Some((sample, loss(&sample.correctness)?)))
                .filter(|(sample, loss)| sample.bytes > 0 && loss.is_finite())
                .collect();
            let first = points.first()?;
            let several = points.iter().any(|point| point.0.label != first.0.label);
            let seen = points.iter().any(|point| point.1 > 0.0);
            (several && seen).then(|| draw(name, &points))
        })
    }
}

fn draw(loss: &'static str, points: &[(&Sample, f64)]) -> Chart {
    let positive = points.iter().map(|point| point.1).filter(|loss| *loss > 0.0);
    let lowest = positive.clone().fold(f64::INFINITY, f64::min).log10().floor();
    let highest = positive.fold(0.0, f64::max).log10().ceil().max(lowest + 1.0);
    let has_zero = points.iter().any(|point| point.1 <= 0.0);
    let floor = if has_zero { lowest - 1.0 } else { lowest };
    let most = points.iter().map(|point| point.0.bytes).max().unwrap_or(1) as f64;

    let across = |bytes: f64| LEFT + (RIGHT - LEFT) * bytes / most;
    let x = |bytes: f64| place(across(bytes));
    let y = |decade: f64| place(BOTTOM - (BOTTOM - TOP) * (decade - floor) / (highest - floor));
    let step = ((highest - floor) / 5.0).ceil().max(1.0) as usize;
    let decades = (floor as i64..=highest as i64).step_by(step).map(|decade| Tick {
        at: y(decade as f64),
        text: match decade {
            _ if has_zero && decade == floor as i64 => "0".to_owned(),
            _ => format!("1e{decade}"),
        },
    });
    let sizes = [0.0, 0.5, 1.0].map(|part| Tick {
        at: x(most * part),
        text: if part == 0.0 { "0".to_owned() } else { figure::bytes(most * part) },
    });

    let (mut columns, mut labels) = (Vec::<&str>::new(), Vec::<&str>::new());
    let mut marks = Vec::new();
    for (sample, loss) in points {
        let column = columns.iter().position(|name| *name == sample.column);
        let column = column.unwrap_or_else(|| {
            columns.push(&sample.column);
            columns.len() - 1
        });
        let is_new = !labels.contains(&sample.label.as_str());
        labels.push(&sample.label);
        let right = across(sample.bytes as f64) + sample.label.chars().count() as f64 * LETTER;
        marks.push(Mark {
            leftward: right > WIDTH,
            x: x(sample.bytes as f64),
            y: y(if *loss > 0.0 { loss.log10() } else { floor }),
            shape: SHAPES[column % SHAPES.len()],
            series: column % SHAPES.len(),
            label: is_new.then(|| sample.label.clone()),
        });
    }
    let legend = columns.iter().enumerate().map(|(column, name)| Key {
        shape: SHAPES[column % SHAPES.len()],
        series: column % SHAPES.len(),
        name: (*name).to_owned(),
    });
    Chart {
        loss,
        loss_ticks: decades.collect(),
        size_ticks: sizes.into(),
        marks,
        legend: legend.collect(),
    }
}

fn place(at: f64) -> String {
    format!("{at:.1}")
}
