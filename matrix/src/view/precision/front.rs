//! Which evaluations no other one beats, and the sentence that follows from it.

use super::{Evaluation, Measure};
use crate::view::figure;

/// Those that nothing of as few bits beats, from the fewest bits to the least loss. What is no number is none of
/// them.
pub(super) fn front(evaluations: &[&Evaluation]) -> Vec<usize> {
    let place = |at: &usize| (evaluations[*at].bpw, evaluations[*at].loss());
    let is_number = |at: &usize| place(at).0.is_finite() && place(at).1.is_finite();
    let mut all: Vec<usize> = (0..evaluations.len()).filter(is_number).collect();
    all.sort_by(|a, b| {
        let ((bpw, loss), (other_bpw, other)) = (place(a), place(b));
        bpw.total_cmp(&other_bpw).then(loss.total_cmp(&other))
    });
    let mut least = f64::INFINITY;
    all.retain(|at| {
        let is_better = place(at).1 < least;
        least = least.min(place(at).1);
        is_better
    });
    all
}

/// What the front says to who wants few bits and little loss.
pub(super) fn sentence(evaluations: &[&Evaluation]) -> String {
    let front: Vec<&Evaluation> =
        front(evaluations).into_iter().map(|at| evaluations[at]).collect();
    let named = |it: &Evaluation| {
        let bpw = figure::bpw(it.bpw);
        let loss = it.measure().said(it.loss());
        format!("{bpw} a weight ({} by {}), at {loss}", it.name(), it.engine)
    };
    let Some(measure) = front.first().map(|it| it.measure()) else {
        return "No evaluation gave a number.".to_owned();
    };
    let least = measure.wanted();
    let wanted = match measure {
        Measure::Divergence => format!("Fewest bits whose divergence stays below {least} nats"),
        Measure::Distance => format!("Fewest bits whose cosine stays above {}", 1.0 - least),
    };
    match (front.iter().find(|it| it.loss() < least), front.last()) {
        (Some(found), _) => format!("{wanted}: {}.", named(found)),
        (None, Some(least)) => format!("{wanted}: none. The nearest has {}.", named(least)),
        (None, None) => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::precision::sample::own;

    #[test]
    fn nothing_of_as_few_bits_beats_what_is_on_the_front() {
        let all = [
            own("4", 4.5, 0.09),
            own("4 asymmetric", 5.0, 0.12),
            own("2", 2.5, 2.0),
            own("4 kv=4", 4.5, 0.2),
            own("3", 3.5, f64::NAN),
            own("8", 8.5, 0.001),
        ];
        let all: Vec<&Evaluation> = all.iter().collect();
        assert_eq!(front(&all), [2, 0, 5]);
        let said = sentence(&all);
        let wanted = "below 0.1 nats: 4.50 a weight (4-bit by fewbit 0.1.0), at 0.0900 nats.";
        assert!(said.ends_with(wanted), "{said}");
        let said = sentence(&all[2..3]);
        assert!(
            said.ends_with(
                "none. The nearest has 2.50 a weight (2-bit by fewbit 0.1.0), at 2.00 nats."
            ),
            "{said}"
        );
        assert_eq!(sentence(&all[4..5]), "No evaluation gave a number.");
    }
}
