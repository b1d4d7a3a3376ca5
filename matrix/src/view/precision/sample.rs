//! Evaluations that nobody measured, for the tests.

use super::{Cache, Evaluation, StoredMatrix, Text};
use record::{Answers, Fidelity, KvFormat, Likeness, OutputLikeness, Precision, Stretch, Words};

/// One of this engine.
pub(super) fn own(precision: &str, bpw: f64, kl: f64) -> Evaluation {
    let precision: Precision = precision.parse().unwrap();
    let is_whole = precision.kv == KvFormat::F32;
    let cache =
        Cache { format: precision.kv.to_string(), is_whole, token_bytes: 46_080, tokens: None };
    Evaluation {
        at: "2026-01-02T03:04:05Z".to_owned(),
        engine: "fewbit 0.1.0".to_owned(),
        model: "smollm2-135m".to_owned(),
        reference: "smollm2-135m".to_owned(),
        precision: Some(precision),
        bpw,
        weights_bytes: (134_515_008.0 * bpw / 8.0) as u64,
        cache,
        text: Text { name: "docs.txt".to_owned(), context: 512 },
        fidelity: Some(Fidelity {
            tokens: 1024,
            kl,
            kl_p99: 4.0 * kl,
            top1: 0.9,
            ..Fidelity::default()
        }),
        ..Evaluation::default()
    }
}

/// One of another engine.
pub(super) fn peer(format: &str, bpw: f64, kl: f64) -> Evaluation {
    Evaluation {
        engine: "llama.cpp 0.3.36".to_owned(),
        precision: None,
        format: Some(format.to_owned()),
        ..own("4", bpw, kl)
    }
}

/// One of a model that does not write.
pub(super) fn alike(precision: &str, bpw: f64, distance: f64) -> Evaluation {
    let cosine = 1.0 - distance;
    let name = "sentence_embedding".to_owned();
    let output = OutputLikeness {
        name,
        rows: 200,
        cosine,
        least: cosine - 0.01,
        ..OutputLikeness::default()
    };
    Evaluation {
        reference: "minilm".to_owned(),
        model: "minilm".to_owned(),
        cache: Cache { format: "32".to_owned(), is_whole: true, ..Cache::default() },
        text: Text { name: "sentences.txt".to_owned(), context: 0 },
        fidelity: None,
        likeness: Some(Likeness {
            samples: 200,
            outputs: vec![output],
            rank: Some(0.995),
            ..Likeness::default()
        }),
        words: Some(Words {
            samples: 200,
            words: 1000,
            errors: 60,
            reference_errors: 50,
            interval: [0.05, 0.07],
            reference_interval: [0.04, 0.06],
            are_known: true,
        }),
        answers: Some(Answers {
            samples: 200,
            answers: 200,
            right: 190,
            reference_right: 198,
            interval: [0.92, 0.975],
            reference_interval: [0.975, 1.0],
        }),
        ..own(precision, bpw, 0.0)
    }
}

/// Gives it stretches of eight tokens.
pub(super) fn along(it: &mut Evaluation, divergences: &[f64]) {
    let fidelity = it.fidelity.get_or_insert_default();
    let stretch = |(at, kl): (usize, &f64)| Stretch {
        first: 8 * at,
        end: 8 * at + 8,
        tokens: 16,
        kl: *kl,
        ..Stretch::default()
    };
    fidelity.by_position = divergences.iter().enumerate().map(stretch).collect();
}

/// A matrix.
pub(super) fn matrix(name: &str, bits: u32) -> StoredMatrix {
    let (name, format) = (name.to_owned(), "q4 symmetric g32".to_owned());
    StoredMatrix { name, shape: vec![576, 576], format, bits, bpw: f64::from(bits) + 0.5 }
}
