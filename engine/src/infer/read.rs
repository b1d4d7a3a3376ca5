//! What the outputs of one pass mean, one function a kind of output.

use super::Values;
use crate::{
    ctc,
    error::{Error, Result},
    preprocess::{Given, Image, Processor},
    published::{Config, Inputs},
};
use record::{Empty, Finding, Label, Place};

/// Labels that are told of.
const TOP: usize = 5;
/// Things less likely than this are left out, as transformers does.
const THRESHOLD: f32 = 0.5;

/// What the named outputs of one pass say to a person.
pub(super) fn findings(
    values: &Values,
    config: &Config,
    processor: &Processor,
    inputs: &Inputs,
    given: &Given,
) -> Result<Vec<Finding>> {
    for name in ["logits_per_image", "logits_per_audio", "logits_per_video"] {
        if let Some((shape, logits)) = values.get(name) {
            return Ok(vec![similarities(shape, logits)]);
        }
    }
    match (values.get("logits"), values.get("pred_boxes")) {
        (Some((shape, logits)), Some((_, boxes))) => {
            return Ok(places(shape, logits, boxes, config, &given.images));
        }
        (Some((shape, logits)), None) => {
            return match (shape.len(), given.audio.is_empty()) {
                (2, _) => Ok(logits.chunks(shape[1]).map(|row| labels(row, config)).collect()),
                (_, false) => transcripts(shape, logits, config, processor),
                (_, true) => masked_words(shape, logits, processor, inputs),
            };
        }
        (None, _) => {}
    }
    let names = [
        "sentence_embedding",
        "text_embeds",
        "image_embeds",
        "audio_embeds",
        "pooler_output",
        "last_hidden_state",
    ];
    let Some(name) = names.into_iter().find(|name| values.contains_key(name)) else {
        let known: Vec<_> = values.keys().copied().collect();
        return Err(Error::unsupported(format!("nothing is made of the outputs {known:?}")));
    };
    let (shape, numbers) = &values[name];
    Ok(embeddings(name, shape[shape.len() - 1], numbers))
}

