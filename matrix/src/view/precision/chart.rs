//! Loss against bits a weight, both on logarithmic axes, and the front as a line.
//!
//! A loss of zero has no place on such an axis, and what rounding alone makes of zero no meaning: both stand on
//! the lowest line, which is labelled for it. A page has each chart twice, for wide and for narrow screens.

use super::{
    Evaluation,
    front::front,
    labels::{Area, Placed, place},
    scale::{Scale, Tick},
};
use crate::view::figure;
use serde::Serialize;

/// What the axes take on each side of the plot.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;
/// Marks that differ in shape, so that engines can be told apart without colour.
const SHAPES: [&str; 4] = [
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "M-4-4h8v8h-8z",
    "M0-5.5L5.5 4h-11z",
    "M0-6L6 0L0 6L-6 0z",
];

/// The chart of what was measured on one text.
#[derive(Clone, Debug, Serialize)]
pub struct Chart {
    /// For wide screens and for narrow ones.
    pub drawings: [Drawing; 2],
    /// Which shape stands for which engine.
    pub legend: Vec<Key>,
}

/// A chart of one size.
#[derive(Clone, Debug, Serialize)]
pub struct Drawing {
    /// Width and height in its own units.
    pub size: [u32; 2],
    /// The plot: left, top, right, bottom.
    pub plot: [u32; 4],
    /// Horizontal lines.
    pub losses: Vec<Tick>,
    /// Vertical lines.
    pub bits: Vec<Tick>,
    /// The path of the front.
    pub front: String,
    /// The evaluations.
    pub marks: Vec<Mark>,
    /// Marks whose labels have no room.
    pub unlabelled: usize,
}

/// An evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct Mark {
    /// Place from the left.
    pub x: String,
    /// Place from the top.
    pub y: String,
    /// SVG path around the origin.
    pub shape: &'static str,
    /// Number of the engine, modulo the shapes.
    pub series: usize,
    /// Whether the cache is not whole.
    pub is_hollow: bool,
    /// All that it stands for.
    pub tip: String,
    /// Its name, where there is room.
    pub label: Option<Label>,
}

/// The name of a mark.
#[derive(Clone, Debug, Serialize)]
pub struct Label {
    /// Where it begins.
    pub x: String,
    /// Its middle.
    pub y: String,
    /// The name.
    pub text: String,
    /// A line from the mark to it; empty where it is close.
    pub leader: String,
}

/// A line of the legend.
#[derive(Clone, Debug, Serialize)]
pub struct Key {
    /// SVG path around the origin.
    pub shape: &'static str,
    /// Number of the engine, modulo the shapes.
    pub series: usize,
    /// Its name and version.
    pub name: String,
}

impl Chart {
    /// The chart of these; none if no number can be drawn.
    pub(super) fn of(evaluations: &[&Evaluation]) -> Option<Chart> {
        let is_drawn =
            |it: &&&Evaluation| it.bpw.is_finite() && it.bpw > 0.0 && it.loss().is_finite();
        let drawn: Vec<&Evaluation> = evaluations.iter().filter(is_drawn).copied().collect();
        let engines = engines(&drawn);
        if drawn.is_empty() {
            return None;
        }
        let drawings = [[760.0, 400.0], [360.0, 340.0]].map(|size| draw(&drawn, &engines, size));
        let legend = engines.iter().enumerate().map(|(at, name)| Key {
            shape: SHAPES[at % SHAPES.len()],
            series: at % SHAPES.len(),
            name: name.clone(),
        });
        Some(Chart { drawings, legend: legend.collect() })
    }
}

/// Names and versions: of this engine all in one, then of each other one.
fn engines(drawn: &[&Evaluation]) -> Vec<String> {
    let mut own: Vec<&str> = Vec::new();
    let mut peers: Vec<String> = Vec::new();
    for it in drawn {
        if !it.is_peer() && !own.contains(&it.engine.as_str()) {
            own.push(&it.engine);
        } else if it.is_peer() && !peers.contains(&it.engine) {
            peers.push(it.engine.clone());
        }
    }
    [own.join(", ")].into_iter().chain(peers).collect()
}

