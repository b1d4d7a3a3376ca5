// What products for few rows share that multiply integers: a GPU multiplies and adds four bytes in one instruction,
// and turning codes into floats is what would take it longest. A norm's gain is a factor of the sum, and so comes
// behind it.
//
// An invocation takes a chunk of its team's rows a turn. PAIRS: two neighbouring chunks, of rows that have an even
// number of them. SHARED: these have one word with scales; without, groups are as small as chunks, and each has a
// word with a minimum.

#include "few_rows.wgsl"
#include "round.wgsl"
#if LEAVES
#include "leave.wgsl"
#endif

// What of a row of w belongs to a turn: words of codes, and those with the scales.
#if PAIRS
const TURN: u32 = 2u;   // chunks
#if SHARED
struct Part { codes: Pair, scales: u32 }
#else
struct Part { codes: Pair, scales: vec2<u32> }
#endif
#else
const TURN: u32 = 1u;
struct Part { codes: Chunk, scales: u32 }
#endif

fn group_of(row: u32, turn: u32) -> u32 {
    return row * params.groups + turn * TURN * WEIGHT_CHUNK / GROUP;
}

fn part(row: u32, turn: u32) -> Part {
    let group = group_of(row, turn);
#if PAIRS
    let codes = fetch_pair(row * (params.chunks / 2u) + turn);
#if SHARED
    return Part(codes, affine_word(group));
#else
    return Part(codes, vec2<u32>(affine_word(group), affine_word(group + 1u)));
#endif
#else
    return Part(fetch(row * params.chunks + turn), affine_word(group));
#endif
}

// The same of each row of a team.
struct Parts {
    r0: Part,
    r1: Part,
#if ROWS == 4
    r2: Part,
    r3: Part,
#endif
}
fn parts(rows: Rows, turn: u32) -> Parts {
#if ROWS == 4
    return Parts(part(rows.x, turn), part(rows.y, turn), part(rows.z, turn), part(rows.w, turn));
#else
    return Parts(part(rows.x, turn), part(rows.y, turn));
#endif
}

// What a code of a chunk stands for.
#if PAIRS
#if SHARED
fn affine_first(w: Part, group: u32) -> vec2<f32> {
    return affine_of(w.scales, select(group, 0u, GROUP == 32u));
}
fn affine_second(w: Part, group: u32) -> vec2<f32> {
    // The number of a group tells which half of a word it has: pairs of groups begin a word.
    return affine_of(w.scales, select(group, 1u, GROUP == 32u));
}
#else
fn affine_first(w: Part, group: u32) -> vec2<f32> {
    return affine_of(w.scales.x, group);
}
fn affine_second(w: Part, group: u32) -> vec2<f32> {
    return affine_of(w.scales.y, group + 1u);
}
#endif
#else
fn affine_first(w: Part, group: u32) -> vec2<f32> {
    return affine_of(w.scales, group);
}
#endif

// The codes of a chunk's halves, four a word. Those of three bits are met where they lie in a byte, the last two words
// of a half two places up, and so four times as large: putting each in its place takes longer than the bytes that they
// save.
struct Codes { a: vec4<u32>, b: vec4<u32> }
#if BITS == 3
fn codes(words: Chunk) -> Codes {
    let low = words.xy;
    let upper = low >> vec2<u32>(4u);
    let top = words.z;
    return Codes(
        vec4<u32>(
            (low.x & 0x03030303u) | ((top << 2u) & 0x04040404u),
            (low.y & 0x03030303u) | ((top >> 2u) & 0x04040404u),
            (low.x & 0x0C0C0C0Cu) | ((top << 3u) & 0x10101010u),
            (low.y & 0x0C0C0C0Cu) | ((top >> 1u) & 0x10101010u),
        ),
        vec4<u32>(
            (upper.x & 0x03030303u) | (top & 0x04040404u),
            (upper.y & 0x03030303u) | ((top >> 4u) & 0x04040404u),
            (upper.x & 0x0C0C0C0Cu) | ((top << 1u) & 0x10101010u),
            (upper.y & 0x0C0C0C0Cu) | ((top >> 3u) & 0x10101010u),
        ),
    );
}
#else
fn codes(words: Chunk) -> Codes {
    return Codes(
        vec4<u32>(packed(words, 0u), packed(words, 1u), packed(words, 2u), packed(words, 3u)),
        vec4<u32>(packed(words, 4u), packed(words, 5u), packed(words, 6u), packed(words, 7u)),
    );
}
#endif

