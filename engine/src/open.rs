//! Opens what a request names: the device of its backend, threads, and a model on it.

use crate::{
    device::Device,
    embedder::Embedder,
    error::{Error, Result},
    load::{Declared, Held, Loaded},
    models::{self, Decoder, Model},
    published::Published,
    threads,
    weights::Source,
};
use record::{Backend, Event, Precision};
use std::cell::Cell;

/// Room that a page needs beside the weights: activations, key-value caches, outputs to compare.
pub(crate) const BESIDE_WEIGHTS: u64 = 300_000_000;

/// Loading is told of at most this often.
const PROGRESS_MS: f64 = 100.0;

/// Why no cell runs on WebNN, whatever a browser offers.
pub(crate) const NO_WEBNN_KERNELS: &str = "the engine has no WebNN kernels";

/// The device of a backend, without what an earlier request left on it, and threads for what the CPU
/// computes: so many, or as many as there are.
pub(crate) async fn device(
    backend: Backend,
    threads: Option<usize>,
    embedder: &dyn Embedder,
) -> Result<Device> {
    spread(threads, embedder).await?;
    match backend {
        Backend::Webgpu | Backend::Native => {
            let gpu = embedder.gpu().await?;
            gpu.forget();
            gpu.untune();
            Ok(Device::Gpu(gpu))
        }
        Backend::Wasm => Ok(Device::cpu()),
        Backend::Webnn => Err(Error::unsupported(NO_WEBNN_KERNELS)),
    }
}

/// Spreads the CPU's work of this request over threads.
async fn spread(asked: Option<usize>, embedder: &dyn Embedder) -> Result<()> {
    let wanted = asked.unwrap_or(threads::MOST);
    if threads::started() < wanted
        && let Some(why) = embedder.start_threads(wanted).await
        && let Some(asked) = asked
    {
        let started = threads::started();
        return Err(Error::unsupported(format!(
            "{asked} threads where there are {started}: {why}"
        )));
    }
    threads::spread(wanted);
    Ok(())
}

/// Says whatever can be told of a model from names and shapes before a weight is read: what its class
/// misses, and that there is no room.
pub(crate) fn check_plan(
    published: &Published,
    precision: &Precision,
    embedder: &dyn Embedder,
) -> Result<()> {
    let Published { class, config, checkpoint, .. } = published;
    must_fit(&models::declare(*class, config, checkpoint, precision)?, embedder)
}

/// A model whose weights are yet to be loaded, within the limit on memory that the precision may have; `cache` knows
/// the bytes of the key-value cache of a decoder that is to write.
pub(crate) async fn declare(
    published: &Published,
    source: &dyn Source,
    precision: &Precision,
    cache: impl FnOnce(&dyn Decoder) -> Result<u64>,
    embedder: &dyn Embedder,
) -> Result<Declared<Box<dyn Model>>> {
    let Published { class, config, checkpoint, .. } = published;
    let mut model = models::declare(*class, config, checkpoint, precision)?;
    // Matrices that the file has twice take more where they differ.
    model.settle(source).await?;
    if let Some(limit) = precision.limit {
        let cache = model.model().decoder().map_or(Ok(0), cache)?;
        model = model.within(limit, cache, precision)?;
    }
    must_fit(&model, embedder)?;
    Ok(model)
}

/// Refuses weights that the memory has no room for. Those of a GPU count as well: its results are
/// checked against the same weights in main memory.
fn must_fit<T>(model: &Declared<T>, embedder: &dyn Embedder) -> Result<()> {
    let weights = model.plan().bytes();
    match embedder.memory_limit() {
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
    model: Declared<Box<dyn Model>>,
    source: &dyn Source,
    device: &Device,
    embedder: &dyn Embedder,
) -> Result<Loaded<Box<dyn Model>>> {
    let last = Cell::new(embedder.now());
    let progress = |done_bytes, total_bytes| {
        if embedder.now() - last.get() > PROGRESS_MS {
            last.set(embedder.now());
            embedder.emit(Event::Loading { done_bytes, total_bytes });
        }
    };
    model.load(source, device, &progress).await
}

/// The model of the weights that `device` holds, in main memory.
pub(crate) async fn take(
    published: &Published,
    held: Held,
    device: &Device,
    precision: &Precision,
) -> Result<Box<dyn Model>> {
    let Published { class, config, checkpoint, .. } = published;
    let model = models::declare(*class, config, checkpoint, precision)?;
    Ok(model.take(held, device).await?.model)
}
