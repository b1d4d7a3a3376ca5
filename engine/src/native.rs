//! The engine in a program on the host: files from folders, the GPU by wgpu.

use crate::{
    answer::answer,
    device::Gpu,
    embedder::Embedder,
    error::Result,
    threads,
    weights::{Folder, LocalFuture, Source},
};
use record::{Answer, CaseFile, Event, Request};
use std::{cell::RefCell, mem::ManuallyDrop, rc::Rc};

thread_local! {
    /// Opened once a thread and never closed: drivers may refuse after some tens of openings,
    /// and must not be closed while a thread's other values are going.
    static GPU: RefCell<Option<ManuallyDrop<Rc<Gpu>>>> = const { RefCell::new(None) };
}

/// Answers a request in this process: `case_url` is a folder, and the GPU is wgpu's.
pub fn answer_blocking(request: Request, emit: &mut dyn FnMut(Event)) -> Answer {
    let embedder = Native { emit: RefCell::new(emit) };
    pollster::block_on(answer(request, &embedder))
}

/// The GPU of this thread's requests, once one of them has opened it.
pub fn opened_gpu() -> Option<Rc<Gpu>> {
    GPU.with_borrow(|gpu| gpu.as_deref().cloned())
}

struct Native<'a> {
    emit: RefCell<&'a mut dyn FnMut(Event)>,
}

impl Embedder for Native<'_> {
    fn source(&self, url: &str, _files: &[CaseFile]) -> Box<dyn Source> {
        Box::new(Folder::new(url))
    }

    fn gpu(&self) -> LocalFuture<'_, Result<Rc<Gpu>>> {
        Box::pin(async {
            if let Some(gpu) = GPU.with_borrow(|gpu| gpu.as_deref().cloned())
                && gpu.check("an earlier cell").is_ok()
            {
                return Ok(gpu);
            }
            let gpu = Gpu::open(None).await?;
            GPU.set(Some(ManuallyDrop::new(Rc::clone(&gpu))));
            Ok(gpu)
        })
    }

    fn start_threads(&self, count: usize) -> LocalFuture<'_, Option<String>> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let started = threads::grow(count.min(processors));
        let why = (started < count).then(|| format!("the machine has {processors} processors"));
        Box::pin(async { why })
    }

    fn emit(&self, event: Event) {
        (self.emit.borrow_mut())(event);
    }
}
