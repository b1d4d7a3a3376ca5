//! Few-bit inference over wgpu and WASM SIMD, natively and in a page.
//!
//! In scope: checkpoints as they are published, weights at 32, 16, 8, 4, 3 and 2 bits, the model
//! classes of the matrix, generation, and the figures of one cell. Out of scope: where files come
//! from ([`weights::Source`] hands them in), what a browser is, what a verdict leads to.
//!
//! Reading order: [`weights`] opens a checkpoint, [`published`] what lies beside it, [`quant`] packs
//! its matrices; [`load`] makes a plan of what a model declares and puts it on a [`device`]; [`ops`]
//! compute on [`tensor`]s; [`models`] are written over ops, remember in [`kv`] and speak through
//! [`generate`]. `answer` gives a request to `probe`, which looks at the
//! device and runs [`selftest`], to `measure`, where a cell becomes an outcome, by kernels that `tune` has found
//! to be the fastest if it is asked to, to [`mod@bench`], which
//! times single calls of ops, or to `infer`, which answers a person; all open what they need through
//! `open`.

mod answer;
mod answers;
pub mod architectures;
mod axes;
pub mod bench;
#[cfg(all(feature = "infer", not(target_arch = "wasm32")))]
pub mod calibrate;
mod case;
pub mod ctc;
pub mod device;
mod embedder;
pub mod error;
#[cfg(all(feature = "infer", not(target_arch = "wasm32")))]
pub mod evaluate;
#[cfg(not(target_arch = "wasm32"))]
mod gemm;
pub mod generate;
#[cfg(feature = "infer")]
mod infer;
pub mod kv;
pub mod load;
mod measure;
#[cfg(feature = "infer")]
pub mod mel;
pub mod models;
#[cfg(not(target_arch = "wasm32"))]
mod native;
mod open;
pub mod ops;
#[cfg(not(target_arch = "wasm32"))]
pub mod packing;
#[cfg(feature = "infer")]
pub mod preprocess;
mod probe;
pub mod published;
pub mod quant;
#[cfg(not(target_arch = "wasm32"))]
pub mod reference;
pub mod selftest;
pub mod stats;
mod synthetic;
pub mod tensor;
pub mod testing;
mod threads;
mod time;
mod timed;
mod tune;
#[cfg(target_arch = "wasm32")]
mod wasm;
// The bytes in it can be checked wherever the tests run.
#[cfg(all(test, not(target_arch = "wasm32")))]
#[path = "wasm/features.rs"]
mod wasm_features;
pub mod weights;

#[cfg(not(target_arch = "wasm32"))]
pub use native::{answer_blocking, opened_gpu};
pub use probe::engine_info;
