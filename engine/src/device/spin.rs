//! The clock of a GPU. One that had nothing to do for seconds has turned it down, and takes hundreds of
//! milliseconds of work to turn it up again: an H200 is 3.2 times as slow at first, as fast as it gets after 600 ms,
//! and stays so for more than a second of idling. What is measured in between tells of that and of nothing else.

use super::{Bind, CommandList, Geometry, Gpu, Kernel};
use crate::{error::Result, tensor::Tensor, time::now_ms};

/// A dispatch of always the same size.
const KERNEL: Kernel = Kernel::new("ceiling_arithmetic", Geometry::elements(64));
const INVOCATIONS: usize = 1 << 16;
const ROUNDS: u32 = if cfg!(test) { 4 } else { 256 };

/// A GPU is asked for so many milliseconds of work at a time: less, and it would wait for the host for so long
/// between two pieces that it saw no need for a higher clock.
const PIECE_MS: f64 = 15.0;
/// Most dispatches of a piece.
const MOST_DISPATCHES: usize = 400;

/// The clock is up when a dispatch takes no more than this of the shortest there was.
const USUAL: f64 = 1.05;
/// Nothing better is expected when there was none for so long: clocks rise in steps, two of them 200 ms apart.
const PATIENCE_MS: f64 = 400.0;
/// How long a GPU is kept busy at most.
const MOST_MS: f64 = 2500.0;

impl Gpu {
    /// Keeps a GPU busy until its clock is up: for a moment where it is. Software adapters have none.
    pub async fn spin_up(&self) -> Result<()> {
        if self.terms().capabilities.software {
            return Ok(());
        }
        let y = self.alloc(&[INVOCATIONS]);
        let [a, b] = [0.5, 1.0].map(f32::to_bits);
        let one = self.record(|| {
            self.dispatch(&KERNEL, &[ROUNDS, a, b], &[Bind::Write(1, &y)], [INVOCATIONS, 1]);
        });
        self.prepare().await;
        let begun = now_ms();
        let (mut count, mut best, mut since) = (10, f64::INFINITY, begun);
        loop {
            let all = self.piece(&one, count, &y).await?;
            let took = all / count as f64;
            count = ((PIECE_MS / took) as usize).clamp(1, MOST_DISPATCHES);
            // Chromium rounds timestamps to a tenth of a millisecond.
            let is_precise = all > 2.0;
            let now = now_ms();
            if is_precise && took < best * 0.98 {
                (best, since) = (took, now);
            }
            let is_up =
                is_precise && self.usual_ms.get().is_some_and(|usual| took <= usual * USUAL);
            if is_up || now - since > PATIENCE_MS || now - begun > MOST_MS {
                break;
            }
        }
        if best.is_finite() {
            self.usual_ms.set(Some(self.usual_ms.get().unwrap_or(best).min(best)));
        }
        Ok(())
    }

    /// Milliseconds of so many dispatches, by the GPU's own clock where it has one.
    async fn piece(&self, one: &CommandList<()>, count: usize, y: &Tensor) -> Result<f64> {
        let (laps, start) = (self.laps(), now_ms());
        laps.start();
        (0..count).for_each(|_| self.replay(one));
        let timed = laps.end().await?.and_then(|laps| laps.first().copied());
        if let Some(ms) = timed.filter(|ms| *ms > 0.0) {
            return Ok(ms);
        }
        self.read(&[&y.reshape(&[INVOCATIONS])]).await?;
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
