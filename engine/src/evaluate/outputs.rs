//! What the outputs of one pass of two models have in common.

use crate::{
    calibrate::Opened,
    error::{Error, Result},
    infer::{self, Values},
    measure::compare::{cosine, kept},
    published::Inputs,
    stats::argmax,
};
use pollster::block_on;
use record::{Likeness, OutputLikeness, Things};
use std::collections::BTreeSet;

/// Outputs that make a point of each input, those first that tell most of it.
const POINTS: [&str; 6] = [
    "sentence_embedding",
    "video_embeds",
    "image_embeds",
    "audio_embeds",
    "pooler_output",
    "text_embeds",
];
/// Things less likely than this are not seen, as transformers has it.
const SEEN: f32 = 0.5;

/// The outputs of both for one sample.
pub(super) struct Pair<'a> {
    pub(super) reference: &'a Values,
    pub(super) own: Values,
    pub(super) inputs: &'a Inputs,
}

/// The outputs of one pass.
pub(super) fn of(opened: &Opened, inputs: &Inputs) -> Result<Values> {
    block_on(infer::outputs(&opened.device, &*opened.loaded.model, inputs))
}

/// What all outputs of all samples have in common.
pub(super) fn likeness(pairs: &[Pair<'_>]) -> Result<Likeness> {
    let names: BTreeSet<&str> =
        pairs.iter().flat_map(|pair| pair.reference.keys().copied()).collect();
    let outputs = names.iter().map(|name| output(name, pairs)).collect::<Result<_>>()?;
    Ok(Likeness { samples: pairs.len(), outputs, rank: rank(pairs), things: things(pairs) })
}

/// One output over all samples.
fn output(name: &str, pairs: &[Pair<'_>]) -> Result<OutputLikeness> {
    let (mut sum, mut least, mut agreed, mut rows, mut widest) = (0.0, f64::INFINITY, 0, 0, 0);
    let (mut error, mut squares) = (0.0, 0.0);
    for Pair { reference, own, inputs } in pairs {
        let Some((shape, reference)) = reference.get(name) else { continue };
        let (other, own) = own.get(name).ok_or_else(|| missing(name))?;
        if shape != other {
            let message = format!("is {other:?}, and {shape:?} in the reference");
            return Err(Error::tensor(name, message));
        }
        let columns = shape.last().copied().unwrap_or(1).max(1);
        widest = widest.max(columns);
        let pairs = reference.chunks_exact(columns).zip(own.chunks_exact(columns));
        let kept = pairs.zip(kept(shape, inputs)).filter_map(|(pair, keep)| keep.then_some(pair));
        for (reference, own) in kept {
            let alike = cosine(own, reference);
            (sum, least, rows) = (sum + alike, least.min(alike), rows + 1);
            agreed += usize::from(argmax(reference) == argmax(own));
            for (a, b) in reference.iter().zip(own) {
                let (a, b) = (f64::from(*a), f64::from(*b));
                (error, squares) = (error + (a - b) * (a - b), squares + a * a);
            }
        }
    }
    let count = rows.max(1) as f64;
    Ok(OutputLikeness {
        name: name.to_owned(),
        rows,
        cosine: sum / count,
        least,
        error: (error / squares.max(f64::MIN_POSITIVE)).sqrt(),
        top1: (name.starts_with("logits") && widest > 1).then(|| agreed as f64 / count),
    })
}

fn missing(name: &str) -> Error {
    Error::tensor(name, "is an output of the reference, and none of the model")
}

/// Whether both find the same points near each other; none for fewer than three.
fn rank(pairs: &[Pair<'_>]) -> Option<f64> {
    let name =
        POINTS.iter().find(|name| pairs.iter().all(|it| it.reference.contains_key(*name)))?;
    let rows = |values: &'_ Values| {
        let (shape, values) = &values[name];
        let columns = shape.last().copied().unwrap_or(1).max(1);
        values.chunks_exact(columns).map(<[f32]>::to_vec).collect::<Vec<_>>()
    };
    let reference: Vec<Vec<f32>> = pairs.iter().flat_map(|pair| rows(pair.reference)).collect();
    let own: Vec<Vec<f32>> = pairs.iter().flat_map(|pair| rows(&pair.own)).collect();
    (reference.len() > 2).then(|| spearman(&between(&reference), &between(&own)))
}

/// The cosines of all pairs.
fn between(points: &[Vec<f32>]) -> Vec<f64> {
    let others = |at: usize| points[at + 1..].iter().map(move |other| cosine(&points[at], other));
    (0..points.len()).flat_map(others).collect()
}

/// Spearman's rank correlation: Pearson's of the ranks, where equal values share theirs.
fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let [a, b] = [a, b].map(ranks);
    let mean = (a.len() as f64 - 1.0) / 2.0;
    let product =
        |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt().max(f64::MIN_POSITIVE)
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut at = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let shared = at as f64 + (equal.len() as f64 - 1.0) / 2.0;
        equal.iter().for_each(|own| ranks[*own] = shared);
        at += equal.len();
    }
    ranks
}

