//! Answers that are right, where somebody knows what is: about samples that a case has beside its inputs (`labelled.rs`),
//! by what a model writes or by the outputs of a pass, in which things may be seen (`things.rs`). `rate.rs` says how far
//! a share can be trusted.

mod labelled;
mod rate;
mod things;

pub(crate) use labelled::{Labelled, labelled};
pub(crate) use rate::{Counted, interval, total};
pub(crate) use things::{Thing, overlap, seen};

use crate::{
    ctc,
    error::{Error, Result},
    published::Config,
    stats::argmax,
};

/// Boxes that overlap by so much are of one thing, as in the metric of PASCAL VOC.
const SAME_PLACE: f32 = 0.5;
/// Outputs that are logits of classes, or of texts that compete.
const CHOICES: [&str; 4] = ["logits", "logits_per_image", "logits_per_audio", "logits_per_video"];

/// Shape and values of an output.
pub(crate) type Numbers = (Vec<usize>, Vec<f32>);
/// Gives outputs by their names.
pub(crate) type Lookup<'a, 'b> = &'b dyn Fn(&str) -> Option<&'a Numbers>;

/// What is right about a sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Right {
    /// Which logit is the highest.
    Class(usize),
    /// What is written down.
    Tokens(Vec<u32>),
    /// What is seen where.
    Things(Vec<Thing>),
}

impl Right {
    /// Answers there are to be given.
    pub(crate) fn count(&self) -> usize {
        match self {
            Right::Things(things) => things.len(),
            Right::Class(_) | Right::Tokens(_) => 1,
        }
    }
}

/// How many of them a text is.
pub(crate) fn right_text(right: &Right, written: &[u32]) -> usize {
    usize::from(matches!(right, Right::Tokens(tokens) if tokens == written))
}

/// How many of them a pass with these outputs has given.
pub(crate) fn right_outputs(
    right: &Right,
    values: Lookup<'_, '_>,
    config: &Config,
) -> Result<usize> {
    let missing = || Error::input("labels", "are about outputs that the model does not have");
    Ok(match right {
        Right::Class(class) => {
            let logits = CHOICES.iter().find_map(|name| values(name)).ok_or_else(missing)?;
            usize::from(argmax(&logits.1) == *class)
        }
        Right::Tokens(tokens) => {
            let (shape, logits) = values("logits").ok_or_else(missing)?;
            let vocabulary = shape.last().copied().unwrap_or(1);
            let blank = config.whole_or("pad_token_id", 0)? as u32;
            usize::from(ctc::greedy(logits, vocabulary, blank) == *tokens)
        }
        Right::Things(things) => {
            let mut found = seen(values).ok_or_else(missing)?.concat();
            let mut count = 0;
            for thing in things {
                // What is found stands for one thing.
                let same = found.iter().position(|it| {
                    it.label == thing.label && overlap(it.edges, thing.edges) >= SAME_PLACE
                });
                if let Some(at) = same {
                    found.swap_remove(at);
                    count += 1;
                }
            }
            count
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    type Values = BTreeMap<&'static str, Numbers>;

    fn given(right: &Right, values: &Values) -> usize {
        let config = Config::new(json!({"pad_token_id": 0})).unwrap();
        right_outputs(right, &|name| values.get(name), &config).unwrap()
    }

    fn values(outputs: &[(&'static str, &[usize], &[f32])]) -> Values {
        let own = |(name, shape, values): &(&'static str, &[usize], &[f32])| {
            (*name, (shape.to_vec(), values.to_vec()))
        };
        outputs.iter().map(own).collect()
    }

    #[test]
    fn the_highest_logit_answers() {
        let [first, second] =
            [[2.0, 1.0], [1.0, 2.0]].map(|it| values(&[("logits_per_image", &[1, 2], &it)]));
        assert_eq!([&first, &second].map(|it| given(&Right::Class(1), it)), [0, 1]);
    }

    #[test]
    fn texts_are_right_as_a_whole() {
        let right = Right::Tokens(vec![2, 1]);
        assert_eq!([&[2, 1][..], &[2]].map(|text| right_text(&right, text)), [1, 0]);
        // Three frames of the blank and two letters: 2, blank, 1; and 2, 2, 1.
        let [b, one, two] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let [parted, twice, wrong] = [[two, b, one], [two, two, one], [two, one, two]]
            .map(|frames| values(&[("logits", &[1, 3, 3], &frames.concat())]));
        assert_eq!([&parted, &twice, &wrong].map(|it| given(&right, it)), [1, 1, 0]);
    }

    #[test]
    fn a_thing_is_found_once_in_its_place_by_its_name() {
        let seen = |labels: [usize; 2], middles: [f32; 2]| {
            let logits: Vec<f32> = labels
                .iter()
                .flat_map(|label| (0..3).map(move |at| if at == *label { 9.0 } else { 0.0 }))
                .collect();
            let boxes: Vec<f32> = middles.iter().flat_map(|x| [*x, 0.5, 0.4, 0.4]).collect();
            values(&[("logits", &[1, 2, 3], &logits), ("pred_boxes", &[1, 2, 4], &boxes)])
        };
        let things = [0.3, 0.7].map(|x| Thing::of([x, 0.5, 0.4, 0.4], 1)).to_vec();
        let right = Right::Things(things);
        let all = seen([1, 1], [0.7, 0.3]);
        for (other, count) in [
            (seen([1, 0], [0.7, 0.3]), 1),
            (seen([1, 1], [0.7, 0.7]), 1),
            (seen([1, 1], [0.75, 0.05]), 1),
            (seen([2, 1], [0.7, 0.3]), 1),
        ] {
            assert_eq!((right.count(), given(&right, &other)), (2, count));
        }
        assert_eq!(given(&right, &all), 2);
    }
}
