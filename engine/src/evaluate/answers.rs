//! Right answers about samples that have labels.

use super::{
    labelled::Right,
    rate::{Counted, interval, total},
    things::{overlap, seen},
};
use crate::{
    error::{Error, Result},
    infer::Values,
    preprocess::ctc,
    published::Config,
    stats::argmax,
};
use record::Answers;

/// Boxes that overlap by so much are of one thing, as in the metric of PASCAL VOC.
const SAME_PLACE: f32 = 0.5;
/// Outputs that are logits of classes, or of texts that compete.
const CHOICES: [&str; 4] = ["logits", "logits_per_image", "logits_per_audio", "logits_per_video"];

/// Answers to one sample, and those that are right by what the reference and the model have written.
pub(super) fn of_texts(right: &Right, written: [&[u32]; 2]) -> Counted {
    let is_right = |ids: &[u32]| usize::from(*right == Right::Tokens(ids.to_vec()));
    Counted { all: 1, of: written.map(is_right) }
}

/// The same by the outputs of both.
pub(super) fn of_outputs(right: &Right, both: [&Values; 2], config: &Config) -> Result<Counted> {
    let [reference, own] = both.map(|values| count(right, values, config));
    let all = match right {
        Right::Things(things) => things.len(),
        Right::Class(_) | Right::Tokens(_) => 1,
    };
    Ok(Counted { all, of: [reference?, own?] })
}

fn count(right: &Right, values: &Values, config: &Config) -> Result<usize> {
    let missing = || Error::input("labels", "are about outputs that the model does not have");
    Ok(match right {
        Right::Class(class) => {
            let logits = CHOICES.iter().find_map(|name| values.get(name)).ok_or_else(missing)?;
            usize::from(argmax(&logits.1) == *class)
        }
        Right::Tokens(tokens) => {
            let (shape, logits) = values.get("logits").ok_or_else(missing)?;
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

/// The figures of all samples; none where no answer is known.
pub(super) fn summed(counted: &[Counted]) -> Option<Answers> {
    let (answers, [reference_right, right]) = total(counted);
    (answers > 0).then(|| Answers {
        samples: counted.len(),
        answers,
        right,
        reference_right,
        interval: interval(counted, 1),
        reference_interval: interval(counted, 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::things::Thing;
    use serde_json::json;

    fn counted(right: &Right, both: [&Values; 2]) -> Counted {
        let config = Config::new(json!({"pad_token_id": 0})).unwrap();
        of_outputs(right, both, &config).unwrap()
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
        let found = counted(&Right::Class(1), [&first, &second]);
        assert_eq!(found, Counted { all: 1, of: [0, 1] });
    }

    #[test]
    fn texts_are_right_as_a_whole() {
        let right = Right::Tokens(vec![2, 1]);
        assert_eq!(of_texts(&right, [&[2, 1], &[2]]), Counted { all: 1, of: [1, 0] });
        // Three frames of the blank and two letters: 2, blank, 1; and 2, 2, 1.
        let [b, one, two] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let [parted, twice, wrong] = [[two, b, one], [two, two, one], [two, one, two]]
            .map(|frames| values(&[("logits", &[1, 3, 3], &frames.concat())]));
        assert_eq!(counted(&right, [&parted, &twice]), Counted { all: 1, of: [1, 1] });
        assert_eq!(counted(&right, [&parted, &wrong]), Counted { all: 1, of: [1, 0] });
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
            assert_eq!(counted(&right, [&all, &other]), Counted { all: 2, of: [2, count] });
        }
    }

    #[test]
    fn shares_have_intervals() {
        let counted: Vec<Counted> =
            (0..100).map(|at| Counted { all: 1, of: [1, usize::from(at % 4 > 0)] }).collect();
        let found = summed(&counted).unwrap();
        assert_eq!((found.answers, found.right, found.reference_right), (100, 75, 100));
        assert_eq!(found.reference_interval, [1.0; 2]);
        let [low, high] = found.interval;
        assert!((0.6..0.72).contains(&low) && (0.78..0.9).contains(&high), "{low} {high}");
        assert!(summed(&[]).is_none());
    }
}
