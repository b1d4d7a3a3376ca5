//! Parts that several classes share, each written once.
//!
//! `encoder.rs` is a transformer layer that normalises first, `patches.rs` turns an image into
//! tokens, `clip.rs` makes CLIP's two towers of them, and `resnet.rs` is the convolutional backbone
//! of DETR.

pub mod clip;
pub mod encoder;
pub mod patches;
pub mod resnet;
