//! Samples of a case that have right answers: a safetensors file of inputs, a row each, beside `labels`.
//!
//! Labels of one column say which logit is the highest; those of several are tokens to be written or heard, or, beside
//! `boxes` `[samples, things, 4]` (middle, width and height as shares of the picture), what things are. A row is filled
//! up with -100, as Hugging Face has it. What has no row for each sample, such as the texts that all pictures are held to,
//! belongs to all of them. Pixels and sounds may be stored in bytes, as 128ths.

use super::{Right, Thing};
use crate::{
    case::read_inputs,
    error::{Error, Result},
    published::Inputs,
    weights::Source,
};

const LABELS: &str = "labels";
const BOXES: &str = "boxes";
/// Inputs that are no integers.
const NUMBERS: [&str; 3] = ["pixel_values", "input_values", "input_features"];

/// A sample that somebody knows the answer to.
#[derive(Clone, Debug)]
pub(crate) struct Labelled {
    pub(crate) inputs: Inputs,
    pub(crate) right: Right,
}

/// The samples in a file of a case.
pub(crate) async fn labelled(source: &dyn Source, file: &str) -> Result<Vec<Labelled>> {
    samples(read_inputs(source, file).await?)
}

fn samples(mut inputs: Inputs) -> Result<Vec<Labelled>> {
    for name in NUMBERS {
        if let Some((shape, values)) = inputs.ints.remove(name) {
            let values = values.iter().map(|value| *value as f32 / 128.0).collect();
            inputs.floats.insert(name.to_owned(), (shape, values));
        }
    }
    let missing = || Error::input(LABELS, "is not among the samples");
    let (shape, labels) = inputs.ints.remove(LABELS).ok_or_else(missing)?;
    let boxes = inputs.floats.remove(BOXES);
    let (count, columns) = (shape.first().copied().unwrap_or(0), shape.iter().skip(1).product());
    if count == 0 || columns == 0 || boxes.as_ref().is_some_and(|it| it.0 != [count, columns, 4]) {
        let boxes = boxes.map(|it| format!(", and {BOXES} {:?}", it.0)).unwrap_or_default();
        return Err(Error::input(LABELS, format!("has shape {shape:?}{boxes}")));
    }
    let boxes = boxes.map(|(_, values)| values);
    let sample = |(row, labels): (usize, &[i64])| {
        let boxes = boxes.as_ref().map(|all| &all[4 * row * columns..4 * (row + 1) * columns]);
        let right = right(labels, boxes)?;
        Ok(Labelled { inputs: inputs.row(row, count), right })
    };
    labels.chunks_exact(columns).enumerate().map(sample).collect()
}

fn right(labels: &[i64], boxes: Option<&[f32]>) -> Result<Right> {
    let is_filler = |label: &i64| *label == -100;
    let whole = |label: &i64| {
        let message = || format!("holds {label}, which is neither a class nor a token");
        u32::try_from(*label).map_err(|_| Error::input(LABELS, message()))
    };
    let kept: Vec<u32> =
        labels.iter().filter(|it| !is_filler(it)).map(whole).collect::<Result<_>>()?;
    Ok(match (boxes, &kept[..]) {
        (Some(boxes), _) => {
            let (centers, _) = boxes.as_chunks();
            let there = centers.iter().zip(labels).filter(|(_, label)| !is_filler(label));
            Right::Things(there.map(|(at, label)| Thing::of(*at, *label as usize)).collect())
        }
        (None, [class]) if labels.len() == 1 => Right::Class(*class as usize),
        _ => Right::Tokens(kept),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(labels: (&[usize], &[i64])) -> Inputs {
        let mut inputs = Inputs::default();
        inputs.ints.insert(LABELS.to_owned(), (labels.0.to_vec(), labels.1.to_vec()));
        inputs.ints.insert("pixel_values".to_owned(), (vec![2, 1], vec![64, -128]));
        inputs.ints.insert("input_ids".to_owned(), (vec![3, 1], vec![7, 8, 9]));
        inputs
    }

    #[test]
    fn rows_are_samples_and_what_has_others_belongs_to_all() {
        let made = samples(given((&[2], &[5, 4]))).unwrap();
        let pixels = |at: usize| made[at].inputs.floats["pixel_values"].clone();
        assert_eq!([pixels(0), pixels(1)], [(vec![1, 1], vec![0.5]), (vec![1, 1], vec![-1.0])]);
        assert_eq!(made[1].inputs.ints["input_ids"].1, [7, 8, 9]);
        assert_eq!(made[1].right, Right::Class(4));
        assert!(!made[1].inputs.ints.contains_key(LABELS));
    }

    #[test]
    fn several_labels_are_tokens_or_things() {
        let labels: (&[usize], &[i64]) = (&[2, 2], &[5, -100, 4, 3]);
        let made = samples(given(labels)).unwrap();
        assert_eq!(made[0].right, Right::Tokens(vec![5]));
        let mut inputs = given(labels);
        let boxes = [0.5, 0.5, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0].repeat(2);
        inputs.floats.insert(BOXES.to_owned(), (vec![2, 2, 4], boxes.clone()));
        let made = samples(inputs).unwrap();
        let thing = Thing { edges: [0.25, 0.0, 0.75, 1.0], label: 5 };
        assert_eq!(made[0].right, Right::Things(vec![thing]));
        let mut inputs = given(labels);
        inputs.floats.insert(BOXES.to_owned(), (vec![4, 4], boxes));
        assert!(samples(inputs).unwrap_err().to_string().contains("boxes [4, 4]"));
        assert!(samples(given((&[2], &[5, -1]))).unwrap_err().to_string().contains("holds -1"));
    }
}
