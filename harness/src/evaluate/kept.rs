//! What is said of an evaluation, and what is kept of it.

use super::Args;
use anyhow::Result;
use engine::{
    evaluate::Found,
    load::{Entry, LoadPlan, Step},
    packing::Weights,
};
use matrix::view::precision::{Cache, Evaluation, StoredMatrix, Text};
use record::{Answers, Fidelity, KvFormat, Likeness, Precision, Words};

/// What is kept of it.
pub(super) fn evaluation(
    args: &Args,
    weights: &Weights,
    precision: &Precision,
    text: Text,
    found: Found,
) -> Result<Evaluation> {
    let plan = weights.plan(precision)?;
    let memory = plan.memory();
    let engine = engine::engine_info(None);
    let commit = Some(engine.commit).filter(|commit| commit != "unknown");
    let commit = commit.map(|commit| format!(" ({commit})")).unwrap_or_default();
    let cache = Cache {
        format: precision.kv.to_string(),
        is_whole: matches!(precision.kv, KvFormat::F32 | KvFormat::F16)
            && precision.window.is_none(),
        token_bytes: found.token_bytes,
        tokens: precision.window.map(|window| window.tokens() as u64),
    };
    Ok(Evaluation {
        at: String::new(),
        engine: format!("fewbit {}{commit}", engine.version),
        model: args.model.clone(),
        reference: args.reference.as_ref().unwrap_or(&args.model).clone(),
        precision: Some(precision.clone()),
        format: None,
        bpw: memory.bpw,
        weights_bytes: memory.weights_bytes,
        cache,
        text,
        fidelity: found.fidelity,
        likeness: found.likeness,
        words: found.words,
        answers: found.answers,
        matrices: matrices(&plan),
    })
}

/// Every matrix under the name that it was published with: those that are multiplied with as one are still several.
fn matrices(plan: &LoadPlan) -> Vec<StoredMatrix> {
    let stored = |entry: &Entry, name: &str, shape: &[usize]| {
        let other = match entry.steps.first() {
            Some(Step::Tied { to } | Step::TiedIfEqual { to, .. }) => {
                plan.entries.iter().find(|it| it.name == *to)
            }
            _ => None,
        };
        StoredMatrix {
            name: name.to_owned(),
            shape: shape.to_vec(),
            format: entry.format.to_string(),
            bits: entry.format.bits(),
            bpw: other.unwrap_or(entry).bpw().unwrap_or_default(),
        }
    };
    let own = plan.entries.iter().filter(|entry| entry.is_matrix());
    let parts = |entry: &Entry| match entry.steps.contains(&Step::Stack) {
        true => entry.sources.iter().map(|it| stored(entry, &it.name, &it.shape)).collect(),
        false => vec![stored(entry, &entry.name, &entry.shape)],
    };
    own.flat_map(parts).collect()
}

/// All of it in one line.
pub(super) fn line(it: &Evaluation) -> String {
    let Evaluation { fidelity, likeness, words, answers, .. } = it;
    let found = [
        fidelity.as_ref().map(of_tokens),
        likeness.as_ref().map(of_outputs),
        words.as_ref().map(of_words),
        answers.as_ref().map(of_answers),
    ];
    let found: Vec<String> = found.into_iter().flatten().collect();
    format!("{} at {}, {:.3} bits a weight, {}", it.model, it.name(), it.bpw, found.join("; "))
}

fn of_tokens(found: &Fidelity) -> String {
    let Fidelity { tokens, kl, kl_p99, top1, perplexity, reference_perplexity, .. } = found;
    format!(
        "{tokens} tokens: divergence {kl:.4} nats (99 of 100 below {kl_p99:.3}), top-1 agreement {:.1}%, \
         perplexity {perplexity:.2} (reference {reference_perplexity:.2})",
        100.0 * top1
    )
}

fn of_outputs(found: &Likeness) -> String {
    let Likeness { samples, outputs, rank, things } = found;
    let output = |it: &record::OutputLikeness| {
        let top1 = it.top1.map(|share| format!(", top-1 agreement {:.1}%", 100.0 * share));
        let (name, cosine, least) = (&it.name, it.cosine, it.least);
        format!("{name} cosine {cosine:.4} (lowest {least:.4}){}", top1.unwrap_or_default())
    };
    let mut parts: Vec<String> = outputs.iter().map(output).collect();
    parts.extend(rank.map(|rank| format!("rank correlation {rank:.4}")));
    parts.extend(things.map(|it| {
        let same = 100.0 * it.same_label;
        format!("{} things, overlap {:.3}, {same:.1}% with the same label", it.count, it.iou)
    }));
    format!("{samples} samples: {}", parts.join(", "))
}

fn of_words(found: &Words) -> String {
    let [own, reference] = found.rates().map(percent);
    let own = format!("{own}% ({}) of {} words wrong", between(found.interval), found.words);
    match found.are_known {
        true => {
            format!("{own}, {reference}% ({}) by the reference", between(found.reference_interval))
        }
        false => format!("{own} as the reference heard them"),
    }
}

fn of_answers(found: &Answers) -> String {
    let [own, reference] = found.shares().map(percent);
    let [of_own, of_reference] = [found.interval, found.reference_interval].map(between);
    let answers = found.answers;
    format!(
        "{own}% ({of_own}) of {answers} answers right, {reference}% ({of_reference}) of the reference's"
    )
}

fn percent(rate: f64) -> String {
    format!("{:.1}", 100.0 * rate)
}

fn between([low, high]: [f64; 2]) -> String {
    format!("{} to {}", percent(low), percent(high))
}