fn softmax(row: &[f32]) -> Vec<f32> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = row.iter().map(|x| (x - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

/// The `id2label` of a class.
fn label(config: &Config, id: usize) -> String {
    let named = config.get("id2label").and_then(|labels| labels.get(id.to_string()));
    named.and_then(|name| name.as_str()).map_or_else(|| format!("LABEL_{id}"), str::to_owned)
}

/// The likeliest first.
fn best(scores: &[f32], name: impl Fn(usize) -> String) -> Vec<Label> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(TOP);
    order.into_iter().map(|id| Label { label: name(id), score: scores[id] }).collect()
}

/// What one image shows.
fn labels(logits: &[f32], config: &Config) -> Finding {
    Finding::Labels { labels: best(&softmax(logits), |id| label(config, id)) }
}

/// What each of the masked words is.
fn masked_words(
    shape: &[usize],
    logits: &[f32],
    processor: &Processor,
    inputs: &Inputs,
) -> Result<Vec<Finding>> {
    let mask = ["[MASK]", "<mask>"];
    let mask = mask.iter().find_map(|token| processor.tokenizer()?.id(token));
    let Some((mask, (_, ids))) = mask.zip(inputs.ints.get("input_ids")) else {
        return Err(Error::unsupported("the tokenizer has no token for a masked word"));
    };
    let rows = logits.chunks(shape[shape.len() - 1]).zip(ids);
    let masked = rows.filter(|(_, id)| **id == i64::from(mask));
    let word = |id: usize| processor.decode(&[id as u32]);
    let found = masked.map(|(row, _)| Finding::Labels { labels: best(&softmax(row), word) });
    let found: Vec<_> = found.collect();
    match found.is_empty() {
        true => Err(Error::input("text", "masks no word: write [MASK] where one is to be found")),
        false => Ok(found),
    }
}

/// Things and their places, image by image.
fn places(
    shape: &[usize],
    logits: &[f32],
    boxes: &[f32],
    config: &Config,
    images: &[Image],
) -> Vec<Finding> {
    let (queries, labels) = (shape[1], shape[2]);
    let of_images = logits.chunks(queries * labels).zip(boxes.chunks(queries * 4)).zip(images);
    let found = of_images.map(|((logits, boxes), image)| {
        let mut found = Vec::new();
        for (logits, corner) in logits.chunks(labels).zip(boxes.chunks(4)) {
            let scores = softmax(logits);
            // The last label means that there is nothing.
            let scores = &scores[..labels - 1];
            let id = crate::stats::argmax(scores);
            if scores[id] > THRESHOLD {
                let (width, height) = (image.width as f32, image.height as f32);
                let [x, y, w, h] = [corner[0], corner[1], corner[2], corner[3]];
                let edges = [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0];
                let edges = std::array::from_fn(|i| edges[i] * [width, height][i % 2]);
                found.push(Place { label: label(config, id), score: scores[id], edges });
            }
        }
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        Finding::Boxes { boxes: found }
    });
    found.collect()
}

/// What was said in one recording, from the outputs of a class that hears letters.
pub(crate) fn transcript(
    values: &Values,
    config: &Config,
    processor: &Processor,
) -> Result<String> {
    let Some((shape, logits)) = values.get("logits").filter(|(shape, _)| shape.len() == 3) else {
        return Err(Error::unsupported("the model hears no letters"));
    };
    let texts = transcripts(shape, logits, config, processor)?.into_iter().map(|text| match text {
        Finding::Text { text, .. } => text,
        _ => String::new(),
    });
    Ok(texts.collect::<Vec<_>>().join(" "))
}

/// What was said, from a class that hears letters.
fn transcripts(
    shape: &[usize],
    logits: &[f32],
    config: &Config,
    processor: &Processor,
) -> Result<Vec<Finding>> {
    let (frames, vocabulary) = (shape[1], shape[2]);
    let blank = config.whole_or("pad_token_id", 0)? as u32;
    let rows = logits.chunks(frames * vocabulary).map(|row| {
        let ids = ctc::greedy(row, vocabulary, blank);
        let text = processor.decode(&ids);
        let empty = text.trim().is_empty().then_some(Empty::NoLetters);
        Finding::Text { text, ids, empty }
    });
    Ok(rows.collect())
}

/// How well texts fit what is seen or heard: they compete, unless there is only one.
fn similarities(shape: &[usize], logits: &[f32]) -> Finding {
    let texts = shape[1];
    let rows = logits.chunks(texts);
    match texts {
        1 => Finding::Similarities {
            scale: "logit".to_owned(),
            rows: rows.map(<[f32]>::to_vec).collect(),
        },
        _ => Finding::Similarities {
            scale: "probability".to_owned(),
            rows: rows.map(softmax).collect(),
        },
    }
}

/// Points and, where there are several and each is one input's, the cosines between them.
fn embeddings(name: &'static str, width: usize, values: &[f32]) -> Vec<Finding> {
    let rows: Vec<Vec<f32>> = values.chunks(width).map(<[f32]>::to_vec).collect();
    let mut findings = Vec::new();
    if name != "last_hidden_state" && rows.len() > 1 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let cosine = |a: &[f32], b: &[f32]| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        let cosines = |a: &Vec<f32>| rows.iter().map(|b| cosine(a, b)).collect();
        let rows = rows.iter().map(cosines).collect();
        findings.push(Finding::Similarities { scale: "cosine".to_owned(), rows });
    }
    findings.push(Finding::Embeddings { name: name.to_owned(), rows });
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn boxes_are_edges_in_pixels_of_the_image_that_was_given() {
        let config = Config::new(json!({"id2label": {"0": "cat", "1": "dog"}})).unwrap();
        let image = Image { width: 200, height: 100, rgb: vec![0; 60_000] };
        // A dog in the middle, nothing, and something too unlikely to be told of.
        let logits = [0.0, 5.0, 0.0, 0.0, 0.0, 9.0, 1.0, 1.1, 1.0];
        let boxes = [0.5, 0.5, 0.2, 0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1];
        let found = places(&[1, 3, 3], &logits, &boxes, &config, &[image]);
        let [Finding::Boxes { boxes }] = &found[..] else { panic!("{found:?}") };
        assert_eq!((boxes.len(), &*boxes[0].label), (1, "dog"));
        for (edge, wanted) in boxes[0].edges.iter().zip([80.0, 30.0, 120.0, 70.0]) {
            assert!((edge - wanted).abs() < 1e-3, "{:?}", boxes[0].edges);
        }
    }

    #[test]
    fn texts_compete_unless_there_is_only_one() {
        let Finding::Similarities { scale, rows } = similarities(&[1, 2], &[0.0, 3f32.ln()]) else {
            panic!("another finding")
        };
        assert_eq!(scale, "probability");
        assert!((rows[0][1] - 0.75).abs() < 1e-6);
        let alone = similarities(&[2, 1], &[7.0, 8.0]);
        let rows = vec![vec![7.0], vec![8.0]];
        assert_eq!(alone, Finding::Similarities { scale: "logit".to_owned(), rows });
    }

    #[test]
    fn sentences_are_compared_with_each_other() {
        let found = embeddings("sentence_embedding", 2, &[1.0, 0.0, 3.0, 4.0]);
        let Finding::Similarities { rows, .. } = &found[0] else { panic!("{found:?}") };
        assert!((rows[0][1] - 0.6).abs() < 1e-6 && (rows[1][1] - 1.0).abs() < 1e-6);
        assert_eq!(embeddings("sentence_embedding", 2, &[1.0, 0.0]).len(), 1);
    }
}
