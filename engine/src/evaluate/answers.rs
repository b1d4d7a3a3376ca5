//! Right answers of a model beside those of its reference.

use crate::answers::{Counted, interval, total};
use record::Answers;

/// The figures of all samples; none where no answer is known.
pub(super) fn summed(counted: &[Counted<2>]) -> Option<Answers> {
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

    #[test]
    fn shares_have_intervals() {
        let counted: Vec<_> =
            (0..100).map(|at| Counted { all: 1, of: [1, usize::from(at % 4 > 0)] }).collect();
        let found = summed(&counted).unwrap();
        assert_eq!((found.answers, found.right, found.reference_right), (100, 75, 100));
        assert_eq!(found.reference_interval, [1.0; 2]);
        let [low, high] = found.interval;
        assert!((0.6..0.72).contains(&low) && (0.78..0.9).contains(&high), "{low} {high}");
        assert!(summed(&[]).is_none());
    }
}
