//! The WGSL kernels of Fewbit and the composition of their variants.
//!
//! A kernel is one plain `.wgsl` file under `wgsl/`. Its variants (bits of the weights, subgroups,
//! f16, size of a workgroup, masks) are switched by three directives at the start of a line, which
//! [`compose`] resolves before the text goes to a browser or to naga:
//!
//! ```text
//! #include "file.wgsl"
//! #if NAME            #if NAME == 3            (also != < <= > >=; an unknown name is 0)
//! #elif …   #else   #endif
//! ```
//!
//! Every definition also becomes `const NAME: u32 = …u;` at the top, after `enable` directives,
//! which WGSL wants first. `SUBGROUPS` is 1 for browsers and 2 for naga, which knows the built-in
//! functions but refuses the `enable` directive. Variants that the engine can ask for are listed in [`catalogue`] and the
//! crate's tests validate each one with naga.

mod catalogue;
mod compose;

pub use catalogue::catalogue;
pub use compose::{ComposeError, Define, compose};

/// Finds a file by its name without the ending.
fn source(name: &str) -> Option<&'static str> {
    SOURCES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

macro_rules! sources {
    ($($name:literal),+ $(,)?) => {
        /// Every file, compiled in: a page has no file system.
        const SOURCES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../wgsl/", $name, ".wgsl")))),+];
    };
}

sources![
    "activate",
    "activation",
    "add_positions",
    "argmax",
    "attention",
    "binary",
    "blend",
    "copy_columns",
    "embed",
    "emit_token",
    "gated",
    "gather_rows",
    "grid",
    "group_norm",
    "kv_append",
    "log_mel",
    "matmul",
    "matvec",
    "max_pool",
    "mean_pool",
    "norm",
    "pad_columns",
    "patches",
    "place_rows",
    "product",
    "reduce",
    "rope",
    "sample",
    "similarity",
    "softmax",
    "weights",
];
