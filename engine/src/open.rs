//! Opens what a request names: the device of its backend, and a model on it.

use crate::{
    device::Device,
    embedder::Embedder,
    error::{Error, Result},
    load::{Account, Loader},
    models::{self, Model},
    probe,
    published::Published,
    weights::Source,
};
use record::{Backend, Event, Precision};
use std::cell::Cell;

/// Room that a page needs beside the weights: activations, key-value caches, outputs to compare.
pub(crate) const BESIDE_WEIGHTS: u64 = 300_000_000;

/// Loading is told of at most this often.
const PROGRESS_MS: f64 = 100.0;

/// The device of a backend, without what an earlier request left on it.
pub(crate) async fn device(backend: Backend, embedder: &dyn Embedder) -> Result<Device> {
    match backend {
        Backend::Webgpu | Backend::Native => {
            let gpu = embedder.gpu().await?;
            gpu.forget();
            Ok(Device::Gpu(gpu))
        }
        Backend::Wasm => Ok(Device::cpu()),
        Backend::Webnn => Err(Error::unsupported(probe::NO_WEBNN_KERNELS)),
    }
}

/// Says whatever can be told of a model from names and shapes before a weight is read: what its class
/// misses, and that there is no room.
pub(crate) async fn check_plan(
    published: &Published,
    precision: &Precision,
    embedder: &dyn Embedder,
) -> Result<()> {
    let plan = Loader::planning(&published.checkpoint, precision);
    models::load(published.class, &published.config, &plan).await?;
    must_fit(plan.account().memory().weights_bytes, embedder.memory_limit())
}

/// Refuses weights that the memory has no room for. Those of a GPU count as well: its results are
/// checked against the same weights in main memory.
pub(crate) fn must_fit(weights: u64, limit: Option<u64>) -> Result<()> {
    match limit {
        Some(limit) if weights.saturating_add(BESIDE_WEIGHTS) > limit => {
            Err(Error::unsupported(format!(
                "the weights take {weights} bytes and the page up to {BESIDE_WEIGHTS} beside them, \
                 WASM memory ends at {limit}; use fewer bits or a smaller model"
            )))
        }
        _ => Ok(()),
    }
}

/// Loads a model and tells of it now and then.
pub(crate) async fn load(
    published: &Published,
    source: &dyn Source,
    device: &Device,
    precision: &Precision,
    embedder: &dyn Embedder,
) -> Result<(Box<dyn Model>, Account)> {
    let last = Cell::new(embedder.now());
    let progress = |done_bytes, total_bytes| {
        if embedder.now() - last.get() > PROGRESS_MS {
            last.set(embedder.now());
            embedder.emit(Event::Loading { done_bytes, total_bytes });
        }
    };
    let loader = Loader::new(source, &published.checkpoint, device, precision, &progress);
    let model = models::load(published.class, &published.config, &loader).await?;
    Ok((model, loader.account()))
}
