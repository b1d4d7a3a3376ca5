//! What follows from the figures.

use super::compare::Worst;
use record::{Correctness, Status, Tolerances};

/// Passes what is within its tolerances; what is not a number is within none. `doubts` are what no
/// figure tells: outputs that do not repeat, tokens that their logits do not say.
pub(super) fn verdict(
    correctness: &Correctness,
    tolerances: Tolerances,
    worst: &Worst,
    doubts: &[String],
) -> (Status, Option<String>) {
    let mut problems = doubts.to_vec();
    let is_within = |value: f64, bound: f64| value <= bound;
    match correctness.kernel_rel_l2 {
        Some(error) if is_within(error, tolerances.kernel_rel_l2) => {}
        Some(error) => {
            let bound = tolerances.kernel_rel_l2;
            problems
                .push(format!("kernel_rel_l2 {error:.1e} of {} is over {bound:.0e}", worst.output));
        }
        None => problems.push("no output was compared".to_owned()),
    }
    if let (Some(error), Some(bound)) = (correctness.reference_rel_l2, tolerances.reference_rel_l2)
        && !is_within(error, bound)
    {
        problems.push(format!("reference_rel_l2 {error:.1e} is over {bound:.0e}"));
    }
    if tolerances.generation_is_exact
        && correctness.generated_match.is_some_and(|share| !is_within(1.0, share))
    {
        problems.push("greedy generation leaves the expected tokens".to_owned());
    }
    match problems.is_empty() {
        true => (Status::Pass, None),
        false => (Status::Fail, Some(problems.join("; "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Bits, Precision};

    fn of(bits: u8, correctness: Correctness) -> (Status, Option<String>) {
        let worst = Worst { output: "logits".to_owned() };
        verdict(&correctness, Tolerances::of(&Precision::of(Bits::Fixed(bits))), &worst, &[])
    }

    #[test]
    fn what_is_not_a_number_fails() {
        for error in [f64::NAN, f64::INFINITY, 2e-3] {
            let correctness = Correctness { kernel_rel_l2: Some(error), ..Default::default() };
            assert_eq!(of(4, correctness).0, Status::Fail, "{error}");
            let right = Correctness { kernel_rel_l2: Some(1e-6), ..Default::default() };
            assert_eq!(of(4, right).0, Status::Pass);
            let far = Correctness { reference_rel_l2: Some(error), ..right };
            assert_eq!(of(32, far).0, Status::Fail, "{error}");
        }
        assert_eq!(of(4, Correctness::default()).0, Status::Fail, "nothing was compared");
        let share = Some(f64::NAN);
        let right = Correctness { kernel_rel_l2: Some(0.0), ..Default::default() };
        assert_eq!(of(32, Correctness { generated_match: share, ..right }).0, Status::Fail);
    }

    #[test]
    fn a_text_must_be_the_expected_one_at_32_bits_alone() {
        let text = |share| Correctness {
            kernel_rel_l2: Some(0.0),
            generated_match: Some(share),
            ..Default::default()
        };
        assert_eq!([of(32, text(1.0)).0, of(32, text(0.9)).0], [Status::Pass, Status::Fail]);
        assert_eq!(of(4, text(0.1)).0, Status::Pass);
    }

    /// To round weights to 16 bits moves outputs as fewer bits do: it is measured and not judged.
    #[test]
    fn rounding_to_16_bits_is_quantisation_loss() {
        let correctness = Correctness {
            kernel_rel_l2: Some(1e-6),
            reference_rel_l2: Some(3.9e-3),
            ..Default::default()
        };
        assert_eq!(of(16, correctness).0, Status::Pass);
        assert_eq!(of(32, correctness).0, Status::Fail);
    }
}
