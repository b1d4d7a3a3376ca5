use super::*;
use crate::{
    calibrate::tests::{opened, trained, zoo},
    device::Device,
};
use std::rc::Rc;

fn quiet() -> Heard {
    Rc::new(|_| ())
}

/// What `case` loses at `bits`, on its own inputs.
fn found(case: &str, precision: &str) -> Found {
    let weights = opened(&zoo(case));
    let samples = own_samples(&weights).unwrap();
    let asked = Asked::of(&weights, &samples, 12, &quiet()).unwrap();
    asked.compare(&weights, &precision.parse().unwrap(), &quiet()).unwrap()
}

#[test]
fn a_model_has_all_in_common_with_itself() {
    for case in
        ["vit/vit-labels", "detr/detr-basic-learned", "clip/clip-labels", "bert/bert-mlm-tied"]
    {
        let likeness = found(case, "32").likeness.unwrap();
        assert!(likeness.distance() < 1e-6, "{case}: {likeness:?}");
        assert!(likeness.outputs.iter().all(|it| it.rows > 0 && it.error < 1e-5), "{likeness:?}");
    }
    for case in ["whisper/whisper-80-tied", "t5/t5-padded", "llava/llava-llama"] {
        let fidelity = found(case, "32").fidelity.unwrap();
        assert!(fidelity.kl.abs() < 1e-6 && fidelity.top1 == 1.0, "{case}: {fidelity:?}");
        let ratio = fidelity.perplexity / fidelity.reference_perplexity;
        assert!(fidelity.tokens > 0 && (ratio - 1.0).abs() < 1e-4, "{case}: {fidelity:?}");
    }
}

#[test]
fn fewer_bits_have_less_in_common() {
    let distance = |bits| found("vit/vit-labels", bits).likeness.unwrap().distance();
    let [eight, four, two] = ["8", "4", "2"].map(distance);
    assert!(0.0 < eight && eight < four && four < two, "{eight} {four} {two}");
    let kl = |bits| found("whisper/whisper-80-tied", bits).fidelity.unwrap().kl;
    let [eight, four, two] = ["8", "4", "2"].map(kl);
    assert!(0.0 < eight && eight < four && four < two, "{eight} {four} {two}");
}

/// What few bits take from models that have learnt something shows in their answers; an easy task may be left to one.
#[test]
fn few_bits_give_fewer_right_answers() {
    let mut right = [0, 0];
    for case in trained() {
        let weights = opened(&case);
        let samples = own_samples(&weights).unwrap();
        let asked = Asked::of(&weights, &samples[..60], 12, &quiet()).unwrap();
        let [whole, two] = ["32", "2"].map(|bits| {
            let found = asked.compare(&weights, &bits.parse().unwrap(), &quiet()).unwrap();
            found.answers.unwrap()
        });
        let case = case.display();
        assert!(whole.samples == 60 && whole.answers >= 60, "{case}: {whole:?}");
        assert!(whole.shares()[0] > 0.9, "{case}: {whole:?}");
        assert_eq!((whole.right, two.reference_right), (whole.reference_right, whole.right));
        right = [right[0] + whole.right, right[1] + two.right];
    }
    let [whole, two] = right;
    assert!(20 * two < 19 * whole, "of {whole} right answers, {two} are left");
}

#[test]
fn products_in_floats_are_those_of_the_exact_path() {
    for case in [
        "whisper/whisper-80-tied",
        "bert/bert-mlm-tied",
        "detr/detr-basic-learned",
        "clip/clip-labels",
    ] {
        let weights = opened(&zoo(case));
        let inputs = weights.inputs().unwrap();
        let whole = || Opened::of((&weights, &Precision::of(Bits::Fixed(32)))).unwrap();
        let own = outputs::of(&whole(), inputs).unwrap();
        let exact = Opened { device: Device::reference(), ..whole() };
        let exact = outputs::of(&exact, inputs).unwrap();
        for (name, (_, own)) in own {
            let far = crate::testing::rel_l2(&own, &exact[name].1);
            assert!(far < 1e-4, "{case} {name}: {far}");
        }
    }
}
