//! The WGSL kernels of Fewbit and the composition of their variants.
