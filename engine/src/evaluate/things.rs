//! How things that are found in pictures agree.

use super::outputs::Pair;
use crate::answers::{overlap, seen};
use record::Things;

/// How things agree that the reference sees; none where it sees none.
pub(super) fn things(pairs: &[Pair<'_>]) -> Option<Things> {
    let mut found = Things::default();
    for Pair { reference, own, .. } in pairs {
        for (reference, own) in
            seen(&|name| reference.get(name))?.iter().zip(seen(&|name| own.get(name))?)
        {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{infer::Values, published::Inputs};

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
