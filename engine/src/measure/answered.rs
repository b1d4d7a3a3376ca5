//! How often a cell is right, where its case has samples with labels: that tells what bits, kernels and browser leave of
//! what a model has learnt.

use super::outputs;
use crate::{
    answers::{Counted, Labelled, Right, interval, labelled, right_outputs, right_text, total},
    case::Case,
    device::Device,
    embedder::Embedder,
    error::Result,
    generate::{Options, generate, prompts, stop_tokens},
    models::{Decoder, Model},
    ops::Sampling,
    weights::Source,
};
use record::Answered;

/// Samples that a cell is asked about, at most.
const MOST: usize = 100;

/// The right answers of a model on `device`; none where nobody knows any.
pub(super) async fn answered(
    device: &Device,
    model: &dyn Model,
    (case, files): (&Case, &dyn Source),
    embedder: &dyn Embedder,
) -> Result<Option<Answered>> {
    let Some(file) = &case.samples else { return Ok(None) };
    let mut counted = Vec::new();
    for sample in labelled(files, file).await?.into_iter().take(MOST) {
        let right = match model.decoder() {
            Some(decoder) => {
                let text = text(device, decoder, case, &sample, embedder).await?;
                right_text(&sample.right, &text)
            }
            None => {
                let values = outputs::plain(device, model, &sample.inputs).await?;
                let Case { published, .. } = case;
                right_outputs(&sample.right, &|name| values.get(name), &published.config)?
            }
        };
        counted.push(Counted { all: sample.right.count(), of: [right] });
    }
    let (answers, [right]) = total(&counted);
    let samples = counted.len();
    Ok((answers > 0).then(|| Answered { samples, answers, right, interval: interval(&counted, 0) }))
}

/// What a model writes about a sample. A text that goes on beyond the right one is wrong.
async fn text(
    device: &Device,
    decoder: &dyn Decoder,
    case: &Case,
    sample: &Labelled,
    embedder: &dyn Embedder,
) -> Result<Vec<u32>> {
    let most = match &sample.right {
        Right::Tokens(tokens) => tokens.len() + 1,
        Right::Class(_) | Right::Things(_) => 1,
    };
    let generation = &case.published.generation;
    let mut written = Vec::new();
    for prompt in prompts(decoder, &sample.inputs)? {
        let options = Options {
            max_new_tokens: most.min(prompt.room(decoder)),
            sampling: Sampling::Greedy,
            stop_tokens: stop_tokens(decoder, generation),
            suppressed: generation.suppressed.clone(),
        };
        let (inputs, ids, now) = (&prompt.inputs, &prompt.ids, || embedder.now());
        let text = generate(device, decoder, inputs, ids, &options, &now, &|_| ()).await?;
        written.extend_from_slice(&text.ids[ids.len()..]);
    }
    Ok(written)
}
