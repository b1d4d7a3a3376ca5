use super::*;
use crate::weights::Folder;
use record::{Class, Fidelity};
use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
};

/// A committed case.
pub(crate) fn zoo(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/zoo").join(case)
}

/// Those whose models have learnt something.
pub(crate) fn trained() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/trained");
    let below = |class: &Class| fs::read_dir(folder.join(class.name())).into_iter().flatten();
    Class::ALL.iter().flat_map(below).map(|case| case.unwrap().path()).collect()
}

pub(crate) fn opened(folder: &Path) -> Weights {
    Weights::open(folder, &Folder::new(folder).files().unwrap()).unwrap()
}

/// Words that nobody chose, of a small vocabulary, so that some come often.
pub(super) fn sequences(seed: u64, count: usize, length: usize) -> Windows {
    let values = crate::testing::normal(seed, count * length);
    let ids: Vec<u32> = values.iter().map(|value| (value.abs() * 20.0) as u32 % 96).collect();
    let rows: Vec<_> = ids.chunks_exact(length).map(<[u32]>::to_vec).collect();
    Windows::of(&rows, length).unwrap()
}

pub(super) fn precision(text: &str) -> Precision {
    text.parse().unwrap()
}

/// The model of a case packed by a calibration, in a folder of its own.
fn quantised(case: &str, at: &str, text: &Windows) -> tempfile::TempDir {
    quantised_but(case, at, text, &[])
}

/// The same, where the text has no say in some matrices.
fn quantised_but(case: &str, at: &str, text: &Windows, others: &[&str]) -> tempfile::TempDir {
    let (folder, made) = (zoo(case), tempfile::tempdir().unwrap());
    let mut out = Cursor::new(Vec::new());
    let heard: Heard = Rc::new(|_| ());
    let file = ("model.safetensors", &mut out);
    let rounded =
        quantise(&opened(&folder), &precision(at), text, None, file, heard).unwrap().rounded;
    assert_eq!(rounded, others, "{case}");
    fs::write(made.path().join("model.safetensors"), out.into_inner()).unwrap();
    fs::copy(folder.join("config.json"), made.path().join("config.json")).unwrap();
    made
}

fn compared(reference: &Weights, model: &Weights, at: &str) -> Fidelity {
    let heard: Heard = Rc::new(|_| ());
    let whole = Precision::of(Bits::Fixed(32));
    let text = sequences(77, 4, 24);
    fidelity((reference, &whole), (model, &precision(at)), &text, &heard).unwrap().0
}

/// Tied and untied heads, biases, columns that fill no chunk, and a matrix inside that has as many outputs as
/// the vocabulary has tokens.
#[test]
fn a_calibrated_model_is_nearer_to_its_own_than_a_rounded_one() {
    for case in ["llama/llama-gqa", "llama/llama-tied-mha", "qwen2/qwen2-tied"] {
        let reference = opened(&zoo(case));
        let same = compared(&reference, &reference, "32");
        assert!(same.kl.abs() < 1e-9 && same.top1 == 1.0, "{case}: {same:?}");
        for at in ["3-bit", "2-bit asymmetric g64"] {
            let rounded = compared(&reference, &reference, at);
            let made = quantised(case, &format!("{at} gptq"), &sequences(5, 48, 24));
            let packed = opened(made.path());
            assert_eq!(packed.packed_in(), Some(&precision(&format!("{at} gptq"))));
            let calibrated = compared(&reference, &packed, &format!("{at} gptq"));
            assert!(calibrated.kl < 0.7 * rounded.kl, "{case} {at}: {calibrated:?} {rounded:?}");
            assert!(calibrated.tokens == 96 && calibrated.kl > 0.0);
        }
    }
}

