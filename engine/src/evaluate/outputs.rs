//! What the outputs of one pass of two models have in common.

use super::things::things;
use crate::{
    calibrate::Opened,
    error::{Error, Result},
    infer::{self, Values},
    measure::compare::{cosine, kept},
    published::Inputs,
    stats::argmax,
};
use pollster::block_on;
use record::{Likeness, OutputLikeness};
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
    let mut names: BTreeSet<&str> =
        pairs.iter().flat_map(|pair| pair.reference.keys().copied()).collect();
    // Rows of one number point nowhere: they are compared only where there is nothing else.
    let has_rows = |name: &&str| {
        pairs.iter().any(|it| it.reference.get(name).is_some_and(|it| it.0.last() > Some(&1)))
    };
    if names.iter().any(has_rows) {
        names.retain(has_rows);
    }
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
    fn rows_of_one_number_are_left_out_beside_others() {
        let single: (&'static str, &[usize], &[f32]) = ("logits_per_text", &[2, 1], &[1.0, -1.0]);
        let wide: (&'static str, &[usize], &[f32]) = ("logits_per_image", &[1, 2], &[1.0, 0.0]);
        let names = |outputs: &[_]| {
            let found = pair(&values(outputs), values(outputs)).outputs;
            found.into_iter().map(|it| it.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[single, wide]), ["logits_per_image"]);
        assert_eq!(names(&[single]), ["logits_per_text"]);
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
}
