//! The modules of the page: the engine, the same for threads, and the engine with what only a question
//! needs.
//!
//! Cells read tensors. Tokenizers with their tables of Unicode, and decoders of pictures and sounds,
//! are half of an engine that has them, so that one is loaded only by who asks something. Threads take
//! a module of their own, as every engine without shared memory refuses it; `web/worker.js` loads the
//! plain one there.

use record::Request;
use std::fmt;

/// One of the WebAssembly modules in `pkg/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    /// What takes the place of the next one without shared memory.
    Engine,
    /// Answers probes, runs cells and measures ops, on several threads.
    Threads,
    /// Answers questions too.
    Infer,
}

impl Module {
    pub(super) const ALL: &[Module] = &[Module::Engine, Module::Threads, Module::Infer];

    /// The one that answers `request`.
    pub(crate) fn of(request: &Request) -> Module {
        match request {
            Request::Infer(_) => Module::Infer,
            // Spectra are for recordings, which only questions are put as.
            Request::Bench(asked) if asked.ops.iter().any(|op| op == "log_mel") => Module::Infer,
            // A model for a GPU is packed by threads as well, and its reference is computed by them.
            Request::Probe { .. } | Request::Run(_) | Request::Bench(_) => Module::Threads,
        }
    }

    /// What cargo builds it with.
    pub(super) fn features(self) -> &'static [&'static str] {
        match self {
            Module::Engine | Module::Threads => &["--no-default-features"],
            Module::Infer => &[],
        }
    }

    /// Whether it has threads.
    pub(super) fn has_threads(self) -> bool {
        self == Module::Threads
    }
}

impl fmt::Display for Module {
    /// The name of its files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Module::Engine => "engine",
            Module::Threads => "threads",
            Module::Infer => "infer",
        })
    }
}
