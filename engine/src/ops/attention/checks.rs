//! What attention is checked with on a user's device, and on every GPU that tests run on.

use super::{Attention, KeysValues, attention, step};
use crate::{ops::Check, testing::normal};

pub(in crate::ops) fn checks() -> Vec<Check> {
    // 130 keys need two sweeps of a workgroup; 22 and 80 fill no workgroup evenly.
    [
        ("plain", [5, 2, 2, 22], [false, false], 0, None),
        ("long", [130, 2, 1, 80], [false, true], 0, None),
        ("causal", [70, 4, 2, 32], [true, false], 0, None),
        ("causal padded", [9, 2, 2, 16], [true, true], 0, None),
        ("biased", [7, 2, 2, 16], [false, false], 1, None),
        ("padded biased", [7, 2, 2, 16], [false, true], 1, None),
        ("causal biased by group", [70, 2, 2, 16], [true, true], 2, None),
        ("through a window", [140, 2, 1, 24], [true, true], 0, Some(66)),
        ("of the nearest", [9, 2, 2, 16], [true, false], 1, Some(1)),
    ]
    .map(|(name, sizes, masks, groups, window)| {
        check(name.to_owned(), sizes, masks, groups, window)
    })
    .into_iter()
    .chain(step::checks())
    .collect()
}

/// Every kernel there is without a cache, and with one.
#[cfg(test)]
pub(in crate::ops) fn all_checks() -> Vec<Check> {
    let mut checks = crate::ops::kv_append::all_checks();
    checks.extend(step::all_checks());
    // More keys than a software adapter's invocation can go through alone.
    checks.push(check("to many keys".to_owned(), [600, 1, 1, 64], [true, false], 0, None));
    for width in [16, 80, 200] {
        for masks in 0..8usize {
            let [causal, padded, biased] = [0, 1, 2].map(|bit| masks >> bit & 1 != 0);
            let name = format!("{masks:03b} of {width}");
            checks.push(check(name, [5, 2, 2, width], [causal, padded], biased.into(), None));
        }
    }
    checks
}

/// Attention of so many tokens, heads, heads of keys and elements of a head.
fn check(
    name: String,
    [tokens, heads, kv_heads, width]: [usize; 4],
    [causal, padded]: [bool; 2],
    bias_groups: usize,
    window: Option<usize>,
) -> Check {
    Check::new(format!("attention {name}"), move |device| {
        let tensor = |seed, heads: usize| {
            let count = 2 * tokens * heads * width;
            device.upload(&[2, tokens, heads * width], normal(seed, count))
        };
        let (q, k, v) = (tensor(1, heads), tensor(2, kv_heads), tensor(3, kv_heads));
        // The second sequence is padded on the left, so that early queries see nothing.
        let mask = (0..2 * tokens).map(|i| f32::from(u8::from(i < tokens || i > tokens + 2)));
        let mask = device.upload(&[2, tokens], mask.collect());
        let bias_shape = [bias_groups.max(1), heads, tokens + 1, tokens + 2];
        let bias = device.upload(&bias_shape, normal(4, bias_shape.iter().product()));
        let how = Attention {
            kv_heads,
            causal,
            mask: padded.then_some(&mask),
            bias: (bias_groups > 0).then_some(&bias),
            window,
            ..Attention::new(heads, width)
        };
        vec![attention(device, &q, KeysValues::Plain { k: &k, v: &v }, how)]
    })
}
