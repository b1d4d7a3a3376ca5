//! The exponential that the CPU's ops share: without a branch or a call, so that loops over it vectorise.

/// `eˣ`, within two units in the last place where it is a normal number, and 0 below.
///
/// As in Cephes' `expf`: `x = n · ln 2 + r` with `|r| ≤ ln 2 / 2`, a polynomial for `eʳ`, and `n` as the
/// exponent.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    /// Where n is as large, and as small, as an exponent can be.
    const MOST: f32 = 88.376;
    const LEAST: f32 = -87.33;
    /// Adding and subtracting this rounds to an integer.
    const WHOLE: f32 = 12_582_912.0;
    let inside = if x > MOST { MOST } else { x };
    let inside = if inside < LEAST { LEAST } else { inside };
    let n = (inside * std::f32::consts::LOG2_E + WHOLE) - WHOLE;
    // ln 2 in two parts, of which the first has so few digits that n times it is exact.
    let r = (inside - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = (((1.987_569_1e-4 * r + 1.398_199_9e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r;
    let power = ((p + 0.166_666_65) * r + 0.5) * (r * r) + r + 1.0;
    let scale = f32::from_bits(((n as i32 + 127) << 23) as u32);
    if x < LEAST { 0.0 } else { power * scale }
}

/// Turns numbers into `e` to the power of their distance to the largest, and gives the sum.
pub(super) fn exp_of_distances(numbers: &mut [f32], largest: f32) -> f32 {
    numbers.iter_mut().for_each(|x| *x = exp(*x - largest));
    let (eights, rest) = numbers.as_chunks::<8>();
    let mut sums = [0.0f32; 8];
    for eight in eights {
        sums.iter_mut().zip(eight).for_each(|(sum, x)| *sum += x);
    }
    sums.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_exponential() {
        let mut worst = 0.0f64;
        for at in -870_000..=880_000 {
            let x = at as f32 * 1e-4;
            let expected = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / expected - 1.0).abs());
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst:.2e}");
    }

    #[test]
    fn ends_are_what_they_should_be() {
        assert_eq!([f32::NEG_INFINITY, -1e30, -88.0].map(exp), [0.0; 3]);
        assert_eq!([0.0, -0.0, 1e-30].map(exp), [1.0; 3]);
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(1e30) > 2e38 && exp(f32::INFINITY) > 2e38);
    }

    #[test]
    fn distances_add_up() {
        let mut numbers: Vec<f32> = (0..19).map(|i| i as f32 / 4.0).collect();
        let sum = exp_of_distances(&mut numbers, 4.5);
        let expected: f64 = (0..19).map(|i| (f64::from(i) / 4.0 - 4.5).exp()).sum();
        assert!((f64::from(sum) - expected).abs() < 1e-5, "{sum} for {expected}");
        assert_eq!(numbers[18], 1.0);
    }
}
