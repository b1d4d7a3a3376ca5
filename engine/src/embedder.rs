//! What the engine needs of the page or program that it runs in.

use crate::{
    device::Gpu,
    error::{Error, Result},
    time::now_ms,
    weights::{LocalFuture, Source},
};
use record::{Capabilities, CaseFile, Event, Webnn};
use std::rc::Rc;

/// What the engine needs of the page or program that it runs in.
pub trait Embedder {
    /// Files below an URL in a page, in a folder on the host.
    fn source(&self, url: &str, files: &[CaseFile]) -> Box<dyn Source>;

    /// The GPU, opened once and kept; after an error it is opened anew.
    fn gpu(&self) -> LocalFuture<'_, Result<Rc<Gpu>>>;

    /// Gives up the GPU after it failed, and says if that was because it is lost: browsers tell of a
    /// loss later than of what a lost GPU refuses.
    fn leave_gpu(&self) -> LocalFuture<'_, Option<Error>> {
        Box::pin(async { None })
    }

    /// Starts threads until there are so many, this one included; why there are not, where there are
    /// fewer.
    fn start_threads(&self, _count: usize) -> LocalFuture<'_, Option<String>> {
        Box::pin(async { Some("nobody starts threads here".to_owned()) })
    }

    /// Milliseconds since some moment.
    fn now(&self) -> f64 {
        now_ms()
    }

    /// Passes an event on.
    fn emit(&self, event: Event);

    /// What the page can do; none outside a page.
    fn capabilities(&self) -> LocalFuture<'_, Option<Capabilities>> {
        Box::pin(async { None })
    }

    /// What the page's WebNN offers.
    fn webnn(&self) -> LocalFuture<'_, Result<Webnn>> {
        Box::pin(async { Err(Error::unsupported("WebNN is for pages, and this is none")) })
    }

    /// Bytes that came over the network since the request came; none where nothing does.
    fn fetched_bytes(&self) -> Option<u64> {
        None
    }

    /// Most bytes that were allocated at once in WASM memory since the request came.
    fn heap_bytes(&self) -> Option<u64> {
        None
    }

    /// Bytes that this program can address, where that is less than machines have.
    fn memory_limit(&self) -> Option<u64> {
        None
    }
}
