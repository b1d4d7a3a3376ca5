//! A fixed piece of work beside each measured pass: how fast the processor was just then.
//!
//! Of equal runs in Chrome on two virtual machines the median passes spread by 18 and 20%, and lay in two
//! heaps, one 1.7 times the other: as if the core's other hardware thread were busy, or not. That lasts
//! from milliseconds to minutes, and no pass can tell it from a slower kernel; work that never changes
//! can. The two correlate at 0.93, and passes counted in yardsticks spread by 5%.
//!
//! It says nothing of a GPU, nor of the threads of a software adapter, so only the CPU path is told by it.

use crate::{device::Device, embedder::Embedder};
use std::hint::black_box;

/// As much as stays in the first cache.
const LANES: usize = 1024;
/// About a tenth of a millisecond: a page's clock ticks every 5 to 20 µs.
const ROUNDS: usize = 1024;

/// How long the work takes now, in milliseconds; none beside a GPU.
///
/// It shares no code with kernels, so that no change of these changes it.
pub(super) fn read(device: &Device, embedder: &dyn Embedder) -> Option<f64> {
    let Device::Cpu(_) = device else { return None };
    let start = embedder.now();
    black_box(work(black_box(0.999)));
    Some(embedder.now() - start)
}

/// Multiplications and additions over a row that stays in the cache.
#[inline(never)]
fn work(factor: f32) -> f32 {
    let mut row = [0.5f32; LANES];
    for round in 0..ROUNDS {
        let step = round as f32;
        for value in &mut row {
            *value = *value * factor + step;
        }
    }
    row.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_work_is_done() {
        // A factor of 0 leaves the last step in each place of the row.
        assert_eq!(work(0.0), (LANES * (ROUNDS - 1)) as f32);
    }
}
