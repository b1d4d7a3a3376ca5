//! From what people have to what models take, as Hugging Face's processors do it.
//!
//! A [`Processor`] is opened on the files of a model (`preprocessor_config.json`,
//! `processor_config.json`, `tokenizer_config.json`, `tokenizer.json`, `generation_config.json`; the
//! class's defaults stand in for absent ones) and turns what is [`Given`] into
//! [`crate::published::Inputs`] under the names of the class's `forward()`.
//!
//! - texts: `tokenizer.rs` (`tokenizer.json`), `gguf.rs` (the vocabulary that a GGUF file carries),
//!   `letters.rs` (Wav2Vec2's `vocab.json`), and back; `chat` writes them as a chat;
//! - images: `image.rs` decodes, `resize.rs` resizes as torch does, `pixels.rs` crops and normalises,
//!   `detr.rs` pads to one size, `tiles.rs` cuts for LLaVA-NeXT and writes out `<image>`, `video.rs`
//!   picks frames, `pictures.rs` knows which class needs which;
//! - sounds: `audio.rs` decodes and resamples, `compressed.rs` decodes what is no WAV; `whisper.rs` and `clap.rs` cut and scale the log-mel
//!   spectra of [`crate::mel`], and `wav2vec2.rs` takes the samples themselves.
//!
//! The reference is transformers 5.23 with torchvision's image processors, which it prefers over
//! PIL's; they resize 8-bit images in integers, and so does `resize.rs`, to the same last bit. Where
//! transformers draws lots (which part of a long recording CLAP hears), the middle is taken here, so
//! that a cell can be repeated. Files come from anywhere: sizes are checked before memory is taken.

mod audio;
mod chat;
mod clap;
mod compressed;
mod detr;
mod gguf;
mod given;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod hostile;
mod image;
mod letters;

mod pictures;
mod pixels;
mod processor;
mod resize;
mod settings;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;
mod tiles;
pub mod tokenizer;
mod video;
mod wav2vec2;
mod whisper;

pub use crate::mel::Mel;
pub use audio::Audio;
pub use chat::ChatTemplate;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use gguf::as_files;
pub use given::{Given, taken};
pub use image::Image;
pub use processor::Processor;
pub use tokenizer::{Batch, Tokenizer};