/// Four bytes for each key and value of each head and layer, half of them at 16 bits, and of few bits the scales too.
#[test]
fn a_token_takes_what_its_keys_and_values_do() {
    let model = opened(&zoo("llama/llama-gqa"));
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(zoo("llama/llama-gqa").join("config.json")).unwrap())
            .unwrap();
    let size = |field: &str| config[field].as_u64().unwrap();
    let width = size("head_dim");
    let whole = size("num_hidden_layers") * 2 * size("num_key_value_heads") * width * 4;
    let taken = |at| {
        let (heard, text): (Heard, _) = (Rc::new(|_| ()), sequences(1, 3, 8));
        let whole = Precision::of(Bits::Fixed(32));
        fidelity((&model, &whole), (&model, &precision(at)), &text, &heard).unwrap().1
    };
    assert_eq!([taken("32"), taken("4-bit"), taken("16 kv=16")], [whole, whole, whole / 2]);
    assert!(taken("16 kv=8") < whole / 2 && taken("16 kv=4") < taken("16 kv=k8v4"));
}

/// A class that does not generate has no logits that could be compared, but codes that can be chosen.
#[test]
fn an_encoder_of_text_is_calibrated_as_well() {
    let case = "bert/bert-mlm-tied";
    let looked_up = ["bert.embeddings.position_embeddings.weight"];
    let made = quantised_but(case, "4-bit gptq", &sequences(5, 8, 16), &looked_up);
    let packed = opened(made.path());
    let whole = Precision::of(Bits::Fixed(32));
    let heard: Heard = Rc::new(|_| ());
    let own = (&packed, &precision("4-bit gptq"));
    let error = fidelity((&opened(&zoo(case)), &whole), own, &sequences(7, 2, 16), &heard);
    assert!(error.unwrap_err().to_string().contains("does not say what follows"));
}

#[test]
fn what_cannot_be_calibrated_is_refused_with_a_reason() {
    let weights = opened(&zoo("llama/llama-gqa"));
    let refused = |weights: &Weights, at: &str| {
        let heard: Heard = Rc::new(|_| ());
        let file = ("model.safetensors", &mut Cursor::new(Vec::new()));
        quantise(weights, &precision(at), &sequences(5, 2, 8), None, file, heard)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&weights, "16").contains("no codes to choose"));
    let made = quantised("llama/llama-gqa", "3-bit gptq", &sequences(5, 4, 8));
    let again = refused(&opened(made.path()), "3-bit gptq");
    assert!(again.contains("packed already"), "{again}");
    let error = windows(&opened(&zoo("vit/vit-labels")), "text", 8, 8).unwrap_err().to_string();
    assert!(error.contains("llama, qwen2 and bert"), "{error}");
}

/// Widths that are mixed can be asked for without saying how; by whom codes were chosen is said.
#[test]
fn mixed_weights_are_what_is_asked_for() {
    let made = quantised("llama/llama-gqa", "adaptive gptq", &sequences(5, 4, 8));
    let packed = opened(made.path());
    packed.plan(&precision("adaptive gptq")).unwrap();
    for wrong in ["adaptive", "adaptive plan=3+8 gptq", "4-bit gptq"] {
        let error = packed.plan(&precision(wrong)).unwrap_err().to_string();
        assert!(error.contains("packed"), "{wrong}: {error}");
    }
}

/// A calibration by what a model hears and writes; parts of it keep what is heard.
#[test]
fn a_model_that_hears_is_calibrated_by_its_own_answers() {
    let case = "whisper/whisper-80-tied";
    let weights = opened(&zoo(case));
    let heard: Heard = Rc::new(|_| ());
    let row =
        weights.inputs().unwrap().row(0, weights.inputs().unwrap().floats["input_features"].0[0]);
    let inputs = row.rows(&[0; 3], 1);
    let text = answered(&weights, inputs, 6, &heard).unwrap();
    assert_eq!(text.count, 3);
    for (part, count) in [(text.spread(2), 2), (text.split(1)[1].clone(), 2)] {
        let (shape, _) = part.inputs().floats("input_features").unwrap();
        assert_eq!((part.count, shape[0], part.length), (count, count, text.length));
        assert_eq!(part.ids(), text.spread(1).ids().repeat(count));
    }
    let file = ("model.safetensors", &mut Cursor::new(Vec::new()));
    quantise(&weights, &precision("3-bit gptq"), &text, None, file, heard).unwrap();
}
