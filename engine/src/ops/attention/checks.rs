//! What attention is checked with on a user's device, and on every GPU that tests run on.

use super::{Attention, KeysValues, attention, step};
use crate::{ops::Check, testing::normal};

pub(in crate::ops) fn checks() -> Vec<Check> {
    // Few queries of 300 keys need several sweeps of a workgroup, and tiles of many several tiles; 22 and 80
    // fill no workgroup evenly, 70 and 100 no tile.
    [
        ("plain", [5, 5, 2, 2, 22], [false, false], 0, None),
        ("of few to many", [6, 300, 2, 1, 80], [false, true], 0, None),
        ("of many", [130, 130, 2, 1, 100], [false, true], 0, None),
        ("causal", [70, 70, 4, 2, 32], [true, false], 0, None),
        ("causal padded", [9, 9, 2, 2, 16], [true, true], 0, None),
        ("biased", [7, 7, 2, 2, 16], [false, false], 1, None),
        ("padded biased", [7, 7, 2, 2, 16], [false, true], 1, None),
        ("causal biased by group", [70, 70, 2, 2, 16], [true, true], 2, None),
        ("through a window", [140, 140, 2, 1, 24], [true, true], 0, Some(66)),
        ("of the nearest", [9, 9, 2, 2, 16], [true, false], 1, Some(1)),
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
    // Nearly as many keys as a software adapter's invocation can go through alone, and more.
    for keys in [1996, 2000] {
        checks.push(check(
            format!("to {keys} keys"),
            [8, keys, 1, 1, 256],
            [false, false],
            0,
            None,
        ));
    }
    // Few queries, and more than a tile of them.
    for (tokens, width) in [(5, 16), (5, 80), (5, 200), (40, 20), (40, 128)] {
        for masks in 0..8usize {
            let [causal, padded, biased] = [0, 1, 2].map(|bit| masks >> bit & 1 != 0);
            let name = format!("{masks:03b} of {tokens} by {width}");
            checks.push(check(
                name,
                [tokens, tokens, 2, 2, width],
                [causal, padded],
                biased.into(),
                None,
            ));
        }
    }
    checks
}

/// Attention of so many queries, keys, heads, heads of keys and elements of a head.
fn check(
    name: String,
    [tokens, keys, heads, kv_heads, width]: [usize; 5],
    [causal, padded]: [bool; 2],
    bias_groups: usize,
    window: Option<usize>,
) -> Check {
    Check::new(format!("attention {name}"), move |device| {
        let tensor = |seed, tokens: usize, heads: usize| {
            let count = 2 * tokens * heads * width;
            device.upload(&[2, tokens, heads * width], normal(seed, count))
        };
        let q = tensor(1, tokens, heads);
        let [k, v] = [2, 3].map(|seed| tensor(seed, keys, kv_heads));
        // The second sequence is padded on the left, so that early queries see nothing.
        let mask = (0..2 * keys).map(|i| f32::from(u8::from(i < keys || i > keys + 2)));
        let mask = device.upload(&[2, keys], mask.collect());
        let bias_shape = [bias_groups.max(1), heads, tokens + 1, keys + 2];
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
