//! Which evaluations no other one beats, and the sentence that follows from it.

use super::{Evaluation, nats};
use crate::view::figure;

/// The divergence that the sentence asks for, in nats.
const WANTED: f64 = 0.1;

/// Those that nothing of as few bits beats, from the fewest bits to the least divergence. What is no number is none of
/// them.
pub(super) fn front(evaluations: &[&Evaluation]) -> Vec<usize> {
    let place = |at: &usize| (evaluations[*at].bpw, evaluations[*at].fidelity.kl);
    let is_number = |at: &usize| place(at).0.is_finite() && place(at).1.is_finite();
    let mut all: Vec<usize> = (0..evaluations.len()).filter(is_number).collect();
    all.sort_by(|a, b| {
        let ((bpw, kl), (other_bpw, other_kl)) = (place(a), place(b));
        bpw.total_cmp(&other_bpw).then(kl.total_cmp(&other_kl))
    });
    let mut least = f64::INFINITY;
    all.retain(|at| {
        let is_better = place(at).1 < least;
        least = least.min(place(at).1);
        is_better
    });
    all
}

/// What the front says about who wants few bits and little divergence.
pub(super) fn sentence(evaluations: &[&Evaluation]) -> String {
    let front: Vec<&Evaluation> =
        front(evaluations).into_iter().map(|at| evaluations[at]).collect();
    let named = |it: &Evaluation| {
        let bpw = figure::bpw(it.bpw);
        format!("{bpw} a weight ({} by {}), at {}", it.name(), it.engine, nats(it.fidelity.kl))
    };
    let wanted = format!("Fewest bits whose divergence stays below {WANTED} nats");
    match (front.iter().find(|it| it.fidelity.kl < WANTED), front.last()) {
        (Some(found), _) => format!("{wanted}: {}.", named(found)),
        (None, Some(least)) => format!("{wanted}: none. The least has {}.", named(least)),
        (None, None) => "No evaluation gave a number.".to_owned(),
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
                "none. The least has 2.50 a weight (2-bit by fewbit 0.1.0), at 2.00 nats."
            ),
            "{said}"
        );
        assert_eq!(sentence(&all[4..5]), "No evaluation gave a number.");
    }
}
