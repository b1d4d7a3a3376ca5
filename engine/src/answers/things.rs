//! Things that are found in pictures.

use super::{Lookup, Numbers};
use crate::stats::argmax;

/// Things less likely than this are not seen, as transformers has it.
const SEEN: f32 = 0.5;

/// A thing in a picture: left, top, right and bottom as shares of it, and a label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Thing {
    pub(crate) edges: [f32; 4],
    pub(crate) label: usize,
}

impl Thing {
    /// From middle, width and height.
    pub(crate) fn of(center: [f32; 4], label: usize) -> Thing {
        let [x, y, width, height] = center;
        let edges = [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0];
        Thing { edges, label }
    }
}

/// What is seen in each picture of a batch.
pub(crate) fn seen<'a>(values: Lookup<'a, '_>) -> Option<Vec<Vec<Thing>>> {
    let (shape, logits): &Numbers = values("logits")?;
    let (_, boxes) = values("pred_boxes")?;
    let [_, queries, labels] = shape[..] else { return None };
    let picture = |(logits, boxes): (&[f32], &[f32])| {
        let queries = logits.chunks_exact(labels).zip(boxes.chunks_exact(4));
        queries.filter_map(|(logits, center)| thing(logits, center)).collect()
    };
    let pictures = logits.chunks_exact(queries * labels).zip(boxes.chunks_exact(queries * 4));
    Some(pictures.map(picture).collect())
}

/// What one query sees, if it sees anything: the last label means that there is nothing.
fn thing(logits: &[f32], center: &[f32]) -> Option<Thing> {
    let label = argmax(&logits[..logits.len() - 1]);
    let sum: f32 = logits.iter().map(|logit| (logit - logits[label]).exp()).sum();
    (1.0 / sum > SEEN).then(|| Some(Thing::of(center.try_into().ok()?, label)))?
}

/// Intersection over union.
pub(crate) fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area =
        |[left, top, right, bottom]: [f32; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    common / (area(a) + area(b) - common).max(f32::MIN_POSITIVE)
}
