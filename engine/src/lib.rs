//! Few-bit inference over wgpu and WASM SIMD, natively and in a page.

pub mod error;
pub mod preprocess;
pub mod weights;
