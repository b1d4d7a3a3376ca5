//! What is seen: texts on stdout as they come, all else when it is there; progress on stderr.

use super::Args;
use crate::{
    exit::Exit,
    ui::{Bar, Ui, Unit},
};
use record::{Backend, Class, Empty, Event, Finding, Inference};
use serde_json::json;
use std::io::Write;

/// What is seen of one question.
pub(super) struct Screen<'a> {
    args: &'a Args,
    ui: &'a Ui,
    bar: Bar,
    /// The text that is being written.
    row: Option<usize>,
}

impl<'a> Screen<'a> {
    pub(super) fn new(args: &'a Args, ui: &'a Ui) -> Screen<'a> {
        Screen { args, ui, bar: ui.bar(&args.model, None, Unit::Steps), row: None }
    }

    /// While the model works.
    pub(super) fn show(&mut self, event: &Event) {
        match event {
            Event::Stage { stage } => self.bar.message(stage.clone()),
            Event::Loading { done_bytes, total_bytes } => {
                self.bar.message(format!("load {}%", done_bytes * 100 / (*total_bytes).max(1)));
            }
            Event::Text { row, text } if !self.ui.is_json() => {
                self.bar.finish();
                let mut stdout = std::io::stdout().lock();
                // The space that separates a word from the one before has nothing to separate here.
                let text = match self.row {
                    Some(last) if last == *row => text,
                    Some(_) => &format!("\n{}", text.trim_start()),
                    None => text.trim_start(),
                };
                self.row = Some(*row);
                // A closed pipe is no reason to fail.
                let _ = write!(stdout, "{text}").and_then(|()| stdout.flush());
            }
            _ => {}
        }
    }

    /// No more is coming.
    pub(super) fn finish(&self) {
        self.bar.finish();
        if self.row.is_some() {
            let _ = writeln!(std::io::stdout().lock());
        }
    }

    /// Prints what the model says of `texts` and whatever else was given.
    pub(super) fn tell(&self, inference: &Inference, texts: &[String]) -> Exit {
        if self.ui.is_json() {
            self.ui.result("", json!(inference));
            return if inference.error.is_none() { Exit::Ok } else { Exit::CellFailed };
        }
        if let Some(error) = &inference.error {
            let hint = match (inference.unsupported, self.args.browser, self.args.backend) {
                (true, None, None | Some(Backend::Native)) => {
                    "; --backend wasm computes on the CPU, --browser chrome in a page"
                }
                _ => "",
            };
            self.ui.error(format!("{error}{hint}"));
            return Exit::CellFailed;
        }
        for (number, finding) in inference.findings.iter().enumerate() {
            if let Finding::Text { empty: Some(empty), .. } = finding {
                let which = match inference.findings.len() {
                    1 => "the answer".to_owned(),
                    _ => format!("answer {}", number + 1),
                };
                self.ui.warn(format!("{which} is empty: {}", reason(*empty)));
            }
        }
        for line in inference.findings.iter().flat_map(|finding| lines(finding, texts)) {
            self.ui.result(line, json!(null));
        }
        let speed = inference.decode_tps.map(|tps| format!(", {tps:.1} tok/s"));
        self.ui.say(format!(
            "{} at {} bits, {:.1} MB{}: loaded in {:.2} s, answered in {:.2} s{}",
            inference.class.map(|class| class.name()).unwrap_or_default(),
            self.args.bits,
            inference.weights_bytes as f64 / 1e6,
            prompted(inference),
            inference.load_ms / 1e3,
            inference.answer_ms / 1e3,
            speed.unwrap_or_default(),
        ));
        Exit::Ok
    }
}

/// How texts became prompts, of models that continue them.
fn prompted(inference: &Inference) -> String {
    match (&inference.chat_template, inference.class) {
        (Some(file), _) => format!(", chat template of {file}"),
        (None, Some(Class::Llama | Class::Qwen2 | Class::Llava | Class::LlavaNext)) => {
            ", without a chat template".to_owned()
        }
        (None, _) => String::new(),
    }
}

fn reason(empty: Empty) -> &'static str {
    match empty {
        Empty::EndOfText => "its first token ends the text",
        Empty::NoRoom => "the prompt takes all positions that the model has; shorten it",
        Empty::NoNewTokens => "no new tokens were asked for",
        Empty::SpecialTokens => "all its tokens are special ones, which have no text",
        Empty::WhiteSpace => "there is nothing but white space in it",
        Empty::NoLetters => "no letter was heard",
    }
}

/// A finding for people; texts were printed as they came.
fn lines(finding: &Finding, texts: &[String]) -> Vec<String> {
    let scored = |score: &f32, name: &str| format!("{score:.4}  {name}");
    match finding {
        Finding::Text { .. } => Vec::new(),
        Finding::Labels { labels } => {
            labels.iter().map(|label| scored(&label.score, &label.label)).collect()
        }
        Finding::Boxes { boxes } if boxes.is_empty() => vec!["nothing is found".to_owned()],
        Finding::Boxes { boxes } => {
            let line = |place: &record::Place| {
                let [left, top, right, bottom] = place.edges;
                let edges = format!("at {left:.0} {top:.0} {right:.0} {bottom:.0}");
                scored(&place.score, &format!("{} {edges}", place.label))
            };
            boxes.iter().map(line).collect()
        }
        // Each pair once: a text is as near to itself as can be.
        Finding::Similarities { scale, rows } if scale == "cosine" => {
            let name = |at: usize| texts.get(at).cloned().unwrap_or_else(|| (at + 1).to_string());
            let pairs = rows.iter().enumerate().flat_map(|(a, row)| {
                let behind = row.iter().enumerate().skip(a + 1);
                behind.map(move |(b, cosine)| (a, b, cosine))
            });
            pairs
                .map(|(a, b, cosine)| scored(cosine, &format!("{} ~ {}", name(a), name(b))))
                .collect()
        }
        Finding::Similarities { scale, rows } => {
            let lines = rows.iter().enumerate().flat_map(|(number, row)| {
                let title = format!("{scale} of {}", number + 1);
                let scores = row.iter().zip(texts).map(|(score, text)| scored(score, text));
                std::iter::once(title).chain(scores).collect::<Vec<_>>()
            });
            lines.collect()
        }
        Finding::Embeddings { name, rows } => {
            let line = |row: &Vec<f32>| {
                let first: Vec<String> = row.iter().take(6).map(|x| format!("{x:.4}")).collect();
                format!("{name}: {} … ({} numbers; --json has all)", first.join(" "), row.len())
            };
            rows.iter().map(line).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_texts_have_one_cosine() {
        let texts = ["a cat".to_owned(), "a dog".to_owned()];
        let rows = vec![vec![1.0, 0.25], vec![0.25, 1.0]];
        let finding = Finding::Similarities { scale: "cosine".to_owned(), rows };
        assert_eq!(lines(&finding, &texts), ["0.2500  a cat ~ a dog"]);
        assert_eq!(lines(&finding, &[]), ["0.2500  1 ~ 2"]);
    }
}
