//! Checkpoints: from files as Hugging Face and llama.cpp publish them to rows of weights.
//!
//! A [`Source`] hands out byte ranges of named files: a folder natively, HTTP ranges in a page. A
//! [`Checkpoint`] reads only headers when it is opened, checks every one of them against the size of
//! its file, and afterwards gives out tensors a few rows at a time, so that a model is never held
//! twice. Names are Hugging Face's whatever the file's format is.
//!
//! Reading order: [`dtype`] says how elements are stored and [`blocks`] turns them into f32, [`codes`] into
//! integers with their scales;
//! [`safetensors`] and [`gguf`] read one file's header into a table of tensors, and [`list`] such a
//! table alone; [`checkpoint`] picks the files and joins their tables, `quantised` makes
//! weights of the parts that GPTQ, AWQ and HQQ have left of them, and [`tensor`] reads rows;
//! [`artefact`] is a file of weights that are packed already. Files come from anywhere, so every count is checked before memory is taken for it.

pub mod artefact;
pub mod blocks;
pub mod checkpoint;
pub mod codes;
pub mod dtype;
pub mod gguf;
pub mod list;
mod metered;
mod quantised;
pub mod safetensors;
mod sources;
pub mod tensor;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests;

pub use artefact::Artefact;
pub use checkpoint::Checkpoint;
pub use dtype::Dtype;
pub use metered::Metered;
#[cfg(not(target_arch = "wasm32"))]
pub use sources::Folder;
pub use sources::Memory;
pub use tensor::TensorInfo;

use crate::error::Result;
use std::{future::Future, ops::Range, pin::Pin};

/// More tensors than any published model has in one checkpoint; a header that claims more is refused
/// before its table fills the memory.
pub const MAX_TENSORS: usize = 1 << 17;

/// A future that stays on its thread: pages have one.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Byte ranges of named files.
pub trait Source {
    /// Size of a file, or none where there is no such file.
    fn size(&self, file: &str) -> Option<u64>;

    /// Reads one range; shorter than asked for is an error.
    fn read<'a>(&'a self, file: &'a str, range: Range<u64>) -> LocalFuture<'a, Result<Vec<u8>>>;
}
