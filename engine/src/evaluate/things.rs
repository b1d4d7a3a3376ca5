//! Things that are found in pictures.

use super::outputs::Pair;
use crate::{infer::Values, stats::argmax};
use record::Things;

/// Things less likely than this are not seen, as transformers has it.
const SEEN: f32 = 0.5;

/// A thing in a picture: left, top, right and bottom as shares of it, and a label.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Thing {
    pub(super) edges: [f32; 4],
    pub(super) label: usize,
}

impl Thing {
    /// From middle, width and height.
    pub(super) fn of(center: [f32; 4], label: usize) -> Thing {
        let [x, y, width, height] = center;
        let edges = [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0];
        Thing { edges, label }
    }
}

/// How things agree that the reference sees; none where it sees none.
pub(super) fn things(pairs: &[Pair<'_>]) -> Option<Things> {
    let mut found = Things::default();
    for Pair { reference, own, .. } in pairs {
        for (reference, own) in seen(reference)?.iter().zip(seen(own)?) {
            for thing in reference {
                let nearest = own.iter().max_by(|a, b| {
                    overlap(thing.edges, a.edges).total_cmp(&overlap(thing.edges, b.edges))
                });
                found.count += 1;
                if let Some(nearest) = nearest {
                    found.iou += f64::from(overlap(thing.edges, nearest.edges));
                    found.same_label += f64::from(u8::from(thing.label == nearest.label));
                }
            }
        }
    }
    let count = found.count as f64;
    let mean = Things { iou: found.iou / count, same_label: found.same_label / count, ..found };
    (found.count > 0).then_some(mean)
}

/// What is seen in each picture of a batch.
pub(super) fn seen(values: &Values) -> Option<Vec<Vec<Thing>>> {
    let (shape, logits) = values.get("logits")?;
    let (_, boxes) = values.get("pred_boxes")?;
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
pub(super) fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area =
        |[left, top, right, bottom]: [f32; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    common / (area(a) + area(b) - common).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::published::Inputs;

    fn values(outputs: &[(&'static str, &[usize], &[f32])]) -> Values {
        let own = |(name, shape, values): &(&'static str, &[usize], &[f32])| {
            (*name, (shape.to_vec(), values.to_vec()))
        };
        outputs.iter().map(own).collect()
    }

    #[test]
    fn a_thing_is_held_to_the_nearest_one() {
        let nothing = [0.0, 0.0, 9.0];
        let seen = |label: usize, middle: f32| {
            let mut logits = [0.0f32; 3];
            logits[label] = 9.0;
            values(&[
                ("logits", &[1, 2, 3], &[logits, nothing].concat()),
                ("pred_boxes", &[1, 2, 4], &[middle, 0.5, 0.2, 0.2, 0.5, 0.5, 1.0, 1.0]),
            ])
        };
        let reference = seen(0, 0.5);
        let things = |own| {
            let inputs = &Inputs::default();
            things(&[Pair { reference: &reference, own, inputs }]).unwrap()
        };
        assert!((things(seen(0, 0.5)).iou - 1.0).abs() < 1e-5);
        // Half of the width is common: a third of what both cover.
        let moved = things(seen(1, 0.6));
        assert!((moved.iou - 1.0 / 3.0).abs() < 1e-5 && moved.same_label == 0.0, "{moved:?}");
        let unseen = values(&[
            ("logits", &[1, 2, 3], &[nothing, nothing].concat()),
            ("pred_boxes", &[1, 2, 4], &[0.5; 8]),
        ]);
        assert_eq!(things(unseen), Things { count: 1, iou: 0.0, same_label: 0.0 });
    }
}
