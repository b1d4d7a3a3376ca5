//! The clock of a GPU. One that had nothing to do for seconds has turned it down, and takes hundreds of
//! milliseconds of work to turn it up again: an H200 is 3.2 times as slow at first, as fast as it gets after 600 ms,
//! and stays so for more than a second of idling. What is measured in between tells of that and of nothing else.

use super::{Bind, Geometry, Gpu, Kernel};
use crate::{error::Result, time::now_ms};

/// A piece of work of always the same size.
const KERNEL: Kernel = Kernel::new("ceiling_arithmetic", Geometry::elements(64));
const INVOCATIONS: usize = 1 << 16;
const ROUNDS: u32 = 256;
/// Chromium rounds timestamps to a tenth of a millisecond: a piece is long enough to see a twentieth of it.
const DISPATCHES: usize = if cfg!(test) { 1 } else { 40 };

/// The clock is up when a piece takes no more than this of the shortest there was.
const USUAL: f64 = 1.05;
/// Nothing better is expected when there was none for so long.
const PATIENCE_MS: f64 = 300.0;
/// How long a GPU is kept busy at most.
const MOST_MS: f64 = 2000.0;

impl Gpu {
    /// Keeps a GPU busy until its clock is up: a few milliseconds where it is. Software adapters have none.
    pub async fn spin_up(&self) -> Result<()> {
        if self.terms().capabilities.software {
            return Ok(());
        }
        let y = self.alloc(&[INVOCATIONS]);
        let [a, b] = [0.5, 1.0].map(f32::to_bits);
        let list = self.record(|| {
            for _ in 0..DISPATCHES {
                self.dispatch(&KERNEL, &[ROUNDS, a, b], &[Bind::Write(1, &y)], [INVOCATIONS, 1]);
            }
        });
        self.prepare().await;
        let bell = self.alloc(&[1]);
        let begun = now_ms();
        let (mut best, mut since) = (f64::INFINITY, begun);
        loop {
            let took = self.piece(&list, &bell).await?;
            let now = now_ms();
            if took < best * 0.98 {
                (best, since) = (took, now);
            }
            let is_up = self.usual_ms.get().is_some_and(|usual| took <= usual * USUAL);
            if is_up || now - since > PATIENCE_MS || now - begun > MOST_MS {
                break;
            }
        }
        self.usual_ms.set(Some(self.usual_ms.get().unwrap_or(best).min(best)));
        Ok(())
    }

    /// Milliseconds of a piece, by the GPU's own clock where it has one.
    async fn piece(
        &self,
        list: &super::CommandList<()>,
        bell: &crate::tensor::Tensor,
    ) -> Result<f64> {
        let (laps, start) = (self.laps(), now_ms());
        laps.start();
        self.replay(list);
        let timed = laps.end().await?.and_then(|laps| laps.first().copied());
        if let Some(ms) = timed.filter(|ms| *ms > 0.0) {
            return Ok(ms);
        }
        self.read(&[bell]).await?;
        Ok(now_ms() - start)
    }
}

#[cfg(all(test, not(target_arch = "wasm32")))]
mod tests {
    use super::*;
    use pollster::block_on;

    #[test]
    fn a_clock_is_known_to_be_up_once_it_was() {
        let gpu = block_on(Gpu::open(None)).expect("a GPU or lavapipe");
        let mut terms = gpu.terms().clone();
        terms.capabilities.software = true;
        gpu.set_terms(terms.clone());
        block_on(gpu.spin_up()).unwrap();
        assert_eq!(gpu.usual_ms.get(), None, "a CPU's clock is not ours to bring up");
        terms.capabilities.software = false;
        gpu.set_terms(terms);
        block_on(gpu.spin_up()).unwrap();
        let usual = gpu.usual_ms.get().unwrap();
        assert!(usual > 0.0 && usual.is_finite());
        // Whatever is as fast as that is up; the shortest counts from then on.
        gpu.usual_ms.set(Some(f64::MAX));
        block_on(gpu.spin_up()).unwrap();
        assert!(gpu.usual_ms.get().unwrap() < f64::MAX);
    }
}