// The sum over one digit of a chunk. Written out, as is all that a loop over registers would do: compilers that
// count a loop's turns do not unroll it.
#if BITS == 3
const STEP: f32 = 0.25;
fn dots(a: vec4<u32>, b: vec4<u32>, codes: Codes) -> i32 {
    let ones = dot4I8Packed(a.x, codes.a.x) + dot4I8Packed(a.y, codes.a.y)
        + dot4I8Packed(b.x, codes.b.x) + dot4I8Packed(b.y, codes.b.y);
    let fours = dot4I8Packed(a.z, codes.a.z) + dot4I8Packed(a.w, codes.a.w)
        + dot4I8Packed(b.z, codes.b.z) + dot4I8Packed(b.w, codes.b.w);
    return ones * 4 + fours;
}
#else
const STEP: f32 = 1.0;
fn dots(a: vec4<u32>, b: vec4<u32>, codes: Codes) -> i32 {
    return dot4I8Packed(a.x, codes.a.x) + dot4I8Packed(a.y, codes.a.y)
        + dot4I8Packed(a.z, codes.a.z) + dot4I8Packed(a.w, codes.a.w)
        + (dot4I8Packed(b.x, codes.b.x) + dot4I8Packed(b.y, codes.b.y)
        + dot4I8Packed(b.z, codes.b.z) + dot4I8Packed(b.w, codes.b.w));
}
#endif

// What codes give that met activations with this sum, whose zero is where numbers have theirs.
fn from_zero(affine: vec2<f32>, total: f32, sum: f32) -> f32 {
#if ASYM
    return affine.x * total + affine.y * sum;
#else
    return affine.x * (total - ZERO * sum);
#endif
}

#if ROUNDED
// A chunk of x as it lies in a rounded row: the digits of its halves, and what it has besides.
struct Activations {
    high_a: vec4<u32>,
    high_b: vec4<u32>,
    middle_a: vec4<u32>,
    middle_b: vec4<u32>,
    about: vec4<f32>,
}
fn activations_at(base: u32, chunk: u32) -> Activations {
    let at = base + chunk;
    let next = params.chunks;
    return Activations(
        x[at],
        x[at + next],
        x[at + 2u * next],
        x[at + 3u * next],
        bitcast<vec4<f32>>(x[at + 4u * next]),
    );
}

// The sum over both digits of a chunk, in units of its activations' step.
fn sum_of_digits(words: Chunk, xs: Activations) -> f32 {
    let codes = codes(words);
    let high = dots(xs.high_a, xs.high_b, codes);
    let middle = dots(xs.middle_a, xs.middle_b, codes);
    return STEP * f32(high * 256 + middle);
}

// The activation that is kept apart, times the code that it meets.
fn apart(words: Chunk, about: vec4<f32>) -> f32 {
    let word = bitcast<u32>(about.w);
    return bitcast<f32>(word & 0xFFFFFFE0u) * code_at(words, word & 31u);
}
#endif

// As over_team, of a single number.
fn team_sum(value: f32, lane: u32, size: u32) -> f32 {
#if SUBGROUPS
    if (size == params.team) {
        return subgroupAdd(value);
    }
    if (size > params.team) {
        var sum = value;
        for (var span = 1u; span < params.team; span <<= 1u) {
            sum += subgroupShuffleXor(sum, span);
        }
        return sum;
    }
#endif
    reduce_slots[lane] = value;
    workgroupBarrier();
    var total = 0.0;
    let first = lane / params.team * params.team;
    for (var i = first; i < first + params.team; i++) {
        total += reduce_slots[i];
    }
    return total;
}

// What the norm of a row is worth, of which each invocation of a team has some squares. It returns in one place: another
// costs products of 8 bits a tenth of their time on an H200.
fn gain(squares: f32, lane: u32, size: u32) -> f32 {
    var worth = 1.0;
    if (params.has_norm != 0u) {
        let mean = team_sum(squares, lane, size) / f32(params.columns);
        worth = 1.0 / sqrt(mean + params.eps);
    }
    return worth;
}
