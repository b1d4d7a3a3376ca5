//! What time it is, for figures.

/// Milliseconds since some moment, as finely as the platform tells.
#[cfg(not(target_arch = "wasm32"))]
pub fn now_ms() -> f64 {
    use std::{sync::LazyLock, time::Instant};
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_secs_f64() * 1e3
}

#[cfg(target_arch = "wasm32")]
pub use crate::wasm::now_ms;
