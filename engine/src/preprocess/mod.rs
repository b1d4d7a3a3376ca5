//! From what people have to what models take: text to token ids; and back: `ctc.rs`.
//!
//! A tokenizer comes from `tokenizer.json`, or from the metadata of a GGUF file, which carries the
//! same vocabulary under llama.cpp's names. Ids are those that Python's `tokenizers` gives; the
//! fixtures beside the code were made with it and with `sentencepiece`.

pub mod ctc;
mod gguf;
pub mod tokenizer;

pub use tokenizer::{Batch, Tokenizer};
