//! Generates texts and tells of them as they grow.

use crate::{
    device::Device,
    embedder::Embedder,
    error::Result,
    generate::{Options, generate, prompts, stop_tokens},
    models::{Decoder, Inputs},
    ops::Sampling,
    preprocess::Processor,
    published::GenerationConfig,
};
use record::{Empty, Event, Finding, InferRequest, Inference};
use std::cell::{Cell, RefCell};

/// Generates texts and tells of them piece by piece.
pub(super) struct Writer<'a> {
    pub(super) device: &'a Device,
    pub(super) decoder: &'a dyn Decoder,
    pub(super) processor: &'a Processor,
    pub(super) request: &'a InferRequest,
    pub(super) embedder: &'a dyn Embedder,
}

impl Writer<'_> {
    /// A text for each row of the inputs.
    pub(super) async fn texts(
        &self,
        inputs: &Inputs,
        defaults: &GenerationConfig,
        said: &mut Inference,
    ) -> Result<Vec<Finding>> {
        let wanted = &self.request.generation;
        let sampling = match wanted.temperature > 0.0 {
            false => Sampling::Greedy,
            true => Sampling::Random {
                temperature: wanted.temperature,
                top_k: wanted.top_k,
                top_p: wanted.top_p,
                seed: wanted.seed,
            },
        };
        let stop_tokens = stop_tokens(self.decoder, defaults);
        let (mut findings, mut steps, mut decode_ms) = (Vec::new(), 0, 0.0);
        for (row, prompt) in prompts(self.decoder, inputs)?.into_iter().enumerate() {
            let room = prompt.room(self.decoder);
            let options = Options {
                max_new_tokens: room.min(wanted.max_new_tokens as usize),
                sampling,
                stop_tokens: stop_tokens.clone(),
                suppressed: defaults.suppressed.clone(),
            };
            let text = Text::new(self.processor, self.decoder.prompt_input(), &prompt.ids);
            let emit = |id| {
                let piece = text.push(id);
                if !piece.is_empty() {
                    self.embedder.emit(Event::Text { row, text: piece });
                }
            };
            let now = || self.embedder.now();
            let (device, decoder) = (self.device, self.decoder);
            let made =
                generate(device, decoder, &prompt.inputs, &prompt.ids, &options, &now, &emit);
            let made = made.await?;
            let rest = text.rest();
            if !rest.is_empty() {
                self.embedder.emit(Event::Text { row, text: rest });
            }
            steps += made.decode_steps;
            decode_ms += made.decode_ms;
            let (text, ids) = (text.told.into_inner(), made.ids[prompt.ids.len()..].to_vec());
            let empty = empty(&text, &ids, &stop_tokens, wanted.max_new_tokens);
            findings.push(Finding::Text { text, ids, empty });
        }
        said.decode_tps = (steps > 0).then(|| steps as f64 / (decode_ms / 1e3).max(1e-9));
        Ok(findings)
    }
}

/// Why a text of these new tokens has nothing to read in it, if it has not.
fn empty(text: &str, ids: &[u32], stop_tokens: &[u32], wanted: u32) -> Option<Empty> {
    match ids.first() {
        _ if !text.trim().is_empty() => None,
        None if wanted == 0 => Some(Empty::NoNewTokens),
        None => Some(Empty::NoRoom),
        Some(first) if stop_tokens.contains(first) => Some(Empty::EndOfText),
        Some(_) if text.is_empty() => Some(Empty::SpecialTokens),
        Some(_) => Some(Empty::WhiteSpace),
    }
}

/// A text that grows by tokens, of which several may be needed for one character.
struct Text<'a> {
    processor: &'a Processor,
    /// Tokens of the text and, where it continues its prompt, those of the prompt before them: the
    /// first word of a text loses the space before it where tokenizers see a beginning.
    ids: RefCell<Vec<u32>>,
    /// Bytes of the prompt's text.
    before: Cell<usize>,
    /// What has been told of.
    told: RefCell<String>,
}

impl<'a> Text<'a> {
    fn new(processor: &'a Processor, prompt_input: &str, prompt: &[u32]) -> Text<'a> {
        let continues = prompt_input == "input_ids";
        let ids = if continues { prompt.to_vec() } else { Vec::new() };
        let before = if continues { processor.decode(prompt).len() } else { 0 };
        let (ids, before) = (RefCell::new(ids), Cell::new(before));
        Text { processor, ids, before, told: RefCell::default() }
    }

    /// What the token adds; nothing while a character is not whole.
    fn push(&self, id: u32) -> String {
        self.ids.borrow_mut().push(id);
        match self.untold() {
            piece if piece.ends_with('\u{FFFD}') => String::new(),
            piece => self.tell(piece),
        }
    }

    /// What is left when the text has ended, be it half a character.
    fn rest(&self) -> String {
        self.tell(self.untold())
    }

    fn untold(&self) -> String {
        let text = self.processor.decode(&self.ids.borrow());
        let start = self.before.get() + self.told.borrow().len();
        text.get(start..).unwrap_or_default().to_owned()
    }

    fn tell(&self, piece: String) -> String {
        self.told.borrow_mut().push_str(&piece);
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{models::Config, preprocess::Tokenizer};
    use record::Class;
    use serde_json::json;

    /// Pieces are whole characters, though tokens are not, and make up the text.
    #[cfg(not(target_arch = "wasm32"))]
    #[test]
    fn a_text_is_told_of_in_whole_characters() {
        use crate::weights::{Memory, gguf};
        let file = include_bytes!("../preprocess/fixtures/smollm.gguf");
        let source = Memory::new().with("a.gguf", &file[..]);
        let header = pollster::block_on(gguf::read(&source, "a.gguf")).unwrap();
        let config = Config::new(json!({})).unwrap();
        let processor = pollster::block_on(Processor::open(Class::Llama, &config, &source));
        let tokenizer = Tokenizer::from_gguf(&header.metadata).unwrap();
        let (prompt, wanted) = ("Hello", " w\u{f6}rld \u{1f600} \u{6771}\u{4eac}!");
        let encode = |text| tokenizer.encode(text, false).unwrap();
        let (prompt, new) = (encode(prompt), encode(wanted));
        let processor = processor.unwrap().with_tokenizer(tokenizer.clone()).unwrap();
        let text = Text::new(&processor, "input_ids", &prompt);
        let pieces: Vec<String> = new.iter().map(|id| text.push(*id)).collect();
        assert!(pieces.iter().any(String::is_empty), "some token is half a character: {pieces:?}");
        assert!(pieces.iter().all(|piece| !piece.contains('\u{FFFD}')), "{pieces:?}");
        assert_eq!(pieces.concat(), wanted);
        assert_eq!(text.rest(), "");
    }
}
