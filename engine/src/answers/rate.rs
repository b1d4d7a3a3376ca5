//! Rates over samples, and how far they can be trusted.

/// How often samples are drawn anew.
const DRAWS: usize = 2000;

/// What was counted in one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted<const N: usize> {
    /// Words, or answers.
    pub(crate) all: usize,
    /// For how many of these it is so, for each of some models.
    pub(crate) of: [usize; N],
}

/// The sums over all samples.
pub(crate) fn total<const N: usize>(samples: &[Counted<N>]) -> (usize, [usize; N]) {
    let of = |which: usize| samples.iter().map(|it| it.of[which]).sum();
    (samples.iter().map(|it| it.all).sum(), std::array::from_fn(of))
}

/// The middle 95% of the rates of as many samples, drawn from these with repetition (the bootstrap of Bisani and Ney
/// 2004). Draws are the same each time, and the same for all models.
pub(crate) fn interval<const N: usize>(samples: &[Counted<N>], of: usize) -> [f64; 2] {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut drawn = || {
        // A linear congruential generator (Knuth's MMIX), of which the upper bits are taken.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        samples[((state >> 33) as usize) % samples.len()]
    };
    let mut rates: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let (all, counted) = samples.iter().fold((0, 0), |(all, counted), _| {
                let own = drawn();
                (all + own.all, counted + own.of[of])
            });
            counted as f64 / all.max(1) as f64
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    [rates[DRAWS / 40], rates[DRAWS - 1 - DRAWS / 40]]
}
