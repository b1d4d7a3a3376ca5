//! Parts that several classes are made of.

pub(super) mod decoder;
pub(super) mod transformer;
