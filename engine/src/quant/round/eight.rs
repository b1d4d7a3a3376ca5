//! Eight numbers side by side: compilers for WASM do not find them in a search for scales.
//!
//! There they are two registers, elsewhere an array, in which compilers do. A lane is computed as a
//! number alone would be, so both give the same bits.

use std::ops::{Add, Mul, Sub};

/// Eight numbers.
#[derive(Clone, Copy)]
pub(super) struct Eight(lanes::Lanes);

impl Eight {
    #[inline(always)]
    pub(super) fn new(lanes: &[f32; 8]) -> Eight {
        Eight(lanes::load(lanes))
    }

    #[inline(always)]
    pub(super) fn splat(x: f32) -> Eight {
        Eight(lanes::load(&[x; 8]))
    }

    #[inline(always)]
    pub(super) fn lanes(self) -> [f32; 8] {
        lanes::store(self.0)
    }

    /// In each lane the other number where it is less.
    #[inline(always)]
    pub(super) fn or_less(self, other: Eight) -> Eight {
        Eight(lanes::less(self.0, other.0))
    }

    /// In each lane the other number where it is more.
    #[inline(always)]
    pub(super) fn or_more(self, other: Eight) -> Eight {
        Eight(lanes::more(self.0, other.0))
    }
}

impl Add for Eight {
    type Output = Eight;

    #[inline(always)]
    fn add(self, other: Eight) -> Eight {
        Eight(lanes::add(self.0, other.0))
    }
}

impl Sub for Eight {
    type Output = Eight;

    #[inline(always)]
    fn sub(self, other: Eight) -> Eight {
        Eight(lanes::sub(self.0, other.0))
    }
}

impl Mul for Eight {
    type Output = Eight;

    #[inline(always)]
    fn mul(self, other: Eight) -> Eight {
        Eight(lanes::mul(self.0, other.0))
    }
}

#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod lanes {
    use core::arch::wasm32::*;

    pub(super) type Lanes = [v128; 2];

    #[inline(always)]
    pub(super) fn load(lanes: &[f32; 8]) -> Lanes {
        let [a, b, c, d, e, f, g, h] = *lanes;
        [f32x4(a, b, c, d), f32x4(e, f, g, h)]
    }

    #[inline(always)]
    pub(super) fn store([a, b]: Lanes) -> [f32; 8] {
        [
            f32x4_extract_lane::<0>(a),
            f32x4_extract_lane::<1>(a),
            f32x4_extract_lane::<2>(a),
            f32x4_extract_lane::<3>(a),
            f32x4_extract_lane::<0>(b),
            f32x4_extract_lane::<1>(b),
            f32x4_extract_lane::<2>(b),
            f32x4_extract_lane::<3>(b),
        ]
    }

    macro_rules! both {
        ($($name:ident: $instruction:ident),*) => {$(
            #[inline(always)]
            pub(super) fn $name(a: Lanes, b: Lanes) -> Lanes {
                [$instruction(a[0], b[0]), $instruction(a[1], b[1])]
            }
        )*};
    }
    both!(add: f32x4_add, sub: f32x4_sub, mul: f32x4_mul, less: f32x4_pmin, more: f32x4_pmax);
}

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod lanes {
    pub(super) type Lanes = [f32; 8];

    #[inline(always)]
    pub(super) fn load(lanes: &[f32; 8]) -> Lanes {
        *lanes
    }

    #[inline(always)]
    pub(super) fn store(lanes: Lanes) -> [f32; 8] {
        lanes
    }

    macro_rules! each {
        ($($name:ident: |$a:ident, $b:ident| $term:expr),*) => {$(
            #[inline(always)]
            pub(super) fn $name(a: Lanes, b: Lanes) -> Lanes {
                let mut results = a;
                for lane in 0..8 {
                    let ($a, $b) = (a[lane], b[lane]);
                    results[lane] = $term;
                }
                results
            }
        )*};
    }
    each!(
        add: |a, b| a + b,
        sub: |a, b| a - b,
        mul: |a, b| a * b,
        less: |a, b| if b < a { b } else { a },
        more: |a, b| if a < b { b } else { a }
    );
}
