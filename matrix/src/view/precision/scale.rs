//! The axes of a chart: which bits and which losses it reaches, and where they lie in its plot.

use super::{Evaluation, labels::Area, measure::LEAST};
use serde::Serialize;

/// Bits that can have a line, those that are wanted most first.
const BITS: [f64; 11] = [4.0, 8.0, 2.0, 16.0, 32.0, 3.0, 6.0, 5.0, 1.0, 2.5, 1.5];
/// What a label below the plot takes.
const LABEL: f64 = 60.0;

/// A labelled line.
#[derive(Clone, Debug, Serialize)]
pub struct Tick {
    /// Its place along its axis.
    pub at: String,
    /// Its label.
    pub text: String,
}

/// What the axes reach from and to: bits as logarithms to the base of 2, losses to that of 10.
pub(super) struct Scale {
    bits: [f64; 2],
    decades: [f64; 2],
    plot: Area,
}

impl Scale {
    /// The one on which all of these have a place.
    pub(super) fn of(drawn: &[&Evaluation], plot: Area) -> Scale {
        let reach = |values: &mut dyn Iterator<Item = f64>| {
            values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| {
                [low.min(value), high.max(value)]
            })
        };
        let [narrowest, widest] = reach(&mut drawn.iter().map(|it| it.bpw.log2()));
        let [least, most] = reach(&mut drawn.iter().map(|it| height(it)));
        let bits = [narrowest - 0.25, widest + 0.25];
        let decades = [least.floor(), most.ceil().max(least.floor() + 1.0)];
        Scale { bits, decades, plot }
    }

    /// Where an evaluation stands.
    pub(super) fn place(&self, it: &Evaluation) -> (f64, f64) {
        (self.across(it.bpw.log2()), self.down(height(it)))
    }

    /// A line for each power of ten.
    pub(super) fn losses(&self) -> Vec<Tick> {
        let [low, high] = self.decades.map(|decade| decade as i32);
        let tick = |decade: i32| Tick {
            at: format!("{:.1}", self.down(decade.into())),
            text: power(decade),
        };
        (low..=high).map(tick).collect()
    }

    /// Lines for bits, as many as labels have room.
    pub(super) fn bits(&self) -> Vec<Tick> {
        let [low, high] = self.bits;
        let mut taken: Vec<f64> = Vec::new();
        let inside = BITS.iter().filter(|bits| (low..=high).contains(&bits.log2()));
        let ticks = inside.filter_map(|bits| {
            let at = self.across(bits.log2());
            let has_room = taken.iter().all(|other| (at - other).abs() >= LABEL);
            has_room.then(|| {
                taken.push(at);
                Tick { at: format!("{at:.1}"), text: format!("{bits} bits") }
            })
        });
        ticks.collect()
    }

    fn across(&self, bits: f64) -> f64 {
        let [low, high] = self.bits;
        self.plot.left + (self.plot.right - self.plot.left) * (bits - low) / (high - low)
    }

    fn down(&self, decade: f64) -> f64 {
        let [low, high] = self.decades;
        self.plot.bottom - (self.plot.bottom - self.plot.top) * (decade - low) / (high - low)
    }
}

/// Where a loss stands, in decades.
fn height(it: &Evaluation) -> f64 {
    it.loss().max(LEAST).log10()
}

/// A power of ten as a plain number.
fn power(decade: i32) -> String {
    match decade {
        least if f64::from(least) <= LEAST.log10() => "≤ 1e-6".to_owned(),
        tiny if tiny < -3 => format!("1e{tiny}"),
        small if small < 0 => format!("{:.*}", small.unsigned_abs() as usize, 10f64.powi(small)),
        other => format!("{:.0}", 10f64.powi(other)),
    }
}
