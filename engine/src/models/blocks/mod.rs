//! Parts that several classes are made of.

pub(super) mod decoder;
