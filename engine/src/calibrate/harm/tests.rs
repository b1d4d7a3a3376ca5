use super::*;
use crate::calibrate::{
    fidelity,
    tests::{opened as opened_at, sequences, zoo},
    within,
};

fn opened(case: &str) -> Weights {
    opened_at(&zoo(case))
}

fn measured(weights: &Weights, at: &str, widths: &[u8], sample: &Inputs) -> Vec<Harm> {
    let heard: Heard = Rc::new(|_| ());
    harms(weights, &at.parse().unwrap(), widths, sample, &heard).unwrap()
}

/// What `fidelity` finds, which keeps nothing of a pass, when one matrix alone is quantised.
#[test]
fn the_harm_of_a_matrix_is_that_of_a_model_in_which_it_alone_is_quantised() {
    for case in ["llama/llama-gqa", "qwen2/qwen2-tied"] {
        let text = sequences(5, 2, 12);
        let harms = measured(&opened(case), "adaptive", &[16, 2], text.inputs());
        let last = harms.len() - 1;
        for tried in [0, 1, last / 2, last] {
            let choice = |at: usize, harm: &Harm| {
                let Choice { format, .. } = harm.choices[usize::from(at == tried)];
                (harm.name.clone(), format)
            };
            let formats = harms.iter().enumerate().map(|(at, harm)| choice(at, harm)).collect();
            let rest = Precision::of(Bits::Fixed(4));
            let (mixed, at) = opened(case).mixed(crate::load::PrecisionPlan { formats }, &rest);
            let heard: Heard = Rc::new(|_| ());
            // All others are rounded to 16 bits, as there is no whole format that can be mixed.
            let whole = Precision::of(Bits::Fixed(16));
            let (found, _) =
                fidelity((&opened(case), &whole), (&mixed, &at), &text, &heard).unwrap();
            let harm = harms[tried].choices[1].harm;
            assert!((found.kl - harm).abs() < 0.02 * harm, "{case} {tried}: {harm} {found:?}");
        }
    }
}

#[test]
fn more_bits_do_less_harm_and_what_a_sample_does_not_reach_none() {
    let text = sequences(5, 4, 16);
    for at in ["adaptive", "adaptive asymmetric g64 gptq"] {
        for harm in measured(&opened("llama/llama-gqa"), at, &[2, 4, 8, 16], text.inputs()) {
            for pair in harm.choices.windows(2) {
                assert!(pair[0].harm > pair[1].harm && pair[0].bytes < pair[1].bytes, "{harm:?}");
            }
        }
    }
    let bert = measured(&opened("bert/bert-mlm-tied"), "adaptive", &[2, 4], text.inputs());
    assert!(bert.iter().all(|harm| harm.choices[0].harm >= harm.choices[1].harm), "{bert:?}");
    assert!(unmoved(&bert).len() < bert.len() / 4, "{:?}", unmoved(&bert));
}

/// At the bytes of 3 bits for all, on a text that the choice did not see.
#[test]
fn a_mix_by_measured_harm_is_nearer_to_the_model_than_one_width() {
    let case = "llama/llama-gqa";
    let weights = opened(case);
    let harms = measured(&weights, "adaptive", &[2, 3, 4, 8], sequences(5, 8, 24).inputs());
    let uniform = weights.plan(&"3".parse().unwrap()).unwrap();
    let bytes = uniform.entries.iter().filter(|entry| entry.is_matrix()).map(|entry| entry.bytes);
    let formats = within(&harms, bytes.sum()).unwrap();
    let (mixed, at) = opened(case).mixed(formats, &"4".parse().unwrap());
    assert!(mixed.plan(&at).unwrap().bytes() <= uniform.bytes());
    let kl = |model: &Weights, at: &Precision| {
        let heard: Heard = Rc::new(|_| ());
        let whole = Precision::of(Bits::Fixed(32));
        fidelity((&weights, &whole), (model, at), &sequences(77, 8, 24), &heard).unwrap().0.kl
    };
    let (own, other) = (kl(&mixed, &at), kl(&weights, &"3".parse().unwrap()));
    assert!(own < other, "{own} {other}");
}
