//! Text to token ids and back.

use crate::{
    error::{Error, Result},
    weights::gguf::Metadata,
};

/// Text to token ids and back.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pad: u32,
    pads_left: bool,
}

/// Texts of one batch, each padded to the longest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Token ids, row-major: `rows` × `len`.
    pub ids: Vec<u32>,
    /// 1 where a token is, 0 where padding is; the same shape.
    pub mask: Vec<u32>,
    /// Number of texts.
    pub rows: usize,
    /// Tokens of the longest text.
    pub len: usize,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`. The padding and truncation that it may ask for are left out: they
    /// belong to a request, and cutting text silently would change what is measured.
    ///
    /// # Errors
    /// When it is not such a file.
    pub fn from_json(bytes: &[u8]) -> Result<Tokenizer> {
        let inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|e| Error::malformed("tokenizer.json", e.to_string()))?;
        let pad = inner
            .get_padding()
            .map(|padding| padding.pad_id)
            .or_else(|| ["[PAD]", "<pad>"].iter().find_map(|token| inner.token_to_id(token)));
        Tokenizer::new(inner, pad.unwrap_or(0))
    }

    /// Builds the tokenizer that the metadata of a GGUF file describes.
    ///
    /// # Errors
    /// When the keys are missing or wrong, or name a tokenizer that is not known here.
    pub fn from_gguf(metadata: &Metadata) -> Result<Tokenizer> {
        let (json, pad) = super::gguf::tokenizer_json(metadata)?;
        let inner = serde_json::to_vec(&json)
            .map_err(|e| e.to_string())
            .and_then(|json| tokenizers::Tokenizer::from_bytes(json).map_err(|e| e.to_string()))
            .map_err(|e| Error::malformed(metadata.file(), format!("its tokenizer: {e}")))?;
        Tokenizer::new(inner, pad)
    }

    fn new(mut inner: tokenizers::Tokenizer, pad: u32) -> Result<Tokenizer> {
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| Error::malformed("tokenizer.json", format!("truncation: {e}")))?;
        Ok(Tokenizer { inner, pad, pads_left: false })
    }

    /// Pads batches with another token or, for decoders that go on where texts end, on the left.
    ///
    /// # Errors
    /// When the vocabulary has no such token.
    pub fn with_padding(mut self, token: Option<&str>, on_the_left: bool) -> Result<Tokenizer> {
        if let Some(token) = token {
            self.pad = self.id(token).ok_or_else(|| {
                let message = format!("pad_token: {token:?} is not in the vocabulary");
                Error::malformed("tokenizer_config.json", message)
            })?;
        }
        self.pads_left = on_the_left;
        Ok(self)
    }

    /// Token ids of a text; `add_special` adds what the model expects around it, like `[CLS]` or
    /// `<s>`. Special tokens that are spelled out in the text become their ids either way.
    ///
    /// # Errors
    /// When the tokenizer has no token for a part of the text and no unknown token either.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, add_special)
            .map_err(|e| Error::input("text", format!("cannot be tokenised: {e}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Token ids of several texts, padded to the longest.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_batch(&self, texts: &[&str], add_special: bool) -> Result<Batch> {
        let encoded =
            texts.iter().map(|text| self.encode(text, add_special)).collect::<Result<Vec<_>>>()?;
        let (rows, len) = (encoded.len(), encoded.iter().map(Vec::len).max().unwrap_or(0));
        let mut batch = Batch { ids: Vec::new(), mask: Vec::new(), rows, len };
        for row in encoded {
            let padding = len - row.len();
            let (left, right) = if self.pads_left { (padding, 0) } else { (0, padding) };
            for (list, pad, row) in
                [(&mut batch.mask, 0, vec![1; row.len()]), (&mut batch.ids, self.pad, row)]
            {
                list.extend(std::iter::repeat_n(pad, left));
                list.extend(row);
                list.extend(std::iter::repeat_n(pad, right));
            }
        }
        Ok(batch)
    }

    /// The text of token ids; `skip_special` leaves out tokens like `</s>`.
    ///
    /// # Errors
    /// When an id has no token.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        if let Some(id) = ids.iter().find(|&&id| self.inner.id_to_token(id).is_none()) {
            return Err(Error::input("ids", format!("token {id} is not in the vocabulary")));
        }
        self.inner
            .decode(ids, skip_special)
            .map_err(|e| Error::input("ids", format!("cannot be decoded: {e}")))
    }

    /// The id of a token as the vocabulary spells it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The id that batches are padded with.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// Number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use crate::weights::{Memory, gguf};
    use serde_json::Value;

    const MINILM: &[u8] = include_bytes!("fixtures/minilm.json");
    const GGUF: [(&str, &[u8]); 5] = [
        ("gpt-2", include_bytes!("fixtures/gpt-2.gguf")),
        ("smollm", include_bytes!("fixtures/smollm.gguf")),
        ("llama-bpe", include_bytes!("fixtures/llama-bpe.gguf")),
        ("qwen2", include_bytes!("fixtures/qwen2.gguf")),
        ("spm", include_bytes!("fixtures/spm.gguf")),
    ];

    fn fixture() -> Value {
        serde_json::from_str(include_str!("fixtures/ids.json")).unwrap()
    }

    fn strings() -> Vec<String> {
        serde_json::from_value(fixture()["strings"].clone()).unwrap()
    }

    fn expected(name: &str) -> Vec<Option<Vec<u32>>> {
        serde_json::from_value(fixture()[name].clone()).unwrap()
    }

    fn metadata(name: &str) -> Metadata {
        let (_, bytes) = GGUF.iter().find(|(known, _)| *known == name).unwrap();
        let memory = Memory::new().with("a.gguf", *bytes);
        pollster::block_on(gguf::read(&memory, "a.gguf")).unwrap().metadata
    }

    fn from_gguf(name: &str) -> Tokenizer {
        Tokenizer::from_gguf(&metadata(name)).unwrap()
    }

    fn check(name: &str, tokenizer: &Tokenizer) {
        let expected = expected(name);
        assert_eq!(expected.len(), strings().len());
        for (text, ids) in strings().iter().zip(expected) {
            let Some(ids) = ids else { continue };
            assert_eq!(tokenizer.encode(text, true).unwrap(), ids, "{name}: {text:?}");
        }
    }

    #[test]
    fn ids_of_a_tokenizer_json_are_those_of_python() {
        check("minilm", &Tokenizer::from_json(MINILM).unwrap());
    }

    #[test]
    fn ids_of_gguf_vocabularies_are_those_of_python() {
        for (name, _) in GGUF {
            check(name, &from_gguf(name));
        }
    }

    /// As a folder of packed weights has them in the place of the file.
    #[test]
    fn a_gguf_vocabulary_is_the_same_in_files_of_its_own() {
        for (name, _) in GGUF {
            let files = crate::preprocess::as_files(&metadata(name)).unwrap();
            let file = |wanted: &str| &files.iter().find(|(name, _)| *name == wanted).unwrap().1;
            check(name, &Tokenizer::from_json(file("tokenizer.json")).unwrap());
            let config: Value = serde_json::from_slice(file("tokenizer_config.json")).unwrap();
            assert!(config["eos_token"].is_string(), "{name}: {config}");
        }
    }

    #[test]
    fn decoding_gives_the_text_back() {
        for (name, _) in GGUF {
            let tokenizer = from_gguf(name);
            for text in strings() {
                // Special tokens are skipped, and Qwen 2 composes its text (NFC), so that two
                // spellings of é come back as one: neither gives the text back.
                if text.contains("<s>") || (name == "qwen2" && text.contains('\u{301}')) {
                    continue;
                }
                let ids = tokenizer.encode(&text, true).unwrap();
                assert_eq!(tokenizer.decode(&ids, true).unwrap(), text, "{name}");
            }
        }
    }

    #[test]
    fn special_tokens_are_skipped_when_asked() {
        let tokenizer = from_gguf("smollm");
        let ids = tokenizer.encode("<|im_start|>hi<|im_end|> <think>", false).unwrap();
        assert_eq!(tokenizer.decode(&ids, false).unwrap(), "<|im_start|>hi<|im_end|> <think>");
        assert_eq!(tokenizer.decode(&ids, true).unwrap(), "hi <think>");
        let beyond = tokenizer.decode(&[1 << 30], false).unwrap_err();
        assert!(beyond.to_string().contains("not in the vocabulary"), "{beyond}");
    }

    #[test]
    fn batches_are_padded_to_their_longest_text() {
        let tokenizer = Tokenizer::from_json(MINILM).unwrap();
        let batch = tokenizer.encode_batch(&["hello", "hello, world"], true).unwrap();
        assert_eq!((batch.rows, batch.len), (2, 5));
        let (hello, comma, world) = (7592, 1010, 2088);
        assert_eq!(batch.ids, [101, hello, 102, 0, 0, 101, hello, comma, world, 102]);
        assert_eq!(batch.mask, [1, 1, 1, 0, 0, 1, 1, 1, 1, 1]);
        let empty = tokenizer.encode_batch(&[], true).unwrap();
        assert_eq!((empty.rows, empty.len, empty.ids.len()), (0, 0, 0));
    }

    #[test]
    fn files_that_are_no_tokenizers_are_refused() {
        for bytes in [&b""[..], b"{}", b"[]", b"{\"model\": {\"type\": \"BPE\"}}", b"\xff\xfe"] {
            let error = Tokenizer::from_json(bytes).unwrap_err();
            assert!(error.to_string().starts_with("tokenizer.json is malformed"), "{error}");
        }
    }
}
