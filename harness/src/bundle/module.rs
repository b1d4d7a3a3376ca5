//! The modules of the page: the engine without and with what only a question needs.
//!
//! Cells read tensors. Tokenizers with their tables of Unicode, and decoders of pictures and sounds,
//! are half of an engine that has them, so that one is loaded only by who asks something.

use record::Request;
use std::fmt;

/// One of the WebAssembly modules in `pkg/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    /// Answers probes, runs cells and measures ops.
    Engine,
    /// Answers questions too.
    Infer,
}

impl Module {
    pub(super) const ALL: &[Module] = &[Module::Engine, Module::Infer];

    /// The one that answers `request`.
    pub(crate) fn of(request: &Request) -> Module {
        match request {
            Request::Infer(_) => Module::Infer,
            Request::Probe { .. } | Request::Run(_) | Request::Bench(_) => Module::Engine,
        }
    }

    /// What cargo builds it with.
    pub(super) fn features(self) -> &'static [&'static str] {
        match self {
            Module::Engine => &["--no-default-features"],
            Module::Infer => &[],
        }
    }
}

impl fmt::Display for Module {
    /// The name of its files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Module::Engine => "engine",
            Module::Infer => "infer",
        })
    }
}
