//! Repeatable numbers and distances for tests and for the self-test on a user's device.

/// Numbers in [0, 1), the same on every target (SplitMix64).
pub fn uniform(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(0x1234_5678);
    (0..count)
        .map(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 24) as f32
        })
        .collect()
}

/// Roughly normal numbers of variance 1: the sum of twelve uniform ones, less its mean.
pub fn normal(seed: u64, count: usize) -> Vec<f32> {
    uniform(seed, count * 12)
        .chunks_exact(12)
        .map(|twelve| twelve.iter().sum::<f32>() - 6.0)
        .collect()
}

/// `‖a − b‖ / ‖b‖` in f64; infinite where either is not a number.
pub fn rel_l2(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let (mut difference, mut size) = (0.0f64, 0.0f64);
    for (&a, &b) in a.iter().zip(b) {
        difference += (f64::from(a) - f64::from(b)).powi(2);
        size += f64::from(b).powi(2);
    }
    let ratio = if difference == 0.0 { 0.0 } else { (difference / size).sqrt() };
    if ratio.is_nan() { f64::INFINITY } else { ratio }
}