fn draw(drawn: &[&Evaluation], engines: &[String], [width, tall]: [f64; 2]) -> Drawing {
    let plot = Area { left: LEFT, top: TOP, right: width - RIGHT, bottom: tall - BOTTOM };
    let scale = Scale::of(drawn, plot);
    let places: Vec<(f64, f64)> = drawn.iter().map(|it| scale.place(it)).collect();
    let labels: Vec<String> = drawn.iter().map(|it| it.label()).collect();
    let placed = place(&places, &labels, Area { right: width - 2.0, ..plot });
    let front = front(drawn);
    let path = front.iter().enumerate().map(|(at, own)| {
        let (x, y) = places[*own];
        format!("{}{x:.1} {y:.1}", if at == 0 { 'M' } else { 'L' })
    });
    let marks = drawn.iter().zip(&places).zip(placed.iter().zip(labels));
    let marks = marks.map(|((it, (x, y)), (placed, text))| {
        let series = series(it, engines);
        Mark {
            x: format!("{x:.1}"),
            y: format!("{y:.1}"),
            shape: SHAPES[series],
            series,
            is_hollow: !it.cache.is_whole,
            tip: tip(it),
            label: placed.map(|placed| label(text, (*x, *y), placed)),
        }
    });
    Drawing {
        size: [width as u32, tall as u32],
        plot: [plot.left, plot.top, plot.right, plot.bottom].map(|at| at as u32),
        losses: scale.losses(),
        bits: scale.bits(),
        front: path.collect(),
        unlabelled: placed.iter().filter(|placed| placed.is_none()).count(),
        marks: marks.collect(),
    }
}

/// The number of an engine among them, of which the first is this one.
fn series(it: &Evaluation, engines: &[String]) -> usize {
    let peer = engines.iter().skip(1).position(|name| it.is_peer() && *name == it.engine);
    peer.map_or(0, |at| at + 1) % SHAPES.len()
}

fn label(text: String, (x, y): (f64, f64), Placed { area, is_led }: Placed) -> Label {
    let Area { left, right, top, bottom } = area;
    let middle = (top + bottom) / 2.0;
    let leader = match is_led {
        true => format!("M{x:.1} {y:.1}L{:.1} {middle:.1}", x.clamp(left, right)),
        false => String::new(),
    };
    Label { x: format!("{left:.1}"), y: format!("{middle:.1}"), text, leader }
}

fn tip(it: &Evaluation) -> String {
    let (bpw, loss) = (figure::bpw(it.bpw), it.measure().said(it.loss()));
    let name = it.measure().name();
    format!("{} by {}: {bpw} bits a weight, {name} {loss}", it.name(), it.engine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::precision::sample::{own, peer};

    #[test]
    fn a_chart_has_a_mark_for_each_number_and_a_line_through_the_front() {
        let all = [
            own("4", 4.5, 0.09),
            own("4 kv=4", 4.5, 0.2),
            own("2", 2.5, 2.0),
            own("3", 3.5, f64::NAN),
            own("32", 32.0, -1e-17),
            peer("Q4_K_M", 4.8, 0.05),
        ];
        let all: Vec<&Evaluation> = all.iter().collect();
        let chart = Chart::of(&all).unwrap();
        let names: Vec<&str> = chart.legend.iter().map(|key| &*key.name).collect();
        assert_eq!(names, ["fewbit 0.1.0", "llama.cpp 0.3.36"]);
        for Drawing { size, plot, losses, bits, front, marks, unlabelled } in &chart.drawings {
            assert_eq!((marks.len(), *unlabelled), (5, 0), "{size:?}");
            assert_eq!(marks.iter().filter(|mark| mark.is_hollow).count(), 1);
            assert_ne!(marks[0].shape, marks[4].shape);
            assert_eq!(front.matches('L').count(), 3, "{front}");
            assert_eq!((&*losses[0].text, &*losses.last().unwrap().text), ("≤ 1e-6", "10"));
            assert!(losses.iter().any(|tick| tick.text == "0.01"));
            assert!(bits.iter().any(|tick| tick.text == "4 bits"));
            // What is nothing lies on the lowest line.
            assert_eq!(marks[3].y, format!("{:.1}", f64::from(plot[3])));
        }
        assert!(Chart::of(&all[3..4]).is_none() && Chart::of(&[]).is_none());
        let one = Chart::of(&all[..1]).unwrap();
        assert!(one.drawings[0].marks[0].x.parse::<f64>().unwrap().is_finite());
    }
}
