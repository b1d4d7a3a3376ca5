//! How weights are stored: which numbers stand for them, and which words those numbers are in.
//!
//! A [`Format`] says which numbers: bits, groups and what their scales mean. A [`Layout`] says where
//! they lie; there is one for matrices, which the table below describes, and one for all else.
//!
//! A matrix has rows along N and columns along K. Columns are padded to a multiple of 32 and stored
//! in chunks of 32 weights; at 8 bits and fewer, `group` neighbouring weights of a row share a scale
//! `d`, and with the asymmetric scheme a minimum `m`, as f16. A weight is `d · code + m`; the
//! symmetric scheme has `m = −zero · d`.
//!
//! | bits | a chunk of 32 codes in 32-bit words | zero |
//! |---|---|---|
//! | 32, 16 | one, two to a word | – |
//! | 8 | 8 words, four signed bytes each | 0 |
//! | 4 | 4 words: byte `j` of the 16 holds weight `j` low and weight `16 + j` high | 8 |
//! | 3 | 2 words as at 2 bits, then one word of high bits: bit `p` of byte `l` belongs to weight `8·(p mod 4) + 4·(p div 4) + l` | 4 |
//! | 2 | 2 words: byte `j` of the 8 holds weights `j`, `8 + j`, `16 + j`, `24 + j` from its low bits up | 1.5 |
//!
//! So one shift and one mask of a word give four neighbours, one in each byte, to a GPU, and
//! sixteen neighbours to SIMD. The 4-bit layout is that of GGUF's Q4_0 and Q4_1 and the 8-bit layout
//! that of Q8_0, so those blocks are stored as they are. Two bits have no code for zero: the four
//! levels ±0.5 and ±1.5 serve bell-shaped weights better than a zero and a lopsided pair.
//!
//! `format.rs` has both; `quantiser.rs` is how codes are chosen, and `round.rs` one way to do it;
//! `codes.rs` packs and unpacks a chunk, `encode.rs` rows of a matrix, `matrix.rs` holds them, and `view.rs`
//! shows them to threads;
//! `moments.rs` is what a matrix is multiplied with, and `gptq` chooses codes by it;
//! `seeded.rs` makes rows that nobody quantised.

mod codes;
mod encode;
mod format;
mod gptq;
mod matrix;
mod moments;
mod quantiser;
mod round;
mod seeded;
mod view;

pub use codes::{chunk_words, pack, unpack};
pub use encode::PackedRows;
pub use format::{Format, Layout};
pub use gptq::Calibrated;
#[cfg(not(target_arch = "wasm32"))]
pub use gptq::Gptq;
pub(crate) use matrix::WordSum;
pub use matrix::{Matrix, MatrixBuilder, Shard, Words};
pub use moments::Moments;
pub use quantiser::{GroupCodes, Quantiser, Span, Subject, by_name};
pub use round::RoundToNearest;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use round::range as code_range;
pub(crate) use view::View;

/// Weights of a row that are stored together.
pub const CHUNK: usize = 32;
