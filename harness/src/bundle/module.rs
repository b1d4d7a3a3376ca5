//! The modules of the page: the engine, the same for threads, and the engine with what only a question
//! needs.
//!
//! Cells read tensors. Tokenizers with their tables of Unicode, and decoders of pictures and sounds,
//! are half of an engine that has them, so that one is loaded only by who asks something. Threads take
//! a module of their own, as every engine without shared memory refuses it; `web/worker.js` loads the
//! plain one there.

use record::{Backend, Request};
use std::fmt;

/// One of the WebAssembly modules in `pkg/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    /// Answers probes, runs cells and measures ops.
    Engine,
    /// Does so on several threads.
    Threads,
    /// Answers questions too.
    Infer,
}

impl Module {
    pub(super) const ALL: &[Module] = &[Module::Engine, Module::Threads, Module::Infer];

    /// The one that answers `request`.
    pub(crate) fn of(request: &Request) -> Module {
        let backend = match request {
            Request::Infer(_) => return Module::Infer,
            Request::Probe { backend, .. } => *backend,
            Request::Run(request) => request.cell.backend,
            Request::Bench(request) => request.backend,
        };
        match backend {
            Backend::Wasm => Module::Threads,
            _ => Module::Engine,
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
