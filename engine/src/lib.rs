//! Few-bit inference over wgpu and WASM SIMD, natively and in a page.

pub mod device;
pub mod error;
pub mod kv;
pub mod ops;
pub mod quant;
pub mod selftest;
pub mod tensor;
pub mod testing;
pub mod weights;
