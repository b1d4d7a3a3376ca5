//! What time it is, for figures, and waiting.

/// Milliseconds since some moment, as finely as the platform tells.
#[cfg(not(target_arch = "wasm32"))]
pub fn now_ms() -> f64 {
    use std::{sync::LazyLock, time::Instant};
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_secs_f64() * 1e3
}

#[cfg(target_arch = "wasm32")]
pub use page::{now_ms, pause, set_clock};

/// A page's clock is JavaScript's, of which only the page's side knows.
#[cfg(target_arch = "wasm32")]
mod page {
    use std::cell::Cell;
    use wasm_bindgen::prelude::*;

    #[wasm_bindgen(inline_js = "
export function pause(milliseconds) {
    return new Promise((resume) => setTimeout(resume, milliseconds));
}
")]
    extern "C" {
        /// Gives the page's other work so many milliseconds, or a few more.
        pub async fn pause(milliseconds: f64);
    }

    thread_local! {
        static CLOCK: Cell<fn() -> f64> = const { Cell::new(|| 0.0) };
    }

    /// Milliseconds since some moment, as finely as the page tells.
    pub fn now_ms() -> f64 {
        CLOCK.get()()
    }

    /// Who is asked from now on.
    pub fn set_clock(clock: fn() -> f64) {
        CLOCK.set(clock);
    }
}
