//! Cells of this machine, measured in the test's own process.

use engine::weights::Folder;
use record::{
    Answer, Axes, Backend, Browser, CaseFile, Cell, Class, Outcome, Precision, Request, RunRequest,
};
use std::path::Path;

/// One pass of the case in a folder, on the CPU.
pub fn once(class: Class, folder: &Path, precision: Precision) -> RunRequest {
    let files = Folder::new(folder).files().expect("a folder of a case");
    RunRequest {
        cell: Cell {
            class,
            case: "a case".to_owned(),
            precision,
            backend: Backend::Wasm,
            browser: Browser::Host,
            axes: Axes::default(),
        },
        case_url: folder.to_str().expect("a path of Unicode").to_owned(),
        files: files.into_iter().map(|name| CaseFile { name, bytes: 0 }).collect(),
        repeat: 1,
        repeat_quick: 0,
        quick_ms: 0.0,
        warmup: 0,
        max_new_tokens: None,
        lower_to: None,
        trace: false,
        tuning: None,
        tuning_ms: 0.0,
    }
}

/// What comes of a cell.
pub fn measured(request: RunRequest) -> Outcome {
    match engine::answer_blocking(Request::Run(request), &mut |_| {}) {
        Answer::Run(outcome) => *outcome,
        _ => panic!("a run is answered with an outcome"),
    }
}
