//! Few-bit inference over wgpu and WASM SIMD, natively and in a page.
//!
//! In scope: checkpoints as they are published, weights at 32, 16, 8, 4, 3 and 2 bits, the model
//! classes of the matrix, generation, and the figures of one cell. Out of scope: where files come
//! from ([`weights::Source`] hands them in), what a browser is, what a verdict leads to.
//!
//! Reading order: [`weights`] opens a checkpoint, [`published`] what lies beside it, [`quant`] packs its matrices, [`load`] puts them
//! on a [`device`]; [`ops`] compute on [`tensor`]s; [`models`] are written over ops, remember in
//! [`kv`] and speak through [`generate`]; [`run`] answers one request with an outcome after
//! [`selftest`] has passed, and `infer` one that a person asks.

pub mod architectures;
mod case;
mod compare;
pub mod device;
pub mod error;
pub mod generate;
mod infer;
pub mod kv;
pub mod load;
pub mod mel;
pub mod models;
pub mod ops;
pub mod preprocess;
mod probe;
pub mod published;
pub mod quant;
pub mod run;
pub mod selftest;
pub mod stats;
mod synthetic;
pub mod tensor;
pub mod testing;
#[cfg(target_arch = "wasm32")]
mod wasm;
// The bytes in it can be checked wherever the tests run.
#[cfg(all(test, not(target_arch = "wasm32")))]
#[path = "wasm/features.rs"]
mod wasm_features;
pub mod weights;

#[cfg(not(target_arch = "wasm32"))]
pub use run::answer_blocking;
