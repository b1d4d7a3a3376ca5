//! The kernels of attention: for software adapters a query an invocation, for GPUs a tile of queries a
//! workgroup, or where there are few queries one; and behind those of the rules others that a tuning may take.

use super::Attention;
use crate::{
    device::{Geometry, Kernel},
    ops::{Choice, attention::MAX_WIDTH, choice::up_to},
    tensor::Tensor,
};
use std::fmt;

/// Queries of a sequence up to which there are fewer workgroups than a GPU has room for.
const FEW_QUERIES: usize = 4;

/// Invocations for a query: one for each element of a head at least and, where there are few queries, for
/// each key that there can be. What is left over waits at every barrier.
pub(super) fn invocations(tokens: usize, keys: usize, width: usize) -> u32 {
    let wanted = if tokens <= FEW_QUERIES { width.max(keys) } else { width };
    wanted.next_power_of_two().clamp(64, MAX_WIDTH) as u32
}

/// Queries of a head that a row of work of `kernel` is.
pub(super) fn queries(kernel: &Kernel) -> usize {
    if kernel.source == TILES { TILE } else { 1 }
}

/// Its workgroups take queries together: so many, and queries of a sequence from which on that pays.
const TILES: &str = "attention_tiles";
const TILE: usize = 32;
const MANY_QUERIES: usize = 16;
/// Widest head of which it can.
const TILED_WIDTH: usize = 128;

/// Turns of all its loops after which lavapipe ends every loop of an invocation, and says nothing.
const MOST_TURNS: usize = 65_535;

/// Bits of keys and of values in caches that do not hold them as they are.
pub(super) const PACKED: [[u32; 2]; 4] = [[16, 16], [8, 8], [8, 4], [4, 4]];

/// An attention as far as a tuning tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Attended {
    /// Heads of all sequences, queries and keys of each, at most.
    heads: usize,
    tokens: usize,
    keys: usize,
    width: usize,
    causal: bool,
    cached: bool,
    padded: bool,
    biased: bool,
    /// Of keys and of values in a cache of few bits.
    bits: Option<[u32; 2]>,
}

impl Attended {
    pub(super) fn of(
        how: &Attention<'_>,
        cached: bool,
        batch: usize,
        [tokens, keys, width]: [usize; 3],
        bits: Option<[u32; 2]>,
    ) -> Attended {
        Attended {
            heads: batch * how.heads,
            tokens: up_to(tokens, 1),
            keys: up_to(keys, 1),
            width,
            causal: how.causal,
            cached,
            padded: how.mask.is_some(),
            biased: how.bias.is_some(),
            bits,
        }
    }
}

impl fmt::Display for Attended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attended { heads, tokens, keys, width, causal, cached, padded, biased, bits } = *self;
        write!(f, "attention {heads} heads of {width}, ≤{tokens} × ≤{keys}")?;
        let named =
            [(causal, "causal"), (cached, "cached"), (padded, "padded"), (biased, "biased")];
        named.iter().filter(|(is, _)| *is).try_for_each(|(_, name)| write!(f, ", {name}"))?;
        bits.map_or(Ok(()), |[keys, values]| {
            write!(f, ", keys of {keys} and values of {values} bits")
        })
    }
}

/// The kernels for `tokens` queries that see up to `keys` of `width`, the preferred one first.
pub(super) fn kernels(
    how: &Attention<'_>,
    cached: bool,
    invocations: u32,
    [tokens, keys, width]: [usize; 3],
    bits: Option<[u32; 2]>,
    all: bool,
) -> Vec<Kernel> {
    // A cache of few bits has the kernels of the rules alone, with as many invocations for any query.
    let (all, invocations) = match bits {
        None => (all, invocations),
        Some(_) => (false, MAX_WIDTH as u32),
    };
    let [causal, padded, biased] = [how.causal, how.mask.is_some(), how.bias.is_some()];
    let seeing = |kernel: Kernel| {
        kernel
            .switched("CAUSAL", causal)
            .switched("CACHED", cached)
            .switched("PADDED", padded)
            .switched("BIASED", biased)
    };
    let stored = |kernel: Kernel| match bits {
        None => kernel,
        Some([keys, values]) => kernel.with("K_BITS", keys).with("V_BITS", values),
    };
    let is_quads = width.is_multiple_of(4);
    let alone = Kernel::new("attention_alone", Geometry::elements(8)).for_software();
    let together = |count| Kernel::new("attention", Geometry::rows(count)).or_by_subgroups();
    // An invocation alone goes twice over the quads of four keys, and of its output; that a loop is over takes a
    // turn as well.
    let twice = 2 * (width / 4 + 1);
    let turns = keys.div_ceil(4) * (twice + 1) + twice + 1;
    let alone = (is_quads && turns < MOST_TURNS).then_some(alone.with("QUADS", 1));
    let tiles = Kernel::new(TILES, Geometry::rows(128)).for_hardware().with("QUADS", 1);
    let can_be_tiled = tokens > 1 && width <= TILED_WIDTH && is_quads;
    let [tiles, tiles_of_few] = [tokens >= MANY_QUERIES, tokens < MANY_QUERIES]
        .map(|it| (it && can_be_tiled).then_some(tiles));
    let others = [64, 128, 256].into_iter().filter(|count| *count != invocations);
    let other_counts = others.filter(|count| *count as usize >= width);
    let rules = alone.into_iter().chain(tiles).chain(together(invocations));
    let others = tiles_of_few.into_iter().chain(other_counts.flat_map(together));
    rules.chain(others.filter(|_| all)).map(seeing).map(stored).collect()
}

/// Every kernel that there is, the calls in which it is chosen.
pub(super) fn choices() -> Vec<Choice> {
    let some = Tensor::from_f32(&[1], vec![0.0]);
    let choice = |masks: u32, invocations, bits: Option<[u32; 2]>| {
        let [causal, cached, padded, biased] = [0, 1, 2, 3].map(|bit| masks >> bit & 1 != 0);
        let how = Attention {
            causal,
            mask: padded.then_some(&some),
            bias: biased.then_some(&some),
            ..Attention::new(1, 1)
        };
        let stored = bits.map(|[k, v]| format!(", keys of {k} and values of {v} bits"));
        let call = format!(
            "causal={causal} cached={cached} padded={padded} biased={biased}, {invocations} a query{}",
            stored.unwrap_or_default()
        );
        Choice::new(
            "attention",
            call,
            kernels(&how, cached, invocations, [MANY_QUERIES, 1, 4], bits, true),
        )
    };
    // Without the four that would be cached and not causal.
    let masks = (0..16).filter(|masks| masks & 3 != 2);
    let plain = masks.flat_map(|masks| [64, 128, 256].map(|count| choice(masks, count, None)));
    // Only what is causal is cached.
    let packed = PACKED.into_iter().flat_map(|bits| {
        let masks = [3, 7, 11, 15];
        masks.map(|masks| choice(masks, MAX_WIDTH as u32, Some(bits)))
    });
    plain.chain(packed).collect()
}
