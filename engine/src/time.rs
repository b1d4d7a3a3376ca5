//! What time it is, for figures, and waiting.

/// Milliseconds since some moment, as finely as the platform tells.
#[cfg(not(target_arch = "wasm32"))]
pub fn now_ms() -> f64 {
    use std::{sync::LazyLock, time::Instant};
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_secs_f64() * 1e3
}

#[cfg(target_arch = "wasm32")]
pub use page::{Pause, now_ms, pause, set_clock};

/// A page's clock is JavaScript's, of which only the page's side knows.
#[cfg(target_arch = "wasm32")]
mod page {
    use std::{cell::Cell, pin::Pin};

    /// What is done with once some time has passed.
    pub type Pause = Pin<Box<dyn Future<Output = ()>>>;

    thread_local! {
        static CLOCK: Cell<fn() -> f64> = const { Cell::new(|| 0.0) };
        static PAUSE: Cell<fn(f64) -> Pause> = const { Cell::new(|_| Box::pin(async {})) };
    }

    /// Milliseconds since some moment, as finely as the page tells.
    pub fn now_ms() -> f64 {
        CLOCK.get()()
    }

    /// Leaves the thread to others for so many milliseconds, and a few more.
    pub fn pause(milliseconds: f64) -> Pause {
        PAUSE.get()(milliseconds)
    }

    /// Who is asked from now on what time it is, and who waits.
    pub fn set_clock(clock: fn() -> f64, pause: fn(f64) -> Pause) {
        CLOCK.set(clock);
        PAUSE.set(pause);
    }
}
