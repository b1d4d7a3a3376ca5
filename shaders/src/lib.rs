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
//! which WGSL wants first. [`bindings`] reads from a composed text what it binds.
//!
//! Which variants there are is the engine's to say: it chooses kernels, and its tests validate each
//! one that it can choose.

mod bindings;
mod compose;

pub use bindings::{Space, bindings};
pub use compose::{ComposeError, Define, Dialect, Files, compose};

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
    "attention_alone",
    "attention_inputs",
    "attention_lanes",
    "attention_lanes_codes",
    "attention_lanes_rows",
    "attention_merge",
    "attention_step",
    "attention_step_inputs",
    "attention_step_rows",
    "attention_tiles",
    "binary",
    "blend",
    "bytes",
    "ceiling_arithmetic",
    "ceiling_memory",
    "ceiling_step",
    "copy_columns",
    "digits",
    "elements",
    "embed",
    "emit_token",
    "few_rows",
    "gated",
    "gather_rows",
    "grid",
    "group_norm",
    "kv_append",
    "kv_codes",
    "kv_pack",
    "kv_rows",
    "leave",
    "log_mel",
    "matmul",
    "matmul_fetch",
    "matmul_inputs",
    "matmul_slabs",
    "matmul_teams",
    "matvec",
    "matvec_digits",
    "matvec_row",
    "matvec_rows",
    "max_pool",
    "mean_pool",
    "norm",
    "pad_columns",
    "patches",
    "place_rows",
    "product",
    "reduce",
    "rope",
    "rotate",
    "round",
    "round_rows",
    "rows",
    "sample",
    "similarity",
    "softmax",
    "turns",
    "weights",
    "windows",
];

/// The names of all files, without their ending.
pub fn names() -> impl Iterator<Item = &'static str> {
    SOURCES.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_named_once() {
        let mut names: Vec<&str> = names().collect();
        names.dedup();
        assert!(names.is_sorted() && names.len() == SOURCES.len());
    }
}