/// A thing in a picture: left, top, right and bottom as shares of it, and a label.
#[derive(Clone, Copy)]
struct Thing {
    edges: [f32; 4],
    label: usize,
}

/// How things agree that the reference sees; none where it sees none.
fn things(pairs: &[Pair<'_>]) -> Option<Things> {
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
fn seen(values: &Values) -> Option<Vec<Vec<Thing>>> {
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
    let [x, y, width, height] = *center else { return None };
    let edges = [x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0];
    (1.0 / sum > SEEN).then_some(Thing { edges, label })
}

/// Intersection over union.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area =
        |[left, top, right, bottom]: [f32; 4]| (right - left).max(0.0) * (bottom - top).max(0.0);
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    common / (area(a) + area(b) - common).max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(outputs: &[(&'static str, &[usize], &[f32])]) -> Values {
        let own = |(name, shape, values): &(&'static str, &[usize], &[f32])| {
            (*name, (shape.to_vec(), values.to_vec()))
        };
        outputs.iter().map(own).collect()
    }

    fn pair(reference: &Values, own: Values) -> Likeness {
        likeness(&[Pair { reference, own, inputs: &Inputs::default() }]).unwrap()
    }

    #[test]
    fn rows_of_an_output_are_compared_one_by_one() {
        let reference = values(&[("logits", &[2, 2], &[3.0, 4.0, 1.0, 0.0])]);
        let own = values(&[("logits", &[2, 2], &[6.0, 8.0, 0.0, 1.0])]);
        let found = pair(&reference, own).outputs.swap_remove(0);
        assert_eq!((found.rows, found.top1), (2, Some(0.5)));
        assert!((found.cosine - 0.5).abs() < 1e-9 && found.least.abs() < 1e-9, "{found:?}");
        // The differences are (3, 4) and (1, 1), the reference's rows (3, 4) and (1, 0).
        assert!((found.error - (27f64 / 26.0).sqrt()).abs() < 1e-9, "{found:?}");
        let other = values(&[("logits", &[4], &[0.0; 4])]);
        let inputs = Inputs::default();
        let error = likeness(&[Pair { reference: &reference, own: other, inputs: &inputs }]);
        assert!(error.unwrap_err().to_string().contains("in the reference"));
    }

    #[test]
    fn padding_is_nobodys_output() {
        let reference = values(&[("last_hidden_state", &[1, 2, 2], &[1.0, 0.0, 1.0, 0.0])]);
        let own = values(&[("last_hidden_state", &[1, 2, 2], &[2.0, 0.0, 0.0, 9.0])]);
        let mut inputs = Inputs::default();
        inputs.ints.insert("attention_mask".to_owned(), (vec![1, 2], vec![1, 0]));
        let found = likeness(&[Pair { reference: &reference, own, inputs: &inputs }]).unwrap();
        assert_eq!((found.outputs[0].rows, found.outputs[0].cosine), (1, 1.0));
    }

    #[test]
    fn points_may_turn_and_keep_their_neighbours() {
        let points = [1.0f32, 0.0, 0.9, 0.1, 0.5, 0.5, 0.0, 1.0];
        let turned: Vec<f32> =
            points.chunks(2).flat_map(|it| [-2.0 * it[1], 2.0 * it[0]]).collect();
        let of = |points: &[f32]| values(&[("sentence_embedding", &[4, 2], points)]);
        let reference = of(&points);
        assert!((pair(&reference, of(&turned)).rank.unwrap() - 1.0).abs() < 1e-6);
        let mut swapped = points;
        swapped.rotate_left(4);
        assert!(pair(&reference, of(&swapped)).rank.unwrap() < 0.5);
        // Ranks 0, 1.5, 1.5, 3 against 3, 1.5, 1.5, 0.
        assert!((spearman(&[1.0, 2.0, 2.0, 3.0], &[4.0, 3.0, 3.0, 0.0]) + 1.0).abs() < 1e-9);
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
        let things = |own| pair(&reference, own).things.unwrap();
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
